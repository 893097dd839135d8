package edge

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// answer is the visitor's ResponseWriter as ReverseProxy sees it.
type answer struct {
	http.ResponseWriter
	body      *visitorBody // nil when the request has none
	front     *frontConn   // that the request came by, or nil
	early     func(http.Header)
	request   []string // the request's id, as a header's values
	finalOnly bool     // the visitor speaks HTTP/1.0, which has no interim answers
	version2  bool     // HTTP/2, which has no upgrades
	hijacked  bool
	flushing  sync.Mutex
	unflushed bool // nothing more is to be flushed
	// halfClosed and tunnelIdle are the limits of halves, which are those of the
	// upgraded connection.
	halfClosed, tunnelIdle time.Duration
	halves                 *halves
}

// prepare sets what ReverseProxy and the server would lose or add.
func (a *answer) prepare(res *http.Response) {
	if _, ok := res.Header[requestIDHeader]; ok {
		delete(a.Header(), requestIDHeader) // a backend that names its own has its reasons
	} else if a.request != nil {
		a.Header()[requestIDHeader] = a.request // ReverseProxy clears all after an interim answer
	}
	if _, ok := res.Header["Content-Type"]; !ok {
		// Present but empty: the server must not guess one from the body.
		a.Header()["Content-Type"] = nil
	}
	if res.StatusCode == http.StatusUpgradeRequired && !a.version2 && strings.EqualFold(res.Header.Get("Upgrade"), "websocket") {
		// Upgrade belongs to this hop, and to this status (RFC 9110 15.5.22). What the
		// backend demands is what we would pass.
		a.Header().Set("Upgrade", "websocket")
		a.Header().Set("Connection", "Upgrade")
	}
	if body, ok := res.Body.(io.ReadWriteCloser); ok && res.StatusCode == http.StatusSwitchingProtocols {
		a.halves = &halves{limit: a.halfClosed, idle: a.tunnelIdle, backend: body}
		res.Body = &backendHalf{ReadWriteCloser: body, halves: a.halves}
	}
}

// Unwrap lets http.ResponseController reach what the server's writer can do.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader lets the route see the headers of interim answers, too, and keeps
// them from visitors who would take them for the answer (RFC 9110 15.2).
func (a *answer) WriteHeader(status int) {
	if status < http.StatusOK && a.finalOnly {
		return
	}
	if status == http.StatusContinue && a.body.isAskedFor() {
		return // upon this the transport reads the body, or has done so already
	}
	if status < http.StatusOK {
		dropHopHeaders(a.Header())
		if a.early != nil {
			a.early(a.Header())
		}
	}
	if status >= http.StatusOK {
		a.body.mayRest()
		if !a.version2 { // whose streams end by themselves, and where it would end all others, too
			a.body.closeIfUnread(a.Header())
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

// dropHopHeaders takes out what an interim answer says of the backend's connection
// and not of the visitor's (RFC 9110 7.6.1), as ReverseProxy does with the final
// one. In HTTP/2 it would be an error of the whole stream (RFC 9113 8.2.2).
func dropHopHeaders(h http.Header) {
	for _, value := range h["Connection"] {
		for name := range listItems(value, ',') {
			h.Del(name)
		}
	}
	for _, name := range [...]string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
		delete(h, name)
	}
}

// Hijack takes the connection over for another protocol.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	a.hijacked = true
	a.body.mayRest()
	if a.halves != nil { // ReverseProxy copies nothing otherwise
		a.halves.visitor = conn
		a.halves.start()
	}
	return &upgradedConn{Conn: conn, early: buffered.Reader, halves: a.halves}, buffered, nil
}

// upgradedConn is a visitor's connection after the upgrade. Its first bytes may
// have arrived with the request and wait in the server's buffer, where
// ReverseProxy does not look.
type upgradedConn struct {
	net.Conn
	early  *bufio.Reader
	halves *halves
}

// Read returns early bytes first.
func (c *upgradedConn) Read(p []byte) (n int, err error) {
	if early := c.early.Buffered(); early > 0 {
		n, err = c.early.Read(p[:min(early, len(p))])
	} else {
		n, err = c.Conn.Read(p)
	}
	c.halves.read(n, err)
	return n, err
}

// CloseWrite passes on that the backend has nothing more to say; embedding hides
// that the connection can.
func (c *upgradedConn) CloseWrite() error { return closeWrite(c.Conn) }
