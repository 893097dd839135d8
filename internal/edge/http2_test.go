package edge

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/m3o/ingress/internal/logtest"
	"github.com/m3o/ingress/internal/upstream"
)

// certificateDomain is what httptest's certificate is for, and the names in it.
const certificateDomain = "example.com"

// selfSigned returns a certificate and what a client needs to believe it.
func selfSigned(t testing.TB) (tls.Certificate, *tls.Config) {
	identity := httptest.NewUnstartedServer(nil)
	identity.StartTLS()
	t.Cleanup(identity.Close)
	trust := identity.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	trust.ServerName = certificateDomain
	return identity.TLS.Certificates[0], trust
}

// secured is a listener under TLS for both versions of HTTP.
func secured(l net.Listener, identity tls.Certificate) net.Listener {
	return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{identity}, NextProtos: []string{"h2", "http/1.1"}})
}

// serveTLS serves the rig's data plane under TLS as well, and returns the address
// and what a client needs to believe it.
func (r *rig) serveTLS() (string, *tls.Config) {
	r.t.Helper()
	identity, trust := selfSigned(r.t)
	l := loopback(r.t)
	serveOn(r.t, r.edge, secured(l, identity))
	return l.Addr().String(), trust
}

// dialTLS opens a connection under TLS that speaks this protocol.
func dialTLS(t *testing.T, address string, trust *tls.Config, protocol string) net.Conn {
	t.Helper()
	trust = trust.Clone()
	trust.NextProtos = []string{protocol}
	conn := tls.Client(dial(t, address), trust)
	if err := conn.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := conn.ConnectionState().NegotiatedProtocol; got != protocol {
		t.Fatalf("%q is spoken, want %q", got, protocol)
	}
	return conn
}

// h2Client returns a client that speaks HTTP/2 to the address, whatever a URL
// names.
func h2Client(t *testing.T, address string, trust *tls.Config) *http.Client {
	transport := &http.Transport{
		DialTLSContext:    func(context.Context, string, string) (net.Conn, error) { return dialTLS(t, address, trust, "h2"), nil },
		ForceAttemptHTTP2: true,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

func fetchText(t *testing.T, c *http.Client, url string) (text, protocol string) {
	t.Helper()
	res, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body), res.Proto
}

func TestUnderTLSBothVersionsAreBounded(t *testing.T) {
	r := newRig(t, nil)
	r.backends["hello"] = backend(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("X-Forwarded-Proto")) })
	address, trust := r.serveTLS()
	client := h2Client(t, address, trust)
	if text, protocol := fetchText(t, client, "https://hello.app.test/"); text != "https" || protocol != "HTTP/2.0" {
		t.Errorf("got %q over %s", text, protocol)
	}
	eventually(t, "it is counted as idle", func() bool { return r.connections(connIdle) == 1 })
	conn := dialTLS(t, address, trust, "http/1.1")
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: hello.app.test\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if answer, _ := io.ReadAll(conn); !strings.HasPrefix(string(answer), "HTTP/1.1 200") || !strings.HasSuffix(string(answer), "https") {
		t.Errorf("got %q", answer)
	}
	conn = dialTLS(t, address, trust, "http/1.1")
	if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: hello.app.test\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if answer, _ := io.ReadAll(conn); !strings.HasPrefix(string(answer), "HTTP/1.1 400") {
		t.Errorf("a request in doubt got %q", answer)
	}
	clear := dial(t, address)
	if _, err := io.WriteString(clear, "GET / HTTP/1.1\r\nHost: hello.app.test\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if answer, _ := io.ReadAll(clear); !strings.Contains(string(answer), "400") || !strings.Contains(string(answer), "HTTPS") {
		t.Errorf("without TLS: %q", answer)
	}
	client.CloseIdleConnections()
	eventually(t, "none is counted", func() bool {
		return r.connections(connIdle)+r.connections(connActive)+r.connections(connNew) == 0
	})
}

