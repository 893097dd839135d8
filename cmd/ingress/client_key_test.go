package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const tenantsJSON = `{"tenants":[` +
	`{"id":"t1","name":"default","disabled":false,"created":"1795370616","quotas":{"apps":"100","functions":"0","links":"100000","keys":"100","version_bytes":"2147483648","requests_per_second":"100","burst":"300"}},` +
	`{"id":"t2","name":"acme","disabled":true,"created":"1795370616","quotas":{"apps":"5","functions":"0","links":"0","keys":"0","version_bytes":"1000","requests_per_second":"0","burst":"0"}}]}`

func TestKeyCommands(t *testing.T) {
	checkExchanges(t, []exchange{
		{
			args: []string{"key", "create", "--scope", "url,app", "--scope", "*", "--description", "ci", "--tenant", "t2"},
			path: "/v1/api/keys/generate", body: `{"scopes":["url","app","*"],"description":"ci","tenant":"t2"}`,
			reply: `{"api_key":"m3o_secret","api_key_id":"k1"}`, stdout: "m3o_secret\n",
			stderr: "This is key k1. It is not shown again.\n",
		},
		{
			args: []string{"key", "list"}, path: "/v1/api/keys/list", body: `{}`,
			reply: `{"api_keys":[{"id":"k1","description":"","created_time":"1795370616","scopes":["url","app"],"last_seen":"0"},{"id":"k2","description":"ci","created_time":"1795370616","scopes":["*"],"last_seen":"1795374216"}]}`,
			stdout: "" +
				"ID  CREATED           LAST SEEN         SCOPES   DESCRIPTION\n" +
				"k1  2026-11-22 18:03  -                 url,app  -\n" +
				"k2  2026-11-22 18:03  2026-11-22 19:03  *        ci\n",
		},
		{
			args: []string{"key", "list", "--tenant", "t2"}, path: "/v1/api/keys/list", body: `{"tenant":"t2"}`,
			reply: `{"api_keys":[]}`, stderr: "no keys yet; make one with: ingress key create --scope url\n",
		},
		{
			args: []string{"key", "revoke", "k1"}, path: "/v1/api/keys/revoke", body: `{"id":"k1"}`,
			reply: `{}`, stderr: "key k1 is revoked\n",
		},
	})
}

func TestTenantCommands(t *testing.T) {
	checkExchanges(t, []exchange{
		{
			args: []string{"tenant", "create", "acme"}, path: "/v1/api/tenants/create", body: `{"name":"acme"}`,
			reply:  `{"tenant":{"id":"t2","name":"acme","disabled":false,"created":"1795370616","quotas":null},"api_key":"m3o_secret"}`,
			stdout: "ID    t2\nNAME  acme\nKEY   m3o_secret\n", stderr: "The key is not shown again.\n",
		},
		{
			args: []string{"tenant", "list"}, path: "/v1/api/tenants/list", body: `{}`, reply: tenantsJSON,
			stdout: "" +
				"ID  NAME     DISABLED  APPS  FUNCTIONS  LINKS    KEYS     VERSIONS  REQUESTS          CREATED\n" +
				"t1  default  no        100   default    100000   100      2 GiB     100/s, burst 300  2026-11-22 18:03:36\n" +
				"t2  acme     yes       5     default    default  default  1000      default           2026-11-22 18:03:36\n",
		},
		{
			args: []string{"tenant", "disable", "acme"}, path: "/v1/api/tenants/disable", body: `{"tenant":"acme"}`,
			reply: `{}`, stderr: "tenant acme is disabled\n",
		},
		{
			args: []string{"tenant", "enable", "acme"}, path: "/v1/api/tenants/enable", body: `{"tenant":"acme"}`,
			reply: `{}`, stderr: "tenant acme is enabled\n",
		},
	})
}

// newTenants is a platform that lists tenants and takes quotas.
func newTenants(t *testing.T) (address string, set *[]string) {
	t.Helper()
	set = &[]string{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/api/tenants/list", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, tenantsJSON)
	})
	mux.HandleFunc("POST /v1/api/tenants/setquotas", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*set = append(*set, string(body))
		_, _ = io.WriteString(w, `{}`)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL, set
}

func TestQuotasThatAreNotGivenStay(t *testing.T) {
	address, set := newTenants(t)
	got := withKey().run(t, "tenant", "quotas", "default", "--apps", "0", "--burst", "500", "--address", address)
	want := "" +
		"APPS       default\n" +
		"FUNCTIONS  default\n" +
		"LINKS      100000\n" +
		"KEYS       100\n" +
		"VERSIONS   2 GiB\n" +
		"REQUESTS   100/s, burst 500\n"
	if got != (outcome{want, "", 0}) {
		t.Errorf("got %+v\nwant %s", got, want)
	}
	sent := `{"tenant":"t1","quotas":{"links":"100000","keys":"100","version_bytes":"2147483648","requests_per_second":"100","burst":"500"}}`
	if len(*set) != 1 || !sameJSON(t, (*set)[0], sent) {
		t.Errorf("sent %v, want %s", *set, sent)
	}
}

func TestQuotasWithoutFlagsAreOnlyShown(t *testing.T) {
	address, set := newTenants(t)
	got := withKey().run(t, "tenant", "quotas", "t2", "--address", address)
	if got.code != 0 || !strings.HasPrefix(got.stdout, "APPS       5\n") {
		t.Errorf("%+v", got)
	}
	asJSON := withKey().run(t, "tenant", "quotas", "t2", "--json", "--address", address)
	want := `{"apps":"5","functions":"0","links":"0","keys":"0","version_bytes":"1000","requests_per_second":"0","burst":"0"}`
	if asJSON.code != 0 || !sameJSON(t, asJSON.stdout, want) {
		t.Errorf("%+v", asJSON)
	}
	if len(*set) != 0 {
		t.Errorf("quotas were changed: %v", *set)
	}
}

func TestQuotasOfAnUnknownTenantAreNotSet(t *testing.T) {
	address, set := newTenants(t)
	got := withKey().run(t, "tenant", "quotas", "nobody", "--apps", "5", "--address", address)
	if got.code != 1 || !strings.Contains(got.stderr, "there is no tenant nobody") || len(*set) != 0 {
		t.Errorf("%+v, sent %v", got, *set)
	}
}
