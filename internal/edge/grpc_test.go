package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/m3o/ingress/internal/upstream"
)

// greeter is a gRPC service with a method of each kind, without generated code.
func greeter(t *testing.T) *url.URL {
	t.Helper()
	l := loopback(t)
	s := grpc.NewServer()
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Greeter", HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{
			{StreamName: "Unary", Handler: greetUnary},
			{StreamName: "Server", Handler: greetServer, ServerStreams: true},
			{StreamName: "Client", Handler: greetClient, ClientStreams: true},
			{StreamName: "Both", Handler: greetBoth, ServerStreams: true, ClientStreams: true},
			{StreamName: "Never", Handler: greetNever, ServerStreams: true},
		},
	}, struct{}{})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return &url.URL{Scheme: "http", Host: l.Addr().String()}
}

func greetUnary(_ any, s grpc.ServerStream) error {
	var name wrapperspb.StringValue
	if err := s.RecvMsg(&name); err != nil {
		return err
	}
	s.SetTrailer(metadata.Pairs("x-sum", "1"))
	if name.Value == "nobody" {
		return status.Error(codes.NotFound, "no such name: nobody")
	}
	return s.SendMsg(wrapperspb.String("Hello " + name.Value))
}

func greetServer(_ any, s grpc.ServerStream) error {
	var name wrapperspb.StringValue
	if err := s.RecvMsg(&name); err != nil {
		return err
	}
	for n := range 3 {
		if err := s.SendMsg(wrapperspb.String(fmt.Sprint(name.Value, n))); err != nil {
			return err
		}
	}
	return nil
}

func greetClient(_ any, s grpc.ServerStream) error {
	all := ""
	for {
		var part wrapperspb.StringValue
		err := s.RecvMsg(&part)
		if errors.Is(err, io.EOF) {
			return s.SendMsg(wrapperspb.String(all))
		}
		if err != nil {
			return err
		}
		all += part.Value
	}
}

func greetBoth(_ any, s grpc.ServerStream) error {
	for {
		var part wrapperspb.StringValue
		err := s.RecvMsg(&part)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.SendMsg(&part); err != nil {
			return err
		}
	}
}

func greetNever(_ any, s grpc.ServerStream) error {
	<-s.Context().Done()
	return status.FromContextError(s.Context().Err()).Err()
}

// grpcClient reaches an app of a rig whose apps are in the domain of its
// certificate, as gRPC clients do: over TLS.
func grpcClient(t *testing.T, r *rig, app string) *grpc.ClientConn {
	t.Helper()
	address, trust := r.serveTLS()
	trust.ServerName = "" // the authority's
	c, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentials.NewTLS(trust)), grpc.WithAuthority(app+"."+certificateDomain))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func both(name string) *grpc.StreamDesc {
	return &grpc.StreamDesc{StreamName: name, ServerStreams: true, ClientStreams: true}
}

// All kinds of calls, their trailers, their errors and their deadlines pass.
func TestGRPC(t *testing.T) {
	for _, engine := range engines() {
		t.Run(string(engine), func(t *testing.T) {
			transport := newTransport(t, upstream.Options{Engine: engine, ResponseHeaderTimeout: 50 * time.Millisecond})
			r := newRig(t, nil, func(c *Config) {
				c.Transport = transport
				c.Hosts.AppsDomain = certificateDomain
				c.Limits.BodyStall = 50 * time.Millisecond
			})
			r.backends["greeter"] = Backend{Key: "greeter", URL: *greeter(t), Origin: Remote}
			c := grpcClient(t, r, "greeter")
			t.Run("unary", func(t *testing.T) { grpcUnary(t, c) })
			t.Run("server stream", func(t *testing.T) { grpcServer(t, c) })
			t.Run("client stream", func(t *testing.T) { grpcTalk(t, c, "Client", []string{"a", "b", "c"}, []string{"abc"}) })
			t.Run("both", func(t *testing.T) { grpcPingPong(t, c) })
			t.Run("deadline", func(t *testing.T) { grpcDeadline(t, c) })
		})
	}
}

func grpcUnary(t *testing.T, c *grpc.ClientConn) {
	var got wrapperspb.StringValue
	var trailer metadata.MD
	if err := c.Invoke(t.Context(), "/test.Greeter/Unary", wrapperspb.String("Jane"), &got, grpc.Trailer(&trailer)); err != nil || got.Value != "Hello Jane" {
		t.Errorf("got %q, %v", got.Value, err)
	}
	if sum := trailer.Get("x-sum"); len(sum) != 1 || sum[0] != "1" {
		t.Errorf("the trailer is %v", trailer)
	}
	err := c.Invoke(t.Context(), "/test.Greeter/Unary", wrapperspb.String("nobody"), &got)
	if s := status.Convert(err); s.Code() != codes.NotFound || s.Message() != "no such name: nobody" {
		t.Errorf("the error is %v", err)
	}
	if err := c.Invoke(t.Context(), "/test.Greeter/Missing", wrapperspb.String(""), &got); status.Code(err) != codes.Unimplemented {
		t.Errorf("an unknown method: %v", err)
	}
}

func grpcServer(t *testing.T, c *grpc.ClientConn) {
	grpcTalk(t, c, "Server", []string{"x"}, []string{"x0", "x1", "x2"})
}

// grpcTalk sends messages, says that there are no more, and reads the answers.
func grpcTalk(t *testing.T, c *grpc.ClientConn, method string, send, want []string) {
	s, err := c.NewStream(t.Context(), both(method), "/test.Greeter/"+method)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range send {
		if err := s.SendMsg(wrapperspb.String(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	for _, text := range want {
		var got wrapperspb.StringValue
		if err := s.RecvMsg(&got); err != nil || got.Value != text {
			t.Fatalf("got %q, %v, want %q", got.Value, err, text)
		}
	}
	if err := s.RecvMsg(new(wrapperspb.StringValue)); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

// grpcPingPong has each message answered before the next is sent, after a silence
// that is several times what other requests may have.
func grpcPingPong(t *testing.T, c *grpc.ClientConn) {
	s, err := c.NewStream(t.Context(), both("Both"), "/test.Greeter/Both")
	if err != nil {
		t.Fatal(err)
	}
	<-time.After(200 * time.Millisecond)
	for n := range 5 {
		if err := s.SendMsg(wrapperspb.String(fmt.Sprint(n))); err != nil {
			t.Fatal(err)
		}
		var got wrapperspb.StringValue
		if err := s.RecvMsg(&got); err != nil || got.Value != fmt.Sprint(n) {
			t.Fatalf("message %d: %q, %v", n, got.Value, err)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(new(wrapperspb.StringValue)); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

func grpcDeadline(t *testing.T, c *grpc.ClientConn) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	s, err := c.NewStream(ctx, both("Never"), "/test.Greeter/Never")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(new(wrapperspb.StringValue)); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
}

// A gRPC client learns of the ingress's own failures by the status of HTTP.
func TestGRPCToNobody(t *testing.T) {
	r := newRig(t, nil, func(c *Config) { c.Hosts.AppsDomain = certificateDomain })
	c := grpcClient(t, r, "nosuch")
	err := c.Invoke(t.Context(), "/test.Greeter/Unary", wrapperspb.String("Jane"), new(wrapperspb.StringValue))
	if status.Code(err) != codes.Unimplemented { // what gRPC makes of a 404
		t.Errorf("got %v", err)
	}
}
