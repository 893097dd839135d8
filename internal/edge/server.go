package edge

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server serves an Edge on any number of listeners.
type Server struct {
	edge *Edge
	http *http.Server
	// serving ends when connections that are not the server's yet are given up.
	serving context.Context
	giveUp  context.CancelFunc

	mu        sync.Mutex
	listeners []net.Listener // that Shutdown closes
}

// NewServer returns a server with the Edge's limits. There is no limit on a
// whole request, because streams may last.
func NewServer(e *Edge) *Server {
	limits := e.config.Limits
	s := &Server{edge: e, http: &http.Server{
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
	s.serving, s.giveUp = context.WithCancel(context.Background())
	return s
}

// Serve accepts connections until Shutdown, which makes it return nil. For TLS
// give it a listener from tls.NewListener that offers "h2" and "http/1.1". It may
// be called for several listeners at once, and closes its own.
func (s *Server) Serve(l net.Listener) error {
	front := newFrontListener(l, s)
	s.mu.Lock()
	s.listeners = append(s.listeners, front)
	s.mu.Unlock()
	if err := s.http.Serve(front); !s.edge.leaving.Load() {
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
//
// A request that came before the call is answered. Connections at rest are closed,
// and a visitor who is sending a request on one meanwhile must send it again.
func (s *Server) Shutdown(ctx context.Context) error { return s.shutdown(ctx, false) }

// Retire is Shutdown for a server whose place another has taken, so that nobody
// waits for its end: connections at rest get 5 s for one more request, whose answer
// says that it is the last.
func (s *Server) Retire(ctx context.Context) error { return s.shutdown(ctx, true) }

// lastRequest bounds how long a shutdown waits for requests on connections that
// are open.
const lastRequest = 5 * time.Second

func (s *Server) shutdown(ctx context.Context, retire bool) error {
	defer s.sayGoodbyeBefore(ctx)()
	defer context.AfterFunc(ctx, s.giveUp)()
	s.edge.leaving.Store(true)
	err := s.closeListeners()
	// From the next call on net/http closes connections on which a request arrives.
	c := s.edge.conns
	waiting, cancel := context.WithTimeout(ctx, min(lastRequest, s.edge.config.Limits.ReadHeader))
	// One that is active may have had its answer already, and rest the next moment.
	c.await(waiting, func() bool { return c.unmet == 0 && (!retire || c.open[connIdle]+c.open[connActive] == 0) })
	cancel()
	err = errors.Join(err, s.http.Shutdown(ctx))
	if err == nil {
		err = s.edge.tunnels.wait(ctx)
	}
	if err == nil {
		return nil
	}
	s.edge.tunnels.closeAll()
	return errors.Join(err, s.http.Close())
}

func (s *Server) closeListeners() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, l := range s.listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
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
