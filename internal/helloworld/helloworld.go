// Package helloworld is the service to try first: it keeps nothing, so an answer
// from it proves that routing, keys and the codec work.
package helloworld

import (
	"context"

	"github.com/m3o/ingress/internal/api"
	helloworldpb "github.com/m3o/ingress/proto/helloworld"
)

// maxMessages is the longest stream one request gets, and maxBytes how much it
// may repeat: a name may fill a request, and repeated would fill a line for hours.
const (
	maxMessages = 10_000
	maxBytes    = 16 << 20
)

// Greeter greets. The zero value is ready.
type Greeter struct{}

// New returns a Greeter.
func New() *Greeter { return &Greeter{} }

// Service returns the table of the service's methods.
func (g *Greeter) Service() api.Service {
	return api.Service{
		Descriptor: helloworldpb.File_helloworld_helloworld_proto.Services().ByName("Helloworld"),
		Methods: []api.Method{
			api.Unary("Call", g.call),
			api.ServerStream("Stream", g.stream),
		},
	}
}

func (g *Greeter) call(_ context.Context, _ api.Caller, req *helloworldpb.CallRequest) (*helloworldpb.CallResponse, error) {
	return &helloworldpb.CallResponse{Message: greeting(req.GetName())}, nil
}

func (g *Greeter) stream(ctx context.Context, _ api.Caller, req *helloworldpb.StreamRequest, send func(*helloworldpb.StreamResponse) error) error {
	if n := req.GetMessages(); n < 0 || n > maxMessages {
		return api.BadRequest("helloworld.stream", "messages must be between 0 and %d", maxMessages)
	}
	if n := int64(len(req.GetName())); n*req.GetMessages() > maxBytes {
		return api.BadRequest("helloworld.stream", "name is too long for that many messages: at most %d bytes together", maxBytes)
	}
	for range req.GetMessages() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := send(&helloworldpb.StreamResponse{Message: greeting(req.GetName())}); err != nil {
			return err
		}
	}
	return nil
}

func greeting(name string) string { return "Hello " + name }
