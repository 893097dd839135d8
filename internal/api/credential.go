package api

import (
	"encoding/base64"
	"net/http"
	"strings"
)

// credential returns the key a request carries, or "" when it carries none that
// can be read (WIRE.md 2). The Authorization header wins over the WebSocket
// subprotocol, which browsers use because they cannot set headers.
func credential(r *http.Request) string {
	if header := r.Header.Get("Authorization"); header != "" {
		return authorizationKey(header)
	}
	if isWebSocket(r) {
		return offeredProtocol(r)
	}
	return ""
}

// authorizationKey reads "Bearer KEY" and "Basic base64(any:KEY)", the scheme in
// any case (RFC 9110 11.1).
func authorizationKey(header string) string {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(header), " ")
	rest = strings.TrimSpace(rest)
	switch strings.ToLower(scheme) {
	case "bearer":
		return rest
	case "basic":
		return basicKey(rest)
	}
	return ""
}

// basicKey returns the password of Basic credentials. Some clients leave out the
// padding.
func basicKey(encoded string) string {
	plain, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
	if err != nil {
		return ""
	}
	_, password, _ := strings.Cut(string(plain), ":")
	return password
}

// offeredProtocol returns the first WebSocket subprotocol the client offers.
func offeredProtocol(r *http.Request) string {
	first, _, _ := strings.Cut(r.Header.Get("Sec-WebSocket-Protocol"), ",")
	return strings.TrimSpace(first)
}

// isWebSocket reports whether the request asks to become a WebSocket
// (RFC 6455 4.2.1).
func isWebSocket(r *http.Request) bool {
	return r.Method == http.MethodGet &&
		hasToken(r.Header.Values("Connection"), "upgrade") && hasToken(r.Header.Values("Upgrade"), "websocket")
}

// hasToken looks for a token in the comma-separated lists of a header.
func hasToken(lists []string, token string) bool {
	for _, list := range lists {
		for item := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.TrimSpace(item), token) {
				return true
			}
		}
	}
	return false
}
