package main_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"testing"

	"github.com/m3o/ingress/internal/api/apitest"
)

// TestTheIngressRouteAnswersLikeThePlatform: parameters under /api get the reply
// that JSON gets under /v1.
func TestTheIngressRouteAnswersLikeThePlatform(t *testing.T) {
	i := startIngress(t)
	p := newPair(t, i, "both")
	for path, fields := range map[string]map[string]any{
		"url/Resolve":       {"id": p.name},
		"url/List":          {"shortURL": "http://localhost/u/" + p.name},
		"user/Read":         {"email": p.email},
		"user/List":         {"limit": "1"},
		"user/ReadSession":  {"session_id": p.session},
		"app/Get":           {"name": p.name},
		"app/Resolve":       {"id": p.name},
		"function/Describe": {"name": p.name},
		"function/Call":     {"name": p.name, "request": `{"x":1}`},
	} {
		t.Run(path, func(t *testing.T) {
			want := callV1(t, i, p.a, "/v1/"+path, encode(t, fields))
			query, ok := asParameters(fields)
			if !ok {
				t.Fatal("a parameter is no text")
			}
			got := i.do(http.MethodGet, "http://localhost/api/"+path+"?"+query.Encode(), []string{"Authorization", "Bearer " + p.a}, "")
			apitest.Validate(t, http.MethodGet, "/api/"+path, got.status, got.header, []byte(got.body))
			if got.status != http.StatusOK || got.body != want.body {
				t.Errorf("got %d %s, want %d %s", got.status, got.body, want.status, want.body)
			}
		})
	}
}

// TestAKeyMakesNoKeyThatMayMoreThanItself covers the scopes that "*" does not
// include, and services that the maker may not call.
func TestAKeyMakesNoKeyThatMayMoreThanItself(t *testing.T) {
	i := startIngress(t)
	makeTenant(i, "shop")
	all, some := makeKey(i, "shop", "*"), makeKey(i, "shop", "api", "url")
	operator := makeKey(i, "shop", "api", "operator")
	for _, test := range []struct {
		name, key, body string
		status          int
	}{
		{"every service", all, `{"scopes":["*"]}`, 200},
		{"one of them", all, `{"scopes":["user"]}`, 200},
		{"backends", all, `{"scopes":["backend"]}`, 403},
		{"resolving", all, `{"scopes":["resolve"]}`, 403},
		{"operating", all, `{"scopes":["operator"]}`, 403},
		{"one right and one wrong scope", all, `{"scopes":["url","operator"]}`, 403},
		{"its own", some, `{"scopes":["url"]}`, 200},
		{"all of its own", some, `{"scopes":["url","api"]}`, 200},
		{"another service", some, `{"scopes":["user"]}`, 403},
		{"every service, from a few", some, `{"scopes":["*"]}`, 403},
		{"nothing", all, `{"scopes":[]}`, 400},
		{"no such service", all, `{"scopes":["root"]}`, 400},
		{"two in one", all, `{"scopes":["url operator"]}`, 400},
		{"an empty one", all, `{"scopes":[""]}`, 400},
		{"another tenant's", all, `{"scopes":["url"],"tenant":"default"}`, 403},
		{"another tenant's, for an operator", operator, `{"scopes":["operator"],"tenant":"default"}`, 200},
		{"more than the operator has", operator, `{"scopes":["*"],"tenant":"default"}`, 403},
		{"of a tenant that does not exist", operator, `{"scopes":["operator"],"tenant":"nosuch"}`, 404},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := keysOf(i, "shop") + keysOf(i, "default")
			a := callV1(t, i, test.key, "/v1/api/keys/generate", test.body)
			if a.status != test.status {
				t.Errorf("status %d %s, want %d", a.status, a.body, test.status)
			}
			made := keysOf(i, "shop") + keysOf(i, "default") - before
			if want := map[bool]int{true: 1}[test.status == http.StatusOK]; made != want {
				t.Errorf("%d keys were made, want %d", made, want)
			}
		})
	}
}

// keysOf counts a tenant's keys.
func keysOf(i *ingress, tenant string) int {
	i.t.Helper()
	return len(i.mustCall("api/keys/list", fmt.Sprintf(`{"tenant":%q}`, tenant))["api_keys"].([]any))
}

// TestTheScopeResolveReadsRoutesOnly: an ingress's key finds everybody's ids, and
// nothing else of anybody's.
func TestTheScopeResolveReadsRoutesOnly(t *testing.T) {
	i := startIngress(t)
	p := newPair(t, i, "routes")
	resolver := makeKey(i, "routes-b", "*", "resolve")
	token := p.mailed("user/sendverificationemail", `token=([\w-]+)`, map[string]any{"text_content": "$micro_verification_link"})
	before := p.state()
	for _, test := range []struct {
		path, body string
		status     int
	}{
		{"url/resolve", `{"id":"routes"}`, 200},
		{"app/resolve", `{"id":"routes"}`, 200},
		{"function/proxy", `{"id":"routes"}`, 200},
		{"url/update", `{"id":"routes","destinationURL":"https://b.example/"}`, 404},
		{"url/delete", `{"id":"routes"}`, 200},
		{"app/get", `{"name":"routes"}`, 404},
		{"app/update", `{"name":"routes"}`, 404},
		{"app/delete", `{"name":"routes"}`, 404},
		{"function/call", `{"name":"routes"}`, 404},
		{"function/delete", `{"name":"routes"}`, 404},
		{"function/deploy", `{"name":"other","backend":"http://127.0.0.1:9"}`, 403},
		{"app/run", `{"name":"other","backend":"http://127.0.0.1:9"}`, 403},
		{"user/readsession", fmt.Sprintf(`{"session_id":%q}`, p.session), 404},
		{"api/keys/list", fmt.Sprintf(`{"tenant":%q}`, p.aTenant), 403},
		{"api/tenants/list", `{}`, 403},
	} {
		a := callV1(t, i, resolver, "/v1/"+test.path, test.body)
		if a.status != test.status {
			t.Errorf("%s: %d %s, want %d", test.path, a.status, a.body, test.status)
		}
	}
	if after := p.state(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("a's things are %v and were %v", after, before)
	}
	if a := callV1(t, i, resolver, "/v1/user/verifyemail", fmt.Sprintf(`{"token":%q}`, token)); a.status != http.StatusOK {
		t.Errorf("a visitor's token is answered %d %s", a.status, a.body)
	}
}

