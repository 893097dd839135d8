package main_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The five routes of the mission, through the whole program, embedded platform.

func TestRoute1API(t *testing.T) {
	i := startIngress(t)
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("anyone:"+bootstrapKey))
	form := "application/x-www-form-urlencoded"
	hello := `{"message":"Hello Jane"}`
	for _, test := range []struct {
		name, method, path string
		headers            []string
		body               string
		status             int
		want               string
	}{
		{"parameters and bearer", "GET", "/api/helloworld/Call?name=Jane", []string{"Authorization", "Bearer " + bootstrapKey}, "", 200, hello},
		{"key in the query", "GET", "/api/helloworld/call?name=Jane&api_key=" + bootstrapKey, nil, "", 200, hello},
		{"key and parameters in a form", "POST", "/api/helloworld/call", []string{"Content-Type", form}, "name=Jane&api_key=" + bootstrapKey, 200, hello},
		{"basic", "GET", "/api/helloworld/Call?name=Jane", []string{"Authorization", basic}, "", 200, hello},
		{"three segments", "GET", "/api/helloworld/Helloworld/Call?name=Jane", []string{"Authorization", "bearer " + bootstrapKey}, "", 200, hello},
		{"a JSON body", "POST", "/api/helloworld/Call", []string{"Authorization", "Bearer " + bootstrapKey, "Content-Type", "application/json; charset=utf-8"}, `{"name":"Jane"}`, 200, hello},
		{"a JSON body and the key in the query", "POST", "/api/helloworld/Call?api_key=" + bootstrapKey, []string{"Content-Type", "application/json"}, `{"name":"Jane"}`, 200, hello},
		{"the body wins over parameters", "POST", "/api/helloworld/Call?name=Joe&api_key=" + bootstrapKey, []string{"Content-Type", "application/json"}, `{"name":"Jane"}`, 200, hello},
		{"the first of two counts", "GET", "/api/helloworld/Call?name=Jane&name=Joe&api_key=" + bootstrapKey, nil, "", 200, hello},
		{"numbers stay texts", "GET", "/api/helloworld/Call?name=007&api_key=" + bootstrapKey, nil, "", 200, `{"message":"Hello 007"}`},
		{"quotes and brackets", "GET", "/api/helloworld/Call?name=%3C%22%3E&api_key=" + bootstrapKey, nil, "", 200, `{"message":"Hello <\">"}`},
		{"/v1 itself", "POST", "/v1/helloworld/call", []string{"Authorization", "Bearer " + bootstrapKey}, `{"name":"Jane"}`, 200, hello},
		{"no key", "GET", "/api/helloworld/Call?name=Jane", nil, "", 401, `{"id":"v1","code":401,"detail":"Unauthorized","status":"Unauthorized"}`},
		{"a wrong key beats a right parameter", "GET", "/api/helloworld/Call?api_key=" + bootstrapKey, []string{"Authorization", "Bearer wrong"}, "", 401, `{"id":"v1","code":401,"detail":"Unauthorized","status":"Unauthorized"}`},
		{"one segment", "GET", "/api/helloworld?api_key=" + bootstrapKey, nil, "", 400, ""},
		{"four segments", "GET", "/api/a/b/c/d?api_key=" + bootstrapKey, nil, "", 400, ""},
		{"unknown method", "GET", "/api/helloworld/Nosuch?api_key=" + bootstrapKey, nil, "", 404, `{"id":"go.micro.client","code":404,"detail":"unknown service Helloworld.Nosuch","status":"Not Found"}`},
		{"truncated JSON", "POST", "/api/helloworld/Call", []string{"Authorization", "Bearer " + bootstrapKey, "Content-Type", "application/json"}, `{"name":`, 400, ""},
		{"HEAD", "HEAD", "/v1/helloworld/Call", []string{"Authorization", "Bearer " + bootstrapKey}, "", 405, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := i.do(test.method, "http://localhost"+test.path, test.headers, test.body)
			if a.status != test.status {
				t.Fatalf("status %d, want %d; %s", a.status, test.status, a.body)
			}
			if got := strings.TrimSpace(a.body); test.want != "" && got != test.want {
				t.Errorf("got %s\nwant %s", got, test.want)
			}
			if got := a.header.Get("Content-Type"); test.method != "HEAD" && got != "application/json" {
				t.Errorf("content type %q", got)
			}
			if strings.Contains(a.body, bootstrapKey) {
				t.Error("the answer shows the key")
			}
		})
	}
	if _, log := i.output(); strings.Contains(log, bootstrapKey) {
		t.Error("the log shows the key")
	}
}

