package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/m3o/ingress/internal/edge"
)

const (
	// tracesPath is where collectors take traces, below the endpoint (OTLP/HTTP).
	tracesPath = "/v1/traces"
	// sayTraceErrors is how often it is logged that traces do not arrive.
	sayTraceErrors = time.Minute
	// lastTraces bounds the wait for a collector at the end of a run.
	lastTraces  = 2 * time.Second
	tracingName = "github.com/m3o/ingress"
	// otlpHeaders is the variable that the exporter reads its headers from.
	otlpHeaders = "OTEL_EXPORTER_OTLP_HEADERS"
)

// validateTracing refuses settings that no trace can be sent by.
func (c *config) validateTracing() error {
	if !(c.TraceRatio >= 0 && c.TraceRatio <= 1) { // written so that NaN is refused, too
		return fmt.Errorf("--trace-ratio %v: it is a part of all requests, from 0 to 1", c.TraceRatio)
	}
	if c.OTLPEndpoint == "" {
		return nil
	}
	u, err := parseWebURL(c.OTLPEndpoint)
	if err != nil {
		return fmt.Errorf("--otlp-endpoint: it %w; give one such as http://localhost:4318", err)
	}
	// The exporter sends neither, and the list of settings would show both.
	if u.User != nil {
		return fmt.Errorf("--otlp-endpoint: there are credentials in it; give them in %s", otlpHeaders)
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("--otlp-endpoint: it must end with its path; what the collector wants to know goes into %s", otlpHeaders)
	}
	return nil
}

// openTracing returns how requests are traced, or nil when there is no collector. One
// that cannot be reached holds nobody up: spans wait, boundedly, and are dropped.
func (s *server) openTracing() (*edge.Tracing, error) {
	if s.config.OTLPEndpoint == "" {
		return nil, nil
	}
	endpoint, err := url.Parse(s.config.OTLPEndpoint)
	if err != nil {
		return nil, fmt.Errorf("--otlp-endpoint: %w", err)
	}
	exporter, err := otlptracehttp.New(context.Background(), otlptracehttp.WithEndpointURL(endpoint.JoinPath(tracesPath).String()))
	if err != nil {
		return nil, fmt.Errorf("--otlp-endpoint %s: %w", endpoint.Redacted(), err)
	}
	otel.SetErrorHandler(&traceErrors{log: s.log, endpoint: endpoint.Redacted()})
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithSampler(sdktrace.AlwaysSample()), // the data plane decides
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "ingress"), attribute.String("service.version", version()))),
	)
	s.onClose(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), lastTraces)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			s.log.Warn("the last traces could not be sent", "error", err)
		}
		return nil
	})
	return &edge.Tracing{Tracer: provider.Tracer(tracingName), Ratio: s.config.TraceRatio}, nil
}

// traceErrors logs that traces do not arrive, not with every batch.
type traceErrors struct {
	log      *slog.Logger
	endpoint string

	mu   sync.Mutex
	said time.Time
}

// Handle implements otel.ErrorHandler.
func (t *traceErrors) Handle(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.said) < sayTraceErrors {
		return
	}
	t.said = time.Now()
	t.log.Warn("traces cannot be sent; requests are served all the same", "endpoint", t.endpoint, "error", err)
}
