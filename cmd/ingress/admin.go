package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/m3o/ingress/internal/certs"
	"github.com/m3o/ingress/internal/edge"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// adminHandler serves /healthz, /readyz and /metrics: what a supervisor and a
// monitoring system ask for, and nothing secret.
//
// healthz says that the process runs; readyz that it should get requests: it is
// 503 before the listeners serve and from the moment a shutdown begins.
func adminHandler(metrics prometheus.Gatherer, ready *atomic.Bool, check func(context.Context) error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if !ready.Load() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		// Routes that are known keep working without it, so this
		// is a warning to people and no reason to take the process out.
		if err := check(r.Context()); err != nil {
			fmt.Fprintln(w, "degraded: the platform behind the routes does not answer")
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	return mux
}

// controlHandler serves what only the operator on this machine may see: pprof,
// the settings, what would become of a request, upgrades, and the revocation of
// certificates, of which there are none when the manager is nil. It is reachable
// through the socket alone.
func controlHandler(s *settings, e *edge.Edge, c *certs.Manager, upgrades chan<- upgradeRequest) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /explain", func(w http.ResponseWriter, r *http.Request) {
		u, err := parseWebURL(r.URL.Query().Get("url"))
		if err != nil {
			writeControl(w, nil, fmt.Errorf("the URL to explain %w", err))
			return
		}
		writeControl(w, e.Explain(r.Context(), u), nil)
	})
	mux.HandleFunc("POST /upgrade", func(w http.ResponseWriter, r *http.Request) {
		request := upgradeRequest{answer: make(chan upgradeAnswer, 1), told: make(chan struct{})}
		defer close(request.told)
		select {
		case upgrades <- request:
			answer := <-request.answer
			writeControl(w, answer, answer.err)
			_ = http.NewResponseController(w).Flush() // who asked may have gone
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("GET /settings", func(w http.ResponseWriter, _ *http.Request) {
		writeControl(w, s.list(), nil)
	})
	mux.HandleFunc("GET /settings/{name}", func(w http.ResponseWriter, r *http.Request) {
		found, err := s.get(r.PathValue("name"))
		writeControl(w, found, err)
	})
	mux.HandleFunc("PUT /settings/{name}", func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Value string }
		err := json.NewDecoder(io.LimitReader(r.Body, 64<<10)).Decode(&body)
		if err != nil {
			writeControl(w, nil, fmt.Errorf("read the new value: %w", err))
			return
		}
		note, err := s.set(r.Context(), r.PathValue("name"), body.Value)
		writeControl(w, controlNote{note}, err)
	})
	mux.HandleFunc("DELETE /settings/{name}", func(w http.ResponseWriter, r *http.Request) {
		note, err := s.unset(r.Context(), r.PathValue("name"))
		writeControl(w, controlNote{note}, err)
	})
	mux.HandleFunc("DELETE /certificates/{host}", func(w http.ResponseWriter, r *http.Request) {
		if c == nil {
			writeControl(w, nil, errors.New("the running process has no certificates: it was started without --tls"))
			return
		}
		writeControl(w, controlNote{}, c.Revoke(r.Context(), asciiName(r.PathValue("host"))))
	})
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// controlNote answers a change: what the operator should know about it.
type controlNote struct {
	Note string `json:"note,omitempty"`
}

// controlError is the answer of the socket when something failed.
type controlError struct {
	Error string `json:"error"`
}

// writeControl answers on the socket. Everything that fails there was asked for
// wrongly or is said in full: only the operator sees it.
func writeControl(w http.ResponseWriter, value any, err error) {
	status := http.StatusOK
	if err != nil {
		status, value = http.StatusBadRequest, controlError{err.Error()}
	}
	body, err := json.Marshal(value)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// With its length an answer is whole once it is written: this process may end
	// before the server adds an end to it.
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a failed write means that the operator's command has gone
}

// adminTimeout bounds reading a request on the admin listeners.
const adminTimeout = 10 * time.Second

// adminServer serves operators on a listener.
type adminServer struct {
	listener net.Listener
	http     *http.Server
	log      *slog.Logger
}

func newAdminServer(l net.Listener, h http.Handler, log *slog.Logger) *adminServer {
	return &adminServer{l, &http.Server{
		Handler:           h,
		ReadHeaderTimeout: adminTimeout,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}, log}
}

// serve serves until leave or close.
func (s *adminServer) serve() {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		s.log.Error("the admin listener failed", "address", s.listener.Addr().String(), "error", err)
	}
}

// leave takes no more requests; those that are being answered are.
func (s *adminServer) leave() {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.http.Shutdown(now) // it need not wait for them
}

// close ends all that is left, also where nothing was served yet.
func (s *adminServer) close() error {
	err := s.http.Close()  // first, so that serve sees an end and no failure
	_ = s.listener.Close() // the server, or leave, may have done so
	return err
}

// listenSocket opens the control socket for its owner alone. A socket left by a
// process that was killed is replaced; one that answers is not, and a file of any
// other kind is not ours to remove.
func listenSocket(path string) (net.Listener, error) {
	conn, err := net.Dial("unix", path)
	switch info, statErr := os.Lstat(path); {
	case err == nil:
		conn.Close()
		return nil, fmt.Errorf("--admin-socket: %q is in use by another process", path)
	case statErr == nil && info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("--admin-socket: %q is there and is no socket; move it away or give another path", path)
	case errors.Is(err, syscall.ECONNREFUSED):
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("--admin-socket: %w", err)
		}
	}
	// The mode must be right from the first moment, so it cannot be set later.
	before := syscall.Umask(0o177)
	l, err := net.Listen("unix", path)
	syscall.Umask(before)
	if errors.Is(err, syscall.EINVAL) {
		return nil, fmt.Errorf("--admin-socket: %q is too long for a socket's name; give a shorter one", path)
	}
	if err != nil {
		return nil, fmt.Errorf("--admin-socket: %w", err)
	}
	return l, nil
}

// openAdmin opens the control socket, and says what is served on it and on the
// admin listener.
func (s *server) openAdmin() error {
	if s.admin != nil {
		s.addAdmin(s.admin, adminHandler(s.metrics, &s.ready, s.platform.ping))
	}
	if s.config.AdminSocket == "" {
		return nil
	}
	socket, err := s.openSocket(s.config.AdminSocket)
	if err != nil {
		return err
	}
	s.addAdmin(socket, controlHandler(s.settings, s.edge, s.certs, s.upgrades))
	return nil
}

func (s *server) addAdmin(l net.Listener, h http.Handler) {
	server := newAdminServer(l, h, s.log)
	s.admins = append(s.admins, server)
	s.onClose(server.close)
}

// serveAdmins serves them. Of two programs that have the same listeners one does:
// to an operator the other is none.
func (s *server) serveAdmins() {
	for _, server := range s.admins {
		go server.serve()
	}
}

// leaveAdmins takes no more requests on them; the control socket's file is another
// program's now.
func (s *server) leaveAdmins() {
	s.keepSocket()
	for _, server := range s.admins {
		server.leave()
	}
}
