package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestTableLinesUp(t *testing.T) {
	tab := &table{header: []string{"ID", "DESTINATION", "HITS"}}
	tab.add("x", "https://example.com/", "12")
	tab.add("日本", "", "3")
	tab.add("e\u0301t", "a\nb\x1b[31m", "")
	want := "" +
		"ID    DESTINATION           HITS\n" +
		"x     https://example.com/  12\n" +
		"日本  -                     3\n" +
		"e\u0301t    a\\nb\\x1b[31m          -\n"
	if got := tab.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestFolded(t *testing.T) {
	for text, want := range map[string][]string{
		"":                     nil,
		"one":                  {"one"},
		"one two three":        {"one two", "three"},
		"a https://x.example/": {"a", "https://x.example/"},
		"日本 日本 b":              {"日本", "日本 b"},
		"a\x1b[2J b":           {`a\x1b[2J`, "b"},
	} {
		if got := folded(text, 8); !slices.Equal(got, want) {
			t.Errorf("folded(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain text, Ünïcödé 日本":   "plain text, Ünïcödé 日本",
		"\x00\x07\x1b]0;title\x07": `\x00\x07\x1b]0;title\x07`,
		"a\tb\r\nc":                `a\tb\r\nc`,
		"\u009b2J\x7f":             `\u009b2J\x7f`,
		"safe\u202Etxt.exe":        `safe\u202etxt.exe`,
		"\u2028\u200b\ufeff":       `\u2028\u200b\ufeff`,
		"\U000E0041":               `\U000e0041`,
		"bad \xff\xc3( \uFFFD":     "bad \\xff\\xc3( \uFFFD",
	} {
		if got := printable(text); got != want {
			t.Errorf("printable(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestPrintableLinesKeepsLines(t *testing.T) {
	if got, want := printableLines("a\tb\r\nc\rd\n\x1b[31mred"), "a\tb\nc\\rd\n\\x1b[31mred"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzPrintable(f *testing.F) {
	for _, seed := range []string{"", "plain", "\x1b[2J", "\u009b", "a\nb", "\xff", "日本", "\u202e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := printable(text)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("printable(%q) = %q", text, got)
		}
		if printable(got) != got {
			t.Errorf("printable is not stable for %q", text)
		}
	})
}

func FuzzEscapeJSON(f *testing.F) {
	for _, seed := range []string{"", "plain", "\u009b2J", "\u007f", "\U000E0041", "日本\u2028", "a\"b\\"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			t.Skip("not the text of a JSON document")
		}
		document := string(quoted(text))
		shown := escapeJSON(document)
		var back string
		if err := json.Unmarshal([]byte(shown), &back); err != nil || back != text {
			t.Errorf("%q is shown as %s, which means %q (%v)", text, shown, back, err)
		}
		if strings.ContainsFunc(shown, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q is shown with something invisible: %q", text, shown)
		}
	})
}