// recorder is a backend that answers with what it saw.
func recorder(t *testing.T, name string) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Backend", name)
		fmt.Fprintf(w, "%s %s %s %s auth=%q xff=%q xfh=%q", name, r.Method, r.RequestURI, body,
			r.Header.Get("Authorization"), r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Host"))
	}))
	t.Cleanup(server.Close)
	return server
}

func TestRoutes2And3AppsAndFunctions(t *testing.T) {
	i := startIngress(t)
	app, fn := recorder(t, "app"), recorder(t, "fn")
	ran := i.mustCall("app/run", fmt.Sprintf(`{"name":"hello","backend":%q}`, app.URL+"/base"))
	service := ran["service"].(map[string]any)
	if service["id"] != "hello" || service["status"] != "Running" || !strings.HasPrefix(service["url"].(string), "http://hello.app.localhost:") {
		t.Errorf("app/run answered %v", service)
	}
	i.mustCall("function/deploy", fmt.Sprintf(`{"name":"greet","backend":%q}`, fn.URL))

	for _, test := range []struct {
		name, method, url, body string
		headers                 []string
		status                  int
		backend, want, reason   string
	}{
		{"an app, with its base path", "POST", "http://hello.app.localhost/a%2Fb?x=1;2", "body", nil, 200, "app", "app POST /base/a%2Fb?x=1;2 body", ""},
		{"a function", "GET", "http://greet.fn.localhost/", "", nil, 200, "fn", "fn GET /", ""},
		{"any case, a port, a final dot", "GET", "http://HELLO.App.LocalHost.:1234/", "", nil, 200, "app", "app GET /base/", ""},
		{"the app's own credentials pass", "GET", "http://hello.app.localhost/", "", []string{"Authorization", "Bearer its-own"}, 200, "app", `auth="Bearer its-own"`, ""},
		{"our key does not", "GET", "http://hello.app.localhost/", "", []string{"Authorization", "Bearer " + bootstrapKey}, 200, "app", `auth=""`, ""},
		{"forged forwarding is not believed", "GET", "http://hello.app.localhost/", "", []string{"X-Forwarded-For", "6.6.6.6"}, 200, "app", `xff="127.0.0.1"`, ""},
		{"an unknown app", "GET", "http://nosuch.app.localhost/", "", nil, 404, "", "", "unknown_app"},
		{"a function is no app", "GET", "http://greet.app.localhost/", "", nil, 404, "", "", "unknown_app"},
		{"an unknown function", "GET", "http://nosuch.fn.localhost/", "", nil, 404, "", "", "unknown_function"},
		{"two labels", "GET", "http://a.hello.app.localhost/", "", nil, 404, "", "", "unknown_host"},
		{"a domain that only ends alike", "GET", "http://evilapp.localhost/", "", nil, 404, "", "", "unknown_host"},
		{"the bare apps domain", "GET", "http://app.localhost/", "", nil, 200, "", "app", ""},
		{"the bare functions domain", "GET", "http://fn.localhost/", "", nil, 200, "", "fn", ""},
		{"some other host", "GET", "http://example.com/", "", nil, 404, "", "", "unknown_host"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := i.do(test.method, test.url, test.headers, test.body)
			if a.status != test.status || a.header.Get("Backend") != test.backend || a.header.Get("X-Ingress-Error") != test.reason {
				t.Errorf("status %d from %q because %q: %s", a.status, a.header.Get("Backend"), a.header.Get("X-Ingress-Error"), a.body)
			}
			if !strings.Contains(a.body, test.want) {
				t.Errorf("the body %q lacks %q", a.body, test.want)
			}
			if a.body == "" {
				t.Error("an empty page")
			}
		})
	}

	t.Run("a moved app is found at once", func(t *testing.T) {
		i.mustCall("app/update", fmt.Sprintf(`{"name":"hello","backend":%q}`, fn.URL))
		if a := i.get("http://hello.app.localhost/"); a.header.Get("Backend") != "fn" {
			t.Errorf("the request went to %q", a.header.Get("Backend"))
		}
	})
	t.Run("a deleted app is gone at once", func(t *testing.T) {
		i.mustCall("app/delete", `{"name":"hello"}`)
		if a := i.get("http://hello.app.localhost/"); a.status != 404 || a.header.Get("X-Ingress-Error") != "unknown_app" {
			t.Errorf("got %d %v", a.status, a.header)
		}
	})
	t.Run("a backend that is away", func(t *testing.T) {
		fn.Close()
		a := i.get("http://greet.fn.localhost/")
		if a.status != 502 || a.header.Get("X-Ingress-Error") != "backend_refused" || strings.Contains(a.body, fn.Listener.Addr().String()) {
			t.Errorf("got %d %v %s", a.status, a.header, a.body)
		}
	})
}