func TestAHandshakeHoldsNobodyUp(t *testing.T) {
	r := newRig(t, nil, func(c *Config) { c.Limits.ReadHeader = time.Second })
	r.backends["hello"] = backend(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "ok") })
	address, trust := r.serveTLS()
	var silent []net.Conn
	for range 50 {
		silent = append(silent, dial(t, address))
	}
	if text, _ := fetchText(t, h2Client(t, address, trust), "https://hello.app.test/"); text != "ok" {
		t.Errorf("got %q", text)
	}
	for _, conn := range silent {
		wantClosed(t, conn)
	}
}

// h2Attack is an HTTP/2 connection of bare frames.
type h2Attack struct {
	t      *testing.T
	conn   net.Conn
	framer *http2.Framer
	block  bytes.Buffer
	hpack  *hpack.Encoder
	stream uint32
}

func newH2Attack(t *testing.T, address string, trust *tls.Config, settings ...http2.Setting) *h2Attack {
	t.Helper()
	a := &h2Attack{t: t, conn: dialTLS(t, address, trust, "h2"), stream: 1}
	if _, err := io.WriteString(a.conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	a.framer = http2.NewFramer(a.conn, a.conn)
	a.hpack = hpack.NewEncoder(&a.block)
	if err := a.framer.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	return a
}

// open opens a stream with a request to the host. The error says that the
// connection has ended.
func (a *h2Attack) open(host string) (uint32, error) {
	return a.openWith([][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", host}, {":path", "/"}}, true)
}

func (a *h2Attack) openWith(fields [][2]string, end bool) (uint32, error) {
	a.block.Reset()
	for _, field := range fields {
		if err := a.hpack.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			a.t.Fatal(err)
		}
	}
	id := a.stream
	a.stream += 2
	return id, a.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: a.block.Bytes(), EndStream: end, EndHeaders: true})
}

func TestRapidResetsEndTheConnection(t *testing.T) {
	const streams, resets, attempts = 20, 100, 20_000
	r := newRig(t, nil, func(c *Config) { c.Limits.Streams, c.Limits.Resets = streams, resets })
	var now, most, all atomic.Int64
	r.backends["hello"] = backend(t, func(_ http.ResponseWriter, r *http.Request) {
		all.Add(1)
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-r.Context().Done()
	})
	r.backends["other"] = backend(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "served") })
	address, trust := r.serveTLS()
	before := heap()

	a := newH2Attack(t, address, trust)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if _, err := a.framer.ReadFrame(); err != nil {
				return
			}
		}
	}()
	var sent sync.WaitGroup
	sent.Go(func() {
		for range attempts {
			id, err := a.open("hello.app.test")
			if err != nil || a.framer.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
				return
			}
		}
	})
	for range 20 {
		if answer := r.get("other.app.test/"); answer.body != "served" {
			t.Errorf("somebody else got %d %q", answer.StatusCode, answer.body)
		}
	}
	<-ended // the connection is closed, and not only what was sent on it refused
	sent.Wait()
	eventually(t, "nobody is at the backend", func() bool { return now.Load() == 0 })
	// A request that was given up may be seen by the backend for a moment longer.
	if most.Load() > 3*streams || all.Load() > attempts/10 {
		t.Errorf("the backend saw %d requests, %d of them at the same time", all.Load(), most.Load())
	}
	if now := heap(); now > before+20<<20 {
		t.Errorf("the heap has grown from %d to %d bytes", before, now)
	}
	if text, _ := fetchText(t, h2Client(t, address, trust), "https://other.app.test/"); text != "served" {
		t.Errorf("a new connection got %q", text)
	}
}

