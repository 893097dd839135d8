package edge

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Server serves an Edge on any number of listeners.
type Server struct {
	edge *Edge
	http *http.Server
}

// NewServer returns a server with the Edge's limits. There is no limit on a
// whole request, because streams may last.
func NewServer(e *Edge) *Server {
	limits := e.config.Limits
	return &Server{edge: e, http: &http.Server{
		Handler:           e,
		ConnState:         e.connState,
		ConnContext:       withConn,
		HTTP2:             http2Config(limits),
		ReadHeaderTimeout: limits.ReadHeader,
		IdleTimeout:       limits.Idle,
		MaxHeaderBytes:    limits.HeaderBytes,
		// "OPTIONS *" of an app is for the app, and an empty 200 helps nobody.
		DisableGeneralOptionsHandler: true,
		// What net/http reports here is what clients do to it: bad TLS handshakes and
		// the like. Everything else has its own line.
		ErrorLog: slog.NewLogLogger(e.logger.Handler(), slog.LevelDebug),
	}}
}

// Serve accepts connections until Shutdown, which makes it return nil. For TLS
// give it a listener from tls.NewListener that offers "h2" and "http/1.1". It may
// be called for several listeners at once, and closes its own.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(newFrontListener(l, s)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// connState keeps count, and lets go of connections that are not HTTP any more.
func (e *Edge) connState(conn net.Conn, state http.ConnState) {
	if c, ok := conn.(interface{ front() *frontConn }); ok && state == http.StateHijacked {
		c.front().framer.stop()
	}
	e.conns.changed(conn, state)
}

// Shutdown stops accepting and lets the requests in flight finish, WebSockets
// and other hijacked connections included. Some time before ctx ends the visitors
// of WebSockets are told that theirs are about to. When ctx ends first, what is
// left is closed and the context's error returned.
func (s *Server) Shutdown(ctx context.Context) error {
	defer s.sayGoodbyeBefore(ctx)()
	err := s.http.Shutdown(ctx)
	if err == nil {
		err = s.edge.tunnels.wait(ctx)
	}
	if err == nil {
		return nil
	}
	s.edge.tunnels.closeAll()
	return errors.Join(err, s.http.Close())
}

// longestFarewell bounds the time that WebSockets get to end by themselves once
// their visitors were told; in a short shutdown it is a sixth of that.
const longestFarewell = 5 * time.Second

// sayGoodbyeBefore has the visitors of WebSockets told some time before ctx ends,
// if it does, unless what it returns is called before.
func (s *Server) sayGoodbyeBefore(ctx context.Context) (stop func()) {
	end, ok := ctx.Deadline()
	if !ok {
		return func() {}
	}
	left := time.Until(end)
	timer := time.AfterFunc(left-min(left/6, longestFarewell), s.edge.tunnels.sayGoodbye)
	return func() { timer.Stop() }
}
