package api

import (
	"google.golang.org/protobuf/reflect/protoreflect"
)

// errorSchema is the name of the shape of errors in the OpenAPI document.
const errorSchema = "Error"

// schema is the part of OpenAPI's schema object that ours has.
type schema struct {
	Ref                  string             `json:"$ref,omitempty"`
	Type                 string             `json:"type,omitempty"`
	Format               string             `json:"format,omitempty"`
	Pattern              string             `json:"pattern,omitempty"`
	Description          string             `json:"description,omitempty"`
	Nullable             bool               `json:"nullable,omitempty"`
	Enum                 []string           `json:"enum,omitempty"`
	AnyOf                []*schema          `json:"anyOf,omitempty"`
	AllOf                []*schema          `json:"allOf,omitempty"`
	Items                *schema            `json:"items,omitempty"`
	Properties           map[string]*schema `json:"properties,omitempty"`
	AdditionalProperties *schema            `json:"additionalProperties,omitempty"`
	Required             []string           `json:"required,omitempty"`
}

func refersTo(name string) *schema { return &schema{Ref: "#/components/schemas/" + name} }

// Replies and requests are described apart, for they follow different rules: a
// reply has every field and one type for each, a request may leave out any and
// write numbers as strings.

// schemas describes every message the services use, by its name in the document.
func schemas(services []protoreflect.ServiceDescriptor) map[string]*schema {
	all := map[string]*schema{errorSchema: describeError()}
	for _, message := range reachable(services, protoreflect.MethodDescriptor.Output) {
		all[string(message.FullName())] = replySchema(message)
	}
	inputs := inputNames(services)
	for _, message := range reachable(services, parameterised) {
		all[inputs[message.FullName()]] = inputSchema(message, inputs)
	}
	return all
}

// parameterised returns what a method's request consists of; that of an upload,
// whose body is no message, of nothing.
func parameterised(method protoreflect.MethodDescriptor) protoreflect.MessageDescriptor {
	if method.IsStreamingClient() {
		return nil
	}
	return method.Input()
}

// inputNames names the messages of requests; those that replies use as well get
// a name of their own.
func inputNames(services []protoreflect.ServiceDescriptor) map[protoreflect.FullName]string {
	names := map[protoreflect.FullName]string{}
	for _, message := range reachable(services, parameterised) {
		names[message.FullName()] = string(message.FullName())
	}
	for _, message := range reachable(services, protoreflect.MethodDescriptor.Output) {
		if names[message.FullName()] != "" {
			names[message.FullName()] += ".Input"
		}
	}
	return names
}

// reachable returns the messages that the methods' inputs, or outputs, consist
// of, without those protojson has a form of its own for.
func reachable(services []protoreflect.ServiceDescriptor, side func(protoreflect.MethodDescriptor) protoreflect.MessageDescriptor) []protoreflect.MessageDescriptor {
	var found []protoreflect.MessageDescriptor
	seen := map[protoreflect.FullName]bool{}
	var visit func(protoreflect.MessageDescriptor)
	visit = func(md protoreflect.MessageDescriptor) {
		if md == nil || seen[md.FullName()] || isWellKnown(md) {
			return
		}
		seen[md.FullName()] = true
		if !md.IsMapEntry() {
			found = append(found, md)
		}
		for i := range md.Fields().Len() {
			visit(md.Fields().Get(i).Message())
		}
	}
	for _, service := range services {
		for i := range service.Methods().Len() {
			visit(side(service.Methods().Get(i)))
		}
	}
	return found
}

func isWellKnown(md protoreflect.MessageDescriptor) bool {
	return md.ParentFile().Package() == "google.protobuf"
}

func replySchema(md protoreflect.MessageDescriptor) *schema {
	s := &schema{Type: "object", Description: comment(md), Properties: map[string]*schema{}}
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		field := shape(fd, replyValue)
		field.Description = comment(fd)
		s.Properties[string(fd.Name())] = field
		s.Required = append(s.Required, string(fd.Name()))
	}
	return s
}

