package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"google.golang.org/protobuf/proto"
)

// HandlerConfig is what a Handler is made of. Services, Auth, Limiter and Logger
// are required.
type HandlerConfig struct {
	// Services are the tables to serve.
	Services []Service
	// Auth knows the keys.
	Auth Authenticator
	// Limiter counts requests.
	Limiter Limiter
	// Anonymous returns the caller of a request that needs no key, and false for
	// every other request. Nil means that all need one. Such callers have no limit.
	Anonymous func(context.Context) (Caller, bool)
	// Called is told who calls, once the key is known to be good and before its rate
	// is looked at. Nil means that nobody wants to know.
	Called func(context.Context, Caller)
	// Logger gets the private causes of failures, with the method and the id of
	// the key; never a key or a body.
	Logger *slog.Logger
	// Patience is how long a WebSocket client may take to send its request, and
	// any client to take each message of a stream; 30 s when zero.
	Patience time.Duration
	// MaxWebSocketRequest is the largest request over a WebSocket in bytes; 4 MiB
	// when zero. The bodies of other requests are limited by the caller, with
	// http.MaxBytesReader, which is answered with a 413; so are uploads, which
	// Uploads tells from the others.
	MaxWebSocketRequest int64
}

// Handler serves the contract under /v1/ (WIRE.md 1 to 4), its OpenAPI document
// at /v1/openapi.json and a page for people at /v1/.
type Handler struct {
	endpoints endpoints
	documents map[string]document
	auth      Authenticator
	limiter   Limiter
	anonymous func(context.Context) (Caller, bool)
	called    func(context.Context, Caller)
	logger    *slog.Logger
	patience  time.Duration
	maxFrame  int64
	sockets   *sockets
	outage    outage
}

// NewHandler returns an error when a service's table does not match its
// contract, or something required is missing.
func NewHandler(config HandlerConfig) (*Handler, error) {
	if config.Auth == nil || config.Limiter == nil || config.Logger == nil {
		return nil, errors.New("api handler: Auth, Limiter and Logger are required")
	}
	for _, service := range config.Services {
		if err := service.Check(); err != nil {
			return nil, err
		}
	}
	documents, err := newDocuments(config.Services)
	if err != nil {
		return nil, fmt.Errorf("describe the services: %w", err)
	}
	if config.Called == nil {
		config.Called = func(context.Context, Caller) {}
	}
	return &Handler{
		endpoints: newEndpoints(config.Services),
		documents: documents,
		auth:      config.Auth,
		limiter:   config.Limiter,
		anonymous: config.Anonymous,
		called:    config.Called,
		logger:    config.Logger,
		patience:  cmp.Or(config.Patience, 30*time.Second),
		maxFrame:  cmp.Or(config.MaxWebSocketRequest, 4<<20),
		sockets:   newSockets(),
	}, nil
}

// ServeHTTP answers one request. Who is not known learns nothing but that: not
// which services exist. The HTTP methods are the same for all of them.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	allowBrowsers(w.Header())
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if document, ok := h.documents[r.URL.Path]; ok {
		document.ServeHTTP(w, r)
		return
	}
	if isWebSocket(r) {
		h.serveWebSocket(w, r)
		return
	}
	h.serveCall(w, r)
}

// serveCall answers a call over plain HTTP.
func (h *Handler) serveCall(w http.ResponseWriter, r *http.Request) {
	if failed := checkMethod(w.Header(), r); failed != nil {
		h.fail(w, call{}, failed)
		return
	}
	c, failed := h.open(w.Header(), r)
	if failed == nil && c.endpoint.method.Uploads() {
		h.serveUpload(w, r, c)
		return
	}
	var req proto.Message
	if failed == nil {
		req, failed = c.endpoint.request(r)
	}
	if failed != nil {
		h.fail(w, c, failed)
		return
	}
	if c.endpoint.method.Streams() {
		h.serveStream(w, r, c, req)
		return
	}
	if c.endpoint.method.list != nil {
		h.serveListing(w, r, c, req)
		return
	}
	h.serveUnary(w, r, c, req)
}

// call is one call on its way: who made it, and of what.
type call struct {
	caller   Caller
	endpoint *endpoint // nil until the path is known to name one
}

