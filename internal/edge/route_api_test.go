package edge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
)

// apiCall is what the platform got.
type apiCall struct {
	method, uri, body string
	length            int64
	header            http.Header
}

// newAPIRig starts a rig whose platform records calls and answers {}.
func newAPIRig(t *testing.T, change ...func(*Config)) (*rig, *apiCall) {
	t.Helper()
	got := &apiCall{}
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		*got = apiCall{r.Method, r.RequestURI, string(body), r.ContentLength, r.Header.Clone()}
		if r.URL.RequestURI() != r.RequestURI {
			t.Errorf("URL %s and RequestURI %s differ", r.URL.RequestURI(), r.RequestURI)
		}
		_, _ = io.WriteString(w, `{}`)
	}, change...)
	return r, got
}

const formType = "application/x-www-form-urlencoded"

func TestParametersBecomeJSON(t *testing.T) {
	r, got := newAPIRig(t)
	for _, test := range []struct {
		method, query, contentType, body string
		want                             string
	}{
		{"GET", "", "", "", `{}`},
		{"GET", "?name=Ada", "", "", `{"name":"Ada"}`},
		{"GET", "?id=007&n=1e5&b=true", "", "", `{"id":"007","n":"1e5","b":"true"}`},
		{"GET", "?name=a&name=b", "", "", `{"name":"a"}`},
		{"GET", "?q=%22%3Cb%3E%22+x", "", "", `{"q":"\"\u003cb\u003e\" x"}`},
		{"GET", "?a=1;b=2&c", "", "", `{"a":"1;b=2","c":""}`},
		{"DELETE", "?id=x", "", "", `{"id":"x"}`},
		{"PUT", "?id=x", "application/json", `{"n":12345678901234567890}`, `{"id":"x","n":12345678901234567890}`},
		{"POST", "?id=x&n=q", "application/json", ` {"n": 1.0e2, "id" : null} `, `{"n": 1.0e2, "id" : null}`},
		{"POST", "?id=x", "application/json", `{}`, `{"id":"x"}`},
		{"POST", "?id=x", "", ` `, `{"id":"x"}`},
		{"POST", "?id=x", "text/plain", `{"a":{"b":[1,{}]}}`, `{"id":"x","a":{"b":[1,{}]}}`},
		{"POST", "", "application/json; charset=utf-8", `{"a" : 1 }`, `{"a" : 1 }`},
		{"POST", "", "application/json", `{"a":`, `{"a":`},
		{"POST", "", formType, `name=Ada&name=Bob&x=%26`, `{"name":"Ada","x":"\u0026"}`},
		{"POST", "?name=q&y=1", formType, `name=Ada`, `{"name":"Ada","y":"1"}`},
		{"POST", "", formType, ` {"name":"Ada"}`, `{"name":"Ada"}`},
		{"POST", "", "application/grpc", "\x00\x01", "\x00\x01"},
	} {
		res := r.do(test.method, "own.test/api/helloworld/call"+test.query, test.body, "Content-Type", test.contentType)
		if res.StatusCode != 200 || got.body != test.want || got.method != "POST" || got.uri != "/v1/helloworld/call" {
			t.Errorf("%s %s %s %q: got %d %s %s %q, want %q", test.method, test.query, test.contentType, test.body,
				res.StatusCode, got.method, got.uri, got.body, test.want)
		}
		if got.length != int64(len(test.want)) || got.header.Get("Content-Length") != fmt.Sprint(len(test.want)) {
			t.Errorf("%q: length %d, Content-Length %q", got.body, got.length, got.header.Get("Content-Length"))
		}
		if res.Header.Get("Content-Type") != "application/json" {
			t.Errorf("the answer is %q", res.Header.Get("Content-Type"))
		}
	}
}