func TestRoute4Links(t *testing.T) {
	i := startIngress(t)
	made := i.mustCall("url/create", `{"id":"docs-1","destinationURL":"https://example.com/a?b=c#d"}`)["url"].(map[string]any)
	if !strings.HasSuffix(made["shortURL"].(string), "/u/docs-1") || made["hitCount"] != "0" {
		t.Errorf("url/create answered %v", made)
	}
	hits := func() any {
		list := i.mustCall("url/list", `{}`)["urlPairs"].([]any)
		return list[0].(map[string]any)["hitCount"]
	}
	browser := []string{"User-Agent", "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"}
	for _, path := range []string{"/u/docs-1", "/url/docs-1"} {
		a := i.do("GET", "http://localhost"+path, browser, "")
		if a.status != 302 || a.header.Get("Location") != "https://example.com/a?b=c#d" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", path, a.status, a.header)
		}
	}
	if got := hits(); got != "2" {
		t.Errorf("after two visits hitCount is %v", got)
	}
	for name, a := range map[string]answer{
		"HEAD":      i.do("HEAD", "http://localhost/u/docs-1", browser, ""),
		"a bot":     i.do("GET", "http://localhost/u/docs-1", []string{"User-Agent", "Twitterbot/1.0"}, ""),
		"a preview": i.do("GET", "http://localhost/u/docs-1", append([]string{"Sec-Purpose", "prefetch"}, browser...), ""),
	} {
		if a.status != 302 {
			t.Errorf("%s got %d", name, a.status)
		}
	}
	if a := i.do("GET", "http://localhost/u/docs-1+", browser, ""); a.status != 200 || !strings.Contains(a.body, "https://example.com/a?b=c#d") || a.header.Get("Location") != "" {
		t.Errorf("the preview: %d %v %s", a.status, a.header, a.body)
	}
	if got := hits(); got != "2" {
		t.Errorf("what does not count was counted: %v", got)
	}
	for _, path := range []string{"/u/nosuch", "/u/Docs-1", "/u/docs-1/x", "/u/%0d%0aSet-Cookie:x", "/u/+"} {
		if a := i.get("http://localhost" + path); a.status != 404 && a.status != 400 || a.header.Get("Location") != "" || a.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %d %v", path, a.status, a.header)
		}
	}
	i.mustCall("url/update", `{"id":"docs-1","destinationURL":"https://example.com/new"}`)
	if a := i.get("http://localhost/u/docs-1"); a.header.Get("Location") != "https://example.com/new" {
		t.Errorf("after the update it leads to %q", a.header.Get("Location"))
	}
	i.mustCall("url/delete", `{"id":"docs-1"}`)
	if a := i.get("http://localhost/u/docs-1"); a.status != 404 || a.header.Get("X-Ingress-Error") != "unknown_link" {
		t.Errorf("after the deletion: %d %v", a.status, a.header)
	}
}

