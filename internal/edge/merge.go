package edge

import (
	"bytes"
	"encoding/json"
)

// What can be wrong with a JSON body that parameters are merged into.
const (
	errNotJSON   publicError = "is not valid JSON"
	errNotObject publicError = "is not a JSON object"
)

// mergeJSON returns a JSON object with the fields of the body, exactly as they
// were written, and those parameters the body does not have, each as a string:
// the platform would turn 007 into 7 (WIRE.md 3). An empty body is {}.
func mergeJSON(p *parameters, body []byte) ([]byte, error) {
	inner, has, err := fields(body)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.WriteByte('{')
	for _, name := range p.names {
		if has[name] {
			continue
		}
		if out.Len() > 1 {
			out.WriteByte(',')
		}
		writeString(&out, name)
		out.WriteByte(':')
		writeString(&out, p.values[name])
	}
	if out.Len() > 1 && len(has) > 0 {
		out.WriteByte(',')
	}
	out.Write(inner)
	out.WriteByte('}')
	return out.Bytes(), nil
}

// fields returns what is between the braces of a JSON object, and the names of
// its fields.
func fields(body []byte) (inner []byte, names map[string]bool, err error) {
	body = bytes.Trim(body, " \t\r\n")
	if len(body) == 0 {
		return nil, nil, nil
	}
	if !json.Valid(body) {
		return nil, nil, errNotJSON
	}
	if body[0] != '{' {
		return nil, nil, errNotObject
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		return nil, nil, errNotJSON
	}
	names = make(map[string]bool, len(raw))
	for name := range raw {
		names[name] = true
	}
	return body[1 : len(body)-1], names, nil
}

func writeString(out *bytes.Buffer, s string) {
	encoded, err := json.Marshal(s)
	if err != nil {
		encoded = []byte(`""`) // cannot happen: every string has a JSON form
	}
	out.Write(encoded)
}
