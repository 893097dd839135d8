package edge

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestOptionsOfAWholeHostReachesTheApp(t *testing.T) {
	r := newRig(t, nil)
	app := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Target", r.RequestURI) }))
	app.Config.DisableGeneralOptionsHandler = true
	app.Start()
	t.Cleanup(app.Close)
	r.backends["hello"] = Backend{URL: url.URL{Scheme: "http", Host: app.Listener.Addr().String()}}
	if answer := r.raw("OPTIONS * HTTP/1.1\r\nHost: hello.app.test\r\nConnection: close\r\n\r\n"); !strings.Contains(answer, "Target: *\r\n") {
		t.Errorf("got %q", answer)
	}
	if answer := r.raw("OPTIONS * HTTP/1.1\r\nHost: own.test\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 404") {
		t.Errorf("our own host: %q", answer)
	}
}

func TestTargetsWithoutAPathAreRefused(t *testing.T) {
	r := newRig(t, nil)
	r.backends["hello"] = backend(t, func(http.ResponseWriter, *http.Request) { t.Error("the backend was reached") })
	for _, target := range []string{"*", "mailto:a", "hello:80"} {
		for _, host := range []string{"hello.app.test", "own.test"} {
			if answer := r.raw("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 400") {
				t.Errorf("%s of %s: %q", target, host, answer)
			}
		}
	}
}

func TestCallersOfTheAPIGetJSONThatSaysWhatToDo(t *testing.T) {
	r := newRig(t, nil)
	for request, says := range map[string]string{
		"TRACE /api/a/b": "This method does not work here.",
		"TRACE /v1/a/b":  "This method does not work here.",
		"GET /api/a":     "Call /api/{service}/{endpoint}.",
	} {
		answer := r.raw(request + " HTTP/1.1\r\nHost: own.test\r\nConnection: close\r\n\r\n")
		if !strings.Contains(answer, "application/json") || !strings.Contains(answer, says) {
			t.Errorf("%s: %q", request, answer)
		}
	}
}

func TestTheKeyGoesNowhereHoweverItsNameIsWritten(t *testing.T) {
	const key = "the-key-itself"
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		body := new(strings.Builder)
		if err := r.Write(body); err != nil { // all of it: line, headers, body
			t.Error(err)
		}
		seen := body.String()
		if r.Header.Get("Authorization") != "Bearer "+key || strings.Count(seen, key) != 1 || strings.Contains(r.RequestURI, key) {
			t.Errorf("the platform got %q", seen)
		}
	})
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	for _, name := range []string{"api_key", "API_KEY", "Api_Key", "api%5Fkey", "%61PI_KEY"} {
		r.do(http.MethodGet, "own.test/api/a/b?x=1&"+name+"="+key, "")
		r.do(http.MethodPost, "own.test/api/a/b", "x=1&"+name+"="+key, form...)
		r.do(http.MethodPost, "own.test/api/a/b?"+name+"="+key, name+"=other&x=1", form...)
		r.do(http.MethodGet, "own.test/api/a/b?api_key="+key, "", "Referer", "http://page.test/?a=1&"+name+"="+key)
	}
	if strings.Contains(r.log.String(), key) {
		t.Errorf("the log has the key: %s", r.log)
	}
}

func TestNoPathLeadsOutOfTheAPI(t *testing.T) {
	r := newRig(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("the platform got %s", r.URL) })
	for _, path := range []string{"/v1/../x", "/v1/a/../../x", "/v1/%2e%2e/x", "/v1/..%2fx", `/v1/..\x`, "/v1/a%5c..%5c..%5cx", "/v1/./x"} {
		answer := r.raw("GET " + path + " HTTP/1.1\r\nHost: own.test\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(answer, "HTTP/1.1 400") || !strings.Contains(answer, string(ReasonBadRequest)) {
			t.Errorf("%s: %q", path, answer)
		}
	}
}
