package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/api/apitest"
	"github.com/m3o/ingress/internal/app"
	"github.com/m3o/ingress/internal/leaktest"
	"github.com/m3o/ingress/internal/store/storetest"
	"github.com/m3o/ingress/internal/workload"
	apppb "github.com/m3o/ingress/proto/app"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) {
	leaktest.Main(m, leaktest.IdleConnections)
}

// Keys beyond those of apitest, which have no scope "backend" but for the
// operator's: Alice's and Bob's that may register backends.
const (
	alice = "alice-with-backends"
	bob   = "bob-with-backends"
)

// rules refuse one host.
type rules struct{}

func (rules) Check(_ context.Context, u *url.URL) error {
	if u.Hostname() == "169.254.169.254" {
		return errors.New("169.254.169.254 is link-local")
	}
	return nil
}

// serve returns a server with the app service over an empty store.
func serve(t *testing.T) *apitest.Server {
	t.Helper()
	registry := workload.NewRegistry(workload.App, workload.Options{
		DB: storetest.Open(t), Sealer: storetest.Sealer(t), Rules: rules{},
	})
	apps := app.New(app.Options{Registry: registry, URL: func(id string) string { return "http://" + id + ".app.localhost:8080" }})
	s := apitest.NewServer(t, apps.Service())
	for key, tenant := range map[string]string{alice: "alice", bob: "bob"} {
		s.Grant(key, api.Caller{Tenant: tenant, KeyID: key, Scopes: []string{api.ScopeAll, api.ScopeBackend}, Quotas: api.DefaultQuotas})
	}
	return s
}

const run = `{"name":"hello","backend":"http://10.0.0.7:3000/base","env_vars":{"TOKEN":"sesame"}}`

// decode reads a reply that must have succeeded.
func decode[M proto.Message](t *testing.T, r apitest.Reply) M {
	t.Helper()
	if r.Status != http.StatusOK {
		t.Fatalf("got %d %s", r.Status, r.Body)
	}
	var zero M
	m := zero.ProtoReflect().New().Interface()
	if err := protojson.Unmarshal([]byte(r.Body), m); err != nil {
		t.Fatal(err)
	}
	return m.(M)
}

func TestAnAppsLifeOverHTTP(t *testing.T) {
	s := serve(t)
	made := decode[*apppb.RunResponse](t, s.Post(t, alice, "/v1/app/Run", run)).GetService()
	if made.GetId() != "hello" || made.GetName() != "hello" || made.GetStatus() != "Running" || made.GetRegion() != "local" ||
		made.GetUrl() != "http://hello.app.localhost:8080" || made.GetBackend() != "http://10.0.0.7:3000/base" {
		t.Errorf("made %v", made)
	}
	for _, at := range []string{made.GetCreated(), made.GetUpdated()} {
		if when, err := time.Parse(time.RFC3339Nano, at); err != nil || when.Location() != time.UTC {
			t.Errorf("time %q: %v", at, err)
		}
	}
	for _, path := range []string{"/v1/app/Get", "/v1/app/status", "/v1/app/App/Get"} {
		got := decode[*apppb.GetResponse](t, s.Post(t, alice, path, `{"name":"hello"}`)).GetService()
		if got.String() != made.String() {
			t.Errorf("%s: got %v, want %v", path, got, made)
		}
	}
	expect(t, s.Post(t, alice, "/v1/app/Update", `{"name":"hello","backend":"https://new.example"}`), 200, `{}`)
	expect(t, s.Get(t, alice, "/v1/app/Resolve?id=hello"), 200, `{"url":"https://new.example"}`)
	expect(t, s.Post(t, alice, "/v1/app/Delete", `{"name":"hello"}`), 200, `{}`)
	expect(t, s.Post(t, alice, "/v1/app/Get", `{"name":"hello"}`), 404, `"detail":"not found"`)
	expect(t, s.Post(t, alice, "/v1/app/List", ``), 200, `{"services":[]}`)
	if logs := s.Logs(); strings.Contains(logs, "sesame") {
		t.Errorf("the log has an environment's value:\n%s", logs)
	}
}

// expect checks a reply's status, that its body has a text, and that it has no
// environment value.
func expect(t *testing.T, r apitest.Reply, status int, text string) {
	t.Helper()
	if r.Status != status || !strings.Contains(r.Body, text) {
		t.Errorf("got %d %s, want %d with %s", r.Status, r.Body, status, text)
	}
	if strings.Contains(r.Body, "sesame") {
		t.Errorf("the reply has an environment's value: %s", r.Body)
	}
}

