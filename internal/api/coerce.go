package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Callers that only have strings, which query parameters and forms are, write
// "true" for a boolean and JSON text for a map, a list or an object. protojson
// takes strings for numbers by itself, but not for these; coerce rewrites them
// by the types of the contract. Everything else keeps its bytes, so that large
// numbers lose no digits.

// needsCoercion reports whether a message has a field coerce would touch.
func needsCoercion(md protoreflect.MessageDescriptor) bool {
	fields := md.Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if fd.IsList() || fd.IsMap() || fd.Kind() == protoreflect.BoolKind || fd.Message() != nil {
			return true
		}
	}
	return false
}

// coerce rewrites a JSON object meant for a message of the type.
func coerce(data []byte, md protoreflect.MessageDescriptor) ([]byte, error) {
	return rewriteObject(data, func(key string, value json.RawMessage) (json.RawMessage, error) {
		fd := fieldByName(md, key)
		if fd == nil {
			return value, nil
		}
		return coerceField(value, fd)
	})
}

// fieldByName finds a field under its name in the contract or in lowerCamelCase.
func fieldByName(md protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if fd := md.Fields().ByTextName(name); fd != nil {
		return fd
	}
	return md.Fields().ByJSONName(name)
}

func coerceField(value json.RawMessage, fd protoreflect.FieldDescriptor) (json.RawMessage, error) {
	switch {
	case fd.IsMap():
		return rewriteObject(unquote(value, '{'), func(_ string, value json.RawMessage) (json.RawMessage, error) {
			return coerceSingle(value, fd.MapValue())
		})
	case fd.IsList():
		return rewriteList(unquote(value, '['), func(value json.RawMessage) (json.RawMessage, error) {
			return coerceSingle(value, fd)
		})
	}
	return coerceSingle(value, fd)
}

// coerceSingle rewrites a value that is neither list nor map.
func coerceSingle(value json.RawMessage, fd protoreflect.FieldDescriptor) (json.RawMessage, error) {
	if fd.Kind() == protoreflect.BoolKind {
		return coerceBool(value), nil
	}
	md := fd.Message()
	if md == nil {
		return value, nil
	}
	if md.ParentFile().Package() == "google.protobuf" {
		return coerceWellKnown(value, md), nil
	}
	value = unquote(value, '{')
	if !startsWith(value, '{') {
		return value, nil
	}
	return coerce(value, md)
}

// coerceWellKnown lets an object be given as text. The types that are written as
// strings keep them, and what is inside an object is the caller's own.
func coerceWellKnown(value json.RawMessage, md protoreflect.MessageDescriptor) json.RawMessage {
	if md.Name() == "Struct" {
		return unquote(value, '{')
	}
	return value
}

func coerceBool(value json.RawMessage) json.RawMessage {
	switch string(value) {
	case `"true"`, `"1"`:
		return json.RawMessage("true")
	case `"false"`, `"0"`:
		return json.RawMessage("false")
	}
	return value
}

// unquote returns the text of a JSON string that itself holds a JSON value
// beginning with open; anything else comes back unchanged.
func unquote(value json.RawMessage, open byte) json.RawMessage {
	var text string
	if !startsWith(value, '"') || json.Unmarshal(value, &text) != nil {
		return value
	}
	inner := json.RawMessage(text)
	if !startsWith(inner, open) || !json.Valid(inner) {
		return value
	}
	return inner
}

func startsWith(value json.RawMessage, first byte) bool {
	trimmed := bytes.TrimLeft(value, " \t\r\n")
	return len(trimmed) > 0 && trimmed[0] == first
}

// rewriteObject passes every member of an object through edit. Members given
// twice stay so, for protojson to refuse. What is no object is left alone.
func rewriteObject(data json.RawMessage, edit func(key string, value json.RawMessage) (json.RawMessage, error)) (json.RawMessage, error) {
	if !startsWith(data, '{') {
		return data, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
	out := []byte{'{'}
	for decoder.More() {
		key, value, err := member(decoder)
		if err != nil {
			return nil, err
		}
		if value, err = edit(key, value); err != nil {
			return nil, err
		}
		name, err := json.Marshal(key)
		if err != nil {
			return nil, err
		}
		out = append(separate(out), name...)
		out = append(append(out, ':'), value...)
	}
	return closeValue(decoder, out, '}')
}

// member reads the next key and value of an object.
func member(decoder *json.Decoder) (string, json.RawMessage, error) {
	token, err := decoder.Token()
	if err != nil {
		return "", nil, err
	}
	key, ok := token.(string)
	if !ok {
		return "", nil, fmt.Errorf("object key expected, got %v", token)
	}
	var value json.RawMessage
	err = decoder.Decode(&value)
	return key, value, err
}

// rewriteList passes every element of a list through edit. What is no list is
// left alone.
func rewriteList(data json.RawMessage, edit func(json.RawMessage) (json.RawMessage, error)) (json.RawMessage, error) {
	if !startsWith(data, '[') {
		return data, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
	out := []byte{'['}
	for decoder.More() {
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
		value, err := edit(value)
		if err != nil {
			return nil, err
		}
		out = append(separate(out), value...)
	}
	return closeValue(decoder, out, ']')
}

// separate adds a comma unless out has just been opened.
func separate(out []byte) []byte {
	if len(out) == 1 {
		return out
	}
	return append(out, ',')
}

// closeValue reads the closing bracket and makes sure that nothing follows it.
func closeValue(decoder *json.Decoder, out []byte, bracket byte) (json.RawMessage, error) {
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}
	return append(out, bracket), nil
}
