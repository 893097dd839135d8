package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// envelope is a request as it will be written: checked, so that what is written
// is one request whatever is in it.
type envelope struct {
	method  string
	target  string
	host    string
	length  int64 // of the body; -1 if it is not known
	body    bool  // there is one, or may be
	chunked bool
	// probe says that the body may well be empty although its length is not known,
	// and that the request should then have none: few backends expect a body with
	// these methods.
	probe   bool
	trailer []string // the names announced, sorted
	close   bool     // the connection ends with this exchange
	expects bool     // the body waits for a 100
}

// seal checks a request.
func seal(req *http.Request) (envelope, error) {
	e := envelope{method: req.Method, close: req.Close}
	if e.method == "" {
		e.method = http.MethodGet
	}
	if err := checkRequest(req, e.method); err != nil {
		return e, err
	}
	var err error
	if e.host, err = hostOf(req); err != nil {
		return e, err
	}
	if e.target, err = targetOf(req.URL); err != nil {
		return e, err
	}
	if err = e.frame(req); err != nil {
		return e, err
	}
	if connection := req.Header["Connection"]; len(connection) > 0 {
		e.close = e.close || httpguts.HeaderValuesContainsToken(connection, "close")
	}
	e.expects = e.body && req.ProtoAtLeast(1, 1) &&
		httpguts.HeaderValuesContainsToken(req.Header["Expect"], "100-continue")
	e.probe = e.probe && !e.expects
	return e, nil
}

// checkRequest refuses what could be read as something else than one request.
func checkRequest(req *http.Request, method string) error {
	switch {
	case !httpguts.ValidHeaderFieldName(method): // a method is a token, too (RFC 9110 9.1)
		return fmt.Errorf("invalid method %q", method)
	case method == http.MethodConnect:
		return errors.New("CONNECT is for forward proxies")
	case req.Header == nil:
		return errors.New("request without a header map")
	case req.URL.Host == "":
		return errors.New("request without a host in its URL")
	}
	if err := checkFields(req.Header); err != nil {
		return fmt.Errorf("invalid header: %w", err)
	}
	if err := checkFields(req.Trailer); err != nil {
		return fmt.Errorf("invalid trailer: %w", err)
	}
	return nil
}

// checkFields refuses names and values that do not fit on one line. Values are
// not shown: they may be secrets.
func checkFields(h http.Header) error {
	for name, values := range h {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("field name %q", name)
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return fmt.Errorf("value of field %s", name)
			}
		}
	}
	return nil
}

// hostOf returns the Host to send: the request's own before its URL's, in ASCII,
// without the zone, which means something on this machine only (RFC 6874 4).
func hostOf(req *http.Request) (string, error) {
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	host, err := httpguts.PunycodeHostPort(host)
	if err != nil {
		return "", fmt.Errorf("invalid host: %w", err)
	}
	if !httpguts.ValidHostHeader(host) {
		return "", fmt.Errorf("invalid host %q", host)
	}
	return withoutZone(host), nil
}

func withoutZone(host string) string {
	if !strings.HasPrefix(host, "[") {
		return host
	}
	end := strings.LastIndexByte(host, ']')
	if end < 0 {
		return host
	}
	zone := strings.IndexByte(host[:end], '%')
	if zone < 0 {
		return host
	}
	return host[:zone] + host[end:]
}

// targetOf returns what goes between the method and the version. It must be one
// word: a space would end it, and let the rest be taken for the version.
func targetOf(u *url.URL) (string, error) {
	target := u.RequestURI()
	for i := range len(target) {
		if c := target[i]; c <= ' ' || c == 0x7f {
			return "", errors.New("the request's target has a space or a control character")
		}
	}
	if target[0] == '/' || target == "*" || strings.HasPrefix(target, "http://") {
		return target, nil
	}
	return "", errors.New("the request's target is neither a path nor a URL")
}

