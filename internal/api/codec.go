package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// maxDepth is how deep a request may be nested. The contract needs a handful;
// the rest is for the free-form objects functions are called with.
const maxDepth = 100

var errTooManyValues = fmt.Errorf("more than %d values", MaxValues)

// encode returns a message as JSON with the field names of the contract and
// every field present (WIRE.md 4).
func encode(m proto.Message) ([]byte, error) {
	options := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}
	spaced, err := options.Marshal(m)
	if err != nil {
		return nil, err
	}
	// protojson varies its whitespace from build to build on purpose; clients
	// and caches are better off with bytes that stay the same.
	var compact bytes.Buffer
	compact.Grow(len(spaced))
	if err := json.Compact(&compact, spaced); err != nil {
		return nil, err
	}
	return compact.Bytes(), nil
}

// decode reads a JSON request into m: fields under either of their names,
// unknown ones ignored, strings accepted for numbers and booleans (WIRE.md 3).
// No bytes at all are an empty request. A key given twice is an error.
func (e *endpoint) decode(data []byte, m proto.Message) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	// Text outside of known fields would pass protojson unchecked.
	if !utf8.Valid(data) {
		return errors.New("invalid UTF-8")
	}
	options := protojson.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: maxDepth}
	err := options.Unmarshal(data, m)
	if err == nil || !e.lenient {
		return err
	}
	// Few requests need it, so the strict reading is tried first.
	coerced, coerceErr := coerce(data, m.ProtoReflect().Descriptor())
	if coerceErr != nil {
		return err
	}
	if TooManyValues(coerced) { // in texts, where they were not counted
		return errTooManyValues
	}
	return options.Unmarshal(coerced, m)
}

// parameters turns a query into a JSON object of strings. Of a parameter given
// twice the first counts.
func parameters(query string) ([]byte, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, err
	}
	first := make(map[string]string, len(values))
	for name, all := range values {
		if !utf8.ValidString(name) || !utf8.ValidString(all[0]) {
			return nil, errors.New("invalid UTF-8")
		}
		first[name] = all[0]
	}
	return json.Marshal(first)
}