func TestMultipartFormsBecomeJSON(t *testing.T) {
	r, got := newAPIRig(t)
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	_ = form.WriteField("name", "Ada")
	_ = form.WriteField("name", "Bob")
	_ = form.WriteField("api_key", "m3o_secret")
	file, _ := form.CreateFormFile("source", "index.js")
	_, _ = io.WriteString(file, "exports.f = 1\n")
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	res := r.do("POST", "own.test/api/function/deploy", body.String(), "Content-Type", form.FormDataContentType())
	if want := `{"name":"Ada","source":"exports.f = 1\n"}`; res.StatusCode != 200 || got.body != want {
		t.Errorf("got %d %q, want %q", res.StatusCode, got.body, want)
	}
	if got.header.Get("Authorization") != "Bearer m3o_secret" {
		t.Errorf("Authorization is %q", got.header.Get("Authorization"))
	}
}

func TestTheKeyMovesIntoAuthorization(t *testing.T) {
	r, got := newAPIRig(t)
	const key = "m3o_topsecret"
	for _, test := range []struct {
		name, method, query, contentType, body, authorization string
		want                                                  string
	}{
		{"query", "GET", "?api_key=" + key + "&name=x", "", "", "", "Bearer " + key},
		{"query, escaped", "GET", "?%61pi_key=m3o%5Ftopsecret", "", "", "", "Bearer " + key},
		{"query, twice", "GET", "?api_key=" + key + "&api_key=m3o_topsecret2", "", "", "", "Bearer " + key},
		{"query with JSON", "POST", "?api_key=" + key, "application/json", `{"a":1}`, "", "Bearer " + key},
		{"form", "POST", "", formType, "api_key=" + key + "&name=x", "", "Bearer " + key},
		{"query before form", "POST", "?api_key=" + key, formType, "api_key=m3o_topsecret2", "", "Bearer " + key},
		{"header wins", "GET", "?api_key=" + key, "", "", "Bearer mine", "Bearer mine"},
		{"header wins over form", "POST", "", formType, "api_key=" + key, "Basic bWluZQ==", "Basic bWluZQ=="},
		{"options", "OPTIONS", "?api_key=" + key + "&x=1", "", "", "", "Bearer " + key},
		{"none", "GET", "?name=x", "", "", "", ""},
		{"empty", "GET", "?api_key=", "", "", "", ""},
	} {
		header := []string{"Content-Type", test.contentType, "Referer", "http://own.test/?api_key=" + key}
		if test.authorization != "" {
			header = append(header, "Authorization", test.authorization)
		}
		res := r.do(test.method, "own.test/api/helloworld/call"+test.query, test.body, header...)
		if res.StatusCode != 200 || got.header.Get("Authorization") != test.want {
			t.Errorf("%s: got %d %q, want %q", test.name, res.StatusCode, got.header.Get("Authorization"), test.want)
		}
		got.header.Del("Authorization")
		if leak := fmt.Sprint(*got); strings.Contains(leak, "topsecret") || strings.Contains(leak, "api_key") {
			t.Errorf("%s: the platform sees the key outside Authorization: %s", test.name, leak)
		}
	}
	if strings.Contains(r.log.String(), "topsecret") {
		t.Errorf("a key is in the log: %s", r.log)
	}
}

func TestJSONBodyIsStreamed(t *testing.T) {
	first := make(chan string, 1)
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 8)
		n, _ := r.Body.Read(buf)
		first <- string(buf[:n])
		_, _ = io.Copy(w, r.Body)
	})
	body, send := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), "POST", "http://own.test/api/helloworld/stream?api_key=k", body)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = io.WriteString(send, `{"a":1`)
		if got := <-first; got != `{"a":1` {
			t.Errorf("the platform read %q before the rest was sent", got)
		}
		_, _ = io.WriteString(send, `}`)
		_ = send.Close()
	}()
	if res := r.send(req); res.body != `}` {
		t.Errorf("got %q", res.body)
	}
}

func TestUpgradesPassWithTheirQuery(t *testing.T) {
	r, got := newAPIRig(t)
	res := r.do("GET", "own.test/api/helloworld/stream?a=%zz&api_key=m3o_k&b=1;2", "", "Connection", "keep-alive, Upgrade", "Upgrade", "websocket")
	if res.StatusCode != 200 || got.method != "GET" || got.uri != "/v1/helloworld/stream?a=%zz&b=1;2" || got.header.Get("Authorization") != "Bearer m3o_k" {
		t.Errorf("got %d %+v", res.StatusCode, *got)
	}
}