// frame decides how the body's end is told (RFC 9112 6).
func (e *envelope) frame(req *http.Request) error {
	if req.Body == nil && req.ContentLength != 0 {
		return fmt.Errorf("content length %d without a body", req.ContentLength)
	}
	if req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	e.body = true
	declared := len(req.TransferEncoding) > 0 && req.TransferEncoding[0] == "chunked"
	if e.length = req.ContentLength; e.length > 0 && !declared {
		return nil
	}
	e.length, e.chunked = -1, true
	e.probe = !declared && usuallyWithoutBody(e.method) && len(req.Trailer) == 0
	return e.announce(req.Trailer)
}

// usuallyWithoutBody reports whether a body with this method would surprise.
func usuallyWithoutBody(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodOptions, "PROPFIND", "SEARCH":
		return true
	}
	return false
}

// announce notes the names of trailers.
func (e *envelope) announce(trailer http.Header) error {
	for name := range trailer {
		if framesMessage(name) {
			return fmt.Errorf("%s must not be a trailer", name)
		}
		e.trailer = append(e.trailer, http.CanonicalHeaderKey(name))
	}
	slices.Sort(e.trailer)
	return nil
}

// framesMessage reports whether the field says how messages are delimited, which
// is ours to say.
func framesMessage(name string) bool {
	return len(name) > 6 && (strings.EqualFold(name, "Content-Length") ||
		strings.EqualFold(name, "Transfer-Encoding") || strings.EqualFold(name, "Trailer"))
}

// appendHead appends the request's head but for the framing and the empty line.
func (e *envelope) appendHead(b []byte, h http.Header) []byte {
	b = append(b, e.method...)
	b = append(b, ' ')
	b = append(b, e.target...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, e.host...)
	b = append(b, "\r\n"...)
	for name, values := range h {
		b = e.appendField(b, name, values)
	}
	if e.close && !httpguts.HeaderValuesContainsToken(h["Connection"], "close") {
		b = append(b, "Connection: close\r\n"...)
	}
	return b
}

// appendField appends a field's lines, unless it is one that is ours to write. The
// name is compared without regard to case: a map may hold any.
func (e *envelope) appendField(b []byte, name string, values []string) []byte {
	switch {
	case framesMessage(name), strings.EqualFold(name, "Host"):
		return b
	case name == "User-Agent":
		// Only the first, and none if it is empty, as net/http.
		if len(values) == 0 || strings.Trim(values[0], " \t") == "" {
			return b
		}
		values = values[:1]
	}
	for _, value := range values {
		b = appendLine(b, name, value)
	}
	return b
}

func appendLine(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, strings.Trim(value, " \t")...)
	return append(b, "\r\n"...)
}

// appendFraming ends the head. A request whose method usually has a body says so
// when it has none (RFC 9110 8.6).
func (e *envelope) appendFraming(b []byte) []byte {
	switch {
	case e.chunked:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
		if len(e.trailer) > 0 {
			b = appendLine(b, "Trailer", strings.Join(e.trailer, ", "))
		}
	case e.length > 0, e.method == http.MethodPost, e.method == http.MethodPut, e.method == http.MethodPatch:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, e.length, 10)
		b = append(b, "\r\n"...)
	}
	return append(b, "\r\n"...)
}

// withoutBody makes it a request that has none after all.
func (e *envelope) withoutBody() { e.length, e.chunked, e.trailer = 0, false, nil }

// appendTrailer appends what follows the last chunk. The values may have come with
// the body, and are looked at only now.
func (e *envelope) appendTrailer(b []byte, trailer http.Header) ([]byte, error) {
	if err := checkFields(trailer); err != nil {
		return nil, fmt.Errorf("invalid trailer: %w", err)
	}
	for name, values := range trailer {
		if framesMessage(name) {
			return nil, fmt.Errorf("%s must not be a trailer", name)
		}
		for _, value := range values {
			b = appendLine(b, name, value)
		}
	}
	return append(b, "\r\n"...), nil
}
