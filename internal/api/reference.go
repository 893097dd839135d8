package api

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"

	"google.golang.org/protobuf/reflect/protoreflect"
)

//go:embed reference.html
var referenceHTML string

//go:embed reference.css
var referenceCSS string

// What the reference page shows.
type (
	refPage struct {
		Style    template.CSS
		Services []refService
	}
	refService struct {
		Name, Comment string
		Methods       []refMethod
		Types         []refMessage
	}
	refMethod struct {
		Name, Path, Comment string
		Streams, Uploads    bool
		Request, Reply      refMessage
	}
	refMessage struct {
		Name, Comment string
		Fields        []refField
	}
	refField struct{ Name, Type, Comment string }
)

// reference renders the page that explains the services to people.
func reference(services []protoreflect.ServiceDescriptor) ([]byte, error) {
	page, err := template.New("reference").Parse(referenceHTML)
	if err != nil {
		return nil, err
	}
	shown := refPage{Style: template.CSS(referenceCSS)}
	for _, service := range services {
		shown.Services = append(shown.Services, refer(service))
	}
	var out bytes.Buffer
	if err := page.Execute(&out, shown); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// referencePolicy allows the reference its one style sheet, by its hash, and the
// empty icon that keeps browsers from asking for another, and nothing else.
func referencePolicy() string {
	sum := sha256.Sum256([]byte(referenceCSS))
	return strictPolicy + "; img-src data:; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func refer(service protoreflect.ServiceDescriptor) refService {
	shown := refService{Name: string(service.FullName()), Comment: comment(service)}
	direct := map[protoreflect.FullName]bool{}
	for i := range service.Methods().Len() {
		method := service.Methods().Get(i)
		direct[method.Input().FullName()] = true
		direct[method.Output().FullName()] = true
		shown.Methods = append(shown.Methods, refMethod{
			Name: string(method.Name()), Path: methodPath(method), Comment: comment(method),
			Streams: method.IsStreamingServer(), Uploads: method.IsStreamingClient(),
			Request: referMessage(method.Input()), Reply: referMessage(method.Output()),
		})
	}
	for _, message := range messagesOf(service) {
		if !direct[message.FullName()] {
			shown.Types = append(shown.Types, referMessage(message))
		}
	}
	return shown
}

// messagesOf returns every message of requests and replies, once.
func messagesOf(service protoreflect.ServiceDescriptor) []protoreflect.MessageDescriptor {
	one := []protoreflect.ServiceDescriptor{service}
	seen := map[protoreflect.FullName]bool{}
	var all []protoreflect.MessageDescriptor
	for _, message := range append(reachable(one, protoreflect.MethodDescriptor.Output), reachable(one, parameterised)...) {
		if !seen[message.FullName()] {
			seen[message.FullName()] = true
			all = append(all, message)
		}
	}
	return all
}

func referMessage(md protoreflect.MessageDescriptor) refMessage {
	shown := refMessage{Name: string(md.Name()), Comment: comment(md)}
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		shown.Fields = append(shown.Fields, refField{string(fd.Name()), typeName(fd), comment(fd)})
	}
	return shown
}

// typeName says what a field holds in words.
func typeName(fd protoreflect.FieldDescriptor) string {
	switch {
	case fd.IsMap():
		return "object of " + valueName(fd.MapValue())
	case fd.IsList():
		return "list of " + valueName(fd)
	}
	return valueName(fd)
}

func valueName(fd protoreflect.FieldDescriptor) string {
	switch {
	case fd.Message() != nil && isWellKnown(fd.Message()):
		return "any object"
	case fd.Message() != nil:
		return string(fd.Message().Name())
	case is64Bit(fd.Kind()):
		return "64-bit integer (string)"
	case is32Bit(fd.Kind()):
		return "integer"
	}
	return fd.Kind().String()
}
