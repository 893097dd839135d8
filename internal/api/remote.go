package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	apppb "github.com/m3o/ingress/proto/app"
	functionpb "github.com/m3o/ingress/proto/function"
	urlpb "github.com/m3o/ingress/proto/url"
	userpb "github.com/m3o/ingress/proto/user"
)

// Remote asks a platform elsewhere what the routes need to know. It may be used
// concurrently, and must be closed.
//
// Its errors are the Client's: IsNotFound holds only when the platform itself
// said that there is no such thing.
type Remote struct {
	client *Client
	hits   *hits
	outage atomic.Pointer[error] // of the last call, or nil
}

// NewRemote returns a Remote and starts the goroutines that report visits to
// links.
func NewRemote(client *Client, logger *slog.Logger) *Remote {
	r := &Remote{client: client}
	r.hits = newHits(hitsConfig{}, logger, func(ctx context.Context, id string) error {
		_, err := r.resolveLink(ctx, id)
		return err
	})
	return r
}

// call makes a call and remembers whether the platform answered it.
func (r *Remote) call(ctx context.Context, service, endpoint string, req, res proto.Message) error {
	err := r.client.Call(ctx, service, endpoint, req, res)
	switch known, ok := errors.AsType[*Error](err); {
	case err == nil, IsNotFound(err), ok && known.Code == http.StatusBadRequest:
		r.outage.Store(nil)
	case errors.Is(ctx.Err(), context.Canceled): // whoever asked has gone; that says nothing
	default:
		r.outage.Store(&err)
	}
	return err
}

// Outage returns why the platform did not answer the last call, or nil when it
// did. An answer that refuses our token is none.
func (r *Remote) Outage() error {
	if err := r.outage.Load(); err != nil {
		return *err
	}
	return nil
}

// ResolveApp returns the address of the backend behind an app's id, which is
// empty while the app is being deployed.
func (r *Remote) ResolveApp(ctx context.Context, id string) (string, error) {
	var res apppb.ResolveResponse
	err := r.call(ctx, "app", "Resolve", &apppb.ResolveRequest{Id: id}, &res)
	return res.GetUrl(), err
}

// ResolveFunction returns the address of the backend behind a function's id,
// which is empty while the function is being deployed.
func (r *Remote) ResolveFunction(ctx context.Context, id string) (string, error) {
	var res functionpb.ProxyResponse
	err := r.call(ctx, "function", "Proxy", &functionpb.ProxyRequest{Id: id}, &res)
	return res.GetUrl(), err
}

// ResolveLink returns where a link leads. The platform counts a visit with it;
// the next Hit on the link is therefore not reported again.
func (r *Remote) ResolveLink(ctx context.Context, id string) (string, error) {
	destination, err := r.resolveLink(ctx, id)
	if err == nil {
		r.hits.counted(id)
	}
	return destination, err
}

func (r *Remote) resolveLink(ctx context.Context, id string) (string, error) {
	var res urlpb.ResolveResponse
	err := r.call(ctx, "url", "Resolve", &urlpb.ResolveRequest{Id: id, Visit: true}, &res)
	if err == nil && res.GetDestinationURL() == "" {
		// Unlike an app, a link has no time in which it leads nowhere yet.
		err = badReply("the platform named no destination for the link", nil)
	}
	return res.GetDestinationURL(), err
}

// VerifyEmail marks the address behind a token as verified.
func (r *Remote) VerifyEmail(ctx context.Context, token string) error {
	return r.call(ctx, "user", "VerifyEmail", &userpb.VerifyEmailRequest{Token: token}, &userpb.VerifyEmailResponse{})
}

// Hit reports one visit to a link, in the background: it never blocks. A visit
// is lost, and counted as dropped, when too many wait.
func (r *Remote) Hit(id string) { r.hits.hit(id) }

// DroppedHits returns how many visits could not be reported.
func (r *Remote) DroppedHits() int64 { return r.hits.dropped.Load() }

// Close reports the visits that wait, for as long as ctx allows, and stops the
// goroutines. Those left over are dropped and named in the error by their
// number. Further visits are dropped.
func (r *Remote) Close(ctx context.Context) error { return r.hits.close(ctx) }
