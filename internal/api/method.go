// Package api is the platform's /v1 contract: the table of methods, the JSON
// codec, authentication and errors; the HTTP handler that serves it and the
// client that calls somebody else's.
package api

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Scopes that "*" does not include (DESIGN 6).
const (
	// ScopeAll stands for every service.
	ScopeAll = "*"
	// ScopeOperator allows tenants, quotas and settings.
	ScopeOperator = "operator"
	// ScopeBackend allows registering the URL of something already running.
	ScopeBackend = "backend"
	// ScopeResolve allows resolving other tenants' ids.
	ScopeResolve = "resolve"
)

// Caller is who makes a call: the tenant everything it does belongs to, and
// what its key allows. It is a value; methods may keep it.
type Caller struct {
	// Tenant is the tenant's id, never empty.
	Tenant string
	// KeyID is the id of the key used; it is not secret.
	KeyID string
	// Scopes are the key's, as stored.
	Scopes []string
	// Unlimited is set for the bootstrap key, which has no rate limit.
	Unlimited bool
	// Quotas are the tenant's, with defaults filled in.
	Quotas Quotas
}

// Quotas is how much a tenant may have (DESIGN 6). All are counts, but for
// VersionBytes.
type Quotas struct {
	Apps, Functions, Links, Keys int64
	VersionBytes                 int64
	// RequestsPerSecond and Burst apply to each key by itself.
	RequestsPerSecond, Burst int64
}

// DefaultQuotas are those of a tenant for which no operator set others.
var DefaultQuotas = Quotas{
	Apps: 100, Functions: 100, Links: 100_000, Keys: 100,
	VersionBytes:      2 << 30,
	RequestsPerSecond: 100, Burst: 300,
}

// Has reports whether the caller's key carries the scope. The scope of a service
// is also granted by "*"; operator, backend and resolve are not.
func (c Caller) Has(scope string) bool {
	if slices.Contains(c.Scopes, scope) {
		return true
	}
	switch scope {
	case ScopeOperator, ScopeBackend, ScopeResolve, ScopeAll:
		return false
	}
	return slices.Contains(c.Scopes, ScopeAll)
}

// Method is one row of a service's table: a name from the contract and the Go
// function behind it. Make one with Unary, ServerStream, Listing or Upload.
type Method struct {
	// Name is the method's name in the .proto file, such as "Create".
	Name string

	request func() proto.Message
	unary   func(ctx context.Context, caller Caller, req proto.Message) (proto.Message, error)
	stream  streamFunc
	list    streamFunc // in place of unary
	upload  uploadFunc // in place of unary, and of request
}

// streamFunc answers any number of times.
type streamFunc = func(ctx context.Context, caller Caller, req proto.Message, send func(proto.Message) error) error

// Unary makes a method that answers once. The function must honour ctx, may be
// called concurrently, and returns an *Error for everything a caller did wrong;
// any other error becomes a 500 whose text is only logged.
func Unary[Req, Res proto.Message](name string, call func(context.Context, Caller, Req) (Res, error)) Method {
	return Method{
		Name:    name,
		request: newMessage[Req],
		unary: func(ctx context.Context, caller Caller, req proto.Message) (proto.Message, error) {
			res, err := call(ctx, caller, req.(Req))
			if err != nil {
				return nil, err
			}
			return res, nil
		},
	}
}

// ServerStream makes a method that answers any number of times. send returns an
// error once the caller has gone, and the function should return it then. The
// rules of Unary hold as well.
func ServerStream[Req, Res proto.Message](name string, call func(ctx context.Context, caller Caller, req Req, send func(Res) error) error) Method {
	return Method{
		Name:    name,
		request: newMessage[Req],
		stream: func(ctx context.Context, caller Caller, req proto.Message, send func(proto.Message) error) error {
			return call(ctx, caller, req.(Req), func(res Res) error { return send(res) })
		},
	}
}

func newMessage[M proto.Message]() proto.Message {
	var zero M
	return zero.ProtoReflect().New().Interface()
}

// replies returns the function of a method that answers more than once, or in
// pieces.
func (m Method) replies() streamFunc {
	if m.stream != nil {
		return m.stream
	}
	return m.list
}

// Streams reports whether the method answers more than once.
func (m Method) Streams() bool { return m.stream != nil }

// Service is a table of methods with its place in the contract.
type Service struct {
	// Descriptor is the service in the compiled .proto file.
	Descriptor protoreflect.ServiceDescriptor
	// Scope is what a key needs; the proto package's name when empty.
	Scope string
	// Methods has a row for every method of the descriptor.
	Methods []Method
}

// RequiredScope returns the scope a key needs to call the service.
func (s Service) RequiredScope() string {
	if s.Scope != "" {
		return s.Scope
	}
	return string(s.Descriptor.ParentFile().Package())
}

// Check returns an error unless the table and the descriptor name exactly the
// same methods, so that a forgotten row stops the start rather than a caller.
func (s Service) Check() error {
	methods := s.Descriptor.Methods()
	for i := range methods.Len() {
		want := methods.Get(i)
		at := slices.IndexFunc(s.Methods, func(m Method) bool { return m.Name == string(want.Name()) })
		if at < 0 {
			return fmt.Errorf("service %s: method %s has no row in its table", s.Descriptor.FullName(), want.Name())
		}
		if s.Methods[at].Streams() != want.IsStreamingServer() {
			return fmt.Errorf("service %s: method %s streams in only one of contract and table", s.Descriptor.FullName(), want.Name())
		}
		if s.Methods[at].list != nil && !isListing(want.Output()) {
			return fmt.Errorf("service %s: method %s replies with more than a list", s.Descriptor.FullName(), want.Name())
		}
		if s.Methods[at].Uploads() != want.IsStreamingClient() {
			return fmt.Errorf("service %s: method %s takes an upload in only one of contract and table", s.Descriptor.FullName(), want.Name())
		}
		if s.Methods[at].Uploads() {
			continue
		}
		if got := s.Methods[at].request().ProtoReflect().Descriptor(); got != want.Input() {
			return fmt.Errorf("service %s: method %s takes %s in its table and %s in the contract",
				s.Descriptor.FullName(), want.Name(), got.FullName(), want.Input().FullName())
		}
	}
	if len(s.Methods) != methods.Len() {
		return fmt.Errorf("service %s: its table has %d rows for %d methods", s.Descriptor.FullName(), len(s.Methods), methods.Len())
	}
	return nil
}
