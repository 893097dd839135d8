package mail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	netmail "net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func newOutbox(t *testing.T, log *slog.Logger) *Outbox {
	t.Helper()
	o, err := NewOutbox(filepath.Join(t.TempDir(), "outbox"), "", log)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

var discard = slog.New(slog.DiscardHandler)

func mails(t *testing.T, o *Outbox) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(o.dir, "*.eml"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func TestTheOutboxKeepsAMessageForItsOwnerOnly(t *testing.T) {
	var logs bytes.Buffer
	o := newOutbox(t, slog.New(slog.NewTextHandler(&logs, nil)))
	err := o.Send(t.Context(), Message{FromName: "Shöp", To: "anna@example.com", Subject: "Grüße", Text: "the s3cret is $code\nline two"})
	if err != nil {
		t.Fatal(err)
	}
	paths := mails(t, o)
	if len(paths) != 1 {
		t.Fatalf("found %v", paths)
	}
	for path, mode := range map[string]os.FileMode{paths[0]: 0o600, o.dir: 0o700 | os.ModeDir} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	content, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	read, err := netmail.ReadMessage(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if got := decodeHeader(t, read.Header.Get("Subject")); got != "Grüße" {
		t.Errorf("subject %q", got)
	}
	if got := read.Header.Get("Content-Type"); !strings.EqualFold(got, "text/plain; charset=utf-8") {
		t.Errorf("content type %q", got)
	}
	from, err := read.Header.AddressList("From")
	if err != nil || from[0].Name != "Shöp" || from[0].Address != "ingress@localhost" {
		t.Errorf("from %v, %v", from, err)
	}
	if host, _ := os.Hostname(); host != "localhost" && strings.Contains(string(content), host) {
		t.Errorf("it names this machine, %s:\n%s", host, content)
	}
	line := logs.String()
	if !strings.Contains(line, "anna@example.com") || !strings.Contains(line, "Grüße") || strings.Contains(line, "s3cret") {
		t.Errorf("logged %s", line)
	}
}

// A link that is long, or broken over lines, cannot be clicked in an editor or
// found with grep.
func TestTheOutboxKeepsTextAsItWasGiven(t *testing.T) {
	o := newOutbox(t, discard)
	link := "http://user.localhost:8080/?token=" + strings.Repeat("x", 1000) + "&redirectUrl=https%3A%2F%2Fexample.com%2F"
	for given, want := range map[string]string{
		"Hello Zoë, go to\n" + link + "\nSee you":       "Hello Zoë, go to\n" + link + "\nSee you",
		"Windows\r\n" + link + "\r\n":                   "Windows\n" + link + "\n",
		"A = b, = at the end =\n.\n\nFrom: nobody@else": "A = b, = at the end =\n.\n\nFrom: nobody@else",
	} {
		if err := o.Send(t.Context(), Message{To: "anna@example.com", Subject: "s", Text: given}); err != nil {
			t.Fatal(err)
		}
		paths := mails(t, o)
		content, err := os.ReadFile(paths[len(paths)-1])
		if err != nil {
			t.Fatal(err)
		}
		read, err := netmail.ReadMessage(bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(read.Body)
		if err != nil || strings.TrimRight(string(body), "\n") != strings.TrimRight(want, "\n") {
			t.Errorf("given %q, written %q, %v", given, body, err)
		}
		if bytes.ContainsRune(content, '\r') || read.Header.Get("Content-Transfer-Encoding") != "8bit" {
			t.Errorf("%q", content)
		}
		from, err := read.Header.AddressList("From")
		if err != nil || len(from) != 1 || from[0].Address != "ingress@localhost" {
			t.Errorf("From is %v, %v", from, err)
		}
	}
}

func TestTheOutboxWritesNothingItRefuses(t *testing.T) {
	o := newOutbox(t, discard)
	var field *FieldError
	if err := o.Send(t.Context(), Message{To: "anna@example.com", Subject: "a\nb"}); !errors.As(err, &field) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.Send(ctx, Message{To: "anna@example.com"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := os.RemoveAll(o.dir); err != nil {
		t.Fatal(err)
	}
	if err := o.Send(t.Context(), Message{To: "anna@example.com"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without its folder: %v", err)
	}
	if _, err := NewOutbox(t.TempDir(), "nobody", discard); err == nil || !strings.Contains(err.Error(), "mail-from") {
		t.Errorf("got %v", err)
	}
}

func TestTheOutboxKeepsTheNewest(t *testing.T) {
	o := newOutbox(t, discard)
	o.size = 10
	now := time.Date(2026, 11, 22, 23, 59, 59, 0, time.UTC)
	var mu sync.Mutex
	o.now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(100 * time.Millisecond)
		return now
	}
	if err := os.WriteFile(filepath.Join(o.dir, "0-notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 15 {
		if err := o.Send(t.Context(), Message{To: fmt.Sprintf("u%d@example.com", i), Subject: "s"}); err != nil {
			t.Fatal(err)
		}
	}
	paths := mails(t, o)
	if len(paths) != 10 || !slices.IsSorted(paths) {
		t.Fatalf("kept %v", paths)
	}
	for i, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(content), fmt.Sprintf("<u%d@example.com>", i+5)) {
			t.Errorf("%s is not message %d (%v)", path, i+5, err)
		}
	}
	if _, err := os.Stat(filepath.Join(o.dir, "0-notes.txt")); err != nil {
		t.Errorf("somebody else's file went: %v", err)
	}
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if err := o.Send(t.Context(), Message{To: "anna@example.com", Subject: "s"}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if paths := mails(t, o); len(paths) != 10 {
		t.Errorf("kept %d", len(paths))
	}
}
