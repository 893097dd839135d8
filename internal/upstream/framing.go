package upstream

import (
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// framing is how the end of an answer's body is told.
type framing int

const (
	noBody framing = iota
	byLength
	byChunks
	byClose
)

// frame finds out where the answer ends and whether the connection may be used
// after it (RFC 9112 6.3, 9.3). It takes out of the header what net/http does.
func (x *exchange) frame() error {
	r := &x.response
	length, err := takeLength(r.Header)
	if err != nil {
		return err
	}
	chunked, err := takeCoding(r)
	if err != nil {
		return err
	}
	if chunked {
		if length >= 0 {
			return errAmbiguous
		}
		x.coding[0] = "chunked"
		r.TransferEncoding = x.coding[:]
		if r.Trailer, err = takeTrailer(r.Header); err != nil {
			return err
		}
	}
	r.Close = takeClose(r)
	x.setBody(length, chunked)
	x.keep = !r.Close && !x.envelope.close
	if !mayHaveBody(r.StatusCode) && (chunked || length > 0) && r.StatusCode != http.StatusNotModified {
		x.keep = false // it may believe that a body follows
	}
	return nil
}

// setBody sets the body's length and framing.
func (x *exchange) setBody(length int64, chunked bool) {
	r := &x.response
	switch {
	case x.envelope.method == http.MethodHead:
		r.ContentLength, x.answer.framing = length, noBody
	case !mayHaveBody(r.StatusCode) || length == 0:
		r.ContentLength, x.answer.framing = 0, noBody
	case chunked:
		r.ContentLength, x.answer.framing = -1, byChunks
	case length > 0:
		r.ContentLength, x.answer.framing = length, byLength
		x.answer.left = length
	default:
		r.ContentLength, x.answer.framing = -1, byClose
		r.Close = true
	}
}

// mayHaveBody reports whether answers with the status have a body, unless they
// answer HEAD (RFC 9110 6.4.1).
func mayHaveBody(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// takeLength returns the content length, or -1 if there is none. Several equal
// ones become one (RFC 9110 8.6).
func takeLength(h http.Header) (int64, error) {
	values := h["Content-Length"]
	if len(values) == 0 {
		return -1, nil
	}
	for _, value := range values[1:] {
		if value != values[0] {
			return 0, errLength
		}
	}
	if len(values) > 1 {
		h["Content-Length"] = values[:1:1]
	}
	length, err := strconv.ParseUint(values[0], 10, 63)
	if err != nil {
		return 0, errLength
	}
	return int64(length), nil
}

// takeCoding reports whether the body is chunked. Any other coding would have to
// be undone, and with HTTP/1.0, which has none, the message may have been changed
// by somebody who did not know it (RFC 9112 6.1).
func takeCoding(r *http.Response) (bool, error) {
	values, ok := r.Header["Transfer-Encoding"]
	if !ok {
		return false, nil
	}
	if len(values) != 1 || !strings.EqualFold(values[0], "chunked") || r.ProtoMinor == 0 {
		return false, errCoding
	}
	delete(r.Header, "Transfer-Encoding")
	return true, nil
}

// takeTrailer returns the names of trailers that were announced.
func takeTrailer(h http.Header) (http.Header, error) {
	values, ok := h["Trailer"]
	if !ok {
		return nil, nil
	}
	delete(h, "Trailer")
	trailer := make(http.Header)
	for _, value := range values {
		for name := range strings.SplitSeq(value, ",") {
			name = strings.Trim(name, " \t")
			if framesMessage(name) {
				return nil, errTrailer
			}
			if name != "" {
				trailer[http.CanonicalHeaderKey(name)] = nil
			}
		}
	}
	if len(trailer) == 0 {
		return nil, nil
	}
	return trailer, nil
}

// takeClose reports whether the backend closes the connection after the answer.
func takeClose(r *http.Response) bool {
	values := r.Header["Connection"]
	if len(values) == 0 {
		return r.ProtoMinor == 0
	}
	closes := httpguts.HeaderValuesContainsToken(values, "close")
	if r.ProtoMinor == 0 {
		return closes || !httpguts.HeaderValuesContainsToken(values, "keep-alive")
	}
	if closes {
		delete(r.Header, "Connection")
	}
	return closes
}
