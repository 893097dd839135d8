package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// parameter is one field of a request written as key=value.
type parameter struct {
	name  string
	value json.RawMessage
}

// parseParameter reads key=value, where the value becomes a JSON string, or
// key:=value, where it is JSON itself. ok is false when the argument is neither.
// Its errors name the key but not the value, which may be a secret.
func parseParameter(argument string) (p parameter, ok bool, err error) {
	name, value, ok := strings.Cut(argument, "=")
	raw := strings.HasSuffix(name, ":")
	if name = strings.TrimSuffix(name, ":"); !ok || name == "" {
		return parameter{}, false, nil
	}
	if !utf8.ValidString(name) || !utf8.ValidString(value) {
		return parameter{}, false, usagef("%s: not valid UTF-8", name)
	}
	if raw {
		if !json.Valid([]byte(value)) {
			return parameter{}, false, usagef("%s: what follows := is not JSON; use %s=… for a string", name, name)
		}
		return parameter{name, json.RawMessage(value)}, true, nil
	}
	return parameter{name, quoted(value)}, true, nil
}

// quoted returns text as a JSON string without escaping for HTML.
func quoted(text string) json.RawMessage {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	// A string always encodes, and a buffer always takes it.
	_ = encoder.Encode(text)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

// objectOf writes parameters as a JSON object in the order given.
func objectOf(arguments []string) (json.RawMessage, error) {
	seen := map[string]bool{}
	out := []byte{'{'}
	for i, argument := range arguments {
		p, ok, err := parseParameter(argument)
		switch {
		case err != nil:
			return nil, err
		case !ok:
			return nil, usagef("parameter %d is not key=value or key:=JSON", i+1)
		case seen[p.name]:
			return nil, usagef("%s is given twice", p.name)
		}
		seen[p.name] = true
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, quoted(p.name)...), ':'), p.value...)
	}
	return append(out, '}'), nil
}

// isDocument reports whether the arguments are one JSON document rather than
// parameters.
func isDocument(arguments []string) bool {
	return len(arguments) == 1 && strings.HasPrefix(strings.TrimSpace(arguments[0]), "{")
}

// parseEnv reads the variables given as NAME=value. A NAME by itself takes the
// value from the environment of this process, which keeps it out of process
// lists. Errors never repeat a value.
func parseEnv(given []string, lookup func(string) (string, bool)) (map[string]string, error) {
	if len(given) == 0 {
		return nil, nil
	}
	env := make(map[string]string, len(given))
	for i, variable := range given {
		name, value, ok := strings.Cut(variable, "=")
		if name == "" {
			return nil, usagef("--env number %d has no name", i+1)
		}
		if !ok {
			if value, ok = lookup(name); !ok {
				return nil, usagef("--env %s: no such variable in this environment; give it as %s=value", name, name)
			}
		}
		if _, twice := env[name]; twice {
			return nil, usagef("--env %s is given twice", name)
		}
		env[name] = value
	}
	return env, nil
}

// parseProfile reads the profile of an account given as key=value.
func parseProfile(given []string) (map[string]string, error) {
	if len(given) == 0 {
		return nil, nil
	}
	profile := make(map[string]string, len(given))
	for _, pair := range given {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, usagef("--profile %q is not key=value", pair)
		}
		if _, twice := profile[key]; twice {
			return nil, usagef("--profile %s is given twice", key)
		}
		profile[key] = value
	}
	return profile, nil
}