// TestAQuotaEndsOneTenantOnly: what is one too many is refused and leaves no
// trace, what is there stays, and others notice nothing.
func TestAQuotaEndsOneTenantOnly(t *testing.T) {
	i := startIngress(t)
	p := newPair(t, i, "small")
	keys := keysOf(i, "small-a")
	i.mustCall("api/tenants/setquotas", fmt.Sprintf(`{"tenant":"small-a","quotas":{"links":1,"apps":1,"functions":1,"keys":%d}}`, keys))
	before := p.state()
	for _, test := range []struct {
		path, body string
		status     int
	}{
		{"url/create", `{"destinationURL":"https://example.com"}`, 403},
		{"url/shorten", `{"destinationURL":"https://example.com"}`, 403},
		{"app/run", `{"name":"second","backend":"http://127.0.0.1:9"}`, 403},
		{"function/deploy", `{"name":"second","backend":"http://127.0.0.1:9"}`, 403},
		{"api/keys/generate", `{"scopes":["url"]}`, 403},
	} {
		a := callV1(t, i, p.a, "/v1/"+test.path, test.body)
		if a.status != test.status {
			t.Errorf("%s: %d %s, want %d", test.path, a.status, a.body, test.status)
		}
		if b := callV1(t, i, p.b, "/v1/"+test.path, test.body); b.status != http.StatusOK {
			t.Errorf("%s: the other tenant is answered %d %s", test.path, b.status, b.body)
		}
	}
	if after := p.state(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("a's things are %v and were %v", after, before)
	}
	p.must(p.a, "url/delete", map[string]any{"id": p.name})
	if a := callV1(t, i, p.a, "/v1/url/create", `{"destinationURL":"https://example.com"}`); a.status != http.StatusOK {
		t.Errorf("after a delete there is no room: %d %s", a.status, a.body)
	}
}

// TestARateEndsOneKeyOnly: 429 says when to come back, under /v1 and /api, to
// whoever sends too much and to nobody else.
func TestARateEndsOneKeyOnly(t *testing.T) {
	i := startIngress(t)
	p := newPair(t, i, "hasty")
	second := makeKey(i, "hasty-a", "*")
	i.mustCall("api/tenants/setquotas", `{"tenant":"hasty-a","quotas":{"requests_per_second":1,"burst":3}}`)
	path := "/v1/url/resolve"
	var refused answer
	i.await("429", func() bool {
		refused = callV1(t, i, p.a, path, `{"id":"hasty"}`)
		checkRateHeaders(t, refused)
		return refused.status == http.StatusTooManyRequests
	})
	if want := `{"id":"v1.blocked","code":429,"detail":"Too Many Requests","status":"Too Many Requests"}`; refused.body != want {
		t.Errorf("got %s, want %s", refused.body, want)
	}
	i.await("429 under /api", func() bool {
		a := i.get("http://localhost/api/url/resolve?" + url.Values{"id": {"hasty"}, "api_key": {p.a}}.Encode())
		apitest.Validate(t, http.MethodGet, "/api/url/resolve", a.status, a.header, []byte(a.body))
		checkRateHeaders(t, a)
		return a.status == http.StatusTooManyRequests
	})
	for who, key := range map[string]string{"the other tenant": p.b, "another key of the tenant": second} {
		if a := callV1(t, i, key, "/v1/helloworld/call", `{}`); a.status != http.StatusOK {
			t.Errorf("%s is answered %d %s", who, a.status, a.body)
		}
	}
	a := callV1(t, i, bootstrapKey, "/v1/helloworld/call", `{}`)
	if a.header.Get("RateLimit-Limit") != "" {
		t.Errorf("the bootstrap key has a limit: %v", a.header)
	}
}

// checkRateHeaders checks the headers of a key with a burst of three.
func checkRateHeaders(t *testing.T, a answer) {
	t.Helper()
	remaining, err := strconv.Atoi(a.header.Get("RateLimit-Remaining"))
	reset, resetErr := strconv.Atoi(a.header.Get("RateLimit-Reset"))
	if err != nil || resetErr != nil || a.header.Get("RateLimit-Limit") != "3" || remaining < 0 || remaining > 2 || reset < 1 || reset > 3 {
		t.Errorf("status %d with %v", a.status, a.header)
	}
	after := a.header.Get("Retry-After")
	if limited := a.status == http.StatusTooManyRequests; limited != (after != "") || limited && (after != "1" || remaining != 0) {
		t.Errorf("status %d with Retry-After %q and %d remaining", a.status, after, remaining)
	}
}