func TestBadCallsAreRefusedInJSON(t *testing.T) {
	r, got := newAPIRig(t)
	deep := strings.Repeat(`{"a":`, 10_001) + "1" + strings.Repeat("}", 10_001)
	if res := r.do("OPTIONS", "own.test/api/helloworld", ""); res.StatusCode != 204 || res.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("the preflight of a bad path: %d %v", res.StatusCode, res.Header)
	}
	many := "?" + strings.Repeat("x", 1)
	for i := range maxParameters + 1 {
		many += fmt.Sprintf("&%x", i)
	}
	for _, test := range []struct {
		name, path, contentType, body string
		status                        int
		reason                        Reason
	}{
		{"one segment", "/api/helloworld", "", "", 400, ReasonBadRequest},
		{"none", "/api", "", "", 400, ReasonBadRequest},
		{"empty", "/api/", "", "", 400, ReasonBadRequest},
		{"four", "/api/a/b/c/d", "", "", 400, ReasonBadRequest},
		{"empty segment", "/api/a//b", "", "", 400, ReasonBadRequest},
		{"trailing slash", "/api/a/b/", "", "", 400, ReasonBadRequest},
		{"dots", "/api/a/..", "", "", 400, ReasonBadRequest},
		{"escaped dots", "/api/%2e%2e/b", "", "", 400, ReasonBadRequest},
		{"escaped slash", "/api/a%2f%2fb/c", "", "", 400, ReasonBadRequest},
		{"line break", "/api/a%0d%0ax/b", "", "", 400, ReasonBadRequest},
		{"not UTF-8", "/api/a/b?x=%ff", "", "", 400, ReasonBadRequest},
		{"bad escape", "/api/a/b?x=%zz", "", "", 400, ReasonBadRequest},
		{"too many", "/api/a/b" + many, "", "", 400, ReasonBadRequest},
		{"key with a line break", "/api/a/b?api_key=a%0d%0aX:y", "", "", 400, ReasonBadRequest},
		{"truncated JSON", "/api/a/b?x=1", "application/json", `{"a":`, 400, ReasonBadRequest},
		{"array", "/api/a/b?x=1", "application/json", `[1]`, 400, ReasonBadRequest},
		{"too deep", "/api/a/b?x=1", "application/json", deep, 400, ReasonBadRequest},
		{"multipart without boundary", "/api/a/b", "multipart/form-data", "x", 400, ReasonBadRequest},
		{"truncated multipart", "/api/a/b", "multipart/form-data; boundary=x", "--x\r\n", 400, ReasonBadRequest},
		{"form not UTF-8", "/api/a/b", formType, "a=%ff", 400, ReasonBadRequest},
		{"large", "/api/a/b", "application/json", strings.Repeat(" ", 4<<20+1), 413, ReasonBodyTooLarge},
		{"large form", "/api/a/b", formType, strings.Repeat("a", 4<<20+1), 413, ReasonBodyTooLarge},
		{"large on /v1", "/v1/a/b", "application/json", strings.Repeat(" ", 4<<20+1), 413, ReasonBodyTooLarge},
		{"long", "/api/a/b?x=" + strings.Repeat("a", 16<<10), "", "", 414, ReasonURLTooLong},
	} {
		*got = apiCall{}
		res := r.do("POST", "own.test"+test.path, test.body, "Content-Type", test.contentType)
		res.wantFailure(t, test.status, test.reason)
		var answer struct {
			ID, Detail, Status string
			Code               int
		}
		if err := json.Unmarshal([]byte(res.body), &answer); err != nil || answer.ID != "ingress."+string(test.reason) ||
			answer.Code != test.status || answer.Status != http.StatusText(test.status) || answer.Detail == "" {
			t.Errorf("%s: got %v %s", test.name, err, res.body)
		}
		if res.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: a browser's script cannot read this: %v", test.name, res.Header)
		}
		if got.method != "" {
			t.Errorf("%s: the platform was called: %+v", test.name, *got)
		}
	}
}

