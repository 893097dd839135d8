package function

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/workload"
	functionpb "github.com/m3o/ingress/proto/function"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	// callTimeout bounds a call from dialling to the last byte of the answer. It
	// is what the ingress gives a backend to begin its answer elsewhere, too.
	callTimeout = 60 * time.Second
	// maxReply is the longest answer in bytes, the same as for requests to /v1.
	maxReply = 4 << 20
)

const callMethod = "function.call"

// newClient returns a client that goes where it was told and nowhere else: a
// redirect is an answer, and no cookie or credential is ever kept or sent.
func newClient(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// call posts a JSON object to one of the caller's functions and returns the
// object it answers (WIRE.md 5).
func (f *Functions) call(ctx context.Context, caller api.Caller, req *functionpb.CallRequest) (*functionpb.CallResponse, error) {
	if req.GetName() == "" {
		return nil, api.BadRequest(callMethod, "Missing name")
	}
	w, err := f.registry.Get(ctx, caller, req.GetName())
	if err != nil {
		return nil, workload.Refusal(callMethod, err)
	}
	b, err := f.registry.Backend(ctx, w.ID)
	if api.IsNotFound(err) { // deleted since
		return nil, api.NotFound(callMethod)
	}
	if err != nil {
		return nil, err
	}
	if failed := notReady(w, b); failed != nil {
		return nil, failed
	}
	body, err := protojson.Marshal(object(req.GetRequest()))
	if err != nil {
		return nil, api.BadRequest(callMethod, "request cannot be written as JSON")
	}
	reply, err := f.post(ctx, w.Name, b, body)
	if err != nil {
		return nil, err
	}
	return &functionpb.CallResponse{Response: reply}, nil
}

// notReady says why a function cannot be called at all. One that sleeps, or is
// being started, is called nevertheless: the call waits for it.
func notReady(w workload.Workload, b workload.Backend) *api.Error {
	if !b.Managed || w.Current != 0 && w.State != workload.CrashLooping {
		return nil
	}
	text := w.Name + " is not ready: it is " + string(w.State)
	switch {
	case w.State.OnItsWay():
		text = w.Name + " is not ready: it is being deployed"
	case w.Current == 0:
		text = w.Name + " is not ready: its deploy failed"
	}
	if w.Reason != "" {
		text += ": " + w.Reason
	}
	failed := api.Unavailable(callMethod, text, nil)
	if w.State.OnItsWay() {
		failed.RetryAfter = time.Second
	}
	return failed
}

// object returns s, or the empty object for none.
func object(s *structpb.Struct) *structpb.Struct {
	if s == nil {
		return &structpb.Struct{}
	}
	return s
}

func (f *Functions) post(ctx context.Context, name string, b workload.Backend, body []byte) (*structpb.Struct, error) {
	to := b.URL
	if b.Managed {
		to = url.URL{Scheme: "http", Host: "localhost", Path: "/"}
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("call a function: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "m3o-ingress")
	res, err := f.send(b, req)
	if err != nil {
		return nil, unreachable(ctx, name, err)
	}
	defer res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return nil, badGateway(nil, "the function answered with status %d", res.StatusCode)
	}
	return readReply(ctx, name, res.Body)
}

// send makes the request: to what runs here through its Caller, to a registered
// backend under the rules for those.
func (f *Functions) send(b workload.Backend, req *http.Request) (*http.Response, error) {
	if b.Managed {
		return f.managed.Do(req.Context(), b.Key, req)
	}
	return f.client.Do(req)
}

// readReply reads a JSON object of at most maxReply bytes.
func readReply(ctx context.Context, name string, body io.Reader) (*structpb.Struct, error) {
	raw, err := io.ReadAll(io.LimitReader(body, maxReply+1))
	if err != nil {
		return nil, unreachable(ctx, name, err)
	}
	if len(raw) > maxReply {
		return nil, badGateway(nil, "the function's answer is larger than %d bytes", maxReply)
	}
	if api.TooManyValues(raw) {
		return nil, badGateway(nil, "the function's answer has more than %d values", api.MaxValues)
	}
	reply := &structpb.Struct{}
	if err := protojson.Unmarshal(raw, reply); err != nil {
		return nil, badGateway(nil, "the function's answer is not a JSON object")
	}
	return reply, nil
}

// unreachable tells a caller who has gone from a function that is too slow and
// one that is not there. The cause may name addresses and stays private.
func unreachable(ctx context.Context, name string, cause error) error {
	if unready, ok := errors.AsType[*UnreadyError](cause); ok {
		failed := api.Unavailable(callMethod, name+" is not ready: "+unready.Message, nil)
		failed.RetryAfter = unready.RetryAfter
		return failed
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("call a function: %w", ctx.Err())
	}
	var slow interface{ Timeout() bool }
	if errors.Is(cause, context.DeadlineExceeded) || errors.As(cause, &slow) && slow.Timeout() {
		return &api.Error{ID: callMethod, Code: http.StatusGatewayTimeout, Detail: "the function did not answer in time", Cause: cause}
	}
	return badGateway(cause, "the function cannot be reached or broke its answer off")
}

func badGateway(cause error, format string, args ...any) error {
	return &api.Error{ID: callMethod, Code: http.StatusBadGateway, Detail: fmt.Sprintf(format, args...), Cause: cause}
}
