package upstream

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// canned serves one answer to whatever it is asked, without net/http's server,
// whose own work would hide ours. It reads heads, and bodies of a declared length.
func canned(b *testing.B, answer []byte) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go repeat(c, answer)
		}
	}()
	return "http://" + listener.Addr().String() + "/path?query=1"
}

// repeat answers every request on a connection.
func repeat(c net.Conn, answer []byte) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		length := 0
		for {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return
			}
			if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
				length, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
			}
			if len(line) == 2 {
				break
			}
		}
		if _, err := in.Discard(length); err != nil {
			return
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

// BenchmarkRoundTrip sends what a proxy sends: a context that can be cancelled, a
// few headers, bodies that cannot be had again.
func BenchmarkRoundTrip(b *testing.B) {
	for _, c := range []struct {
		name         string
		method       string
		body, answer int
		parallel     bool
	}{
		{"GET1KiB", "GET", 0, 1 << 10, false},
		{"POST1KiB", "POST", 1 << 10, 1 << 10, false},
		{"GET64KiB", "GET", 0, 64 << 10, false},
		{"GET1KiBParallel", "GET", 0, 1 << 10, true},
		{"POST1KiBParallel", "POST", 1 << 10, 1 << 10, true},
	} {
		answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nDate: Mon, 02 Jan 2006 15:04:05 GMT\r\nServer: backend\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s",
			c.answer, strings.Repeat("x", c.answer))
		for _, engine := range engines {
			b.Run(c.name+"/"+string(engine), func(b *testing.B) {
				address := canned(b, answer)
				transport := New(Options{Engine: engine})
				defer transport.CloseIdleConnections()
				b.ReportAllocs()
				if !c.parallel {
					buffer := make([]byte, 32<<10)
					for b.Loop() {
						roundTrip(b, transport, c.method, address, c.body, buffer)
					}
					return
				}
				b.SetParallelism(16)
				b.RunParallel(func(pb *testing.PB) {
					buffer := make([]byte, 32<<10)
					for pb.Next() {
						roundTrip(b, transport, c.method, address, c.body, buffer)
					}
				})
			})
		}
	}
}

var benchBody = bytes.Repeat([]byte("x"), 1<<20)

func roundTrip(b *testing.B, rt http.RoundTripper, method, address string, body int, buffer []byte) {
	var sent io.Reader
	if body > 0 {
		sent = io.LimitReader(bytes.NewReader(benchBody), int64(body))
	}
	req, err := http.NewRequestWithContext(b.Context(), method, address, sent)
	if err != nil {
		b.Fatal(err)
	}
	req.ContentLength = int64(body)
	req.Header["Accept"] = []string{"*/*"}
	req.Header["User-Agent"] = []string{"bench"}
	req.Header["X-Forwarded-For"] = []string{"127.0.0.1"}
	res, err := rt.RoundTrip(req)
	if err != nil {
		b.Fatal(err)
	}
	for {
		_, err := res.Body.Read(buffer)
		if err == io.EOF {
			break
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := res.Body.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkReadHead parses the heads of backends that write names in any case.
func BenchmarkReadHead(b *testing.B) {
	for name, head := range map[string]string{
		"canonical": "HTTP/1.1 200 OK\r\nDate: Mon, 02 Jan 2006 15:04:05 GMT\r\nContent-Type: text/html; charset=utf-8\r\nX-Request-Id: 1\r\nContent-Length: 5\r\n\r\n",
		"lower":     "HTTP/1.1 200 OK\r\ndate: Mon, 02 Jan 2006 15:04:05 GMT\r\ncontent-type: text/html; charset=utf-8\r\nx-request-id: 1\r\ncontent-length: 5\r\n\r\n",
	} {
		b.Run(name, func(b *testing.B) {
			source := strings.NewReader(head)
			x := &exchange{buffers: new(bufferPools).get()}
			b.ReportAllocs()
			b.SetBytes(int64(len(head)))
			for b.Loop() {
				source.Reset(head)
				x.buffers.in.Reset(source)
				if _, err := x.readHead(1 << 20); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("nethttp", func(b *testing.B) {
		head := "HTTP/1.1 200 OK\r\ndate: Mon, 02 Jan 2006 15:04:05 GMT\r\ncontent-type: text/html; charset=utf-8\r\nx-request-id: 1\r\ncontent-length: 5\r\n\r\n"
		source := strings.NewReader(head)
		in := bufio.NewReader(source)
		b.ReportAllocs()
		b.SetBytes(int64(len(head)))
		for b.Loop() {
			source.Reset(head)
			in.Reset(source)
			if _, err := http.ReadResponse(in, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}
