package api

import (
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// pathPrefix is what every path of the contract begins with.
const pathPrefix = "/v1/"

// endpoint is one callable method with all the handler needs to know of it.
type endpoint struct {
	method Method
	scope  string
	// name is for logs: package, service and method, such as "url.Url.Create".
	name string
	// id stands in errors that carry none of their own, such as "url.create".
	id string
	// lenient is set when the request has fields for which a string may stand
	// that protojson does not accept as such.
	lenient bool
}

// endpoints finds the methods of a set of services by their lower-case address,
// for which clients may use any case (WIRE.md 1).
type endpoints struct {
	methods  map[string]*endpoint
	services map[string]string // lower-case address to the name in the contract
}

func newEndpoints(services []Service) endpoints {
	table := endpoints{methods: map[string]*endpoint{}, services: map[string]string{}}
	for _, service := range services {
		at := serviceAddress(service.Descriptor)
		table.services[at] = string(service.Descriptor.Name())
		for _, method := range service.Methods {
			table.methods[at+"/"+strings.ToLower(method.Name)] = newEndpoint(service, method)
		}
	}
	return table
}

func newEndpoint(service Service, method Method) *endpoint {
	pkg := string(service.Descriptor.ParentFile().Package())
	return &endpoint{
		method:  method,
		scope:   service.RequiredScope(),
		name:    string(service.Descriptor.FullName()) + "." + method.Name,
		id:      pkg + "." + strings.ToLower(method.Name),
		lenient: !method.Uploads() && needsCoercion(method.request().ProtoReflect().Descriptor()),
	}
}

// serviceAddress returns "package/service" in lower case.
func serviceAddress(d protoreflect.ServiceDescriptor) string {
	return strings.ToLower(string(d.ParentFile().Package()) + "/" + string(d.Name()))
}

// find returns the endpoint at an escaped path, or the error for a caller who
// asked for one that does not exist.
func (t endpoints) find(escapedPath string) (*endpoint, *Error) {
	pkg, service, method, ok := splitPath(escapedPath)
	if !ok {
		return nil, unknownService(strings.TrimPrefix(escapedPath, pathPrefix))
	}
	at := strings.ToLower(pkg + "/" + service)
	if found := t.methods[at+"/"+strings.ToLower(method)]; found != nil {
		return found, nil
	}
	if known, ok := t.services[at]; ok {
		service = known
	}
	return nil, unknownService(capitalise(service) + "." + capitalise(method))
}

// unknownService answers a call of what does not exist in the words of the
// original, whose client library they come from (WIRE.md 4).
func unknownService(name string) *Error {
	return newError("go.micro.client", http.StatusNotFound, "unknown service %s", name)
}

// splitPath takes the path of a call apart. Of two segments the first names the
// package and the service in it that bears the same name; three name package,
// service and method.
func splitPath(escapedPath string) (pkg, service, method string, ok bool) {
	rest, ok := strings.CutPrefix(escapedPath, pathPrefix)
	if !ok {
		return "", "", "", false
	}
	segments := strings.Split(rest, "/")
	for i, segment := range segments {
		plain, err := url.PathUnescape(segment)
		if err != nil || plain == "" {
			return "", "", "", false
		}
		segments[i] = plain
	}
	switch len(segments) {
	case 2:
		return segments[0], segments[0], segments[1], true
	case 3:
		return segments[0], segments[1], segments[2], true
	}
	return "", "", "", false
}

// capitalise makes a leading ASCII letter a capital one.
func capitalise(name string) string {
	if name == "" || name[0] < 'a' || name[0] > 'z' {
		return name
	}
	return strings.ToUpper(name[:1]) + name[1:]
}
