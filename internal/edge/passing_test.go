package edge

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/upstream"
)

func randomBytes(n int) []byte {
	content := make([]byte, n)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(content) // it never fails
	return content
}

// Large answers arrive whole by each way that there is for them, and several times on
// a connection.
func TestLargeAnswersArriveWhole(t *testing.T) {
	content := randomBytes(5<<20 + 7)
	sum := sha256.Sum256(content)
	for _, engine := range engines() {
		transport := newTransport(t, upstream.Options{Engine: engine})
		r := newRig(t, nil, func(c *Config) { c.Transport = transport })
		r.backends["large"] = backend(t, func(w http.ResponseWriter, q *http.Request) {
			if q.URL.Path == "/length" {
				w.Header().Set("Content-Length", fmt.Sprint(len(content)))
			}
			_, _ = w.Write(content)
		})
		for _, front := range fronts(t, r) {
			for _, path := range []string{"/length", "/chunks", "/length", "/length"} {
				res, err := front.client.Get(front.scheme + "://large.app.test" + path)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if err != nil || sha256.Sum256(got) != sum {
					t.Errorf("%s by %s, %s: %d bytes, %v", engine, front.name, path, len(got), err)
				}
			}
		}
	}
}

// One that breaks off does so for the visitor, too, as far as it came; the log says
// how far that was.
func TestALargeAnswerThatBreaksOffIsNotWhole(t *testing.T) {
	content := randomBytes(1 << 20)
	r := newRig(t, nil)
	r.backends["breaks"] = preserving(t, "http://"+rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		if _, err := http.ReadRequest(in); err != nil {
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", 2*len(content))
		_, _ = c.Write(content) // and no more
	}))
	res, err := r.client.Get("http://breaks.app.test/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err == nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	eventually(t, "the line in the log", func() bool {
		return strings.Contains(r.log.String(), fmt.Sprintf(`"bytes":%d`, len(content))) && strings.Contains(r.log.String(), string(ReasonBackendBroken))
	})
}

// A visitor who leaves in the middle of a large answer is noticed, and the backend
// with it.
func TestWhoLeavesALargeAnswerIsNoticed(t *testing.T) {
	r := newRig(t, nil)
	ended := make(chan error, 1)
	r.backends["endless"] = preserving(t, "http://"+rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		if _, err := http.ReadRequest(in); err != nil {
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", int64(1)<<40)
		piece := make([]byte, 64<<10)
		for {
			if _, err := c.Write(piece); err != nil {
				ended <- err
				return
			}
		}
	}))
	c := dial(t, r.addr)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: endless.app.test\r\n\r\n")
	if _, err := io.ReadFull(c, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if err := <-ended; err == nil {
		t.Error("the backend is still heard")
	}
	eventually(t, "the line in the log", func() bool { return strings.Contains(r.log.String(), string(ReasonClientGone)) })
}

func BenchmarkLargeAnswer(b *testing.B) {
	content := randomBytes(10 << 20)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		_, _ = w.Write(content)
	}))
	b.Cleanup(backend.Close)
	fake := newPlatformFake()
	fake.backends["large"] = Backend{Key: "large", URL: *urlOf(b, backend.URL), Origin: Remote}
	transport := newTransport(b, upstream.Options{Engine: upstream.EngineOwn})
	e, err := New(Config{Apps: fake, Hosts: testHosts, Transport: transport, Platform: http.NotFoundHandler(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	conn, err := net.Dial("tcp", serve(b, e))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 64<<10)
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: large.app.test\r\n\r\n")
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, res.Body); err != nil || n != int64(len(content)) {
			b.Fatal(n, err)
		}
	}
}
