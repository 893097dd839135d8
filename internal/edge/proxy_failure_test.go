package edge

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

	"github.com/m3o/ingress/internal/porttest"
	"github.com/m3o/ingress/internal/upstream"
)

func TestFailures(t *testing.T) {
	silent := rawBackend(t, func(c net.Conn, in *bufio.Reader) { _, _ = io.Copy(io.Discard, in) })
	rude := rawBackend(t, func(_ net.Conn, in *bufio.Reader) { _, _ = http.ReadRequest(in) })
	foreign := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		_, _ = http.ReadRequest(in)
		fmt.Fprint(c, "220 mail.example.com ESMTP\r\n")
	})
	fine := newBackend(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	impatient := newTransport(t, upstream.Options{ResponseHeaderTimeout: 50 * time.Millisecond, Rules: &upstream.Rules{AllowPrivate: true}})
	strict := newTransport(t, upstream.Options{Rules: &upstream.Rules{}})

	for name, c := range map[string]struct {
		address   string
		transport http.RoundTripper
		request   string
		status    int
		reason    Reason
	}{
		"refused":            {address: porttest.Closed(t), status: 502, reason: ReasonBackendRefused},
		"no such name":       {address: "nowhere.invalid", status: 502, reason: ReasonBackendRefused},
		"silent":             {address: silent, transport: impatient, status: 504, reason: ReasonBackendTimeout},
		"hangs up":           {address: rude, status: 502, reason: ReasonBackendBroken},
		"not HTTP":           {address: foreign, status: 502, reason: ReasonBackendBroken},
		"forbidden":          {address: listenAddress(fine), transport: strict, status: 502, reason: ReasonBackendForbidden},
		"no rules":           {address: listenAddress(fine), transport: noTransport, status: 502, reason: ReasonBackendForbidden},
		"loop":               {address: listenAddress(fine), request: "CDN-Loop: a, m3o-ingress\r\nCDN-Loop: M3O-Ingress; x=\"a,m3o-ingress\", m3o-ingress\r\n", status: 508, reason: ReasonLoop},
		"no loop":            {address: listenAddress(fine), request: "CDN-Loop: m3o-ingress, m3o-ingressx, m3o-ingress, other\r\n", status: 200},
		"too large":          {address: listenAddress(fine), request: "Content-Length: 2000\r\n", status: 413, reason: ReasonBodyTooLarge},
		"too large, chunked": {address: listenAddress(fine), request: "Transfer-Encoding: chunked\r\n", status: 413, reason: ReasonBodyTooLarge},
		"bad chunk":          {address: listenAddress(fine), request: "Transfer-Encoding: chunked\r\nX-Bad: 1\r\n", status: 400, reason: ReasonBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			p := newTestProxy(t, func(config *proxyConfig) {
				if c.transport == noTransport {
					config.Registered = nil
				} else if c.transport != nil {
					config.Registered = c.transport
				}
			})
			var served *failure
			front := newFront(t, func(w http.ResponseWriter, r *http.Request) *failure {
				r.Body = http.MaxBytesReader(w, r.Body, 1000)
				served = p.serve(w, r, target{Backend: Backend{URL: parseBackend(t, "http://"+c.address), Origin: Registered}})
				return served
			})
			body := strings.Repeat("x", 2000)
			switch {
			case strings.Contains(c.request, "X-Bad"):
				body = "zz\r\n"
			case strings.Contains(c.request, "chunked"):
				body = "7d0\r\n" + body + "\r\n0\r\n\r\n"
			case !strings.Contains(c.request, "Content-Length"):
				body = ""
			}
			g := exchange(t, listenAddress(front), "POST / HTTP/1.1\r\nHost: a\r\n"+c.request+"\r\n"+body)
			if g.Status != c.status || g.Header.Get("X-Ingress-Error") != string(c.reason) {
				t.Errorf("status %d, reason %q, want %d, %q (%v)", g.Status, g.Header.Get("X-Ingress-Error"), c.status, c.reason, served)
			}
			if g.Body != "" {
				t.Errorf("something was written: %q", g.Body)
			}
		})
	}
}

// noTransport marks a configuration without a transport for registered backends.
var noTransport = forbiddenTransport{}

func TestABodyThatBreaksOffNeverLooksWhole(t *testing.T) {
	for name, answer := range map[string]string{
		"length":  "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
				_, _ = http.ReadRequest(in)
				fmt.Fprint(c, answer)
			})
			r := newRig(t, nil)
			r.backends["half"] = preserving(t, "http://"+address)
			c := dial(t, r.addr)
			fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: half.app.test\r\n\r\n")
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if body, err := io.ReadAll(res.Body); err == nil || string(body) != "half" {
				t.Errorf("the body is %q, %v", body, err)
			}
		})
	}
}

func TestAVisitorWhoLeavesIsNoFailureOfTheBackend(t *testing.T) {
	arrived := make(chan struct{})
	backend := newBackend(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	p := newTestProxy(t)
	records := make(chan *record, 1)
	front := newFront(t, func(w http.ResponseWriter, r *http.Request) *failure {
		rec := &record{}
		defer func() { records <- rec }()
		if f := p.serve(w, withRecord(r, rec), target{Backend: preserving(t, backend.URL)}); f != nil {
			t.Errorf("failure %v", f)
		}
		return nil
	})
	c := dial(t, listenAddress(front))
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-arrived
	c.Close()
	if rec := <-records; rec.reason != ReasonClientGone {
		t.Errorf("reason %q", rec.reason)
	}
}

func TestARetryIsNoted(t *testing.T) {
	var wasFirst atomic.Bool
	address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		stale := wasFirst.CompareAndSwap(false, true)
		for n := 0; ; n++ {
			if _, err := http.ReadRequest(in); err != nil || stale && n == 1 {
				return
			}
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	p := newTestProxy(t)
	rec := &record{}
	front := newFront(t, func(w http.ResponseWriter, r *http.Request) *failure {
		return p.serve(w, withRecord(r, rec), target{Backend: preserving(t, "http://"+address)})
	})
	for i := range 2 {
		if g := exchange(t, listenAddress(front), "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); g.Status != 200 || rec.retried != (i == 1) {
			t.Errorf("request %d: status %d, retried %t", i, g.Status, rec.retried)
		}
	}
}