// A request that is given up while its body comes, as gRPC's calls are, is nobody's
// mistake.
func TestAResetWhileABodyComesIsNoBadRequest(t *testing.T) {
	reading, failed := make(chan struct{}), make(chan error, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadFull(r.Body, make([]byte, 1))
		close(reading)
		if err == nil {
			_, err = io.Copy(io.Discard, r.Body)
		}
		failed <- err
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	trust := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	trust.ServerName = "example.com" // httptest's certificate has it
	a := newH2Attack(t, listenAddress(server), trust)
	id, err := a.openWith([][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", "example.com"}, {":path", "/"}}, false)
	if err == nil {
		err = a.framer.WriteData(id, false, []byte("x"))
	}
	if err != nil {
		t.Fatal(err)
	}
	<-reading
	if err := a.framer.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err == nil || bodyFailure(err) != nil {
		t.Errorf("the body failed by %v, which is %v", err, bodyFailure(err))
	}
}

func TestAnswersMakeUpForResets(t *testing.T) {
	r := newRig(t, nil, func(c *Config) { c.Limits.Resets = 5 })
	inside := make(chan struct{}, 1)
	r.backends["hello"] = backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/left" {
			inside <- struct{}{}
			<-r.Context().Done()
		}
	})
	address, trust := r.serveTLS()
	var conns atomic.Int64
	client := h2Client(t, address, trust)
	transport := client.Transport.(*http.Transport)
	open := transport.DialTLSContext
	transport.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conns.Add(1)
		return open(ctx, network, address)
	}
	for i := range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, "GET", "https://hello.app.test/left", nil)
		if err != nil {
			t.Fatal(err)
		}
		go func() { <-inside; cancel() }()
		if _, err := client.Do(req); err == nil {
			t.Fatal("no error")
		}
		eventually(t, "it is known to have been given up", func() bool {
			return strings.Count(r.log.String(), `"reason":"client_gone"`) == i+1
		})
		fetchText(t, client, "https://hello.app.test/")
		fetchText(t, client, "https://hello.app.test/")
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections were needed", n)
	}
}

