package link

import (
	"crypto/rand"
	"strings"
	"testing"
)

func TestRandomIDs(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id, err := randomID(rand.Reader)
		if err != nil || len(id) != 9 || !validID(id) {
			t.Fatalf("%q, %v", id, err)
		}
		seen[id] = true
	}
	if len(seen) != 1000 {
		t.Errorf("1000 ids, %d different ones", len(seen))
	}
	if _, err := randomID(strings.NewReader("short")); err == nil {
		t.Error("too few random bytes are enough")
	}
}

func TestIDOf(t *testing.T) {
	for shortURL, want := range map[string]string{
		"abc":                             "abc",
		"/u/abc":                          "abc",
		"m3o.one/u/abc":                   "abc",
		"https://m3o.one/u/abc":           "abc",
		"https://m3o.one/u/abc/":          "abc",
		"https://m3o.one/u/abc?x=/y#/z":   "abc",
		" https://m3o.one/u/aB_-9#/z?q\n": "aB_-9",
		"https://m3o.one/u/":              "u",
		"":                                "",
		"///":                             "",
		"?x":                              "",
	} {
		if got := idOf(shortURL); got != want {
			t.Errorf("idOf(%q) = %q, want %q", shortURL, got, want)
		}
	}
}

func FuzzIDOf(f *testing.F) {
	f.Add("https://m3o.one/u/abc")
	f.Add("abc?x#y")
	f.Add("///\xff\x00 ")
	f.Add("https://m3o.one/u/'; DROP TABLE links; --")
	f.Fuzz(func(t *testing.T, shortURL string) {
		id := idOf(shortURL)
		if strings.ContainsAny(id, "/?#") || !strings.Contains(shortURL, id) {
			t.Errorf("idOf(%q) = %q", shortURL, id)
		}
		if !validID(id) {
			return
		}
		for _, around := range []string{prefix + id, id + "/", "x/" + id + "?q", "http://h/" + id + "#f"} {
			if got := idOf(around); got != id {
				t.Errorf("idOf(%q) = %q, want %q", around, got, id)
			}
		}
	})
}
