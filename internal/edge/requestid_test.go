package edge

import (
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"
)

var newID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// One id leads from the visitor's answer to the backend's log and to ours.
func TestARequestHasOneID(t *testing.T) {
	var seen string
	r := newRig(t, nil)
	r.backends["echo"] = backend(t, func(w http.ResponseWriter, q *http.Request) { seen = strings.Join(q.Header[requestIDHeader], ", ") })
	var environment string // as CGI has it, RFC 3875 4.1.18
	r.backends["environment"] = backend(t, func(w http.ResponseWriter, q *http.Request) {
		environment = strings.ToUpper(strings.ReplaceAll(fmt.Sprint(q.Header), "-", "_"))
	})
	r.backends["own"] = backend(t, func(w http.ResponseWriter, q *http.Request) { w.Header().Set(requestIDHeader, "the-apps-own") })

	first := r.get("echo.app.test/").Header[requestIDHeader]
	if len(first) != 1 || !newID.MatchString(first[0]) || seen != first[0] {
		t.Errorf("the visitor was told %q, the backend %q", first, seen)
	}
	eventually(t, "the log has it", func() bool { return strings.Contains(r.log.String(), `"request":"`+first[0]+`"`) })
	if again := r.get("echo.app.test/").Header.Get(requestIDHeader); again == first[0] {
		t.Errorf("two requests have the id %s", again)
	}
	if got := r.get("echo.app.test/", requestIDHeader, "forged").Header.Get(requestIDHeader); !newID.MatchString(got) || seen != got {
		t.Errorf("a visitor chose the id %q, the backend saw %q", got, seen)
	}
	if r.get("environment.app.test/", "X_Request_Id", "forged", "x_request-id", "forged"); strings.Contains(environment, "FORGED") {
		t.Errorf("an app that reads its environment sees %s", environment)
	}
	if got := r.get("own.app.test/").Header[requestIDHeader]; len(got) != 1 || got[0] != "the-apps-own" {
		t.Errorf("an app that names an id of its own: %q", got)
	}
	unknown := r.get("nosuch.app.test/", "Accept", "text/html")
	if id := unknown.Header.Get(requestIDHeader); !newID.MatchString(id) || !strings.Contains(unknown.body, id) {
		t.Errorf("the id %q is not on the page of a failure: %s", id, unknown.body)
	}
}

func TestATrustedProxysIDIsKept(t *testing.T) {
	var seen string
	r := newRig(t, nil, func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	r.backends["echo"] = backend(t, func(w http.ResponseWriter, q *http.Request) { seen = q.Header.Get(requestIDHeader) })
	for given, kept := range map[string]bool{
		"4bf92f3577b34da6a3ce929d0e0e4736": true, "Root=1-67891233-abcdef012345678912345678": true, "a": true,
		"": false, "two words": false, `a"b`: false, "é": false, strings.Repeat("x", maxRequestID+1): false,
	} {
		got := r.get("echo.app.test/", requestIDHeader, given).Header.Get(requestIDHeader)
		if seen != got || (got == given) != kept || !kept && !newID.MatchString(got) {
			t.Errorf("given %q: the visitor was told %q, the backend %q", given, got, seen)
		}
	}
}

func FuzzRequestID(f *testing.F) {
	f.Add("4bf92f3577b34da6a3ce929d0e0e4736")
	f.Add("a\nb")
	f.Fuzz(func(t *testing.T, id string) {
		if isRequestID(id) && (id == "" || len(id) > maxRequestID || strings.ContainsAny(id, " \"\\,;\r\n\t\x00") || strings.ToValidUTF8(id, "") != id) {
			t.Errorf("%q was taken for an id", id)
		}
	})
}