func TestAStreamThatNobodyReadsIsGivenUp(t *testing.T) {
	r := newRig(t, nil, func(c *Config) { c.Limits.WriteStall = 200 * time.Millisecond })
	over := make(chan struct{})
	r.backends["hello"] = backend(t, func(w http.ResponseWriter, _ *http.Request) {
		defer close(over)
		for piece := make([]byte, 64<<10); ; {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	})
	silent := make(chan struct{})
	r.backends["silent"] = backend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-silent
		fmt.Fprint(w, "said")
	})
	address, trust := r.serveTLS()
	a := newH2Attack(t, address, trust) // which never gives a stream more window
	quiet, err := a.open("silent.app.test")
	if err != nil {
		t.Fatal(err)
	}
	greedy, err := a.open("hello.app.test")
	if err != nil {
		t.Fatal(err)
	}
	for reset := false; ; {
		frame, err := a.framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch f := frame.(type) {
		case *http2.RSTStreamFrame:
			if f.StreamID != greedy {
				t.Fatalf("stream %d was reset", f.StreamID)
			}
			if !reset {
				// By now the connection has room for what the other stream says, which
				// would be given up as well if this test were slow to make it.
				reset = true
				<-over
				close(silent)
			}
		case *http2.DataFrame:
			if f.StreamID == quiet && string(f.Data()) == "said" {
				return
			}
			if f.StreamID == greedy { // the connection's window, and not the stream's
				if err := a.framer.WriteWindowUpdate(0, uint32(max(1, len(f.Data())))); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// TestNoRequestIsSmuggledThroughHTTP2 sends what would be a request of its own, or
// another one, if it were written into HTTP/1.1 as it is.
func TestNoRequestIsSmuggledThroughHTTP2(t *testing.T) {
	const hidden = "GET /canary HTTP/1.1\r\nHost: hello.app.test\r\n\r\n"
	var seen atomic.Pointer[string]
	r := newRig(t, nil)
	r.backends["hello"] = Backend{Key: "hello", Origin: Remote, PreserveHost: true, URL: *urlOf(t, "http://"+rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		for {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return
			}
			was := ""
			if before := seen.Load(); before != nil {
				was = *before
			}
			was += fmt.Sprintf("%s %s %s %q;", req.Method, req.RequestURI, req.Host, body)
			seen.Store(&was)
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	}))}
	address, trust := r.serveTLS()
	// replaced returns the ordinary fields with others in their place, or added.
	replaced := func(fields ...[2]string) [][2]string {
		all := [][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", "hello.app.test"}, {":path", "/s"}}
		for _, f := range fields {
			at := slices.IndexFunc(all, func(other [2]string) bool { return other[0] == f[0] && f[0][0] == ':' })
			if at < 0 {
				all = append(all, f)
			} else {
				all[at] = f
			}
		}
		return all
	}
	for name, row := range map[string]struct {
		fields [][2]string
		body   string
		seen   string // empty: nothing
	}{
		"H2.TE":                       {replaced([2]string{"transfer-encoding", "chunked"}), "0\r\n\r\n" + hidden, ""},
		"H2.CL in the middle":         {replaced([2]string{"content-length", "3"}), "abc" + hidden, ""},
		"H2.CL too long":              {replaced([2]string{"content-length", "300"}), "abc", ""},
		"H2.CL twice":                 {replaced([2]string{"content-length", "3"}, [2]string{"content-length", "0"}), "abc", ""},
		"CL with an underscore":       {replaced([2]string{"content_length", "3"}), "abc", ""},
		"TE with an underscore":       {replaced([2]string{"transfer_encoding", "chunked"}), "abc", ""},
		"a line break in a value":     {replaced([2]string{"x", "y\r\nTransfer-Encoding: chunked"}), "0\r\n\r\n" + hidden, ""},
		"a line feed in a value":      {replaced([2]string{"x", "y\nTransfer-Encoding: chunked"}), "0\r\n\r\n" + hidden, ""},
		"NUL in a value":              {replaced([2]string{"x", "y\x00z"}), "abc", ""},
		"a line break in a name":      {replaced([2]string{"x: y\r\ntransfer-encoding", "chunked"}), "0\r\n\r\n" + hidden, ""},
		"a colon in a name":           {replaced([2]string{"transfer-encoding: chunked\r\nx", "y"}), "0\r\n\r\n" + hidden, ""},
		"a space in a name":           {replaced([2]string{"transfer-encoding ", "chunked"}), "0\r\n\r\n" + hidden, ""},
		"capitals in a name":          {replaced([2]string{"Transfer-Encoding", "chunked"}), "0\r\n\r\n" + hidden, ""},
		"a request in the path":       {replaced([2]string{":path", "/s HTTP/1.1\r\nHost: x\r\n\r\n" + hidden}), "abc", ""},
		"a version in the path":       {replaced([2]string{":path", "/s HTTP/1.1"}), "abc", ""},
		"a request in the method":     {replaced([2]string{":method", "GET /canary HTTP/1.1\r\nHost: x\r\n\r\nPOST"}), "abc", ""},
		"a header in the authority":   {replaced([2]string{":authority", "hello.app.test\r\nX: y"}), "abc", ""},
		"a path in the authority":     {replaced([2]string{":authority", "hello.app.test/canary"}), "abc", ""},
		"another host":                {replaced([2]string{"host", "own.test"}), "abc", ""},
		"connection":                  {replaced([2]string{"connection", "transfer-encoding"}), "abc", ""},
		"upgrade":                     {replaced([2]string{"upgrade", "h2c"}), "abc", ""},
		"te":                          {replaced([2]string{"te", "chunked"}), "abc", ""},
		"a path without a slash":      {replaced([2]string{":path", "canary"}), "abc", ""},
		"a pseudo-header of nobody's": {replaced([2]string{":canary", "/"}), "abc", ""},
		"the same host":               {replaced([2]string{"host", "hello.app.test"}), "abc", `POST /s hello.app.test "abc";`},
		"a length":                    {replaced([2]string{"content-length", "3"}), "abc", `POST /s hello.app.test "abc";`},
		"a request as body":           {replaced(), hidden, fmt.Sprintf("POST /s hello.app.test %q;", hidden)},
	} {
		t.Run(name, func(t *testing.T) {
			seen.Store(nil)
			a := newH2Attack(t, address, trust)
			id, err := a.openWith(row.fields, false)
			if err != nil {
				t.Fatal(err)
			}
			if err := a.framer.WriteData(id, true, []byte(row.body)); err != nil {
				t.Fatal(err)
			}
			a.wantStreamEnd(id)
			got := ""
			if s := seen.Load(); s != nil {
				got = *s
			}
			if got != row.seen {
				t.Errorf("the backend saw %q, want %q", got, row.seen)
			}
		})
	}
}

// TestWhatNoLengthAnnouncedGoesNowhere has frames behind a body of no bytes. The
// server resets the stream, before or after the request went on without them.
func TestWhatNoLengthAnnouncedGoesNowhere(t *testing.T) {
	var raw logtest.Buffer
	r := newRig(t, nil)
	r.backends["hello"] = Backend{Key: "hello", Origin: Remote, URL: *urlOf(t, "http://"+rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		for {
			if _, err := http.ReadRequest(bufio.NewReader(io.TeeReader(in, &raw))); err != nil {
				return
			}
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	}))}
	address, trust := r.serveTLS()
	for range 20 {
		a := newH2Attack(t, address, trust)
		id, err := a.openWith([][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", "hello.app.test"}, {":path", "/s"}, {"content-length", "0"}}, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.framer.WriteData(id, true, []byte("GET /canary HTTP/1.1\r\nHost: hello.app.test\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		a.wantStreamEnd(id)
	}
	r.get("hello.app.test/last")
	if got := raw.String(); strings.Contains(got, "canary") || !strings.Contains(got, "/last") {
		t.Errorf("the backend got %q", got)
	}
}

// wantStreamEnd reads until the stream, or the connection, has ended.
func (a *h2Attack) wantStreamEnd(id uint32) {
	a.t.Helper()
	for {
		frame, err := a.framer.ReadFrame()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			a.t.Fatal("neither an answer nor an end")
		}
		if err != nil {
			return
		}
		switch f := frame.(type) {
		case *http2.RSTStreamFrame:
			return
		case *http2.GoAwayFrame:
			if f.ErrCode != http2.ErrCodeNo {
				return
			}
		case *http2.HeadersFrame:
			if f.StreamID == id && f.StreamEnded() {
				return
			}
		case *http2.DataFrame:
			if f.StreamID == id && f.StreamEnded() {
				return
			}
		}
	}
}

// HTTP/1.1 ends a target at a space. What stands behind it would be taken for the
// version, or for nothing, by one backend or another.
func TestAPathWithASpaceIsRefusedInHTTP2(t *testing.T) {
	for _, engine := range engines() {
		var raw logtest.Buffer
		transport := newTransport(t, upstream.Options{Engine: engine})
		r := newRig(t, nil, func(c *Config) { c.Transport = transport })
		r.backends["hello"] = preserving(t, "http://"+rawBackend(t, func(c net.Conn, in *bufio.Reader) {
			_, _ = http.ReadRequest(bufio.NewReader(io.TeeReader(in, &raw))) // what came is what counts
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
		}))
		address, trust := r.serveTLS()
		client := h2Client(t, address, trust)
		for _, path := range []string{"/a HTTP/1.1", "/a?b c", "/\xff d"} {
			res, err := client.Do(&http.Request{Method: "GET", Host: "hello.app.test", URL: &url.URL{Scheme: "https", Host: "hello.app.test", Opaque: path}})
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != 400 || res.Header.Get(errorHeader) != string(ReasonBadRequest) {
				t.Errorf("%s, %q: got %d %s", engine, path, res.StatusCode, res.Header.Get(errorHeader))
			}
		}
		if got := raw.String(); got != "" {
			t.Errorf("%s: the backend got %q", engine, got)
		}
	}
}
