package edge

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Tracing says which requests are traced, and where to.
type Tracing struct {
	// Tracer gets the spans. It must take all: which requests are traced is decided
	// here, so that one that is not costs nothing.
	Tracer trace.Tracer
	// Ratio of the requests are traced, from 0 to 1, besides those that a trusted
	// proxy has sampled. What visitors say of sampling is not heeded: each span
	// costs.
	Ratio float64
}

// check returns what is wrong with the settings, if anything.
func (t *Tracing) check() error {
	switch {
	case t == nil:
		return nil
	case t.Tracer == nil:
		return errors.New("tracing: no tracer")
	case t.Ratio < 0 || t.Ratio > 1:
		return fmt.Errorf("tracing: the ratio %v is not between 0 and 1", t.Ratio)
	}
	return nil
}

// traceContext is how spans are passed on (W3C Trace Context, level 1).
var traceContext propagation.TraceContext

// begin starts the span of a request, which continues the visitor's trace if there
// is one. A request that is not traced has none, and what its headers say of
// tracing passes as it came.
func (t *Tracing) begin(r *http.Request, rec *record) *requestTrace {
	if t == nil {
		return nil
	}
	ctx := traceContext.Extract(context.Background(), propagation.HeaderCarrier(r.Header))
	if asked := rec.believed && trace.SpanContextFromContext(ctx).IsSampled(); !asked && rand.Float64() >= t.Ratio {
		return nil
	}
	ctx, span := t.Tracer.Start(ctx, clip(r.Method)+" "+rec.route, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(rec.started),
		trace.WithAttributes(
			attribute.String("http.request.method", clip(r.Method)),
			attribute.String("url.scheme", rec.visitor.scheme),
			attribute.String("url.path", clip(loggedPath(r, rec))),
			attribute.String("server.address", clip(r.Host)),
			attribute.String("network.protocol.version", fmt.Sprintf("%d.%d", r.ProtoMajor, r.ProtoMinor)),
			attribute.String("http.route", rec.route),
			attribute.String("ingress.request", rec.requestID()),
		))
	return &requestTrace{tracer: t.Tracer, ctx: ctx, span: span}
}

// requestTrace is the trace of one request. A nil one records nothing. It belongs
// to the request's goroutine.
type requestTrace struct {
	tracer  trace.Tracer
	ctx     context.Context
	span    trace.Span
	backend trace.Span // of what is sent to the backend, or nil
}

// id is the trace's, for the log; empty when there is none.
func (t *requestTrace) id() string {
	if t == nil {
		return ""
	}
	return t.span.SpanContext().TraceID().String()
}

// step records a part of the request that is over.
func (t *requestTrace) step(name string, begin, end time.Time) {
	if t != nil {
		_, span := t.tracer.Start(t.ctx, name, trace.WithTimestamp(begin))
		span.End(trace.WithTimestamp(end))
	}
}

// send starts the span of what is sent to the backend, which the headers name to
// it. A managed backend has no host.
func (t *requestTrace) send(h http.Header, host string, now time.Time) {
	if t == nil {
		return
	}
	ctx, span := t.tracer.Start(t.ctx, "backend", trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(now))
	if host != "" {
		span.SetAttributes(attribute.String("server.address", host))
	}
	t.backend = span
	traceContext.Inject(ctx, propagation.HeaderCarrier(h))
}

// answered notes how the backend answered.
func (t *requestTrace) answered(status int, err error) {
	switch {
	case t == nil:
	case err != nil:
		t.backend.SetStatus(codes.Error, clip(err.Error()))
	default:
		t.backend.SetAttributes(attribute.Int("http.response.status_code", status))
	}
}

// end ends the spans that are open. client names the visitor, for requests that are
// traced alone.
func (t *requestTrace) end(rec *record, res *response, client func(*record) string, now time.Time) {
	if t == nil {
		return
	}
	if t.backend != nil {
		t.backend.End(trace.WithTimestamp(now))
	}
	t.span.SetAttributes(attribute.Int("http.response.status_code", res.status), attribute.Int64("http.response.body.size", res.bytes))
	for _, a := range [...]struct{ key, value string }{
		{"client.address", client(rec)}, {"ingress.tenant", rec.tenant}, {"ingress.id", rec.id}, {"error.type", string(rec.reason)},
	} {
		if a.value != "" {
			t.span.SetAttributes(attribute.String(a.key, clip(a.value)))
		}
	}
	if rec.coldStart > 0 {
		t.span.SetAttributes(attribute.Int64("ingress.cold_start_ms", rec.coldStart.Milliseconds()))
	}
	if res.status >= http.StatusInternalServerError {
		t.span.SetStatus(codes.Error, string(rec.reason))
	}
	t.span.End(trace.WithTimestamp(now))
}
