package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/api/apitest"
)

// Every method of the contract, called in every role, through the whole program.
// What each method is called with is in tenant_method_test.go.

// marker is in everything that belongs to the first tenant of a pair and in no
// request of the second: a reply to the second that has it in it shows too much.
const marker = "hidden-of-a"

// pair is two tenants with things of their own: a, to whom everything named in a
// call belongs, and b, who tries to get at it.
type pair struct {
	t    *testing.T
	i    *ingress
	name string // letters and digits, unique in the program

	a, b           string // their keys, for all services and backends
	aTenant        string // the id of a's tenant
	operator       string // a key of a's tenant that may also manage tenants
	spareKey       string // the id of a key of a's that nobody uses
	email, account string // of a's user
	session        string
	backend        string // answers functions and apps
}

const userPassword = "a long password"

// newPair makes the tenants, and for a one thing of every kind.
func newPair(t *testing.T, i *ingress, name string) *pair {
	t.Helper()
	p := &pair{t: t, i: i, name: name, email: marker + "." + name + "@example.com", account: marker + "-" + name}
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"from":"`+marker+`"}`)
	}))
	t.Cleanup(backend.Close)
	p.backend = backend.URL + "/" + marker
	p.aTenant = makeTenant(i, name+"-a")
	makeTenant(i, name+"-b")
	p.a = makeKey(i, name+"-a", "*", "backend")
	p.b = makeKey(i, name+"-b", "*", "backend")
	p.operator = makeKey(i, name+"-a", "*", "operator")
	p.must(p.a, "url/create", map[string]any{"id": name, "destinationURL": "https://" + marker + ".example/"})
	p.must(p.a, "app/run", map[string]any{"name": name, "backend": p.backend, "env_vars": map[string]string{"A": marker}})
	p.must(p.a, "function/deploy", map[string]any{"name": name, "backend": p.backend})
	p.must(p.a, "user/create", map[string]any{
		"id": p.account, "email": p.email, "username": p.account, "password": userPassword, "profile": map[string]string{"note": marker},
	})
	login := p.must(p.a, "user/login", map[string]any{"email": p.email, "password": userPassword})
	p.session = login["session"].(map[string]any)["id"].(string)
	spare := p.must(p.a, "api/keys/generate", map[string]any{"scopes": []string{"url"}, "description": marker})
	p.spareKey = spare["api_key_id"].(string)
	return p
}

// makeTenant returns the id of a new tenant.
func makeTenant(i *ingress, name string) string {
	i.t.Helper()
	return i.mustCall("api/tenants/create", fmt.Sprintf(`{"name":%q}`, name))["tenant"].(map[string]any)["id"].(string)
}

// makeKey returns a key of a tenant with the scopes.
func makeKey(i *ingress, tenant string, scopes ...string) string {
	i.t.Helper()
	body, err := json.Marshal(map[string]any{"tenant": tenant, "scopes": scopes})
	if err != nil {
		i.t.Fatal(err)
	}
	return i.mustCall("api/keys/generate", string(body))["api_key"].(string)
}

func encode(t *testing.T, fields map[string]any) string {
	t.Helper()
	if fields == nil {
		return "{}"
	}
	body, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// must calls a method that has to succeed.
func (p *pair) must(key, path string, fields map[string]any) map[string]any {
	p.t.Helper()
	a := callV1(p.t, p.i, key, "/v1/"+path, encode(p.t, fields))
	var reply map[string]any
	if err := json.Unmarshal([]byte(a.body), &reply); err != nil || a.status != http.StatusOK {
		p.t.Fatalf("%s: %d %s (%v)", path, a.status, a.body, err)
	}
	return reply
}

// callV1 posts JSON and checks the reply against the OpenAPI document.
func callV1(t *testing.T, i *ingress, key, path, body string) answer {
	t.Helper()
	headers := []string{"Content-Type", "application/json"}
	if key != "" {
		headers = append(headers, "Authorization", "Bearer "+key)
	}
	a := i.do(http.MethodPost, "http://localhost"+path, headers, body)
	apitest.Validate(t, http.MethodPost, path, a.status, a.header, []byte(a.body))
	return a
}

// state is all that a can see of its own things. When its keys were last used is
// left out: looking changes it.
func (p *pair) state() map[string]any {
	p.t.Helper()
	state := map[string]any{
		"links":     p.must(p.a, "url/list", nil),
		"users":     p.must(p.a, "user/list", nil),
		"session":   p.must(p.a, "user/readsession", map[string]any{"session_id": p.session}),
		"apps":      p.must(p.a, "app/list", nil),
		"functions": p.must(p.a, "function/list", nil),
		"app":       p.must(p.a, "app/resolve", map[string]any{"id": p.name}),
		"function":  p.must(p.a, "function/proxy", map[string]any{"id": p.name}),
	}
	keys := p.must(p.a, "api/keys/list", nil)
	for _, key := range keys["api_keys"].([]any) {
		delete(key.(map[string]any), "last_seen")
	}
	state["keys"] = keys
	for _, tenant := range p.must(p.operator, "api/tenants/list", nil)["tenants"].([]any) {
		if tenant.(map[string]any)["id"] == p.aTenant {
			state["tenant"] = tenant
		}
	}
	return state
}

// mails returns the mails to a's user, oldest first.
func (p *pair) mails() []string {
	p.t.Helper()
	files, err := filepath.Glob(filepath.Join(p.i.dir, "outbox", "*.eml"))
	if err != nil {
		p.t.Fatal(err)
	}
	var mails []string
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			p.t.Fatal(err)
		}
		// Undo quoted-printable as far as links and codes need it.
		text := strings.NewReplacer("=\r\n", "", "=3D", "=").Replace(string(content))
		if strings.Contains(text, p.email) {
			mails = append(mails, text)
		}
	}
	return mails
}

// mailed asks for a mail to a's user and returns what the pattern's group finds
// in it.
func (p *pair) mailed(path, pattern string, fields map[string]any) string {
	p.t.Helper()
	fields["email"], fields["subject"] = p.email, "Hello"
	p.must(p.a, path, fields)
	all := p.mails()
	found := regexp.MustCompile(pattern).FindStringSubmatch(all[len(all)-1])
	if found == nil {
		p.t.Fatalf("no %s in the mail:\n%s", pattern, all[len(all)-1])
	}
	return found[1]
}

// outsiders are keys that may not call anything, or not this.
type outsiders struct {
	revoked, disabled string // used once, before they were ended
	urlOnly, userOnly string // of a tenant that has no things
}

func newOutsiders(t *testing.T, i *ingress) outsiders {
	t.Helper()
	makeTenant(i, "gone")
	makeTenant(i, "limited")
	everything := []string{"*", "operator", "backend", "resolve"}
	o := outsiders{
		revoked:  makeKey(i, "limited", everything...),
		disabled: makeKey(i, "gone", everything...),
		urlOnly:  makeKey(i, "limited", "url"),
		userOnly: makeKey(i, "limited", "user"),
	}
	for _, key := range []string{o.revoked, o.disabled} {
		if status, reply := i.call(key, "url/list", "{}"); status != http.StatusOK {
			t.Fatalf("a new key is answered %d %v", status, reply)
		}
	}
	keys := i.mustCall("api/keys/list", `{"tenant":"limited"}`)["api_keys"].([]any)
	for _, key := range keys {
		if fields := key.(map[string]any); len(fields["scopes"].([]any)) == len(everything) {
			i.mustCall("api/keys/revoke", fmt.Sprintf(`{"tenant":"limited","id":%q}`, fields["id"]))
		}
	}
	i.mustCall("api/tenants/disable", `{"tenant":"gone"}`)
	return o
}

// TestEveryMethodInEveryRole: the owner succeeds; another tenant sees and changes
// nothing; who has no key, a bad one, one for another service, one that was
// revoked just now or one of a disabled tenant learns nothing and changes nothing.
func TestEveryMethodInEveryRole(t *testing.T) {
	i := startIngress(t)
	checkServedDocument(t, i)
	o := newOutsiders(t, i)
	rows := methodRows()
	for number, method := range contractMethods(t) {
		row, ok := rows[method.name]
		if !ok {
			t.Errorf("%s has no row: say what each role is answered", method.name)
			continue
		}
		delete(rows, method.name)
		t.Run(method.name, func(t *testing.T) {
			p := newPair(t, i, fmt.Sprintf("pair%d", number))
			p.checkMethod(method.path, row, o)
		})
	}
	for name := range rows {
		t.Errorf("the row %s is for a method that does not exist", name)
	}
	if _, log := i.output(); strings.Contains(log, "m3o_") || strings.Contains(log, userPassword) || strings.Contains(log, bootstrapKey) {
		t.Error("the log shows a key or a password")
	}
}

// contractMethod is a method and where it is served.
type contractMethod struct{ name, path string }

func contractMethods(t *testing.T) []contractMethod {
	t.Helper()
	services, err := api.Contract()
	if err != nil {
		t.Fatal(err)
	}
	var methods []contractMethod
	for _, service := range services {
		address := string(service.ParentFile().Package())
		if !strings.EqualFold(address, string(service.Name())) {
			address += "/" + strings.ToLower(string(service.Name()))
		}
		for m := range service.Methods().Len() {
			method := service.Methods().Get(m)
			methods = append(methods, contractMethod{string(method.FullName()), address + "/" + string(method.Name())})
		}
	}
	return methods
}

// checkServedDocument makes sure that the document which replies are validated
// against is the one that the program serves.
func checkServedDocument(t *testing.T, i *ingress) {
	t.Helper()
	services, err := api.Contract()
	if err != nil {
		t.Fatal(err)
	}
	document, err := api.OpenAPI(services...)
	if err != nil {
		t.Fatal(err)
	}
	var want, got map[string]any
	if err := json.Unmarshal(document, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(i.get("http://localhost/v1/openapi.json").body), &got); err != nil {
		t.Fatal(err)
	}
	// The order of services is the program's own.
	delete(want, "tags")
	delete(got, "tags")
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("the document served is not that of the contract:\n%s", cmp.Diff(want, got))
	}
}

// checkMethod calls a method in every role. The owner comes last, so that a
// success also shows that nobody before used up or broke what it needs.
func (p *pair) checkMethod(path string, row methodRow, o outsiders) {
	ownCall, foreignCall := row.call(p), row.call(p)
	if row.foreign != nil {
		foreignCall = row.foreign(p)
	}
	before, mailsBefore := p.state(), len(p.mails())

	noScope := o.urlOnly
	if strings.HasPrefix(path, "url/") {
		noScope = o.userOnly
	}
	for _, role := range []struct {
		name, key string
		status    int
	}{
		{"no key", "", 401},
		{"not a key", "not-a-key", 401},
		{"another service's key", noScope, 403},
		{"a revoked key", o.revoked, 401},
		{"a disabled tenant's key", o.disabled, 401},
		{"another tenant", p.b, row.foreignStatus},
	} {
		fields := ownCall
		if role.key == p.b {
			fields = foreignCall
		}
		p.checkRefused(path, role.name, role.key, fields, role.status)
	}
	if after := p.state(); !reflect.DeepEqual(after, before) {
		p.t.Errorf("a's things are not what they were:\n%s", cmp.Diff(before, after))
	}
	if n := len(p.mails()); n != mailsBefore {
		p.t.Errorf("%d mails were sent for somebody else to a's user", n-mailsBefore)
	}
	owner := p.a
	if row.operator {
		owner = p.operator
	}
	own := callV1(p.t, p.i, owner, "/v1/"+path, encode(p.t, ownCall))
	if own.status != row.ownStatus || !strings.Contains(own.body, row.ownSees) {
		p.t.Errorf("the owner is answered %d %s, want %d with %q", own.status, own.body, row.ownStatus, row.ownSees)
	}
}

// checkRefused calls as somebody to whom nothing of a's may be shown: as POST
// under /v1, and with parameters under /api where the call has only texts.
func (p *pair) checkRefused(path, role, key string, fields map[string]any, status int) {
	p.t.Helper()
	replies := map[string]answer{"POST /v1/": callV1(p.t, p.i, key, "/v1/"+path, encode(p.t, fields))}
	if query, ok := asParameters(fields); ok && status >= 400 {
		query.Set("api_key", key)
		a := p.i.get("http://localhost/api/" + path + "?" + query.Encode())
		apitest.Validate(p.t, http.MethodGet, "/api/"+path, a.status, a.header, []byte(a.body))
		replies["GET /api/"] = a
	}
	for where, a := range replies {
		if a.status != status {
			p.t.Errorf("%s%s: %s is answered %d %s, want %d", where, path, role, a.status, a.body, status)
		}
		if strings.Contains(a.body, marker) || strings.Contains(a.body, p.aTenant) || strings.Contains(a.body, p.session) {
			p.t.Errorf("%s%s: %s is shown what is a's: %s", where, path, role, a.body)
		}
	}
}

func asParameters(fields map[string]any) (url.Values, bool) {
	query := url.Values{}
	for name, value := range fields {
		text, ok := value.(string)
		if !ok {
			return nil, false
		}
		query.Set(name, text)
	}
	return query, true
}