func TestRoute5Verification(t *testing.T) {
	i := startIngress(t)
	account := i.mustCall("user/create", `{"email":"Jane@Example.com","username":"jane","password":"correct horse"}`)["account"].(map[string]any)
	if account["verified"] != false || account["email"] != "jane@example.com" {
		t.Errorf("user/create answered %v", account)
	}
	i.mustCall("user/sendVerificationEmail", `{"email":"jane@example.com","subject":"Welcome","from_name":"Us",
		"text_content":"Click $micro_verification_link now","redirect_url":"https://shop.example/ok","failure_redirect_url":"https://shop.example/bad"}`)
	link := mailedLink(t, i)
	if link.Host == "" || !strings.HasPrefix(link.Host, "user.localhost:") {
		t.Errorf("the mailed link is %s", link)
	}
	verified := func() any {
		return i.mustCall("user/read", fmt.Sprintf(`{"id":%q}`, account["id"]))["account"].(map[string]any)["verified"]
	}

	if a := i.do("HEAD", link.String(), nil, ""); a.status >= 500 {
		t.Errorf("HEAD: %d", a.status)
	}
	if verified() != false {
		t.Fatal("HEAD verified the address")
	}
	for range 2 { // scanners open links before people do
		if a := i.get(link.String()); a.status != 302 || a.header.Get("Location") != "https://shop.example/ok" {
			t.Errorf("the link: %d %v %s", a.status, a.header, a.body)
		}
	}
	if verified() != true {
		t.Error("the address is not verified")
	}

	token := link.Query().Get("token")
	forged := url.Values{"token": {token}, "redirectUrl": {"https://evil.example/"}, "failureRedirectUrl": {"https://evil.example/"}}
	for name, target := range map[string]string{
		"on the user host": "http://user.localhost/?" + forged.Encode(),
		"on our own host":  "http://localhost/user/jane?" + forged.Encode(),
	} {
		if a := i.get(target); a.header.Get("Location") != "" || a.status != 200 || a.body == "" {
			t.Errorf("a forged redirect %s: %d %v", name, a.status, a.header)
		}
	}
	if a := i.get("http://localhost/user/" + token); a.status != 302 && a.status != 200 {
		t.Errorf("/user/{token}: %d", a.status)
	}
	bad := url.Values{"token": {"nosuch"}, "redirectUrl": {"https://evil.example/"}, "failureRedirectUrl": {"https://evil.example/"}}
	if a := i.get("http://user.localhost/?" + bad.Encode()); a.header.Get("Location") != "" || a.header.Get("X-Ingress-Error") != "verification_failed" {
		t.Errorf("a bad token: %d %v", a.status, a.header)
	}
	if _, log := i.output(); strings.Contains(log, token) {
		t.Error("the log shows the token")
	}
}

// mailedLink returns the verification link of the newest mail in the outbox.
func mailedLink(t *testing.T, i *ingress) *url.URL {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(i.dir, "outbox", "*.eml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("the outbox holds %v, %v", files, err)
	}
	content, err := os.ReadFile(files[len(files)-1])
	if err != nil {
		t.Fatal(err)
	}
	link, err := url.Parse(regexp.MustCompile(`http://[^\s"]+`).FindString(string(content)))
	if err != nil || link.Query().Get("token") == "" {
		t.Fatalf("no link in the mail (%v):\n%s", err, content)
	}
	return link
}

func TestTheIndex(t *testing.T) {
	i := startIngress(t)
	a := i.get("http://localhost/")
	if a.status != 200 || !strings.Contains(a.body, "/api/") {
		t.Errorf("%d %s", a.status, a.body)
	}
	for _, host := range []string{"127.0.0.1", "[::1]", "10.1.2.3"} {
		if a := i.get("http://" + host + "/"); a.status != 200 {
			t.Errorf("%s: %d", host, a.status)
		}
	}
	if a := i.get("http://localhost/nosuch"); a.status != 404 || a.header.Get("X-Ingress-Error") != "unknown_path" {
		t.Errorf("an unknown path: %d %v", a.status, a.header)
	}
}
