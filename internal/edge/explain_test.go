package edge

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/porttest"
	"github.com/m3o/ingress/internal/upstream"
)

func TestExplainTellsWithoutAsking(t *testing.T) {
	r := newRig(t, nil)
	r.links["short"] = "https://shop.test/"
	explain := func(address string) Explanation {
		t.Helper()
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		return r.edge.Explain(t.Context(), u)
	}
	for _, test := range []struct {
		address string
		want    Explanation
	}{
		{"http://OWN.test.:80/api/a/b", Explanation{Host: "own.test", Route: "api", Answer: "the platform"}},
		{"http://nobody.test/", Explanation{Host: "nobody.test", Route: "unknown_host", Answer: "404 unknown_host"}},
		{"http://own.test/nothing", Explanation{Host: "own.test", Route: "unknown_path", Answer: "404 unknown_path"}},
		{"http://own.test/", Explanation{Host: "own.test", Route: "index", Answer: "a page of the ingress"}},
		{"http://own.test/u/short", Explanation{
			Host: "own.test", Route: "link", ID: "short", Known: "no", Remembered: "the platform is asked, and the request waits for it",
			Answer: "302 to where it leads, if the platform knows it",
		}},
		{"http://a b/", Explanation{Answer: "400 bad_request"}},
	} {
		u, err := url.Parse(test.address)
		if err != nil { // what no URL can say
			u = &url.URL{Host: "a b", Path: "/"}
			test.want.Route = "bad_host"
		}
		if got := r.edge.Explain(t.Context(), u); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.address, got, test.want)
		}
	}
	r.get("own.test/u/short")
	if got := explain("http://own.test/u/short"); got.Known != "fresh" || got.Leads != "https://shop.test/" {
		t.Errorf("after a visit: %+v", got)
	}
	r.get("own.test/u/missing")
	if got := explain("http://own.test/u/missing"); got.Known != "unknown" || got.Leads != "" || got.Answer != "404 unknown_link" {
		t.Errorf("after a visit to nothing: %+v", got)
	}
}

func TestExplainTellsOfTheRedirectToTLS(t *testing.T) {
	r := newRig(t, nil, func(c *Config) {
		c.Secure = &Secure{Covers: func(host string) bool { return host != "plain.app.test" }}
	})
	r.get("missing.app.test/")
	if _, err := r.edge.links.get(t.Context(), "none"); err != errUnknown { // as a visit over TLS would
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"http://own.test/":         "a redirect to TLS; there: a page of the ingress",
		"https://own.test/":        "a page of the ingress",
		"http://new.app.test/":     "a redirect to TLS; there: the backend, if the platform knows it",
		"http://plain.app.test/":   "the backend, if the platform knows it",
		"http://missing.app.test/": "404 unknown_app",
		"http://own.test/u/none":   "a redirect to TLS; there: 404 unknown_link",
		"http://own.test/nothing":  "a redirect to TLS; there: 404 unknown_path",
		"http://nobody.test/":      "404 unknown_host",
	} {
		if got := r.edge.Explain(t.Context(), urlOf(t, address)).Answer; got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}

// What stands in the way of a request is told, with when it will not any more.
func TestExplainTellsHowTheBackendIs(t *testing.T) {
	clock := newClock()
	r := newRig(t, nil, func(c *Config) {
		c.Now = clock.now
		c.Admit = func(_ context.Context, u *url.URL) error {
			switch u.Hostname() {
			case "192.0.2.1":
				return &upstream.ForbiddenError{Address: u.Host, Why: "it is for documents"}
			case "192.0.2.2":
				return errOutage // it cannot be looked up
			}
			return nil
		}
		c.Describe = func(_ context.Context, kind Kind, id string) (string, Reason, error) {
			switch id {
			case "ours":
				return string(kind) + "/" + id + " sleeps", "", nil
			case "remembered", "away":
				return "", ReasonElsewhere, errOutage
			case "crashes":
				return "it ends", ReasonCrashLooping, nil
			}
			return "", "", nil
		}
	})
	inside, leave := make(chan struct{}), make(chan struct{})
	r.backends["slow"] = backend(t, func(http.ResponseWriter, *http.Request) {
		inside <- struct{}{}
		<-leave
	})
	for id, address := range map[string]string{"refused": "http://192.0.2.1/", "unclear": "http://192.0.2.2/"} {
		r.backends[id] = Backend{URL: *urlOf(t, address), Origin: Registered}
	}
	r.backends["gone"] = Backend{Key: "gone", URL: *urlOf(t, "http://"+porttest.Closed(t)), Origin: Remote}
	r.backends["remembered"] = Backend{Key: "app/remembered", Origin: Managed}
	r.backends["ours"] = Backend{Key: "app/ours", Origin: Managed}
	explain := func(id string) Explanation { return r.edge.Explain(t.Context(), urlOf(t, "http://"+id+".app.test/")) }

	answered := make(chan struct{})
	go func() {
		defer close(answered)
		r.get("slow.app.test/")
	}()
	<-inside
	if x := explain("slow"); x.Answer != "the backend" || !strings.Contains(x.Backend, "under way: 1,") || !strings.Contains(x.Remembered, "in 1m0s") {
		t.Errorf("with a request under way: %+v", x)
	}
	close(leave)
	<-answered
	clock.advance(2 * time.Minute)
	if x := explain("slow"); x.Known != "stale" || x.Answer != "the backend" {
		t.Errorf("later: %+v", x)
	}
	for range failuresToEject {
		r.get("gone.app.test/")
	}
	if x := explain("gone"); x.Answer != "503 backend_ejected" || !strings.Contains(x.Backend, "left alone for 1s more") {
		t.Errorf("a backend that is gone: %+v", x)
	}
	r.get("ours.app.test/") // there is no activator, but the id is known then
	if x := explain("ours"); x.Backend != "app/ours sleeps" || x.Leads != "app/ours" || x.Answer != "the backend" {
		t.Errorf("what runs here: %+v", x)
	}
	if x := explain("crashes"); x.Known != "no" || x.Backend != "it ends" || x.Answer != "503 crash_looping" {
		t.Errorf("what runs here, and is not remembered: %+v", x)
	}
	for id, want := range map[string]string{"refused": "502 backend_forbidden", "unclear": "the backend"} {
		r.get(id + ".app.test/") // there is no transport to such, but the id is known then
		if x := explain(id); x.Answer != want || strings.Contains(x.Backend, "for documents") == (id == "unclear") {
			t.Errorf("where the address rules say what they do: %+v, want %s", x, want)
		}
	}
	r.get("remembered.app.test/")
	for id, want := range map[string]string{"remembered": "503 elsewhere", "away": "503 platform_down"} {
		if x := explain(id); x.Backend != "it cannot be told: "+errOutage.Error() || x.Answer != want {
			t.Errorf("what the platform cannot be asked about: %+v, want %s", x, want)
		}
	}
	if x := explain("nosuch"); x.Backend != "" || x.Answer != "the backend, if the platform knows it" {
		t.Errorf("what nobody knows: %+v", x)
	}
}
