package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/m3o/ingress/internal/upstream"
)

// unanswered turns the error that left a request without an answer into a
// failure, unless there is nobody left, or no way, to be told.
func (p *proxy) unanswered(r *http.Request, h *hop, explain func(error) *failure) *failure {
	switch {
	case h.answer.hijacked:
		p.Logger.DebugContext(r.Context(), "upgraded connection failed", "backend", h.url.Host, "error", h.err)
		return nil
	case h.body.stalled():
		return bodyTooSlow(h.err)
	case context.Cause(r.Context()) == errRequestTimeout: //nolint:errorlint // it is never wrapped
		return requestTimeout(h.err)
	case h.record.framed.doubt() != nil:
		// The server has given the request up as well, by its context.
		return bodyFailure(h.record.framed.doubt())
	case h.body.failed() != nil:
		if f := bodyFailure(h.body.failed()); f != nil {
			return f
		}
	case !errors.Is(r.Context().Err(), context.Canceled):
		return explain(h.err)
	}
	h.record.reason, h.record.cause = ReasonClientGone, h.err
	panic(http.ErrAbortHandler) // the server closes the connection and writes nothing
}

// bodyFailure explains why the visitor's own body could not be read: it is too
// large, or not HTTP. A visitor who went away gets nil.
func bodyFailure(err error) *failure {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return bodyTooLarge(tooLarge)
	case isGone(err):
		return nil
	}
	f := fail(http.StatusBadRequest, ReasonBadRequest, "The request's body could not be read.")
	f.cause = err
	return f
}

// bodyTooSlow is for a visitor who stopped sending.
func bodyTooSlow(cause error) *failure {
	f := fail(http.StatusRequestTimeout, ReasonBodyTooSlow, "The body did not arrive in time.")
	f.cause = cause
	return f
}

// isGone reports whether a read failed because the other side hung up.
func isGone(err error) bool {
	var network net.Error
	var reset streamError
	return errors.As(err, &reset) && reset.Code == cancelled || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.Canceled) ||
		errors.Is(err, http.ErrBodyReadAfterClose) || errors.As(err, &network)
}

// cancelled is what HTTP/2 clients say that give a request up (RFC 9113 7).
const cancelled = 0x8

// streamError has the fields of net/http's own, which lends itself to any such
// type by its method As.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

// Error implements error.
func (e streamError) Error() string { return fmt.Sprintf("stream %d: code %d", e.StreamID, e.Code) }

// backendFailure says what kept an app or a function from answering.
func backendFailure(err error) *failure {
	var forbidden *upstream.ForbiddenError
	var unready *Unready
	var f *failure
	switch {
	case errors.As(err, &unready):
		return unreadyFailure(unready)
	case errors.As(err, &forbidden):
		f = fail(http.StatusBadGateway, ReasonBackendForbidden, "The backend's address may not be used.")
		f.hint = "Its owner must register another address, or the operator allow this kind."
	case isTimeout(err):
		f = fail(http.StatusGatewayTimeout, ReasonBackendTimeout, "The backend did not answer in time.")
		f.hint = "Try again in a moment."
	case isDial(err):
		f = fail(http.StatusBadGateway, ReasonBackendRefused, "The backend could not be reached.")
		f.hint = "Try again in a moment."
	default:
		f = fail(http.StatusBadGateway, ReasonBackendBroken, "The backend's answer could not be understood.")
		f.hint = "Its owner should look at its log."
	}
	f.cause = err
	return f
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.As(err, &network) && network.Timeout()
}

// isDial reports whether there was no connection, because of the network or
// because the name does not resolve.
func isDial(err error) bool {
	var network *net.OpError
	var name *net.DNSError
	return errors.As(err, &network) && network.Op == "dial" || errors.As(err, &name)
}

// isMissed reports whether the backend is to blame for there being no connection.
func isMissed(err error) bool {
	var forbidden *upstream.ForbiddenError
	return isDial(err) && !errors.As(err, &forbidden)
}
