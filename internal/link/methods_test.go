package link

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/api/apitest"
	"github.com/m3o/ingress/internal/store"
)

// endpointTest is one call and all it must and must not do.
type endpointTest struct {
	name, key, method, body string
	status                  int
	says                    []string // in the reply
	saysNot                 []string
}

// errorBody is the reply for an error of a method.
func errorBody(id string, detail string) string {
	text, err := json.Marshal(detail)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`"id":%q,"code":400,"detail":%s`, id, text)
}

const notFound = `"code":404,"detail":"not found"`

// run makes each call against a world that has Alice's link "alices", leading
// to https://example.com/a and followed three times, and her deleted link
// "gone"; and checks that failed calls, and those of other tenants, change
// nothing about hers.
func run(t *testing.T, tests []endpointTest) {
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.Post(t, apitest.Alice, "/v1/url/Create", `{"id":"alices","destinationURL":"https://example.com/a"}`)
			w.Post(t, apitest.Alice, "/v1/url/Create", `{"id":"gone","destinationURL":"https://example.com/gone"}`)
			w.Post(t, apitest.Alice, "/v1/url/Delete", `{"id":"gone"}`)
			for range 3 {
				w.Hit("alices")
			}
			before := w.Get(t, apitest.Alice, "/v1/url/List").Body
			if !strings.Contains(before, `"hitCount":"3"`) || strings.Contains(before, "gone") {
				t.Fatalf("at first: %s", before)
			}
			reply := w.Post(t, test.key, "/v1/url/"+test.method, test.body)
			if reply.Status != test.status {
				t.Errorf("status %d, want %d", reply.Status, test.status)
			}
			for _, text := range test.says {
				if !strings.Contains(reply.Body, text) {
					t.Errorf("%s does not say %s", reply.Body, text)
				}
			}
			for _, text := range test.saysNot {
				if strings.Contains(reply.Body, text) {
					t.Errorf("%s says %s", reply.Body, text)
				}
			}
			if after := w.Get(t, apitest.Alice, "/v1/url/List").Body; (test.status != 200 || test.key != apitest.Alice) && after != before {
				t.Errorf("her links were %s and are %s", before, after)
			}
		})
	}
}

