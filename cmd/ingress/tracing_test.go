package main_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// traceCollector takes traces as a collector of OpenTelemetry does.
type traceCollector struct {
	*httptest.Server
	mu      sync.Mutex
	spans   []*tracepb.Span
	service string
	header  string
}

func newTraceCollector(t *testing.T) *traceCollector {
	c := &traceCollector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var sent collector.ExportTraceServiceRequest
		if err != nil || r.URL.Path != "/base/v1/traces" || proto.Unmarshal(body, &sent) != nil {
			t.Errorf("%s: %v, %d bytes", r.URL.Path, err, len(body))
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.header = r.Header.Get("X-Collector-Key")
		for _, resource := range sent.ResourceSpans {
			for _, a := range resource.Resource.Attributes {
				if a.Key == "service.name" {
					c.service = a.Value.GetStringValue()
				}
			}
			for _, scope := range resource.ScopeSpans {
				c.spans = append(c.spans, scope.Spans...)
			}
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *traceCollector) names() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for _, span := range c.spans {
		names = append(names, span.Name)
	}
	return strings.Join(names, ", ")
}

func TestTracesReachTheCollector(t *testing.T) {
	c := newTraceCollector(t)
	i := startIngressIn(t, shortTempDir(t), []string{"OTEL_EXPORTER_OTLP_HEADERS=x-collector-key=letmein"}, "--otlp-endpoint", c.URL+"/base")
	backend := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(backend.Close)
	i.mustCall("app/Run", fmt.Sprintf(`{"name":"hello","backend":%q}`, backend.URL))
	if a := i.get("http://hello.app.localhost/"); a.status != 200 {
		t.Fatal(a.status)
	}
	i.stop() // what has not been sent yet is sent then
	for _, want := range []string{"POST platform", "GET app", "resolve", "backend"} {
		if !strings.Contains(c.names(), want) {
			t.Errorf("no span %q among %s", want, c.names())
		}
	}
	if c.service != "ingress" || c.header != "letmein" {
		t.Errorf("the service is called %q, and the collector's key was %q", c.service, c.header)
	}
	if _, log := i.output(); strings.Contains(log, "letmein") {
		t.Error("the collector's key is in the log")
	}
}

func TestACollectorThatIsAwayHoldsNobodyUp(t *testing.T) {
	i := startIngress(t, "--otlp-endpoint", "http://127.0.0.1:1")
	for range 50 {
		i.mustCall("helloworld/Call", `{"name":"Jane"}`)
	}
	i.await("a line in the log", func() bool {
		_, log := i.output()
		return strings.Contains(log, "traces cannot be sent")
	})
	i.stop()
}

func TestTracingSettingsThatMakeNoSense(t *testing.T) {
	for _, args := range [][]string{{"--otlp-endpoint", "localhost:4318"}, {"--trace-ratio", "2"}, {"--trace-ratio", "-0.1"}, {"--trace-ratio", "some"}} {
		if _, stderr, code := runProgram(t, []string{"INGRESS_DATA_DIR=" + t.TempDir()}, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...); code == 0 || !strings.Contains(stderr, args[0]) {
			t.Errorf("%v: exit code %d, %s", args, code, stderr)
		}
	}
}
