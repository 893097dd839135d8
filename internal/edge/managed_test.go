package edge

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/api"
)

// activatorFake leases one site and fails when told to.
type activatorFake struct {
	handler  http.Handler
	err      error
	released chan struct{}
}

func (a *activatorFake) Acquire(context.Context, string) (Lease, error) {
	if a.err != nil {
		return Lease{}, a.err
	}
	return Lease{Handler: a.handler, Release: func() { a.released <- struct{}{} }}, nil
}

func TestManagedBackendsAreHeldAwake(t *testing.T) {
	a := &activatorFake{released: make(chan struct{}, 10), handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "site of "+r.Host)
	})}
	r := newRig(t, nil, func(c *Config) { c.Activator = a })
	r.backends["site"] = Backend{Key: "site", Origin: Managed}
	if res := r.get("site.app.test/"); res.body != "site of site.app.test" {
		t.Errorf("got %d %q", res.StatusCode, res.body)
	}
	<-a.released
	eventually(t, "it is in the access log", func() bool { return strings.Contains(r.log.String(), `"id":"site"`) })
	if strings.Contains(r.log.String(), managedURL.Host) {
		t.Errorf("the stand-in for its address is logged:\n%s", r.log)
	}
	a.err = api.Unavailable("app", "asleep", errOutage)
	r.get("site.app.test/").wantFailure(t, 503, ReasonNotAwake)
}

func TestManagedBackendWithoutActivator(t *testing.T) {
	r := newRig(t, nil)
	r.backends["site"] = Backend{Key: "site", Origin: Managed}
	r.get("site.app.test/").wantFailure(t, 503, ReasonNotAwake)
}

func TestWhyAManagedBackendCannotAnswer(t *testing.T) {
	a := &activatorFake{}
	r := newRig(t, nil, func(c *Config) { c.Activator = a })
	r.backends["site"] = Backend{Key: "site", Origin: Managed}
	for _, row := range []struct {
		reason Reason
		says   string
		reload bool
	}{
		{ReasonDeploying, "being deployed", true},
		{ReasonNotAwake, "could not be started in time", false},
		{ReasonQueueFull, "Too many visitors", false},
		{ReasonBusy, "as many visitors", false},
		{ReasonDeployFailed, "could not be deployed", false},
		{ReasonCrashLooping, "keeps stopping", false},
		{ReasonStopped, "is stopped", false},
		{ReasonElsewhere, "does not run here", false},
	} {
		a.err = &Unready{Reason: row.reason, RetryAfter: 42 * time.Second, Cause: errors.New("it printed sesame")}
		res := r.get("site.app.test/", "Accept", htmlType)
		res.wantFailure(t, 503, row.reason)
		if res.Header.Get("Retry-After") != "42" || !strings.Contains(res.body, row.says) ||
			strings.Contains(res.body, "refresh") != row.reload || strings.Contains(res.body, "sesame") {
			t.Errorf("%s: Retry-After %q\n%s", row.reason, res.Header.Get("Retry-After"), res.body)
		}
		if says := strings.Contains(res.body, "This page loads itself again"); says != row.reload || says && strings.Contains(res.body, "Try again") {
			t.Errorf("%s: the page that loads itself again: %v\n%s", row.reason, row.reload, res.body)
		}
		if res := r.do("POST", "site.app.test/", "x", "Accept", htmlType); !strings.Contains(res.body, "<h1>") || strings.Contains(res.body, "refresh") || strings.Contains(res.body, "loads itself") {
			t.Errorf("%s: the page of a POST loads itself again", row.reason)
		}
	}
}

// sleeper is an activator whose backend never gets ready.
type sleeper struct{ waits chan time.Duration }

func (s sleeper) Acquire(ctx context.Context, _ string) (Lease, error) {
	begin := time.Now()
	select {
	case <-ctx.Done():
	case <-time.After(200 * time.Millisecond):
		// On a machine that stands still for so long both are over at once.
		if end, ok := ctx.Deadline(); ok && time.Now().After(end) {
			<-ctx.Done()
		}
	}
	s.waits <- time.Since(begin)
	return Lease{}, &Unready{Reason: ReasonNotAwake, Cause: ctx.Err()}
}

func TestOnlyPeopleAreShownThatItStarts(t *testing.T) {
	r := newRig(t, nil, func(c *Config) {
		c.Activator = sleeper{waits: make(chan time.Duration, 10)}
		c.Limits.Patience = 10 * time.Millisecond
	})
	r.backends["site"] = Backend{Key: "site", Origin: Managed}
	const page = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"
	for _, row := range []struct {
		method, accept string
		want           Reason
	}{
		{"GET", page, ReasonStarting},
		{"GET", "*/*", ReasonNotAwake},
		{"GET", "application/json, text/html;q=0.5", ReasonNotAwake},
		{"POST", page, ReasonNotAwake},
	} {
		res := r.do(row.method, "site.app.test/", "", "Accept", row.accept)
		if got := Reason(res.Header.Get(errorHeader)); res.StatusCode != 503 || got != row.want || res.Header.Get("Retry-After") == "" {
			t.Errorf("%s %s: got %d %s, Retry-After %q", row.method, row.accept, res.StatusCode, got, res.Header.Get("Retry-After"))
		}
		if reloads := strings.Contains(res.body, `http-equiv="refresh"`); reloads != (row.want == ReasonStarting) {
			t.Errorf("%s %s: loads itself again: %v", row.method, row.accept, reloads)
		}
	}
}

// coldActivator leases a process that was started for the request.
type coldActivator struct {
	to   *url.URL
	took time.Duration
}

func (a coldActivator) Acquire(context.Context, string) (Lease, error) {
	return Lease{
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			r.URL.Host = a.to.Host
			return http.DefaultTransport.RoundTrip(r)
		}),
		ColdStart: a.took, Release: func() {},
	}, nil
}

func TestTheWaitForAStartIsSaid(t *testing.T) {
	to := backend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server-Timing", "db;dur=3")
		_, _ = io.WriteString(w, r.Host)
	})
	a := &coldActivator{to: &to.URL, took: 412500 * time.Microsecond}
	r := newRig(t, nil, func(c *Config) { c.Activator = a })
	r.backends["site"] = Backend{Key: "site", Origin: Managed}
	res := r.get("site.app.test/")
	if got := strings.Join(res.Header.Values("Server-Timing"), ", "); got != "db;dur=3, cold-start;dur=412.5" || res.body != "site.app.test" {
		t.Errorf("got %d %q, Server-Timing %q", res.StatusCode, res.body, got)
	}
	a.took = 0
	if got := r.get("site.app.test/").Header.Values("Server-Timing"); len(got) != 1 {
		t.Errorf("without a start: Server-Timing %q", got)
	}
}
