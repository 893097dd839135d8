package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// classify tells a platform's answers from everything else that may come from
// its address (WIRE.md 7): the error pages of proxies in front of it, text
// labelled as JSON, nothing at all. Only what the platform itself said may count
// as "not found", because that removes a route that worked.
func classify(res *http.Response, body []byte) error {
	if res.StatusCode == http.StatusOK {
		return classifyOK(body)
	}
	failed := platformError(body)
	if failed != nil && failed.Code == res.StatusCode {
		failed.RetryAfter = retryAfter(res.Header)
		return failed
	}
	if res.StatusCode >= 300 && res.StatusCode < 400 {
		return badReply("the platform's address redirects, which is not followed", fmt.Errorf("status %d%s", res.StatusCode, leadingTo(res)))
	}
	return badReply("the platform's address gave an answer that is not the platform's", fmt.Errorf("status %d", res.StatusCode))
}

// leadingTo names the origin that a redirect leads to, which is the address to be
// given instead, and nothing more of it.
func leadingTo(res *http.Response) string {
	to, err := res.Location()
	if err != nil || to.Host == "" {
		return ""
	}
	if asked := res.Request; asked != nil && asked.URL.Scheme == to.Scheme && asked.URL.Host == to.Host {
		return "" // it would say nothing new
	}
	return " to " + (&url.URL{Scheme: to.Scheme, Host: to.Host}).String()
}

func classifyOK(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return badReply("the platform's reply is empty", errors.New("status 200 without a body"))
	}
	if !startsWith(body, '{') || !json.Valid(body) {
		return badReply("the platform's reply is not a JSON object", errors.New("status 200"))
	}
	if failed := platformError(body); failed != nil {
		return failed
	}
	return nil
}

// platformError returns the error a body is, or nil. All four fields have to be
// there: other programs' errors have a "detail", too.
func platformError(body []byte) *Error {
	var fields struct {
		ID, Detail, Status *string
		Code               *int
	}
	if json.Unmarshal(body, &fields) != nil {
		return nil
	}
	if fields.ID == nil || fields.Code == nil || fields.Detail == nil || fields.Status == nil || *fields.Code < 400 {
		return nil
	}
	return &Error{ID: *fields.ID, Code: *fields.Code, Detail: *fields.Detail}
}

// retryAfter reads the header in its form of seconds; the platform does not use
// that of a date.
func retryAfter(header http.Header) time.Duration {
	seconds, err := strconv.ParseUint(header.Get("Retry-After"), 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// badReply is an answer that makes no sense.
func badReply(detail string, cause error) *Error {
	return &Error{ID: remoteID, Code: http.StatusBadGateway, Detail: detail, Cause: cause}
}

// unreachable is no answer.
func unreachable(cause error) *Error {
	if errors.Is(cause, context.DeadlineExceeded) {
		return &Error{ID: remoteID, Code: http.StatusGatewayTimeout, Detail: "the platform did not answer in time", Cause: cause}
	}
	return Unavailable(remoteID, "the platform cannot be reached", cause)
}
