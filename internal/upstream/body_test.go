package upstream

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

// TestBodiesCanBePassedOn copies bodies to a TCP connection and to a plain writer.
func TestBodiesCanBePassedOn(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 64<<10)
	for name, c := range map[string]struct {
		answer, body string
		kept         bool
		err          error
	}{
		"length":            {fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(large), large), large, true, nil},
		"short":             {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", true, nil},
		"chunked":           {fmt.Sprintf("%s%x\r\n%s\r\n0\r\n\r\n", chunkedHead, len(large), large), large, true, nil},
		"close":             {"HTTP/1.1 200 OK\r\n\r\n" + large, large, false, nil},
		"more than there":   {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokay", "ok", false, nil},
		"broken off":        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", "ok", false, io.ErrUnexpectedEOF},
		"broken off, large": {"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + large, large, false, io.ErrUnexpectedEOF},
	} {
		for _, plain := range []bool{false, true} {
			for _, begun := range []int{0, 1} {
				t.Run(fmt.Sprint(name, plain, begun), func(t *testing.T) {
					address := rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
						for {
							if _, err := readHead(in); err != nil {
								return
							}
							say(conn, "%s", c.answer)
							if !c.kept {
								return
							}
						}
					})
					transport := newTransport(t, Options{Engine: EngineOwn})
					res, err := transport.RoundTrip(newRequest(t, "GET", address, nil))
					if err != nil {
						t.Fatal(err)
					}
					start := make([]byte, begun)
					if _, err := io.ReadFull(res.Body, start); err != nil {
						t.Fatal(err)
					}
					got, n, err := passOn(t, res.Body, plain)
					if string(start)+got != c.body || n != int64(len(got)) || !errors.Is(err, c.err) {
						t.Errorf("%d bytes of %d, said to be %d, error %v", len(start)+len(got), len(c.body), n, err)
					}
					if n, err := res.Body.(io.WriterTo).WriteTo(io.Discard); n != 0 || !errors.Is(err, c.err) {
						t.Errorf("once more: %d, %v", n, err)
					}
					if err := res.Body.Close(); err != nil {
						t.Error(err)
					}
					if kept := transport.Stats().Idle == 1; kept != c.kept {
						t.Errorf("the connection is kept: %v", kept)
					}
				})
			}
		}
	}
}

// passOn copies the body and returns what arrived.
func passOn(t *testing.T, body io.Reader, plain bool) (string, int64, error) {
	if plain {
		var b strings.Builder
		n, err := io.Copy(&b, body)
		return b.String(), n, err
	}
	arrived := make(chan string, 1)
	to := rawBackend(t, func(_ net.Conn, in *bufio.Reader) {
		all, _ := io.ReadAll(in)
		arrived <- string(all)
	})
	c, err := net.Dial("tcp", strings.TrimPrefix(to, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(c, body)
	_ = c.Close()
	return within(t, "the copy", arrived), n, err
}

func TestAWriterThatFailsEndsTheBody(t *testing.T) {
	gone := make(chan error, 1)
	address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		_, _ = readHead(in)
		say(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
		_, err := io.Copy(io.Discard, in)
		gone <- err
	})
	transport := newTransport(t, Options{Engine: EngineOwn})
	res, err := transport.RoundTrip(newRequest(t, "GET", address, nil))
	if err != nil {
		t.Fatal(err)
	}
	full := errors.New("no room")
	if _, err := io.Copy(failingWriter{full}, res.Body); !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
	within(t, "the end of the connection", gone)
	_ = res.Body.Close()
}

type failingWriter struct{ err error }

func (f failingWriter) Write([]byte) (int, error) { return 0, f.err }