func inputSchema(md protoreflect.MessageDescriptor, names map[protoreflect.FullName]string) *schema {
	s := &schema{Type: "object", Description: comment(md), Properties: map[string]*schema{}}
	value := func(fd protoreflect.FieldDescriptor) *schema { return inputValue(fd, names) }
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		field := shape(fd, value)
		field.Description = comment(fd)
		s.Properties[string(fd.Name())] = field
	}
	return s
}

// shape describes a field, given how to describe one value of it.
func shape(fd protoreflect.FieldDescriptor, value func(protoreflect.FieldDescriptor) *schema) *schema {
	switch {
	case fd.IsMap():
		return &schema{Type: "object", AdditionalProperties: value(fd.MapValue())}
	case fd.IsList():
		return &schema{Type: "array", Items: value(fd)}
	case fd.Message() != nil && !isWellKnown(fd.Message()):
		// A message that is not set is null in replies; a reference cannot say
		// so beside itself in OpenAPI 3.0.
		return &schema{Nullable: true, AllOf: []*schema{value(fd)}}
	}
	return value(fd)
}

func replyValue(fd protoreflect.FieldDescriptor) *schema {
	switch kind := fd.Kind(); {
	case fd.Message() != nil && isWellKnown(fd.Message()):
		return freeForm(fd.Message())
	case fd.Message() != nil:
		return refersTo(string(fd.Message().FullName()))
	case is64Bit(kind):
		return &schema{Type: "string", Format: "int64", Pattern: "^-?[0-9]+$"}
	case is32Bit(kind):
		return &schema{Type: "integer", Format: "int32"}
	default:
		return scalar(fd)
	}
}

func inputValue(fd protoreflect.FieldDescriptor, names map[protoreflect.FullName]string) *schema {
	switch kind := fd.Kind(); {
	case fd.Message() != nil && isWellKnown(fd.Message()):
		return freeForm(fd.Message())
	case fd.Message() != nil:
		return refersTo(names[fd.Message().FullName()])
	case is64Bit(kind), is32Bit(kind):
		return &schema{AnyOf: []*schema{{Type: "integer"}, {Type: "string", Pattern: "^-?[0-9]+$"}}}
	case kind == protoreflect.BoolKind:
		return &schema{AnyOf: []*schema{{Type: "boolean"}, {Type: "string", Enum: []string{"true", "false", "1", "0"}}}}
	default:
		return scalar(fd)
	}
}

// freeForm describes a type with a JSON form of its own. Of those, the contract
// has the object whose members are the caller's business.
func freeForm(md protoreflect.MessageDescriptor) *schema {
	if md.Name() == "Struct" {
		return &schema{Type: "object", Nullable: true, AdditionalProperties: &schema{Nullable: true}}
	}
	return &schema{Nullable: true}
}

func scalar(fd protoreflect.FieldDescriptor) *schema {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return &schema{Type: "boolean"}
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return &schema{Type: "number"}
	case protoreflect.BytesKind:
		return &schema{Type: "string", Format: "byte"}
	case protoreflect.EnumKind:
		return &schema{Type: "string", Enum: enumNames(fd.Enum())}
	}
	return &schema{Type: "string"}
}

func enumNames(d protoreflect.EnumDescriptor) []string {
	names := make([]string, 0, d.Values().Len())
	for i := range d.Values().Len() {
		names = append(names, string(d.Values().Get(i).Name()))
	}
	return names
}

func is64Bit(kind protoreflect.Kind) bool {
	switch kind {
	case protoreflect.Int64Kind, protoreflect.Uint64Kind, protoreflect.Sint64Kind, protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		return true
	}
	return false
}

func is32Bit(kind protoreflect.Kind) bool {
	switch kind {
	case protoreflect.Int32Kind, protoreflect.Uint32Kind, protoreflect.Sint32Kind, protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind:
		return true
	}
	return false
}

func describeError() *schema {
	return &schema{
		Type:        "object",
		Description: "How every failure looks. Clients may match on id and detail.",
		Properties: map[string]*schema{
			"id":     {Type: "string", Description: `Which method or stage failed, such as "url.create".`},
			"code":   {Type: "integer", Description: "The HTTP status."},
			"detail": {Type: "string", Description: "What is wrong, for people."},
			"status": {Type: "string", Description: "The status's standard text."},
		},
		Required: []string{"id", "code", "detail", "status"},
	}
}
