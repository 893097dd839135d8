package api

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"

	"google.golang.org/protobuf/proto"
)

// requestMethods are the HTTP methods a call may use. PUT and DELETE behave as
// POST (WIRE.md 1).
const requestMethods = "GET, POST, PUT, DELETE, OPTIONS"

// request reads what an HTTP caller sent into the method's request message.
func (e *endpoint) request(r *http.Request) (proto.Message, *Error) {
	data, failed := payload(r)
	if failed != nil {
		return nil, failed
	}
	return e.parse(data)
}

// parse decodes a request that is JSON already.
func (e *endpoint) parse(data []byte) (proto.Message, *Error) {
	if TooManyValues(data) {
		return nil, tooManyValues()
	}
	req := e.method.request()
	switch err := e.decode(data, req); {
	case errors.Is(err, errTooManyValues):
		return nil, tooManyValues()
	case err != nil:
		return nil, malformed()
	}
	return req, nil
}

// payload returns the request as JSON: the parameters of a GET, else the body.
func payload(r *http.Request) ([]byte, *Error) {
	if r.Method == http.MethodGet {
		data, err := parameters(r.URL.RawQuery)
		if err != nil {
			return nil, malformed()
		}
		return data, nil
	}
	if r.Body == nil { // a request made in this process rather than received
		return nil, nil
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, unreadable(err)
	}
	if contentType := r.Header.Get("Content-Type"); len(data) > 0 && !isJSON(contentType) && !isMislabelled(contentType, data) {
		return nil, newError("v1", http.StatusUnsupportedMediaType,
			"Content-Type must be application/json; forms are understood under /api")
	}
	return data, nil
}

// isMislabelled reports whether a body is a JSON object although it is called a
// form, as curl calls whatever -d sends.
func isMislabelled(contentType string, data []byte) bool {
	media, _, _ := mime.ParseMediaType(contentType) // empty when it cannot be parsed
	return media == "application/x-www-form-urlencoded" && bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{"))
}

// isJSON judges a content type. None counts as JSON, and parameters such as
// charset do not matter (WIRE.md 3).
func isJSON(contentType string) bool {
	if strings.TrimSpace(contentType) == "" {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return false
	}
	return media == "application/json" || strings.HasSuffix(media, "+json")
}

func tooManyValues() *Error {
	return newError("v1", http.StatusRequestEntityTooLarge, "Request has more than %d values", MaxValues)
}

// malformed answers what cannot be read as the method's request (WIRE.md 4). The
// reason may quote the body, which may hold secrets, so it is not kept.
func malformed() *Error {
	return BadRequest("v1", "Request message malformed, please check and try again")
}

// unreadable answers a body that ended early or never ends.
func unreadable(err error) *Error {
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return newError("v1", http.StatusRequestEntityTooLarge,
			"Request body is larger than the limit of %d bytes", tooLarge.Limit)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return newError("v1", http.StatusRequestTimeout, "Request body did not arrive in time")
	}
	failed := BadRequest("v1", "Request body could not be read to its end")
	failed.Cause = err
	return failed
}
