package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/logtest"
)

// accessLog gives a rig an access log of its own.
func accessLog(change func(*Config)) (*logtest.Buffer, func(*Config)) {
	log := &logtest.Buffer{}
	return log, func(c *Config) {
		c.AccessLog = slog.New(slog.NewJSONHandler(log, nil))
		change(c)
	}
}

// lines returns the lines of a log.
func lines(t *testing.T, log *logtest.Buffer) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range bytes.Lines([]byte(log.String())) {
		var fields map[string]any
		if err := json.Unmarshal(line, &fields); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, fields)
	}
	return all
}

func TestALineSaysForWhomAndWhereTheTimeWent(t *testing.T) {
	log, config := accessLog(func(c *Config) {
		c.Platform = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { NoteTenant(r.Context(), "the-caller") })
		c.Activator = activatorFunc(func(context.Context, string) (Lease, error) {
			return Lease{Transport: http.DefaultTransport, Release: func() {}}, nil
		})
	})
	const slow = 20 * time.Millisecond
	r := newRig(t, nil, config)
	to := backend(t, func(http.ResponseWriter, *http.Request) { <-time.After(slow) })
	to.Tenant, to.Key = "the-owner", "app/slow"
	r.backends["slow"] = to
	r.get("slow.app.test/path?secret=1")
	r.get("own.test/v1/helloworld/call")
	eventually(t, "two lines", func() bool { return len(lines(t, log)) == 2 })
	app, call := lines(t, log)[0], lines(t, log)[1]
	if app["tenant"] != "the-owner" || app["id"] != "slow" || app["protocol"] != "HTTP/1.1" || app["path"] != "/path" {
		t.Errorf("the app's line is %v", app)
	}
	if took, _ := app["answer"].(float64); time.Duration(took) < slow {
		t.Errorf("the backend took %v to answer", app["answer"])
	}
	if call["tenant"] != "the-caller" || call["answer"] != nil || call["queue"] != nil {
		t.Errorf("the call's line is %v", call)
	}
	if strings.Contains(log.String(), "secret") {
		t.Error("the query is in the log")
	}
	if strings.Contains(r.log.String(), `"msg":"request"`) {
		t.Error("the lines are in the other log too")
	}
}

func TestNoTokenIsLogged(t *testing.T) {
	log, config := accessLog(func(*Config) {})
	r := newRig(t, nil, config)
	r.tokens["secret"] = Redirects{}
	for i, request := range []string{
		"GET /user/secret HTTP/1.1\r\nHost: own.test", "GET /user/secret HTTP/1.1\r\nHost: user.test", "GET /secret?token=secret HTTP/1.1\r\nHost: user.test",
		"TRACE /user/secret HTTP/1.1\r\nHost: own.test", "GET /user/secret HTTP/1.1\r\nHost: www.own.test", "GET /user/secret HTTP/1.1\r\nHost: own_test:x",
		"GET /%75ser/secret HTTP/1.1\r\nHost: www.own.test",
	} {
		r.raw(request + "\r\nConnection: close\r\n\r\n")
		eventually(t, "the line", func() bool { return len(lines(t, log)) == i+1 })
		if line := lines(t, log)[i]; strings.Contains(fmt.Sprint(line), "secret") {
			t.Errorf("%q: the line is %v", request, line)
		}
	}
}

type activatorFunc func(context.Context, string) (Lease, error)

func (f activatorFunc) Acquire(ctx context.Context, key string) (Lease, error) { return f(ctx, key) }

func TestOneOfManyIsLoggedAndEveryFailure(t *testing.T) {
	log, config := accessLog(func(c *Config) { c.AccessLogEvery = 10 })
	r := newRig(t, nil, config)
	r.backends["good"] = backend(t, func(http.ResponseWriter, *http.Request) {})
	r.backends["bad"] = backend(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	for range 30 {
		r.get("good.app.test/")
		r.get("bad.app.test/")
	}
	count := map[any]int{}
	eventually(t, "the last line", func() bool {
		clear(count)
		for _, line := range lines(t, log) {
			count[line["id"]]++
		}
		return count["bad"] == 30
	})
	if count["good"] != 3 {
		t.Errorf("of 30 requests that went well %d were logged, want 3", count["good"])
	}
}

func TestAddressesAreAnonymised(t *testing.T) {
	e := &Edge{config: Config{AnonymiseClients: true}}
	for given, want := range map[string]string{
		"203.0.113.77": "203.0.113.0", "2001:db8:1:2:3::4": "2001:db8:1::", "::1": "::",
	} {
		rec := &record{}
		rec.visitor.addr = netip.MustParseAddr(given)
		if got := e.loggedClient(rec); got != want {
			t.Errorf("%s is logged as %s, want %s", given, got, want)
		}
	}
	if got := e.loggedClient(&record{}); got != "invalid IP" {
		t.Errorf("no address is logged as %q", got)
	}
}
