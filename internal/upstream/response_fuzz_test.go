package upstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// script is a connection to a backend that says what it was told to, whatever it
// is asked, and then hangs up. It gives at most step bytes at a time.
type script struct {
	net.Conn // nil: what is not below must not be used
	rest     []byte
	step     int
	closed   bool
	written  bytes.Buffer
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.step)], s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error)       { return s.written.Write(p) }
func (s *script) Close() error                      { s.closed = true; return nil }
func (s *script) SetReadDeadline(t time.Time) error { return nil }
func (s *script) SetWriteDeadline(time.Time) error  { return nil }

// reading is what came of reading an answer.
type reading struct {
	Proto, Status string
	Code          int
	Length        int64
	Close         bool
	Coding        []string
	Header        http.Header
	Trailer       http.Header
	Body          string
	Failed        bool // in the body
	Reusable      bool
	Left          string // behind the answer, if it is reusable
}

// readOwn reads an answer with our engine. An error is one before the body.
func readOwn(method string, raw []byte, step int) (*reading, *script, error) {
	s := &script{rest: raw, step: step}
	var count Counters
	e := newEngine(Options{Engine: EngineOwn}.withDefaults(), func(context.Context, string, string) (net.Conn, error) { return s, nil }, &count)
	defer e.pool.closeIdle()
	req, err := http.NewRequest(method, "http://backend.example/", nil)
	if err != nil {
		return nil, nil, err
	}
	res, err := e.RoundTrip(req)
	if err != nil {
		return nil, s, err
	}
	r, err := readWhole(res, step)
	if r.Reusable = e.pool.size() == 1; r.Reusable {
		r.Left = string(s.rest)
	}
	return r, s, err
}

// readStandard reads an answer with net/http.
func readStandard(method string, raw []byte) (*reading, error) {
	in := bufio.NewReader(bytes.NewReader(raw))
	for {
		res, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return nil, err
		}
		if res.StatusCode < 200 && res.StatusCode >= 100 && res.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		r, _ := readWhole(res, 512)
		r.Reusable = !r.Failed && !r.Close
		left, _ := io.ReadAll(in)
		r.Left = string(left)
		return r, nil
	}
}

// readWhole reads the body. The error is the body's.
func readWhole(res *http.Response, step int) (*reading, error) {
	var body []byte
	buffer := make([]byte, step)
	var err error
	for err == nil {
		var n int
		n, err = res.Body.Read(buffer)
		body = append(body, buffer[:n]...)
	}
	r := &reading{
		Proto: res.Proto, Status: res.Status, Code: res.StatusCode, Length: res.ContentLength, Close: res.Close,
		Coding: res.TransferEncoding, Header: res.Header, Trailer: res.Trailer, Body: string(body), Failed: err != io.EOF,
	}
	_ = res.Body.Close()
	if err == io.EOF {
		err = nil
	}
	return r, err
}

// stricter says in which way we are stricter than net/http, or nothing if the
// error cannot come from that.
func stricter(err error, raw []byte) string {
	has := func(expression string) bool { return regexp.MustCompile(expression).Match(raw) }
	for _, way := range []struct {
		err  error
		what string
		so   bool
	}{
		{errLineEnd, "a lone LF ends no line", has(`(?s)(^|[^\r])\n`)},
		{errFolded, "a header field is on one line", has(`(?m)^[ \t]`)},
		{errField, "there is no space in or behind a field's name", has(`(?m)^[^:\n]* [^:\n]*:`)},
		{errStatus, "the status line has one space, three digits from 100, and no control characters", true},
		{errVersion, "the version is 1.1 or 1.0", !has(`^HTTP/1\.[01] `) || has(`\nHTTP/[^1]|\nHTTP/1\.[^01]`)},
		{errCoding, "HTTP/1.0 has no Transfer-Encoding", has(`HTTP/1\.0`) && has(`(?i)transfer-encoding`)},
		{errAmbiguous, "Content-Length excludes Transfer-Encoding", has(`(?i)content-length`) && has(`(?i)transfer-encoding`)},
		{errTrailer, "what frames a message is no trailer", has(`(?i)\n(content-length|transfer-encoding|trailer)`)},
		{errUnasked, "protocols are switched on demand only", has(`HTTP/1\.[01] 101`)},
		{errChunkSize, "a chunk's size has at most 15 digits", has(`(?i)\n[0-9a-f]{16}`)},
		{errChunkExtension, "a chunk's extensions look like some", has(`\n[0-9a-fA-F]+[ \t]*;`)},
		{errTooMany, "there are at most 1000 fields", bytes.Count(raw, []byte{'\n'}) > maxFields},
	} {
		if errors.Is(err, way.err) && way.so {
			return way.what
		}
	}
	if len(raw) > 1<<20 {
		return "headers have at most HeaderBytes"
	}
	if bytes.Count(raw, []byte("HTTP/1.1 1"))+bytes.Count(raw, []byte("HTTP/1.0 1")) > maxInterim {
		return "there are at most 10 interim answers"
	}
	return ""
}

// FuzzAnswers reads the same bytes with net/http and with us.
func FuzzAnswers(f *testing.F) {
	for _, raw := range wellFormedAnswers {
		f.Add(uint8(0), uint16(4096), []byte(raw))
		f.Add(uint8(1), uint16(1), []byte(raw))
	}
	for _, m := range malformedAnswers {
		if len(m.answer) < 64<<10 { // the others take too long
			f.Add(uint8(0), uint16(4096), []byte(m.answer))
		}
	}
	f.Fuzz(func(t *testing.T, method uint8, step uint16, raw []byte) {
		name := []string{"GET", "HEAD", "POST"}[method%3]
		ours, conn, err := readOwn(name, raw, int(step)+1)
		theirs, theirErr := readStandard(name, raw)
		switch {
		case ours == nil && theirErr == nil && stricter(err, raw) == "":
			t.Fatalf("refused without a reason: %v", err)
		case ours == nil || err != nil:
			if !conn.closed {
				t.Fatalf("after %v the connection is open", err)
			}
			if ours != nil && ours.Reusable {
				t.Fatal("a connection is kept after an error")
			}
			if ours != nil && theirErr == nil && !theirs.Failed && stricter(err, raw) == "" {
				t.Fatalf("body refused without a reason: %v", err)
			}
			return
		case theirErr != nil:
			t.Fatalf("accepted, and by net/http not: %v", theirErr)
		}
		if ours.Reusable && !theirs.Reusable {
			t.Fatal("the connection is kept, and by net/http not")
		}
		if !ours.Reusable {
			if !conn.closed {
				t.Fatal("the connection is neither kept nor closed")
			}
			ours.Reusable, ours.Left = theirs.Reusable, theirs.Left
		}
		if diff := cmp.Diff(theirs, ours); diff != "" {
			t.Fatalf("read differently (-net/http +ours):\n%s", diff)
		}
	})
}
