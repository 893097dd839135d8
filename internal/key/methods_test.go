package key

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/api/apitest"
	apipb "github.com/m3o/ingress/proto/api"
)

// serve puts the world behind the API. Alice's and Bob's keys there are those
// of the two tenants, Operator's is the bootstrap key.
func serve(t *testing.T, w *world) *apitest.Server {
	t.Helper()
	server := apitest.NewServer(t, w.Services()...)
	server.Grant(apitest.Alice, w.alice)
	server.Grant(apitest.Bob, w.bob)
	server.Grant(apitest.Operator, w.operator)
	return server
}

// endpointTest is one call and all it must and must not do. In bodies and
// replies ALICE and BOB stand for the tenants' ids, ALICEKEY for the id of
// Alice's first key, OPERATORKEY for that of the bootstrap key.
type endpointTest struct {
	name, key, method, body string
	status                  int
	says, saysNot           []string
}

// run makes each call against a fresh world. Calls that fail must change
// nothing; no reply but that of a creation may show a key.
func run(t *testing.T, tests []endpointTest) {
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, Options{})
			server := serve(t, w)
			names := strings.NewReplacer("ALICEKEY", w.alice.KeyID, "OPERATORKEY", w.operator.KeyID, "ALICE", w.alice.Tenant, "BOB", w.bob.Tenant)
			before := everything(t, w)
			reply := server.Post(t, test.key, "/v1/api/"+test.method, names.Replace(test.body))
			if reply.Status != test.status {
				t.Errorf("status %d, want %d", reply.Status, test.status)
			}
			for _, text := range test.says {
				if !strings.Contains(reply.Body, names.Replace(text)) {
					t.Errorf("%s does not say %s", reply.Body, names.Replace(text))
				}
			}
			for _, text := range test.saysNot {
				if strings.Contains(reply.Body, names.Replace(text)) {
					t.Errorf("%s says %s", reply.Body, names.Replace(text))
				}
			}
			creates := strings.HasSuffix(test.method, "enerate") || strings.HasSuffix(test.method, "create")
			if strings.Contains(reply.Body, "m3o_") != (creates && test.status == 200) {
				t.Errorf("a key where none belongs, or none where one does: %s", reply.Body)
			}
			if after := everything(t, w); test.status != 200 && after != before {
				t.Errorf("a failed call changed %s to %s", before, after)
			}
		})
	}
}

