package edge

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/upstream"
)

// newBenchEdge returns a complete data plane whose log is rendered and thrown
// away, and the address it is served at.
func newBenchEdge(b *testing.B, fake *platformFake) (*Edge, string) {
	transport := upstream.New(upstream.Options{Engine: upstream.EngineOwn}) // as the program has it
	b.Cleanup(transport.CloseIdleConnections)
	e, err := New(Config{
		Apps: fake, Functions: fake, Links: fake, Hits: fake, Verifier: fake,
		Platform: http.NotFoundHandler(), Hosts: testHosts, Transport: transport,
		IsPlatformKey: func(s string) bool { return strings.HasPrefix(s, "m3o_") },
		Logger:        slog.New(slog.NewJSONHandler(io.Discard, nil)),
	})
	if err != nil {
		b.Fatal(err)
	}
	return e, serve(b, e)
}

// BenchmarkChain measures requests through the whole data plane, over a kept
// connection and without a client of net/http, whose own work would hide ours.
// "backend" is the same request sent to the backend directly.
func BenchmarkChain(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 1024)
	server := newBackend(b, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write(body)
	})
	fake := newPlatformFake()
	fake.backends["bench"] = preserving(b, server.URL)
	fake.links["bench"] = "https://example.com/somewhere"
	_, address := newBenchEdge(b, fake)
	for _, bench := range []struct{ name, address, target, host string }{
		{"backend", listenAddress(server), "/page?x=1", "bench.app.test"},
		{"app", address, "/page?x=1", "bench.app.test"},
		{"link", address, "/u/bench", "own.test"},
		{"unknown", address, "/", "unknown.test"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			request := []byte(fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: Mozilla/5.0\r\nAccept: text/html\r\nCookie: a=b\r\n\r\n", bench.target, bench.host))
			conn, err := net.Dial("tcp", bench.address)
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			in := bufio.NewReader(conn)
			b.ReportAllocs()
			for b.Loop() {
				roundTrip(b, conn, in, request)
			}
		})
	}
}

// roundTrip sends a request and skips its answer, allocating nothing.
func roundTrip(b *testing.B, conn net.Conn, in *bufio.Reader, request []byte) {
	if _, err := conn.Write(request); err != nil {
		b.Fatal(err)
	}
	length := 0
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			b.Fatal(err)
		}
		if digits, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			for _, c := range bytes.TrimSpace(digits) {
				length = length*10 + int(c-'0')
			}
		}
		if len(line) == 2 {
			break
		}
	}
	if _, err := in.Discard(length); err != nil {
		b.Fatal(err)
	}
}