func TestChunkedBodiesHaveTheSameLimit(t *testing.T) {
	r, got := newAPIRig(t, func(c *Config) { c.Limits.BodyBytes = 100 })
	for address, contentType := range map[string]string{
		"own.test/api/a/json": "application/json", "own.test/api/a/form": formType, "own.test/v1/a/json": "application/json",
		"own.test/api/a/multipart": "multipart/form-data; boundary=x", "own.test/v1/a/grpc": "application/grpc",
	} {
		body := io.MultiReader(strings.NewReader("--x\r\nContent-Disposition: form-data; name=a\r\n\r\n"), strings.NewReader(strings.Repeat("a", 200)))
		req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+address, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", contentType)
		res := r.send(req)
		res.wantFailure(t, 413, ReasonBodyTooLarge)
		if !strings.Contains(res.body, `"id":"ingress.body_too_large","code":413`) || res.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: got %v %s", address, res.Header, res.body)
		}
	}
	// The line comes once the rest of the body has been read, after the answer.
	eventually(t, "five reasons in the log", func() bool {
		return strings.Count(r.log.String(), `"reason":"body_too_large"`) == 5
	})
	if got.method != "" {
		t.Errorf("the platform got %+v", *got)
	}
}

func TestBodiesThatStopComingAreTooSlowOnEveryPath(t *testing.T) {
	r, got := newAPIRig(t, func(c *Config) { c.Limits.ReadBody = 50 * time.Millisecond })
	for path, contentType := range map[string]string{"/v1/a/b": "application/json", "/api/a/b": "application/json", "/api/a/form": formType} {
		answer := r.raw("POST " + path + " HTTP/1.1\r\nHost: own.test\r\nConnection: close\r\nContent-Type: " + contentType + "\r\nContent-Length: 10\r\n\r\n{")
		if !strings.HasPrefix(answer, "HTTP/1.1 408") || !strings.Contains(answer, "\r\n"+errorHeader+": body_too_slow\r\n") {
			t.Errorf("%s: got %q", path, answer)
		}
	}
	if n := strings.Count(r.log.String(), `"reason":"body_too_slow"`); n != 3 || got.method != "" {
		t.Errorf("%d of 3 reasons are in the log; the platform got %+v", n, *got)
	}
}

func TestAnAnswerThatHasBegunIsNotWithheld(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		_, err := io.ReadAll(r.Body)
		fmt.Fprint(w, err)
	}, func(c *Config) { c.Limits.BodyBytes = 10 })
	answer := r.raw("POST /v1/a/b HTTP/1.1\r\nHost: own.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n")
	if !strings.HasPrefix(answer, "HTTP/1.1 202") || !strings.Contains(answer, "too large") || strings.Contains(answer, errorHeader) {
		t.Errorf("got %q", answer)
	}
}

func TestPlatformPathsPassAsTheyAre(t *testing.T) {
	r, got := newAPIRig(t, func(c *Config) { c.PublicResolve = true })
	r.do("GET", "own.test/v1/url/List?api_key=stays&x=%zz", "")
	if got.method != "GET" || got.uri != "/v1/url/List?api_key=stays&x=%zz" || got.header.Get("Authorization") != "" {
		t.Errorf("got %+v", *got)
	}
	r.do("POST", "own.test/url/Resolve", `{"id":"x"}`)
	if got.uri != "/v1/url/Resolve" || got.body != `{"id":"x"}` {
		t.Errorf("got %+v", *got)
	}
}

func TestOnlyBareResolvesArePublic(t *testing.T) {
	var public []string
	r := newRig(t, func(_ http.ResponseWriter, r *http.Request) {
		if IsPublicResolve(r.Context()) {
			public = append(public, r.URL.Path)
		}
	}, func(c *Config) { c.PublicResolve = true })
	for _, path := range []string{"/v1/url/Resolve", "/api/url/resolve", "/app/resolve", "/function/proxy", "/v1/user/Login"} {
		r.do("POST", "own.test"+path, `{}`)
	}
	if want := []string{"/v1/app/resolve", "/v1/function/proxy"}; !reflect.DeepEqual(public, want) {
		t.Errorf("got %v, want %v", public, want)
	}
}