func TestAppErrors(t *testing.T) {
	s := serve(t)
	decode[*apppb.RunResponse](t, s.Post(t, alice, "/v1/app/Run", run))
	before := s.Post(t, alice, "/v1/app/List", "").Body
	huge := map[string]string{}
	for i := range 10_000 {
		huge[fmt.Sprint("N", i)] = "x"
	}
	env, err := json.Marshal(huge)
	if err != nil {
		t.Fatal(err)
	}
	const blocked = `"id":"v1.blocked","code":403,"detail":"Request blocked. Insufficient privileges"`
	refused := func(id, detail string) string { return fmt.Sprintf(`"id":%q,"code":400,"detail":%q`, id, detail) }
	for _, row := range []struct {
		name, key, method, body string
		status                  int
		want                    string
	}{
		{"run nothing", alice, "Run", `{}`, 400, refused("app.run", "missing name")},
		{"run without repo", alice, "Run", `{"name":"Bad Name"}`, 400, refused("app.run", "missing repo")},
		{"run, bad name", alice, "Run", `{"name":"Bad Name","repo":"x"}`, 400, refused("app.run", "invalidate name format")},
		{"run, short name", alice, "Run", `{"name":"ab","backend":"http://a.b"}`, 400, refused("app.run", "invalidate name format")},
		{"run, header in name", alice, "Run", `{"name":"a\r\nX-Evil: 1","backend":"http://a.b"}`, 400, refused("app.run", "invalidate name format")},
		{"run, SQL in name", alice, "Run", `{"name":"x'; DROP TABLE workloads; --","backend":"http://a.b"}`, 400, refused("app.run", "invalidate name format")},
		{"run, platform's name", alice, "Run", `{"name":"admin","backend":"http://a.b"}`, 400, refused("app.run", "name already reserved")},
		{"run, bad repo", alice, "Run", `{"name":"other","repo":"x","region":"mars"}`, 400, refused("app.run", "invalid git repo")},
		{"run, bad region", alice, "Run", `{"name":"other","repo":"github.com/a/b","region":"mars"}`, 400, refused("app.run", "Unsupported region")},
		{"run an upload and a repo", alice, "Run", `{"name":"other","repo":"github.com/a/b","upload":"x"}`, 400, "do not go with upload"},
		{"run a backend with settings", alice, "Run", `{"name":"other","backend":"http://a.b","health_path":"/up"}`, 400, "do not go with backend"},
		{"run, bad idle timeout", alice, "Run", `{"name":"other","repo":"github.com/a/b","idle_timeout":"soon"}`, 400, refused("app.run", "invalid idle_timeout: it must be a duration such as 15m, 0s for ever, or default")},
		{"run, negative idle timeout", alice, "Run", `{"name":"other","repo":"github.com/a/b","idle_timeout":"-1m"}`, 400, "invalid idle_timeout"},
		{"update to two sources", alice, "Update", `{"name":"hello","repo":"github.com/a/b","upload":"x"}`, 400, refused("app.update", "backend, upload and repo exclude each other")},
		{"update the branch of no repo", alice, "Update", `{"name":"hello","branch":"x"}`, 400, refused("app.update", "branch and path need a repo: hello was not made from one")},
		{"update to a bad repo", alice, "Update", `{"name":"hello","repo":"--upload-pack=x"}`, 400, refused("app.update", "invalid git repo")},
		{"update, bad idle timeout", alice, "Update", `{"name":"hello","idle_timeout":"soon"}`, 400, "invalid idle_timeout"},
		{"versions of nothing", alice, "Versions", `{}`, 400, refused("app.versions", "missing name")},
		{"versions of what is not there", alice, "Versions", `{"name":"nosuch"}`, 404, `"id":"app.versions","code":404,"detail":"not found"`},
		{"roll nothing back", alice, "Rollback", `{}`, 400, refused("app.rollback", "missing name")},
		{"roll back to nonsense", alice, "Rollback", `{"name":"hello","version":-1}`, 404, `"detail":"there is no such version"`},
		{"logs from before the beginning", alice, "Logs", `{"name":"hello","offset":-1}`, 400, "must not be negative"},
		{"set a credential for nothing", alice, "SetCredential", `{"password":"sesame"}`, 400, refused("app.setcredential", "missing host")},
		{"set an empty credential", alice, "SetCredential", `{"host":"github.com"}`, 400, refused("app.setcredential", "missing password or ssh_key")},
		{"delete a credential of nothing", alice, "DeleteCredential", `{}`, 400, refused("app.deletecredential", "missing host")},
		{"run a repo and a backend", alice, "Run", `{"name":"other","repo":"github.com/a/b","backend":"http://a.b"}`, 400, "do not go with backend"},
		{"run a backend with a port", alice, "Run", `{"name":"other","port":80,"backend":"http://a.b"}`, 400, "do not go with backend"},
		{"run what runs", alice, "Run", run, 400, refused("app.run", "hello already running")},
		{"run a backend without the scope", apitest.Alice, "Run", `{"name":"other","backend":"http://a.b"}`, 403, blocked},
		{"run a backend, bad URL", alice, "Run", `{"name":"other","backend":"ftp://a.b"}`, 400, refused("app.run", "invalid backend: the URL must begin with http:// or https://")},
		{"run a backend with a password", alice, "Run", `{"name":"other","backend":"http://u:sesame@a.b"}`, 400, refused("app.run", "invalid backend: the URL must not hold credentials")},
		{"run a forbidden backend", alice, "Run", `{"name":"other","backend":"http://169.254.169.254/meta"}`, 400, refused("app.run", "invalid backend: 169.254.169.254 is link-local")},
		{"run, bad variable", alice, "Run", `{"name":"other","backend":"http://a.b","env_vars":{"A=B":"sesame"}}`, 400, "invalid env_vars"},
		{"run, huge environment", alice, "Run", `{"name":"other","backend":"http://a.b","env_vars":` + string(env) + `}`, 400, "there are 10000 variables and at most 256 allowed"},
		{"run, not UTF-8", alice, "Run", "{\"name\":\"\xff\xfe\",\"backend\":\"http://a.b\"}", 400, `"code":400`},
		{"run, wrong type", alice, "Run", `{"name":["hello"]}`, 400, `"id":"v1","code":400`},
		{"update nothing", alice, "Update", `{}`, 400, refused("app.update", "missing name")},
		{"update what is not there", alice, "Update", `{"name":"nosuch","backend":"http://a.b"}`, 404, `"id":"app.update","code":404,"detail":"not found"`},
		{"update without the scope", apitest.Alice, "Update", `{"name":"hello","backend":"http://a.b"}`, 403, blocked},
		{"update to a forbidden backend", alice, "Update", `{"name":"hello","backend":"http://169.254.169.254"}`, 400, "link-local"},
		{"get nothing", alice, "Get", `{}`, 400, refused("app.get", "missing name")},
		{"get what is not there", alice, "Get", `{"name":"' OR ''='"}`, 404, `"id":"app.get","code":404,"detail":"not found"`},
		{"status of nothing", alice, "Status", `{}`, 400, refused("app.status", "missing name")},
		{"delete nothing", alice, "Delete", `{}`, 400, refused("app.delete", "missing name")},
		{"delete what is not there", alice, "Delete", `{"name":"nosuch"}`, 404, `"id":"app.delete","code":404,"detail":"not found"`},
		{"reserve nothing", alice, "Reserve", `{}`, 400, refused("app.reserve", "missing app name")},
		{"reserve a bad name", alice, "Reserve", `{"name":"a-b"}`, 400, refused("app.reserve", "invalidate name format")},
		{"reserve the platform's", alice, "Reserve", `{"name":"www"}`, 400, refused("app.reserve", "name already reserved")},
		{"reserve another tenant's", bob, "Reserve", `{"name":"hello"}`, 400, refused("app.reserve", "name already reserved")},
		{"resolve nothing", alice, "Resolve", `{}`, 400, refused("app.resolve", "missing id")},
		{"resolve a bad id", alice, "Resolve", `{"id":"hello\r\nX-Evil: 1"}`, 400, refused("app.resolve", "invalid id")},
		{"resolve what is not there", alice, "Resolve", `{"id":"nosuch"}`, 404, `"id":"app.resolve","code":404,"detail":"not found"`},
		{"logs of a bad type", alice, "Logs", `{"name":"hello","logs_type":"all"}`, 400, refused("app.Logs", "Invalid logs_type specified")},
		{"logs of nothing", alice, "Logs", `{}`, 400, refused("app.Logs", "missing name")},
		{"logs of what is not there", alice, "Logs", `{"name":"nosuch"}`, 404, `"id":"app.Logs"`},
		{"logs of a registered backend", alice, "Logs", `{"name":"hello","logs_type":"run"}`, 501, "hello is a registered backend, which is built and runs elsewhere"},
	} {
		t.Run(row.name, func(t *testing.T) {
			expect(t, s.Post(t, row.key, "/v1/app/"+row.method, row.body), row.status, row.want)
		})
	}
	if after := s.Post(t, alice, "/v1/app/List", "").Body; after != before {
		t.Errorf("what was refused changed\n%s into\n%s", before, after)
	}
}

