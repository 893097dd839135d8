package upstream

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// wellFormedAnswers are well-formed ones.
var wellFormedAnswers = []string{
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n",
	"HTTP/1.1 200\r\ncontent-length: 2\r\nContent-Length:2 \r\nx-a: \t 1 \t\r\nX-a:\r\n\r\nok",
	"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nabcde",
	"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
	"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: x\r\n\r\n",
	"HTTP/1.1 200 OK\r\n\r\nuntil the end",
	"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nConnection: x, close\r\nContent-Length: 3\r\n\r\nok",
	"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nPragma: no-cache\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTrailer: X\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nTrailer: X-A, x-b\r\n\r\n002;a=b;c=\"d;\\\"\";e\r\nok\r\nA  \r\n0123456789\r\n0\r\nx-a: 1\r\nX-C: 2\r\n\r\nHTTP/1.1",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1\r\nx\r\n", 5000) + "0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nX-Long: " + strings.Repeat("x", 10000) + "\r\nContent-Length: 1\r\n\r\nx",
	"HTTP/1.1 999 \xff Fun\r\nX: \xff\r\nContent-Length: 0\r\n\r\n",
}

const head = "HTTP/1.1 200 OK\r\n"

// malformedAnswers are answers that must not be believed.
var malformedAnswers = []struct {
	name, answer string
	inBody       bool // the head is all right
}{
	{name: "nothing", answer: ""},
	{name: "no HTTP", answer: "220 mail.example.com ESMTP\r\n\r\n"},
	{name: "half a status line", answer: "HTTP/1.1 200"},
	{name: "no header end", answer: head + "X: 1\r\n"},
	{name: "space before the version", answer: " HTTP/1.1 200 OK\r\n\r\n"},
	{name: "lower case version", answer: "http/1.1 200 OK\r\n\r\n"},
	{name: "version 2", answer: "HTTP/2.0 200 OK\r\n\r\n"},
	{name: "version 1.2", answer: "HTTP/1.2 200 OK\r\n\r\n"},
	{name: "version 0.9", answer: "HTTP/0.9 200 OK\r\n\r\n"},
	{name: "version without a dot", answer: "HTTP/11 200 OK\r\n\r\n"},
	{name: "two spaces", answer: "HTTP/1.1  200 OK\r\n\r\n"},
	{name: "tab", answer: "HTTP/1.1\t200 OK\r\n\r\n"},
	{name: "two digits", answer: "HTTP/1.1 20 OK\r\n\r\n"},
	{name: "four digits", answer: "HTTP/1.1 2000 OK\r\n\r\n"},
	{name: "sign", answer: "HTTP/1.1 +20 OK\r\n\r\n"},
	{name: "status below 100", answer: "HTTP/1.1 099 OK\r\n\r\n"},
	{name: "letters", answer: "HTTP/1.1 2x0 OK\r\n\r\n"},
	{name: "control character in the reason", answer: "HTTP/1.1 200 O\x00K\r\n\r\n"},
	{name: "CR in the reason", answer: "HTTP/1.1 200 O\rK\r\n\r\n"},
	{name: "LF after the status line", answer: "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"},
	{name: "LF after a field", answer: head + "X: 1\nContent-Length: 0\r\n\r\n"},
	{name: "LF as the empty line", answer: head + "Content-Length: 0\r\n\n"},
	{name: "CR in a value", answer: head + "X: 1\r2\r\n\r\n"},
	{name: "CR CR LF", answer: head + "X: 1\r\r\n\r\n"},
	{name: "NUL in a value", answer: head + "X: 1\x002\r\n\r\n"},
	{name: "DEL in a value", answer: head + "X: \x7f\r\n\r\n"},
	{name: "NUL in a name", answer: head + "X\x00: 1\r\n\r\n"},
	{name: "no colon", answer: head + "X\r\n\r\n"},
	{name: "no name", answer: head + ": 1\r\n\r\n"},
	{name: "space before the colon", answer: head + "Content-Length : 0\r\n\r\n"},
	{name: "tab before the colon", answer: head + "Content-Length\t: 0\r\n\r\n"},
	{name: "space in a name", answer: head + "Content Length: 0\r\n\r\n"},
	{name: "beyond ASCII in a name", answer: head + "X\xc3\xa9: 0\r\n\r\n"},
	{name: "quotes in a name", answer: head + "\"X\": 0\r\n\r\n"},
	{name: "folded field", answer: head + "X: 1\r\n 2\r\n\r\n"},
	{name: "folded with a tab", answer: head + "X: 1\r\n\t2\r\n\r\n"},
	{name: "space before the first field", answer: head + " X: 1\r\n\r\n"},
	{name: "two lengths", answer: head + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"},
	{name: "two lengths that mean the same", answer: head + "Content-Length: 1\r\nContent-Length: 01\r\n\r\na"},
	{name: "a list of lengths", answer: head + "Content-Length: 1, 1\r\n\r\na"},
	{name: "negative length", answer: head + "Content-Length: -1\r\n\r\na"},
	{name: "length with a sign", answer: head + "Content-Length: +1\r\n\r\na"},
	{name: "hexadecimal length", answer: head + "Content-Length: 0x1\r\n\r\na"},
	{name: "empty length", answer: head + "Content-Length:\r\n\r\na"},
	{name: "huge length", answer: head + "Content-Length: 9223372036854775808\r\n\r\na"},
	{name: "length with an underscore", answer: head + "Content-Length: 1_0\r\n\r\n0123456789"},
	{name: "length and chunked", answer: head + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{name: "chunked and length", answer: head + "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n"},
	{name: "unknown coding", answer: head + "Transfer-Encoding: gzip\r\n\r\n"},
	{name: "identity", answer: head + "Transfer-Encoding: identity\r\n\r\n"},
	{name: "two codings", answer: head + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
	{name: "chunked twice", answer: head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{name: "empty coding", answer: head + "Transfer-Encoding:\r\n\r\n"},
	{name: "coding with a vertical tab", answer: head + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"},
	{name: "coding in HTTP/1.0", answer: "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{name: "length announced as a trailer", answer: head + "Transfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n0\r\n\r\n"},
	{name: "switch that nobody wanted", answer: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"},
	{name: "too many interim answers", answer: strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", maxInterim+1) + head + "Content-Length: 0\r\n\r\n"},
	{name: "malformed interim answer", answer: "HTTP/1.1 103 Early Hints\r\nX : 1\r\n\r\n" + head + "Content-Length: 0\r\n\r\n"},
	{name: "only interim answers", answer: "HTTP/1.1 103 Early Hints\r\n\r\n"},
	{name: "too many fields", answer: head + strings.Repeat("X:\r\n", maxFields+1) + "\r\n"},
	{name: "headers too large", answer: head + strings.Repeat("X: "+strings.Repeat("x", 8000)+"\r\n", 140) + "\r\n"},
	{name: "a line too large", answer: head + "X: " + strings.Repeat("x", 1<<20) + "\r\n\r\n"},

	{name: "short body", answer: head + "Content-Length: 10\r\n\r\nhalf", inBody: true},
	{name: "no chunk", answer: chunkedHead, inBody: true},
	{name: "no last chunk", answer: chunkedHead + "2\r\nok\r\n", inBody: true},
	{name: "no end after the last chunk", answer: chunkedHead + "0\r\n", inBody: true},
	{name: "short chunk", answer: chunkedHead + "5\r\nok", inBody: true},
	{name: "chunk without a size", answer: chunkedHead + "\r\nok\r\n0\r\n\r\n", inBody: true},
	{name: "chunk size with a sign", answer: chunkedHead + "+2\r\nok\r\n0\r\n\r\n", inBody: true},
	{name: "negative chunk size", answer: chunkedHead + "-2\r\nok\r\n0\r\n\r\n", inBody: true},
	{name: "chunk size with 0x", answer: chunkedHead + "0x2\r\nok\r\n0\r\n\r\n", inBody: true},
	{name: "space before the size", answer: chunkedHead + " 2\r\nok\r\n0\r\n\r\n", inBody: true},
	{name: "space in the size", answer: chunkedHead + "0 2\r\nok\r\n0\r\n\r\n", inBody: true},
	{name: "chunk size of no number", answer: chunkedHead + "zz\r\nok\r\n0\r\n\r\n", inBody: true},
	{name: "huge chunk", answer: chunkedHead + "fffffffffffffffff\r\nok\r\n0\r\n\r\n", inBody: true},
	{name: "chunk of 64 bits", answer: chunkedHead + "ffffffffffffffff\r\nok\r\n0\r\n\r\n", inBody: true},
	{name: "chunk size that wraps", answer: chunkedHead + "10000000000000002\r\nok\r\n0\r\n\r\n", inBody: true},
	{name: "LF after the size", answer: chunkedHead + "2\nok\r\n0\r\n\r\n", inBody: true},
	{name: "CR in the size", answer: chunkedHead + "2\r\r\nok\r\n0\r\n\r\n", inBody: true},
	{name: "no CR LF after the chunk", answer: chunkedHead + "2\r\nok0\r\n\r\n", inBody: true},
	{name: "LF after the chunk", answer: chunkedHead + "2\r\nok\n0\r\n\r\n", inBody: true},
	{name: "longer than its size", answer: chunkedHead + "2\r\nokay\r\n0\r\n\r\n", inBody: true},
	{name: "extension without a name", answer: chunkedHead + "2;\r\nok\r\n0\r\n\r\n", inBody: true},
	{name: "extension without a value", answer: chunkedHead + "2;a=\r\nok\r\n0\r\n\r\n", inBody: true},
	{name: "extension with an open quote", answer: chunkedHead + "2;a=\"b\r\nok\r\n0\r\n\r\n", inBody: true},
	{name: "extension with a CR", answer: chunkedHead + "2;a=\"\r\"\r\nok\r\n0\r\n\r\n", inBody: true},
	{name: "extension with a NUL", answer: chunkedHead + "2;a=\"\x00\"\r\nok\r\n0\r\n\r\n", inBody: true},
	{name: "something behind the size", answer: chunkedHead + "2 a\r\nok\r\n0\r\n\r\n", inBody: true},
	{name: "long extension", answer: chunkedHead + "2;" + strings.Repeat("a", 5000) + "\r\nok\r\n0\r\n\r\n", inBody: true},
	{name: "nothing but extensions", answer: chunkedHead + strings.Repeat("1;"+strings.Repeat("a", 200)+"\r\nx\r\n", 200) + "0\r\n\r\n", inBody: true},
	{name: "folded trailer", answer: chunkedHead + "0\r\nX: 1\r\n 2\r\n\r\n", inBody: true},
	{name: "LF in the trailer section", answer: chunkedHead + "0\r\nX: 1\n\r\n", inBody: true},
	{name: "space before a trailer's colon", answer: chunkedHead + "0\r\nX : 1\r\n\r\n", inBody: true},
	{name: "length as a trailer", answer: chunkedHead + "0\r\nContent-Length: 1\r\n\r\n", inBody: true},
	{name: "coding as a trailer", answer: chunkedHead + "0\r\ntransfer-encoding: chunked\r\n\r\n", inBody: true},
	{name: "endless trailer section", answer: chunkedHead + "0\r\n" + strings.Repeat("X: 1\r\n", 1000) + "\r\n", inBody: true},
	{name: "trailer section without an end", answer: chunkedHead + "0\r\nX: 1\r\n", inBody: true},
}

const chunkedHead = head + "Transfer-Encoding: chunked\r\n\r\n"

// TestMalformedAnswers checks that each is an error, that it takes its connection
// with it, and that the request after it gets a new one and its own answer.
func TestMalformedAnswers(t *testing.T) {
	for _, c := range malformedAnswers {
		t.Run(c.name, func(t *testing.T) {
			b := newMalformedBackend(t, c.answer)
			transport := New(Options{Engine: EngineOwn})
			defer transport.CloseIdleConnections()
			res, err := get(t, transport, b.url())
			if err == nil {
				_, err = io.ReadAll(res.Body)
				_ = res.Body.Close()
				if !c.inBody {
					t.Errorf("the head was believed: %v", res)
				}
			} else if c.inBody {
				t.Errorf("error %v with the head", err)
			}
			if err == nil {
				t.Error("no error")
			}
			b.expectClosed(t)
			if idle := transport.Stats().Idle; idle != 0 {
				t.Errorf("%d connections are kept", idle)
			}
			res, err = get(t, transport, b.url())
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			if string(body) != "fine" || err != nil || b.conns.Load() != 2 {
				t.Errorf("then %q, %v over %d connections", body, err, b.conns.Load())
			}
			_ = res.Body.Close()
		})
	}
}

func get(t testing.TB, rt http.RoundTripper, address string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return rt.RoundTrip(req)
}

// malformedBackend answers wrongly on its first connection and rightly on others.
type malformedBackend struct {
	listener net.Listener
	conns    atomic.Int64
	closed   chan error
}

func newMalformedBackend(t *testing.T, answer string) *malformedBackend {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	b := &malformedBackend{listener: listener, closed: make(chan error, 1)}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			if b.conns.Add(1) == 1 {
				go b.misbehave(c, answer)
				continue
			}
			go b.behave(c)
		}
	}()
	return b
}

func (b *malformedBackend) url() string { return "http://" + b.listener.Addr().String() + "/" }

// misbehave answers and ends its side, but keeps reading: only the other side can
// close the connection now.
func (b *malformedBackend) misbehave(c net.Conn, answer string) {
	defer c.Close()
	in := bufio.NewReader(c)
	if _, err := http.ReadRequest(in); err != nil {
		b.closed <- err
		return
	}
	// The other side may have closed the connection before it has seen all.
	_, _ = io.WriteString(c, answer)
	_ = c.(*net.TCPConn).CloseWrite()
	_, err := in.ReadByte()
	if err == nil {
		err = fmt.Errorf("another request came")
	} else {
		err = nil
	}
	b.closed <- err
}

func (b *malformedBackend) behave(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		if _, err := http.ReadRequest(in); err != nil {
			return
		}
		_, _ = io.WriteString(c, head+"Content-Length: 4\r\n\r\nfine")
	}
}

func (b *malformedBackend) expectClosed(t *testing.T) {
	t.Helper()
	select {
	case err := <-b.closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("the connection stays open")
	}
}

const patience = 30 * time.Second