func TestRemotePlatformGetsTheCall(t *testing.T) {
	got := &apiCall{}
	remote := backend(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*got = apiCall{r.Method, r.RequestURI, string(body), r.ContentLength, r.Header.Clone()}
		w.Header()["Content-Type"] = nil
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, `{"id":"theirs"}`)
	})
	base := remote.URL
	base.Path = "/base"
	r := newRig(t, nil, func(c *Config) { c.Platform, c.PlatformURL = nil, &base })
	res := r.get("own.test/api/helloworld/call?name=Ada&api_key=k")
	if res.StatusCode != http.StatusTeapot || res.body != `{"id":"theirs"}` || res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got %d %q %v", res.StatusCode, res.body, res.Header)
	}
	if got.uri != "/base/v1/helloworld/call" || got.body != `{"name":"Ada"}` || got.header.Get("Authorization") != "Bearer k" {
		t.Errorf("the platform got %+v", *got)
	}
}

// FuzzParameters compares with net/url where the two agree on what is valid, and
// checks that a key never stays in a query.
func FuzzParameters(f *testing.F) {
	for _, seed := range []string{"a=1&a=2", "api_key=k&x", "%61pi_key=k", "a=%zz", "a=1;b=2", "&&=", "a+b=c+d", "x=%ff", "api%5Fkey=1&api_key"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		rest, _ := withoutKey(query)
		if again, key := withoutKey(rest); again != rest || key != "" {
			t.Fatalf("%q: %q still has key %q", query, rest, key)
		}
		p, err := parseParameters(rest)
		if err != nil {
			return
		}
		if _, ok := p.values[keyParameter]; ok {
			t.Fatalf("%q: the key is a parameter", query)
		}
		want, err := url.ParseQuery(rest)
		if err != nil {
			return // semicolons
		}
		if len(want) != len(p.values) || len(p.names) != len(p.values) {
			t.Fatalf("%q: got %v, want %v", rest, p.values, want)
		}
		for name, values := range want {
			if p.values[name] != values[0] {
				t.Fatalf("%q: %q is %q, want %q", rest, name, p.values[name], values[0])
			}
		}
	})
}

// FuzzMerge compares with a merge by encoding/json.
func FuzzMerge(f *testing.F) {
	for _, seed := range []string{`{}`, ``, ` { "a" : 1e400 } `, `[1]`, `null`, `{"a":1,"a":2}`, `{"\u0061":1}`, `{"b":{"a":1}}`, `{"a":1}x`, `{`, `"{}"`} {
		f.Add("a=q&b=r", seed)
	}
	f.Fuzz(func(t *testing.T, query, body string) {
		p, err := parseParameters(query)
		if err != nil {
			return
		}
		merged, err := mergeJSON(p, []byte(body))
		var fields map[string]json.RawMessage
		wantErr := json.Unmarshal([]byte(body), &fields)
		if strings.Trim(body, " \t\r\n") == "" {
			wantErr = nil
		} else if wantErr == nil && fields == nil {
			wantErr = errNotObject // null
		}
		if (err != nil) != (wantErr != nil) {
			t.Fatalf("%q: got %v, want %v", body, err, wantErr)
		}
		if err != nil {
			return
		}
		var got map[string]json.RawMessage
		if err := json.Unmarshal(merged, &got); err != nil {
			t.Fatalf("%q is not JSON: %v", merged, err)
		}
		for name, value := range fields {
			if !bytes.Equal(got[name], value) {
				t.Fatalf("%q: %q became %s", body, name, got[name])
			}
			delete(got, name)
		}
		for name, value := range got {
			var s string
			if json.Unmarshal(value, &s) != nil || p.values[name] != s {
				t.Fatalf("%q, %q: %q became %s", query, body, name, value)
			}
		}
	})
}
