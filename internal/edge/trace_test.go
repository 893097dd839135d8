package edge

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/m3o/ingress/internal/porttest"
)

// traced is a rig whose spans are recorded, and the header that its app got.
func traced(t *testing.T, ratio float64, change ...func(*Config)) (r *rig, spans *tracetest.SpanRecorder, seen *http.Header) {
	t.Helper()
	spans, seen = tracetest.NewSpanRecorder(), new(http.Header)
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans), sdktrace.WithSampler(sdktrace.AlwaysSample()))
	r = newRig(t, nil, append(change, func(c *Config) { c.Tracing = &Tracing{Tracer: provider.Tracer("test"), Ratio: ratio} })...)
	r.backends["hello"] = backend(t, func(_ http.ResponseWriter, q *http.Request) { *seen = q.Header.Clone() })
	return r, spans, seen
}

const (
	visitorsTrace   = "4bf92f3577b34da6a3ce929d0e0e4736"
	visitorsSpan    = "00f067aa0ba902b7"
	visitorsSampled = "00-" + visitorsTrace + "-" + visitorsSpan + "-01"
	visitorsNot     = "00-" + visitorsTrace + "-" + visitorsSpan + "-00"
)

func trusting(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }
func nobody(*Config)     {}

func TestWhichRequestsAreTraced(t *testing.T) {
	for name, row := range map[string]struct {
		ratio  float64
		trust  func(*Config)
		given  string
		traced bool
		passed string // to the app, when it is not traced
	}{
		"all":                              {1, nobody, "", true, ""},
		"none":                             {0, nobody, "", false, ""},
		"a visitor's wish":                 {0, nobody, visitorsSampled, false, visitorsSampled},
		"a trusted proxy's wish":           {0, trusting, visitorsSampled, true, ""},
		"a trusted proxy that sampled not": {0, trusting, visitorsNot, false, visitorsNot},
		"all of a visitor's":               {1, nobody, visitorsNot, true, ""},
		"nonsense":                         {1, nobody, "00-zz-01", true, ""},
		"nonsense that is not traced":      {0, nobody, "00-zz-01", false, "00-zz-01"},
	} {
		r, spans, seen := traced(t, row.ratio, row.trust)
		if a := r.get("hello.app.test/", "Traceparent", row.given); a.StatusCode != 200 {
			t.Fatalf("%s: %d", name, a.StatusCode)
		}
		got := seen.Get("Traceparent")
		if !row.traced {
			if n := len(spans.Ended()); n != 0 || got != row.passed {
				t.Errorf("%s: %d spans; the app got %q", name, n, got)
			}
			continue
		}
		eventually(t, "the spans of "+name, func() bool { return len(spans.Ended()) == 3 })
		parent := spanNamed(t, spans, "GET app").Parent()
		continued := strings.HasPrefix(row.given, "00-"+visitorsTrace)
		if continued != (parent.SpanID().String() == visitorsSpan) || continued != strings.Contains(got, visitorsTrace) || strings.Contains(got, visitorsSpan) || !strings.HasSuffix(got, "-01") {
			t.Errorf("%s: the parent is %v, the app got %q", name, parent, got)
		}
	}
}

func spanNamed(t *testing.T, spans *tracetest.SpanRecorder, name string) sdktrace.ReadOnlySpan {
	t.Helper()
	for _, span := range spans.Ended() {
		if span.Name() == name {
			return span
		}
	}
	t.Fatalf("no span %q among %v", name, spans.Ended())
	return nil
}

// The spans hang together, and none has a secret.
func TestASpanForEachPart(t *testing.T) {
	r, spans, seen := traced(t, 1)
	r.backends["gone"] = Backend{Key: "gone", URL: *urlOf(t, "http://"+porttest.Closed(t)), Origin: Remote}
	r.get("hello.app.test/page?api_key=hunter22", "Authorization", "Bearer hunter22")
	eventually(t, "the spans", func() bool { return len(spans.Ended()) == 3 })
	root, resolved, backend := spanNamed(t, spans, "GET app"), spanNamed(t, spans, "resolve"), spanNamed(t, spans, "backend")
	if root.SpanKind() != trace.SpanKindServer || backend.SpanKind() != trace.SpanKindClient || root.Parent().IsValid() {
		t.Errorf("kinds %v and %v, parent %v", root.SpanKind(), backend.SpanKind(), root.Parent())
	}
	for _, part := range []sdktrace.ReadOnlySpan{resolved, backend} {
		if part.Parent().SpanID() != root.SpanContext().SpanID() || part.StartTime().Before(root.StartTime()) || part.EndTime().After(root.EndTime()) {
			t.Errorf("%s is no part of the request: %v to %v in %v to %v", part.Name(), part.StartTime(), part.EndTime(), root.StartTime(), root.EndTime())
		}
	}
	if want := backend.SpanContext().SpanID().String(); !strings.Contains(seen.Get("Traceparent"), want) {
		t.Errorf("the app got %q, want the span %s", seen.Get("Traceparent"), want)
	}
	all := map[string]string{}
	for _, span := range spans.Ended() {
		for _, a := range span.Attributes() {
			all[string(a.Key)] = a.Value.String()
			if strings.Contains(a.Value.String(), "hunter22") {
				t.Errorf("%s says %s", span.Name(), a.Value.String())
			}
		}
	}
	for key, want := range map[string]string{"url.path": "/page", "http.route": "app", "ingress.id": "hello", "http.response.status_code": "200", "client.address": "127.0.0.1"} {
		if all[key] != want {
			t.Errorf("%s is %q, want %q", key, all[key], want)
		}
	}
	if id := root.SpanContext().TraceID().String(); !strings.Contains(r.log.String(), `"trace":"`+id+`"`) {
		t.Errorf("the log does not name the trace %s", id)
	}

	r.get("gone.app.test/")
	eventually(t, "the spans of a failure", func() bool { return len(spans.Ended()) == 6 })
	failed := spans.Ended()[5]
	if failed.Status().Description != string(ReasonBackendRefused) {
		t.Errorf("a failure has the status %v", failed.Status())
	}
}

func TestTracingIsChecked(t *testing.T) {
	provider := sdktrace.NewTracerProvider()
	for _, tracing := range []*Tracing{{}, {Tracer: provider.Tracer(""), Ratio: 1.1}, {Tracer: provider.Tracer(""), Ratio: -1}} {
		if _, err := New(Config{Hosts: testHosts, Platform: http.NotFoundHandler(), Tracing: tracing}); err == nil || !strings.Contains(err.Error(), "tracing") {
			t.Errorf("%+v: %v", tracing, err)
		}
	}
}