// open does what every call begins with: who is it, is there such a method, may
// they call it.
func (h *Handler) open(header http.Header, r *http.Request) (call, *Error) {
	caller, failed := h.admit(header, r)
	if failed != nil {
		return call{caller: caller}, failed
	}
	found, failed := h.endpoints.find(r.URL.EscapedPath())
	if failed != nil {
		return call{caller: caller}, failed
	}
	if !caller.Has(found.scope) {
		return call{caller, found}, blocked()
	}
	return call{caller, found}, nil
}

func checkMethod(header http.Header, r *http.Request) *Error {
	switch r.Method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete:
		return nil
	}
	header.Set("Allow", requestMethods)
	return newError("v1", http.StatusMethodNotAllowed, "Method %s is not allowed, use POST", r.Method)
}

func (h *Handler) serveUnary(w http.ResponseWriter, r *http.Request, c call, req proto.Message) {
	body, failed := h.invoke(r.Context(), c, func(ctx context.Context) (proto.Message, error) {
		return c.endpoint.method.unary(ctx, c.caller, req)
	})
	if failed != nil {
		h.fail(w, c, failed)
		return
	}
	h.deliver(w, body)
}

// deliver sends a whole reply to a reader that takes 16 KiB a second or more:
// one that reads nothing must not keep it in memory for good.
func (h *Handler) deliver(w http.ResponseWriter, body []byte) {
	out := &lines{w: w, control: http.NewResponseController(w)}
	out.setDeadline(time.Now().Add(h.patience + time.Duration(len(body)/(16<<10))*time.Second))
	defer out.setDeadline(time.Time{})
	writeJSON(w, http.StatusOK, body)
}

// invoke runs a method that answers once and returns the reply as JSON.
func (h *Handler) invoke(ctx context.Context, c call, method func(context.Context) (proto.Message, error)) (body []byte, failed *Error) {
	defer h.recovered(c, &failed)
	res, err := method(ctx)
	if err != nil {
		return nil, c.endpoint.failure(ctx, err)
	}
	if body, err = encode(res); err != nil {
		return nil, Internal(c.endpoint.id, fmt.Errorf("encode the reply: %w", err))
	}
	return body, nil
}

// recovered, deferred around a method, turns its panic into a 500: a defect in
// one method must not end the process.
func (h *Handler) recovered(c call, failed **Error) {
	if value := recover(); value != nil {
		*failed = Internal(c.endpoint.id, fmt.Errorf("panic: %v\n%s", value, debug.Stack()))
	}
}

// failure makes what a method returned an *Error.
func (e *endpoint) failure(ctx context.Context, err error) *Error {
	known, ok := errors.AsType[*Error](err)
	switch {
	case ok && http.StatusText(known.Code) == "":
		return Internal(e.id, err)
	case ok:
		return known
	case ctx.Err() != nil:
		return Unavailable(e.id, "the call was cancelled", err)
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{ID: e.id, Code: http.StatusGatewayTimeout, Detail: "the call took too long", Cause: err}
	}
	return AsError(e.id, err)
}

// fail logs an error's private half and sends the public one.
func (h *Handler) fail(w http.ResponseWriter, c call, failed *Error) {
	h.log(c, failed)
	writeError(w, failed)
}

// log writes down what callers are not told. What they are told is theirs to
// look at; the access log has the status.
func (h *Handler) log(c call, failed *Error) {
	if failed.Cause == nil {
		return
	}
	level := slog.LevelDebug
	if failed.Code >= http.StatusInternalServerError && !errors.Is(failed.Cause, context.Canceled) {
		level = slog.LevelError
	}
	name := "unknown"
	if c.endpoint != nil {
		name = c.endpoint.name
	}
	attrs := []any{"method", name, "tenant", c.caller.Tenant, "key", c.caller.KeyID, "id", failed.ID, "status", failed.Code, "cause", failed.Cause}
	if failed.Code == http.StatusServiceUnavailable && level == slog.LevelError {
		switch omitted, logged := h.outage.admit(failed.Detail, time.Now()); {
		case !logged:
			level = slog.LevelDebug
		case omitted > 0: // failures of this kind that were logged for debugging alone
			attrs = append(attrs, "omitted", omitted)
		}
	}
	h.logger.Log(context.Background(), level, "call failed", attrs...)
}