func TestCreate(t *testing.T) {
	create := func(id, destination string) string {
		body, err := json.Marshal(map[string]string{"id": id, "destinationURL": destination})
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	const a, b = apitest.Alice, apitest.Bob
	const to = "https://example.com/b?x=1&y=<2>#f"
	tests := []endpointTest{
		{"an id", a, "Create", create("My-Link_1", to), 200, []string{
			`"id":"My-Link_1"`, `"shortURL":"https://m3o.one/u/My-Link_1"`, `"created":"2026-11-23T06:00:00.123456789Z"`, `"hitCount":"0"`, `https://example.com/b?x=1`}, nil},
		{"a random id", a, "Create", create("", to), 200, []string{`"shortURL":"https://m3o.one/u/`}, []string{`"id":""`}},
		{"another case is another id", b, "Create", create("Alices", to), 200, []string{`"id":"Alices"`}, nil},
		{"her own again", a, "Create", create("alices", to), 400, []string{errorBody("url.create", "id already exists")}, []string{"example.com"}},
		{"hers", b, "Create", create("alices", to), 400, []string{errorBody("url.create", "id already exists")}, []string{"example.com"}},
		{"what she deleted", b, "Create", create("gone", to), 400, []string{errorBody("url.create", "id already exists")}, nil},
		{"what she deleted, by her", a, "Create", create("gone", to), 200, []string{`"id":"gone"`, `"hitCount":"0"`}, nil},
		{"the longest id", a, "Create", create(strings.Repeat("x", 128), to), 200, nil, nil},
		{"no key", "", "Create", create("x", to), 401, []string{`"Unauthorized"`}, nil},
		{"truncated", a, "Create", `{"id":"x","destinationURL":"https`, 400, []string{`"id":"v1"`}, nil},
		{"wrong types", a, "Create", `{"id":["x"],"destinationURL":{}}`, 400, []string{`"id":"v1"`}, nil},
		{"invalid UTF-8", a, "Create", "{\"id\":\"x\",\"destinationURL\":\"https://example.com/\xff\"}", 400, nil, nil},
	}
	for _, id := range []string{
		"a b", "a/b", "a.b", "..", "é", "a\x00b", "a\r\nX-Injected: 1", "'; DROP TABLE links; --", "%61", "a+", "resolve", "Resolve", strings.Repeat("x", 129), strings.Repeat("x", 1<<20),
	} {
		tests = append(tests, endpointTest{"id " + fmt.Sprintf("%.20q", id), a, "Create", create(id, to), 400, []string{errorBody("url.create", "invalid id")}, nil})
	}
	for destination, detail := range map[string]string{
		"":                           "missing destinationURL",
		"example.com":                "destinationURL must be an absolute http or https URL",
		"/relative":                  "destinationURL must be an absolute http or https URL",
		"//example.com/x":            "destinationURL must be an absolute http or https URL",
		"javascript:alert(1)":        "destinationURL must be an absolute http or https URL",
		"data:text/html,x":           "destinationURL must be an absolute http or https URL",
		"ftp://example.com/":         "destinationURL must be an absolute http or https URL",
		"https:":                     "destinationURL has no host",
		"https:///path":              "destinationURL has no host",
		"https://:443/":              "destinationURL has no host",
		"https:example.com":          "destinationURL has no host",
		"https://example.com/\r\nX":  "destinationURL has a control character or invalid UTF-8 in it",
		"https://example.com/\x00":   "destinationURL has a control character or invalid UTF-8 in it",
		"https://example.com/\u0085": "destinationURL has a control character or invalid UTF-8 in it",
		"https://m3o.one/u/alices":   "destinationURL is the shortener itself",
		"https://exa mple.com/":      `parse "https://exa mple.com/": invalid character " " in host name`,
		"https://a\\.example.com/":   `parse "https://a\\.example.com/": invalid character "\\" in host name`,
		"http://[::1":                `parse "http://[::1": missing ']' in host`,
		"https://example.com/" + strings.Repeat("x", 8<<10): "destinationURL is longer than 8192 bytes",
	} {
		tests = append(tests, endpointTest{"to " + fmt.Sprintf("%.30q", destination), a, "Create", create("", destination), 400, []string{errorBody("url.create", detail)}, nil})
	}
	run(t, tests)
}

func TestShorten(t *testing.T) {
	run(t, []endpointTest{
		{"a destination", apitest.Alice, "Shorten", `{"destinationURL":"HTTPS://example.com"}`, 200, []string{`{"shortURL":"https://m3o.one/u/`}, nil},
		{"of another tenant", apitest.Bob, "Shorten", `{"destinationURL":"https://example.com/a"}`, 200, nil, []string{"alices"}},
		{"nothing", apitest.Alice, "Shorten", `{}`, 400, []string{errorBody("url.shorten", "missing destinationURL")}, nil},
		{"an id is not asked for", apitest.Alice, "Shorten", `{"id":"mine","destinationURL":"https://example.com"}`, 200, nil, []string{"mine"}},
		{"the shortener", apitest.Alice, "Shorten", `{"destinationURL":"https://m3o.one/u/alices"}`, 400, []string{errorBody("url.shorten", "destinationURL is the shortener itself")}, nil},
		{"no key", "", "Shorten", `{"destinationURL":"https://example.com"}`, 401, nil, nil},
	})
}

func TestList(t *testing.T) {
	run(t, []endpointTest{
		{"all", apitest.Alice, "List", `{}`, 200, []string{`"id":"alices"`, `"destinationURL":"https://example.com/a"`, `"shortURL":"https://m3o.one/u/alices"`, `"hitCount":"3"`}, []string{"gone"}},
		{"one", apitest.Alice, "List", `{"shortURL":"https://m3o.one/u/alices"}`, 200, []string{`"id":"alices"`, `"hitCount":"3"`}, nil},
		{"one by its id", apitest.Alice, "List", `{"shortURL":"alices"}`, 200, []string{`"id":"alices"`}, nil},
		{"one that is gone", apitest.Alice, "List", `{"shortURL":"gone"}`, 200, []string{`{"urlPairs":[]}`}, nil},
		{"another tenant has none", apitest.Bob, "List", `{}`, 200, []string{`{"urlPairs":[]}`}, nil},
		{"another tenant asks for it", apitest.Bob, "List", `{"shortURL":"https://m3o.one/u/alices"}`, 200, []string{`{"urlPairs":[]}`}, nil},
		{"an operator neither", apitest.Operator, "List", `{"shortURL":"alices"}`, 200, []string{`{"urlPairs":[]}`}, nil},
		{"nonsense", apitest.Alice, "List", `{"shortURL":"https://m3o.one/u/%%%"}`, 400, []string{errorBody("url.list", "invalid id")}, nil},
	})
}

func TestResolve(t *testing.T) {
	const leads = `{"destinationURL":"https://example.com/a"}`
	run(t, []endpointTest{
		{"an id", apitest.Alice, "Resolve", `{"id":"alices"}`, 200, []string{leads}, nil},
		{"a short URL", apitest.Alice, "Resolve", `{"shortURL":"https://m3o.one/u/alices"}`, 200, []string{leads}, nil},
		{"with another prefix", apitest.Alice, "Resolve", `{"shortURL":"http://old.example/url/alices/?utm=1#x"}`, 200, []string{leads}, nil},
		{"the id counts", apitest.Alice, "Resolve", `{"id":"alices","shortURL":"gone"}`, 200, []string{leads}, nil},
		{"unknown", apitest.Alice, "Resolve", `{"id":"nothing"}`, 404, []string{`"id":"url.resolve"`, notFound}, nil},
		{"deleted", apitest.Alice, "Resolve", `{"id":"gone"}`, 404, []string{notFound}, nil},
		{"another case", apitest.Alice, "Resolve", `{"id":"ALICES"}`, 404, []string{notFound}, nil},
		{"another tenant", apitest.Bob, "Resolve", `{"id":"alices"}`, 404, []string{notFound}, []string{"example.com"}},
		{"with the scope", apitest.Operator, "Resolve", `{"id":"alices"}`, 200, []string{leads}, nil},
		{"nothing", apitest.Alice, "Resolve", `{}`, 400, []string{errorBody("url.resolve", "missing id or short url")}, nil},
		{"a bad id", apitest.Alice, "Resolve", `{"id":"' OR ''='"}`, 400, []string{errorBody("url.resolve", "invalid id")}, nil},
		{"no key", "", "Resolve", `{"id":"alices"}`, 401, nil, []string{"example.com"}},
	})
}

func TestUpdate(t *testing.T) {
	run(t, []endpointTest{
		{"hers", apitest.Alice, "Update", `{"id":"alices","destinationURL":"https://example.org"}`, 200, []string{`{}`}, nil},
		{"by short URL", apitest.Alice, "Update", `{"shortURL":"m3o.one/u/alices","destinationURL":"https://example.org"}`, 200, []string{`{}`}, nil},
		{"another tenant", apitest.Bob, "Update", `{"id":"alices","destinationURL":"https://evil.example"}`, 404, []string{`"id":"url.update"`, notFound}, nil},
		{"an operator", apitest.Operator, "Update", `{"id":"alices","destinationURL":"https://example.org"}`, 404, []string{notFound}, nil},
		{"deleted", apitest.Alice, "Update", `{"id":"gone","destinationURL":"https://example.org"}`, 404, []string{notFound}, nil},
		{"nothing", apitest.Alice, "Update", `{"destinationURL":"https://example.org"}`, 400, []string{errorBody("url.update", "missing id or short url")}, nil},
		{"a bad id", apitest.Alice, "Update", `{"id":"a b","destinationURL":"https://example.org"}`, 400, []string{errorBody("url.update", "invalid id")}, nil},
		{"a bad destination", apitest.Alice, "Update", `{"id":"alices","destinationURL":"nowhere"}`, 400, []string{errorBody("url.update", "destinationURL must be an absolute http or https URL")}, nil},
		{"to itself", apitest.Alice, "Update", `{"id":"alices","destinationURL":"https://m3o.one/u/alices"}`, 400, []string{errorBody("url.update", "destinationURL is the shortener itself")}, nil},
	})
}

func TestDelete(t *testing.T) {
	run(t, []endpointTest{
		{"hers", apitest.Alice, "Delete", `{"id":"alices"}`, 200, []string{`{}`}, nil},
		{"by short URL", apitest.Alice, "Delete", `{"shortURL":"https://m3o.one/u/alices"}`, 200, []string{`{}`}, nil},
		{"what is not there", apitest.Alice, "Delete", `{"id":"nothing"}`, 200, []string{`{}`}, nil},
		{"twice", apitest.Alice, "Delete", `{"id":"gone"}`, 200, []string{`{}`}, nil},
		{"another tenant", apitest.Bob, "Delete", `{"id":"alices"}`, 200, []string{`{}`}, nil},
		{"an operator", apitest.Operator, "Delete", `{"id":"alices"}`, 200, []string{`{}`}, nil},
		{"nothing", apitest.Alice, "Delete", `{}`, 400, []string{errorBody("url.delete", "missing id or short url")}, nil},
		{"a bad id", apitest.Alice, "Delete", `{"id":"*"}`, 400, []string{errorBody("url.delete", "invalid id")}, nil},
		{"no key", "", "Delete", `{"id":"alices"}`, 401, nil, nil},
	})
}

func TestWhatAWriteDidIsSeen(t *testing.T) {
	w := newWorld(t)
	w.Post(t, apitest.Alice, "/v1/url/Create", `{"id":"mine","destinationURL":"https://example.com/1"}`)
	if to, err := w.ResolveLink(t.Context(), "mine"); err != nil || to != "https://example.com/1" {
		t.Errorf("created: %q, %v", to, err)
	}
	w.Post(t, apitest.Alice, "/v1/url/Update", `{"id":"mine","destinationURL":"https://example.com/2"}`)
	if to, err := w.ResolveLink(t.Context(), "mine"); err != nil || to != "https://example.com/2" {
		t.Errorf("updated: %q, %v", to, err)
	}
	w.Hit("mine")
	w.Post(t, apitest.Alice, "/v1/url/Delete", `{"id":"mine"}`)
	if to, err := w.ResolveLink(t.Context(), "mine"); !api.IsNotFound(err) {
		t.Errorf("deleted: %q, %v", to, err)
	}
	if reply := w.Post(t, apitest.Alice, "/v1/url/Create", `{"id":"mine","destinationURL":"https://example.com/3"}`); !strings.Contains(reply.Body, `"hitCount":"0"`) {
		t.Errorf("made again: %s", reply.Body)
	}
	if reply := w.Get(t, apitest.Alice, "/v1/url/List"); !strings.Contains(reply.Body, `"hitCount":"0"`) {
		t.Errorf("the hits of the deleted link came back: %s", reply.Body)
	}
	for _, id := range []string{"nothing", "", "a/b", "resolve", "\xff", strings.Repeat("x", 1<<16)} {
		if to, err := w.ResolveLink(t.Context(), id); !api.IsNotFound(err) {
			t.Errorf("ResolveLink(%.20q): %q, %v", id, to, err)
		}
	}
}

func TestAResolveCountsOnlyAsAVisit(t *testing.T) {
	w := newWorld(t)
	w.Post(t, apitest.Alice, "/v1/url/Create", `{"id":"mine","destinationURL":"https://example.com"}`)
	for _, test := range []struct {
		key, body string
		status    int
		hits      string
	}{
		{apitest.Alice, `{"id":"mine"}`, 200, "0"},
		{apitest.Alice, `{"id":"mine","visit":true}`, 200, "1"},
		{apitest.Bob, `{"id":"mine","visit":true}`, 404, "1"},
		{apitest.Operator, `{"id":"mine","visit":true}`, 200, "2"},
	} {
		if reply := w.Post(t, test.key, "/v1/url/Resolve", test.body); reply.Status != test.status {
			t.Errorf("%s %s: %d %s", test.key, test.body, reply.Status, reply.Body)
		}
		if reply := w.Get(t, apitest.Alice, "/v1/url/List"); !strings.Contains(reply.Body, `"hitCount":"`+test.hits+`"`) {
			t.Errorf("after %s %s: %s", test.key, test.body, reply.Body)
		}
	}
}

func TestTheQuotaOfLinks(t *testing.T) {
	w := newWorld(t)
	caller := api.Caller{Tenant: "small", Scopes: []string{api.ScopeAll}, Quotas: api.Quotas{Links: 2}}
	w.Grant("key-of-small", caller)
	shorten := func() apitest.Reply {
		return w.Post(t, "key-of-small", "/v1/url/Shorten", `{"destinationURL":"https://example.com"}`)
	}
	w.Post(t, "key-of-small", "/v1/url/Create", `{"id":"first","destinationURL":"https://example.com"}`)
	// What fails or concerns others is not counted.
	w.Post(t, "key-of-small", "/v1/url/Create", `{"id":"first","destinationURL":"https://example.com"}`)
	w.Post(t, "key-of-small", "/v1/url/Delete", `{"id":"nothing"}`)
	w.Post(t, apitest.Alice, "/v1/url/Create", `{"id":"alices","destinationURL":"https://example.com"}`)
	w.Post(t, "key-of-small", "/v1/url/Delete", `{"id":"alices"}`)
	if reply := shorten(); reply.Status != 200 {
		t.Errorf("the second: %s", reply.Body)
	}
	if reply := shorten(); reply.Status != 403 || !strings.Contains(reply.Body, "quota of 2 links") {
		t.Errorf("the third: %d %s", reply.Status, reply.Body)
	}
	w.Post(t, "key-of-small", "/v1/url/Delete", `{"id":"first"}`)
	if reply := shorten(); reply.Status != 200 {
		t.Errorf("after deleting one: %s", reply.Body)
	}
	if reply := shorten(); reply.Status != 403 {
		t.Errorf("the third again: %d", reply.Status)
	}
}

func TestTheShortURLFollowsThePrefix(t *testing.T) {
	w := newWorld(t)
	w.Post(t, apitest.Alice, "/v1/url/Create", `{"id":"mine","destinationURL":"https://example.com"}`)
	w.prefix = func() string { return "http://localhost:8080/u/" }
	if reply := w.Get(t, apitest.Alice, "/v1/url/List?shortURL=https://m3o.one/u/mine"); !strings.Contains(reply.Body, `"shortURL":"http://localhost:8080/u/mine"`) {
		t.Error(reply.Body)
	}
}

// repeating yields the same bytes a few times, then others.
type repeating struct{ left int }

func (r *repeating) Read(p []byte) (int, error) {
	r.left--
	for i := range p {
		p[i] = byte(max(0, -r.left))
	}
	return len(p), nil
}

func TestARandomIDThatIsTakenIsReplaced(t *testing.T) {
	w := newWorld(t)
	w.rand = &repeating{left: 4}
	for range 2 {
		if reply := w.Post(t, apitest.Alice, "/v1/url/Shorten", `{"destinationURL":"https://example.com"}`); reply.Status != 200 {
			t.Errorf("%d %s", reply.Status, reply.Body)
		}
	}
	w.rand = &repeating{left: 100}
	if reply := w.Post(t, apitest.Alice, "/v1/url/Shorten", `{"destinationURL":"https://example.com"}`); reply.Status != 500 || !strings.Contains(reply.Body, "internal error") {
		t.Errorf("no luck: %d %s", reply.Status, reply.Body)
	}
}

func TestAFullDiskIsSaidAndLosesNothing(t *testing.T) {
	w := newWorld(t)
	err := w.db.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec("PRAGMA max_page_count = 1") // fails exactly as a full disk does
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf(`{"destinationURL":"https://example.com/%s"}`, strings.Repeat("x", 8000))
	made := 0
	reply := w.Post(t, apitest.Alice, "/v1/url/Shorten", body)
	for ; reply.Status == 200 && made < 100; made++ {
		reply = w.Post(t, apitest.Alice, "/v1/url/Shorten", body)
	}
	if reply.Status != 503 || !strings.Contains(reply.Body, "the disk is full; nothing was written") {
		t.Errorf("after %d links: %d %s", made, reply.Status, reply.Body)
	}
	links, err := allLinks(t, w.links, "alice")
	if err != nil || len(links) != made {
		t.Errorf("%d links were made, %d are there, %v", made, len(links), err)
	}
}