// everything is all that is stored, but for the secrets.
func everything(t *testing.T, w *world) string {
	t.Helper()
	tenants, err := w.keys.tenants(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintln(tenants)
	for _, tenant := range tenants {
		keys, err := w.keys.list(t.Context(), tenant.id)
		if err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintln(keys)
	}
	return text
}

func failure(id string, code int, detail string) []string {
	text, err := json.Marshal(detail)
	if err != nil {
		panic(err)
	}
	return []string{fmt.Sprintf(`{"id":%q,"code":%d,"detail":%s,"status":%q}`, id, code, text, http.StatusText(code))}
}

const allScopeNames = "*, api, app, backend, function, helloworld, operator, resolve, url, user"

var blocked = failure("v1.blocked", 403, "Request blocked. Insufficient privileges")

func TestGenerate(t *testing.T) {
	const a, o, m = apitest.Alice, apitest.Operator, "keys/generate"
	const needsOperator = `another tenant's keys need the scope "operator"`
	run(t, []endpointTest{
		{"all services", a, m, `{"scopes":["*"],"description":"for the shop"}`, 200, []string{`"api_key_id":"key_`}, nil},
		{"one service", a, m, `{"scopes":["url"]}`, 200, nil, nil},
		{"any case, a scope twice, her own tenant", a, "Keys/Generate", `{"scopes":["url","api","url"],"tenant":"ALICE"}`, 200, nil, nil},
		{"no scopes", a, m, `{}`, 400, failure("keys.generate", 400, "missing scopes; there are: "+allScopeNames), nil},
		{"an unknown scope", a, m, `{"scopes":["url","nonsense"]}`, 400, failure("keys.generate", 400, `unknown scope "nonsense"; there are: `+allScopeNames), nil},
		{"an injected scope", a, m, `{"scopes":["url operator"]}`, 400, []string{"unknown scope"}, nil},
		{"a huge scope", a, m, `{"scopes":["` + strings.Repeat("x", 100_000) + `"]}`, 400, []string{"unknown scope"}, []string{strings.Repeat("x", 100)}},
		{"operator", a, m, `{"scopes":["*","operator"]}`, 403, failure("keys.generate", 403, `your key does not have the scope "operator", so it cannot give it to another`), nil},
		{"backend", a, m, `{"scopes":["backend"]}`, 403, []string{"backend"}, nil},
		{"resolve", a, m, `{"scopes":["resolve"]}`, 403, []string{"resolve"}, nil},
		{"for another tenant", a, m, `{"scopes":["*"],"tenant":"BOB"}`, 403, failure("keys.generate", 403, needsOperator), nil},
		{"for another tenant by name", a, m, `{"scopes":["*"],"tenant":"bob"}`, 403, failure("keys.generate", 403, needsOperator), nil},
		{"for nobody known", a, m, `{"scopes":["*"],"tenant":"nobody"}`, 403, failure("keys.generate", 403, needsOperator), nil},
		{"by an operator", o, m, `{"scopes":["*","operator","backend","resolve"]}`, 200, nil, nil},
		{"by an operator for another tenant", o, m, `{"scopes":["*"],"tenant":"bob"}`, 200, nil, nil},
		{"by an operator for nobody", o, m, `{"scopes":["*"],"tenant":"nobody"}`, 404, failure("keys.generate", 404, "not found"), nil},
		{"a long description", a, m, `{"scopes":["*"],"description":"` + strings.Repeat("x", 1025) + `"}`, 400, []string{"at most 1024 bytes"}, nil},
		{"a description of two lines", a, m, `{"scopes":["*"],"description":"x\r\ny"}`, 400, []string{"one line"}, nil},
		{"SQL in the description", a, m, `{"scopes":["*"],"description":"'); DROP TABLE keys; --"}`, 200, nil, nil},
		{"wrong types", a, m, `{"scopes":"*"}`, 400, []string{`"id":"v1"`}, nil},
		{"no key", "", m, `{"scopes":["*"]}`, 401, failure("v1", 401, "Unauthorized"), nil},
	})
}

func TestListKeys(t *testing.T) {
	const m = "keys/list"
	run(t, []endpointTest{
		{"her own", apitest.Alice, m, `{}`, 200, []string{`"id":"ALICEKEY"`, `"scopes":["*"]`, `"description":"first key"`}, []string{"OPERATORKEY", "BOB"}},
		{"her own by id", apitest.Alice, m, `{"tenant":"ALICE"}`, 200, []string{"ALICEKEY"}, nil},
		{"another tenant's", apitest.Bob, m, `{"tenant":"ALICE"}`, 403, []string{"keys.list", "operator"}, []string{"ALICEKEY"}},
		{"another tenant's by name", apitest.Bob, m, `{"tenant":"alice"}`, 403, nil, []string{"ALICEKEY"}},
		{"by an operator", apitest.Operator, m, `{"tenant":"alice"}`, 200, []string{"ALICEKEY"}, []string{"OPERATORKEY"}},
		{"the operator's own", apitest.Operator, m, `{}`, 200, []string{"OPERATORKEY", `"bootstrap key"`}, []string{"ALICEKEY"}},
		{"of nobody", apitest.Operator, m, `{"tenant":"' OR ''='"}`, 404, nil, []string{"key_"}},
	})
}

func TestRevoke(t *testing.T) {
	const m = "keys/revoke"
	run(t, []endpointTest{
		{"her own", apitest.Alice, m, `{"id":"ALICEKEY"}`, 200, []string{`{}`}, nil},
		{"another tenant's", apitest.Bob, m, `{"id":"ALICEKEY"}`, 404, failure("keys.revoke", 404, "not found"), nil},
		{"another tenant's, said so", apitest.Bob, m, `{"id":"ALICEKEY","tenant":"ALICE"}`, 403, []string{"operator"}, nil},
		{"the bootstrap key", apitest.Bob, m, `{"id":"OPERATORKEY"}`, 404, nil, nil},
		{"by an operator", apitest.Operator, m, `{"id":"ALICEKEY","tenant":"alice"}`, 200, nil, nil},
		{"by an operator, for the wrong tenant", apitest.Operator, m, `{"id":"ALICEKEY"}`, 404, nil, nil},
		{"the bootstrap key by itself", apitest.Operator, m, `{"id":"OPERATORKEY"}`, 200, nil, nil},
		{"nothing", apitest.Alice, m, `{}`, 400, failure("keys.revoke", 400, "missing id"), nil},
		{"unknown", apitest.Alice, m, `{"id":"' OR 1=1 --"}`, 404, nil, nil},
		{"huge", apitest.Alice, m, `{"id":"` + strings.Repeat("x", 1<<20) + `"}`, 404, nil, nil},
	})
}

func TestCreateTenant(t *testing.T) {
	const o, m = apitest.Operator, "tenants/create"
	tests := []endpointTest{
		{"a tenant", o, m, `{"name":"carol-2"}`, 200, []string{`"name":"carol-2"`, `"id":"tenant_`, `"disabled":false`, `"links":"100000"`}, nil},
		{"taken", o, m, `{"name":"alice"}`, 400, failure("tenants.create", 400, "name already taken"), nil},
		{"the operator's", o, m, `{"name":"default"}`, 400, []string{"name already taken"}, nil},
		{"by a tenant", apitest.Alice, m, `{"name":"carol"}`, 403, blocked, nil},
		{"no key", "", m, `{"name":"carol"}`, 401, nil, nil},
	}
	for _, name := range []string{"", "Carol", "-carol", "carol-", "ca rol", "ca.rol", "tenant_x", "é", "x\ny", "'; --", strings.Repeat("x", 64)} {
		body, err := json.Marshal(map[string]string{"name": name})
		if err != nil {
			t.Fatal(err)
		}
		tests = append(tests, endpointTest{fmt.Sprintf("name %.20q", name), o, m, string(body), 400, []string{`"id":"tenants.create"`, "invalid name"}, nil})
	}
	run(t, tests)
}

func TestManageTenants(t *testing.T) {
	const a, o = apitest.Alice, apitest.Operator
	run(t, []endpointTest{
		{"list", o, "tenants/list", `{}`, 200, []string{`"name":"default"`, `"id":"ALICE","name":"alice"`, `"id":"BOB","name":"bob"`}, nil},
		{"list by a tenant", a, "tenants/list", `{}`, 403, blocked, []string{"BOB"}},
		{"disable", o, "tenants/disable", `{"tenant":"bob"}`, 200, []string{`{}`}, nil},
		{"disable by a tenant", a, "tenants/disable", `{"tenant":"bob"}`, 403, blocked, nil},
		{"disable nobody", o, "tenants/disable", `{"tenant":"nobody"}`, 404, failure("tenants.disable", 404, "not found"), nil},
		{"disable nothing", o, "tenants/disable", `{}`, 400, failure("tenants.disable", 400, "missing tenant"), nil},
		{"disable oneself", o, "tenants/disable", `{"tenant":"default"}`, 400, []string{"your own tenant"}, nil},
		{"enable", o, "tenants/enable", `{"tenant":"BOB"}`, 200, []string{`{}`}, nil},
		{"enable by a tenant", a, "tenants/enable", `{"tenant":"bob"}`, 403, blocked, nil},
		{"enable nobody", o, "tenants/enable", `{"tenant":"nobody"}`, 404, nil, nil},
		{"quotas", o, "tenants/setquotas", `{"tenant":"alice","quotas":{"links":"7","burst":5}}`, 200, []string{`{}`}, nil},
		{"quotas by a tenant", a, "tenants/setquotas", `{"tenant":"alice","quotas":{"links":"7"}}`, 403, blocked, nil},
		{"negative", o, "tenants/setquotas", `{"tenant":"alice","quotas":{"links":-1}}`, 400, []string{"a quota must be between 0"}, nil},
		{"too fast", o, "tenants/setquotas", `{"tenant":"alice","quotas":{"burst":"9223372036854775807"}}`, 400, []string{"a rate must be between 0"}, nil},
		{"quotas of nobody", o, "tenants/setquotas", `{"tenant":"nobody","quotas":{"links":"7"}}`, 404, nil, nil},
	})
}

func TestAKeyWithOneScopeMakesNoMore(t *testing.T) {
	w := newWorld(t, Options{})
	secret, _ := w.newKey(t, w.alice, "api", "url")
	caller := w.mustAuthenticate(t, secret)
	if _, err := w.generate(t.Context(), caller, &apipb.GenerateRequest{Scopes: []string{"url"}}); err != nil {
		t.Errorf("its own scope: %v", err)
	}
	for _, scope := range []string{"*", "app", "operator"} {
		if _, err := w.generate(t.Context(), caller, &apipb.GenerateRequest{Scopes: []string{"url", scope}}); err == nil {
			t.Errorf("it gave away %s", scope)
		}
	}
}

func TestOnlyAnOperatorRevokesAnOperatorsKey(t *testing.T) {
	w := newWorld(t, Options{})
	secret, _ := w.newKey(t, w.operator, "*")
	lent := w.mustAuthenticate(t, secret) // same tenant, fewer scopes
	_, err := w.revoke(t.Context(), lent, &apipb.RevokeRequest{Id: w.operator.KeyID})
	refused(t, err, "keys.revoke", 403, `a key with the scope "operator" is revoked with another such key`)
	keys, err := w.keys.list(t.Context(), w.operator.Tenant)
	if err != nil || len(keys) != 2 {
		t.Errorf("the keys are now %v, %v", keys, err)
	}
}

func TestQuotas(t *testing.T) {
	w := newWorld(t, Options{})
	_, err := w.setQuotas(t.Context(), w.operator, &apipb.SetQuotasRequest{Tenant: "alice", Quotas: &apipb.Quotas{Keys: 2, Burst: 7}})
	if err != nil {
		t.Fatal(err)
	}
	want := api.DefaultQuotas
	want.Keys, want.Burst = 2, 7
	if got := w.mustAuthenticate(t, w.aliceKey).Quotas; got != want {
		t.Errorf("the quotas are %+v, want %+v at once", got, want)
	}
	if got := w.mustAuthenticate(t, w.bobKey).Quotas; got != api.DefaultQuotas {
		t.Errorf("Bob's quotas are %+v", got)
	}
	_, id := w.newKey(t, w.alice, "url")
	request := &apipb.GenerateRequest{Scopes: []string{"url"}}
	_, err = w.generate(t.Context(), w.alice, request)
	refused(t, err, "keys.generate", 403, "the quota of 2 keys is reached; revoke one that is not needed")
	request.Tenant = "alice" // the quota is hers, whoever asks
	_, err = w.generate(t.Context(), w.operator, request)
	refused(t, err, "keys.generate", 403, "the quota of 2 keys is reached; revoke one that is not needed")
	w.newKey(t, w.bob, "url")
	if _, err := w.revoke(t.Context(), w.alice, &apipb.RevokeRequest{Id: id}); err != nil {
		t.Fatal(err)
	}
	w.newKey(t, w.alice, "url")
	if _, err := w.setQuotas(t.Context(), w.operator, &apipb.SetQuotasRequest{Tenant: "alice"}); err != nil {
		t.Fatal(err)
	}
	if got := w.mustAuthenticate(t, w.aliceKey).Quotas; got != api.DefaultQuotas {
		t.Errorf("after setting none: %+v", got)
	}
}

func TestScopesOfThePlatformsServices(t *testing.T) {
	w := newWorld(t, Options{Scopes: []string{"weather"}})
	w.newKey(t, w.alice, "weather")
	_, err := w.generate(t.Context(), w.alice, &apipb.GenerateRequest{Scopes: []string{"url"}})
	refused(t, err, "keys.generate", 400, `unknown scope "url"; there are: *, api, backend, operator, resolve, weather`)
}
