package edge

import (
	"net/http"
	"strings"
)

// defaultNode is our CDN-Loop identifier when the configuration names none: a
// pseudonym shared by all ingresses, so that a loop through several of them is
// found as soon as one through a single one.
const defaultNode = "m3o-ingress"

// maxPasses is how often a request may come by before it is a loop. Two passes
// are legitimate: one ingress in front of another.
const maxPasses = 3

// passes counts how often node occurs in the request's CDN-Loop (RFC 8586): a
// comma-separated list of identifiers, each with optional parameters.
func passes(h http.Header, node string) int {
	n := 0
	for _, value := range h["Cdn-Loop"] {
		for entry := range listItems(value, ',') {
			id, _, _ := strings.Cut(entry, ";")
			if strings.EqualFold(strings.TrimSpace(id), node) {
				n++
			}
		}
	}
	return n
}

// markPass appends node to CDN-Loop. RFC 8586 forbids touching what is there.
func markPass(h http.Header, node string) { h.Add("Cdn-Loop", node) }

// listItems yields the items of a header list, trimmed, not splitting inside
// quoted strings (RFC 9110 5.6.1 and 5.6.4). Empty items are left out.
func listItems(value string, separator byte) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for value != "" {
			end := itemEnd(value, separator)
			item := strings.Trim(value[:end], " \t")
			value = value[min(end+1, len(value)):]
			if item != "" && !yield(item) {
				return
			}
		}
	}
}

// itemEnd returns the index of the first separator outside quotes, or the length.
func itemEnd(value string, separator byte) int {
	quoted := false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == separator && !quoted:
			return i
		}
	}
	return len(value)
}