func TestAnotherTenantSeesAndChangesNothing(t *testing.T) {
	s := serve(t)
	decode[*apppb.RunResponse](t, s.Post(t, alice, "/v1/app/Run", run))
	before := s.Post(t, alice, "/v1/app/List", "").Body
	for _, row := range []struct{ method, body string }{
		{"Get", `{"name":"hello"}`},
		{"Status", `{"name":"hello"}`},
		{"Update", `{"name":"hello","backend":"http://evil.example"}`},
		{"Update", `{"name":"hello","env_vars":{"A":"***"}}`},
		{"Delete", `{"name":"hello"}`},
		{"Logs", `{"name":"hello"}`},
		{"Resolve", `{"id":"hello"}`},
	} {
		expect(t, s.Post(t, bob, "/v1/app/"+row.method, row.body), 404, `"detail":"not found"`)
	}
	expect(t, s.Post(t, bob, "/v1/app/List", ""), 200, `{"services":[]}`)
	expect(t, s.Post(t, apitest.Operator, "/v1/app/Resolve", `{"id":"hello"}`), 200, `{"url":"http://10.0.0.7:3000/base"}`)
	// The name in Bob's hands is another app, under another id.
	his := decode[*apppb.RunResponse](t, s.Post(t, bob, "/v1/app/Run", `{"name":"hello","backend":"http://bob.example"}`)).GetService()
	if his.GetName() != "hello" || !strings.HasPrefix(his.GetId(), "hello-") || his.GetUrl() != "http://"+his.GetId()+".app.localhost:8080" {
		t.Errorf("Bob's is %v", his)
	}
	expect(t, s.Post(t, bob, "/v1/app/Resolve", `{"id":"`+his.GetId()+`"}`), 200, `{"url":"http://bob.example"}`)
	expect(t, s.Post(t, bob, "/v1/app/Delete", `{"name":"hello"}`), 200, `{}`)
	if after := s.Post(t, alice, "/v1/app/List", "").Body; after != before {
		t.Errorf("Alice's apps were\n%s and are\n%s", before, after)
	}
}

