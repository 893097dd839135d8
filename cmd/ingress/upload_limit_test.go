package main_test

import (
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptrace"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// announce sends the head of an upload of so many bytes and waits, as "Expect:
// 100-continue" has it (RFC 9110, 10.1.1), until the body is wanted or refused. It
// returns the status, which is 100 for a body that is wanted: none is sent then.
func (i *ingress) announce(bytes int64) (int, string) {
	i.t.Helper()
	ctx, cancel := context.WithTimeout(i.t.Context(), deadline)
	defer cancel()
	var wanted atomic.Bool
	trace := &httptrace.ClientTrace{Got100Continue: func() { wanted.Store(true); cancel() }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodPost,
		"http://localhost/v1/app/Upload", io.MultiReader(strings.NewReader("never sent")))
	if err != nil {
		i.t.Fatal(err)
	}
	req.ContentLength = bytes
	for name, value := range map[string]string{"Authorization": "Bearer " + bootstrapKey, "Content-Type": "application/gzip", "Expect": "100-continue"} {
		req.Header.Set(name, value)
	}
	client := i.client()
	client.Transport.(*http.Transport).ExpectContinueTimeout = deadline
	res, err := client.Do(req)
	if wanted.Load() {
		if err == nil {
			res.Body.Close()
		}
		return http.StatusContinue, ""
	}
	if err != nil {
		i.t.Fatalf("an upload of %d bytes: %v", bytes, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		i.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// TestTheLimitOnUploadsIsTheOneThatIsSet checks that one setting is what both the
// data plane and the platform behind it go by.
func TestTheLimitOnUploadsIsTheOneThatIsSet(t *testing.T) {
	const gib = 1 << 30
	t.Run("raised", func(t *testing.T) {
		i := startPlatform(t, "--max-source-bytes", "1GiB")
		for bytes, want := range map[int64]int{600 << 20: 100, gib: 100, gib + 1: 413} {
			if got, text := i.announce(bytes); got != want {
				t.Errorf("an upload of %d bytes: %d %s, want %d", bytes, got, text, want)
			}
		}
	})
	t.Run("lowered", func(t *testing.T) {
		i := startPlatform(t, "--max-source-bytes", "64KiB")
		i.uploaded(bootstrapKey, strings.Repeat("x", 64<<10))
		if got, text := i.announce(64<<10 + 1); got != 413 || !strings.Contains(text, "larger than the 65536 bytes allowed") {
			t.Errorf("one byte more: %d %s", got, text)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/v1/app/Upload",
			io.MultiReader(strings.NewReader(strings.Repeat("x", 64<<10+1)))) // its length is not known
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+bootstrapKey)
		req.Header.Set("Content-Type", "application/gzip")
		res, err := i.client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if text, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 413 || !strings.Contains(string(text), "65536 bytes") {
			t.Errorf("one byte more, of unknown length: %d %s, %v", res.StatusCode, text, err)
		}
		noise := make([]byte, 128<<10) // which no archive makes smaller
		if _, err := rand.Read(noise); err != nil {
			t.Fatal(err)
		}
		dir := folder(t, map[string]string{"index.html": "hello", "noise": string(noise)})
		_, stderr, code := i.run(nil, "app", "run", "large", "--dir", dir)
		for _, word := range []string{"65536 bytes", ".ingressignore", "--max-source-bytes"} {
			if code == 0 || !strings.Contains(stderr, word) {
				t.Errorf("the client ends with %d and says\n%s\nwithout %q", code, stderr, word)
			}
		}
		files, err := filepath.Glob(filepath.Join(i.dir, "uploads", "*", "*"))
		if err != nil || len(files) != 1 {
			t.Errorf("there are the uploads %v (%v), want the one that fitted", files, err)
		}
	})
}
