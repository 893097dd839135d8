package edge

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
)

// withholdKeys removes the platform's own keys from a request on its way to an
// app or a function, in each place where the platform accepts one (WIRE.md 2).
// The app's own credentials pass.
func withholdKeys(h http.Header, isKey func(string) bool) {
	if values, ok := h["Authorization"]; ok {
		h["Authorization"] = slices.DeleteFunc(values, func(v string) bool { return carriesKey(v, isKey) })
		dropIfEmpty(h, "Authorization")
	}
	if values, ok := h["Sec-Websocket-Protocol"]; ok {
		for i, value := range values {
			values[i] = withoutKeys(value, isKey)
		}
		h["Sec-Websocket-Protocol"] = slices.DeleteFunc(values, func(v string) bool { return v == "" })
		dropIfEmpty(h, "Sec-Websocket-Protocol")
	}
}

func dropIfEmpty(h http.Header, name string) {
	if len(h[name]) == 0 {
		delete(h, name)
	}
}

// carriesKey reports whether an Authorization value holds one of our keys, as
// Bearer, as the password of Basic, or as its user name, where people put keys
// that need no password.
func carriesKey(value string, isKey func(string) bool) bool {
	scheme, credential := strings.TrimSpace(value), ""
	if end := strings.IndexAny(scheme, " \t"); end >= 0 {
		scheme, credential = scheme[:end], strings.TrimSpace(scheme[end:])
	}
	switch {
	case credential == "":
		return scheme != "" && isKey(scheme)
	case strings.EqualFold(scheme, "Bearer"):
		return isKey(credential)
	case strings.EqualFold(scheme, "Basic"):
		user, password, ok := decodeBasic(credential)
		return ok && (isKey(password) || user != "" && isKey(user))
	}
	return false
}

// decodeBasic reads RFC 7617 credentials, with or without the padding that some
// clients leave off.
func decodeBasic(credential string) (user, password string, ok bool) {
	text, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(credential, "="))
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(text), ":")
}

// withoutKeys takes our keys out of a list of WebSocket protocols. A list without
// any is returned byte for byte.
func withoutKeys(list string, isKey func(string) bool) string {
	var kept []string
	found := false
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		if item != "" && isKey(item) {
			found = true
		} else if item != "" {
			kept = append(kept, item)
		}
	}
	if !found {
		return list
	}
	return strings.Join(kept, ", ")
}
