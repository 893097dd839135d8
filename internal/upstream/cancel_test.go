package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestCancellation ends the request's context at each stage of an exchange: the
// error is the context's, and the connection is closed.
func TestCancellation(t *testing.T) {
	why := errors.New("changed its mind")
	for name, stage := range map[string]struct {
		body  func() io.Reader
		own   bool // net/http waits for the body's reader
		serve func(c net.Conn, in *bufio.Reader, reached func())
	}{
		"waiting for the answer": {serve: func(_ net.Conn, in *bufio.Reader, reached func()) {
			_, _ = readHead(in)
			reached()
		}},
		"in the answer's head": {serve: func(c net.Conn, in *bufio.Reader, reached func()) {
			_, _ = readHead(in)
			say(c, "HTTP/1.1 200 OK\r\nX:")
			reached()
		}},
		"after an interim answer": {serve: func(c net.Conn, in *bufio.Reader, reached func()) {
			_, _ = readHead(in)
			say(c, "HTTP/1.1 103 Early Hints\r\n\r\n")
			reached()
		}},
		"while the body is sent": {
			body: func() io.Reader { return zeros{} },
			serve: func(_ net.Conn, in *bufio.Reader, reached func()) {
				_, _ = readHead(in)
				reached() // and the rest is not read until the connection ends
			},
		},
		"while the body does not come": {
			own:  true,
			body: func() io.Reader { r, _ := io.Pipe(); return r },
			serve: func(_ net.Conn, in *bufio.Reader, reached func()) {
				_, _ = readHead(in)
				reached()
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			onEachEngine(t, func(t *testing.T, engine Engine) {
				if stage.own && engine != EngineOwn {
					return
				}
				reached, gone := make(chan struct{}), make(chan error, 1)
				address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
					stage.serve(c, in, func() { close(reached) })
					_, err := io.Copy(io.Discard, in)
					gone <- err
				})
				transport := newTransport(t, Options{Engine: engine})
				ctx, cancel := context.WithCancelCause(t.Context())
				var body io.Reader
				if stage.body != nil {
					body = stage.body()
				}
				req := newRequest(t, "POST", address, body).WithContext(ctx)
				failed := make(chan error, 1)
				go func() {
					res, err := transport.RoundTrip(req)
					if err == nil {
						_ = res.Body.Close()
					}
					failed <- err
				}()
				within(t, "the request", reached)
				cancel(why)
				if err := within(t, "the error", failed); !errors.Is(err, why) {
					t.Errorf("error %v", err)
				}
				within(t, "the end of the connection", gone)
				if s := transport.Stats(); s.Retried != 0 || s.Idle != 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

func TestCancellationOfTheAnswersBody(t *testing.T) {
	for name, head := range map[string]string{
		"length": "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "chunked": chunkedHead + "4\r\nhalf\r\n", "close": "HTTP/1.1 200 OK\r\n\r\nhalf",
	} {
		t.Run(name, func(t *testing.T) {
			onEachEngine(t, func(t *testing.T, engine Engine) {
				gone := make(chan error, 1)
				address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
					_, _ = readHead(in)
					say(c, "%s", head)
					_, err := io.Copy(io.Discard, in)
					gone <- err
				})
				transport := newTransport(t, Options{Engine: engine})
				ctx, cancel := context.WithCancel(t.Context())
				res, err := transport.RoundTrip(newRequest(t, "GET", address, nil).WithContext(ctx))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(res.Body, make([]byte, 4)); err != nil {
					t.Fatal(err)
				}
				cancel()
				if _, err := io.ReadAll(res.Body); !errors.Is(err, context.Canceled) {
					t.Errorf("error %v", err)
				}
				within(t, "the end of the connection", gone)
				_ = res.Body.Close()
			})
		})
	}
}

func TestCancellationBeforeThereIsAConnection(t *testing.T) {
	onEachEngine(t, func(t *testing.T, engine Engine) {
		transport := newTransport(t, Options{Engine: engine})
		dialling := make(chan struct{}, 1)
		block := func(ctx context.Context, _, _ string) (net.Conn, error) {
			dialling <- struct{}{}
			<-ctx.Done()
			return nil, &net.OpError{Op: "dial", Err: ctx.Err()}
		}
		transport.pooled.DialContext = block
		if transport.own != nil {
			transport.own.dial = block
		}
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() {
			_, err := transport.RoundTrip(newRequest(t, "GET", "http://a.example", nil).WithContext(ctx))
			failed <- err
		}()
		within(t, "the dialler", dialling)
		cancel()
		if err := within(t, "the error", failed); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		body := &closeCounter{Reader: strings.NewReader("x")}
		if _, err := transport.RoundTrip(newRequest(t, "POST", "http://a.example", body).WithContext(ctx)); !errors.Is(err, context.Canceled) || body.closed.Load() != 1 {
			t.Errorf("error %v, body closed %d times", err, body.closed.Load())
		}
		if len(dialling) != 0 {
			t.Error("a connection was made for a request that had ended")
		}
	})
}

// TestClosingABodyEndsItsConnection does so while another goroutine reads.
func TestClosingABodyEndsItsConnection(t *testing.T) {
	onEachEngine(t, func(t *testing.T, engine Engine) {
		for _, whileReading := range []bool{false, true} {
			gone := make(chan error, 1)
			address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
				_, _ = readHead(in)
				say(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
				_, err := io.Copy(io.Discard, in)
				gone <- err
			})
			transport := newTransport(t, Options{Engine: engine})
			res, err := transport.RoundTrip(newRequest(t, "GET", address, nil))
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			begun := make(chan struct{})
			go func() {
				if !whileReading {
					close(begun)
					ended <- net.ErrClosed
					return
				}
				_, err := io.ReadFull(res.Body, make([]byte, 4))
				close(begun)
				if err == nil {
					_, err = res.Body.Read(make([]byte, 4))
				}
				ended <- err
			}()
			within(t, "the reader", begun)
			if err := res.Body.Close(); err != nil {
				t.Error(err)
			}
			if err := within(t, "the reader's end", ended); err == nil {
				t.Error("the reader got no error")
			}
			within(t, "the end of the connection", gone)
			if _, err := res.Body.Read(make([]byte, 1)); err == nil || err == io.EOF {
				t.Errorf("reading on gives %v", err)
			}
			if err := res.Body.Close(); err != nil {
				t.Errorf("closing again: %v", err)
			}
		}
	})
}

func TestAnswersThatDoNotBegin(t *testing.T) {
	onEachEngine(t, func(t *testing.T, engine Engine) {
		for name, c := range map[string]struct{ body, before string }{
			"without a body": {}, "with a body": {body: "abc"}, "with a large one": {body: strings.Repeat("x", 1<<20)},
			"but in part": {before: "HTTP/1.1 200 OK\r\nX: "}, "but one before": {before: "HTTP/1.1 103 Early Hints\r\n\r\n"},
		} {
			gone := make(chan error, 1)
			address := rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
				_, _ = readHead(in)
				say(conn, "%s", c.before)
				_, err := io.Copy(io.Discard, in)
				gone <- err
			})
			transport := newTransport(t, Options{Engine: engine, ResponseHeaderTimeout: 20 * time.Millisecond})
			var body io.Reader
			if c.body != "" {
				body = strings.NewReader(c.body)
			}
			_, err := transport.RoundTrip(newRequest(t, "POST", address, body))
			var network net.Error
			if !errors.As(err, &network) || !network.Timeout() || errors.Is(err, ErrStale) {
				t.Errorf("%s: error %v", name, err)
			}
			within(t, "the end of the connection", gone)
		}
	})
}