func TestReservingOverHTTP(t *testing.T) {
	s := serve(t)
	res := decode[*apppb.ReserveResponse](t, s.Post(t, alice, "/v1/app/Reserve", `{"name":"007"}`)).GetReservation()
	if res.GetName() != "007" || res.GetOwner() != "alice" || res.GetToken() == "" {
		t.Errorf("got %v", res)
	}
	created, err1 := time.Parse(time.RFC3339Nano, res.GetCreated())
	expires, err2 := time.Parse(time.RFC3339Nano, res.GetExpires())
	if err1 != nil || err2 != nil || !expires.Equal(created.AddDate(1, 0, 0)) {
		t.Errorf("from %q to %q", res.GetCreated(), res.GetExpires())
	}
}

func TestTheRegionsOfTheOriginalMeanTheDefault(t *testing.T) {
	s := serve(t)
	expect(t, s.Post(t, alice, "/v1/app/Regions", ""), 200, `{"regions":["local"]}`)
	for i, region := range []string{"local", "europe-west1", "us-central1", "us-east1", "us-west1", "asia-east1"} {
		body := fmt.Sprintf(`{"name":"app%d","region":%q,"backend":"http://a.b"}`, i, region)
		if got := decode[*apppb.RunResponse](t, s.Post(t, alice, "/v1/app/Run", body)).GetService().GetRegion(); got != "local" {
			t.Errorf("%s became %s", region, got)
		}
	}
}