// TestABodyMayTakeLongerThanItsHead looks at the limit that is in force while the
// answer's body is read: none, even if the request is all sent only then.
func TestABodyMayTakeLongerThanItsHead(t *testing.T) {
	for name, length := range map[string]int64{"without a body": 0, "while the request's body is sent": -1} {
		t.Run(name, func(t *testing.T) {
			address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
				_, _ = readHead(in)
				say(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				_, _ = io.Copy(io.Discard, in)
			})
			transport := newTransport(t, Options{Engine: EngineOwn})
			limits := &limitNote{}
			transport.wrapDial(func(c net.Conn) net.Conn { limits.Conn = c; return limits })
			upload, visitor := io.Pipe()
			req := newRequest(t, "POST", address, nil)
			if length != 0 {
				req.Body, req.ContentLength = upload, length
			}
			res, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = visitor.Close()
			if sender := res.Body.(*body).x.sender; sender != nil {
				within(t, "the end of the request", sender.done)
			}
			if set, last := limits.get(); !last.IsZero() || set != (length == 0) {
				t.Errorf("there is a limit until %v", last)
			}
			if answer, err := io.ReadAll(res.Body); string(answer) != "ok" || err != nil {
				t.Errorf("%q, %v", answer, err)
			}
			_ = res.Body.Close()
		})
	}
}

// limitNote notes the limits that are set for reading.
type limitNote struct {
	net.Conn
	mu   sync.Mutex
	set  bool // there was one
	last time.Time
}

func (l *limitNote) SetReadDeadline(to time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set, l.last = l.set || !to.IsZero(), to
	return l.Conn.SetReadDeadline(to)
}

func (l *limitNote) get() (bool, time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.set, l.last
}

// TestNoGoroutineIsHeldByIdleConnections counts them.
func TestNoGoroutineIsHeldByIdleConnections(t *testing.T) {
	const n = 20
	all := make(chan struct{})
	arrived := make(chan struct{}, n)
	address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		for {
			if _, err := http.ReadRequest(in); err != nil {
				return
			}
			arrived <- struct{}{}
			<-all
			say(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	transport := newTransport(t, Options{Engine: EngineOwn})
	before := runtime.NumGoroutine()
	done := make(chan error, n)
	for range n {
		go func() {
			res, err := transport.RoundTrip(newRequest(t, "GET", address, nil))
			if err == nil {
				err = res.Body.Close()
			}
			done <- err
		}()
	}
	for range n {
		within(t, "the requests", arrived)
	}
	close(all)
	for range n {
		if err := within(t, "the answers", done); err != nil {
			t.Fatal(err)
		}
	}
	if s := transport.Stats(); s.Idle != n || s.Dials != n {
		t.Fatalf("%+v", s)
	}
	// The backend has one for each connection. Ours may still be ending.
	deadline := time.After(patience)
	for runtime.NumGoroutine() > before+n {
		select {
		case <-deadline:
			t.Fatalf("%d goroutines for %d connections", runtime.NumGoroutine()-before-n, n)
		default:
			runtime.Gosched()
		}
	}
}
