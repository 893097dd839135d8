package function_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/api/apitest"
	"github.com/m3o/ingress/internal/function"
	"github.com/m3o/ingress/internal/leaktest"
	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/store/storetest"
	"github.com/m3o/ingress/internal/workload"
	functionpb "github.com/m3o/ingress/proto/function"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) {
	leaktest.Main(m, leaktest.IdleConnections)
}

// Keys beyond those of apitest, of which only the operator's may register
// backends.
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

// fixture is a server with the function service over an empty store.
type fixture struct {
	*apitest.Server
	db        *store.DB
	transport *http.Transport
}

func serve(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{db: storetest.Open(t), transport: &http.Transport{}}
	t.Cleanup(f.transport.CloseIdleConnections)
	registry := workload.NewRegistry(workload.Function, workload.Options{
		DB: f.db, Sealer: storetest.Sealer(t), Rules: rules{},
	})
	functions := function.New(function.Options{
		Registry:  registry,
		URL:       func(id string) string { return "http://" + id + ".fn.localhost:8080" },
		Transport: f.transport, Runtimes: languages{}, Managed: sleeping{},
	})
	f.Server = apitest.NewServer(t, functions.Service())
	for key, tenant := range map[string]string{alice: "alice", bob: "bob"} {
		f.Grant(key, api.Caller{Tenant: tenant, KeyID: key, Scopes: []string{api.ScopeAll, api.ScopeBackend}, Quotas: api.DefaultQuotas})
	}
	return f
}

// languages is a machine that has Python and Go, but no Node.
type languages struct{}

func (languages) Runtimes(context.Context) ([]string, map[string]string) {
	return []string{"go", "python"}, map[string]string{"nodejs": "nodejs is not installed on this machine: there is no program node", "java": "java: not supported by this ingress"}
}

func (languages) ParseRuntime(name string) (string, bool) {
	name = strings.TrimRight(name, "0123456789.")
	return name, slices.Contains([]string{"go", "python", "nodejs", "java"}, name)
}

func (languages) SourceFile(runtime string) string {
	return map[string]string{"go": "main.go", "python": "main.py"}[runtime]
}

func (languages) DefaultEntrypoint(runtime, name string) string {
	if runtime == "go" {
		return strings.ToUpper(name[:1]) + name[1:]
	}
	return name
}

// sleeping wakes for nobody.
type sleeping struct{}

func (sleeping) Do(context.Context, string, *http.Request) (*http.Response, error) {
	return nil, &function.UnreadyError{Message: "it did not start within 30s", RetryAfter: 5 * time.Second}
}

const deploy = `{"name":"hello","backend":"http://10.0.0.7:3000/base","env_vars":{"TOKEN":"sesame"}}`

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

func TestAFunctionsLifeOverHTTP(t *testing.T) {
	f := serve(t)
	made := decode[*functionpb.DeployResponse](t, f.Post(t, alice, "/v1/function/Deploy", deploy)).GetFunction()
	if made.GetId() != "hello" || made.GetName() != "hello" || made.GetStatus() != "Deployed" || made.GetRegion() != "local" ||
		made.GetUrl() != "http://hello.fn.localhost:8080" || made.GetBackend() != "http://10.0.0.7:3000/base" {
		t.Errorf("made %v", made)
	}
	for _, at := range []string{made.GetCreated(), made.GetUpdated()} {
		if when, err := time.Parse(time.RFC3339Nano, at); err != nil || when.Location() != time.UTC {
			t.Errorf("time %q: %v", at, err)
		}
	}
	got := decode[*functionpb.DescribeResponse](t, f.Post(t, alice, "/v1/function/describe", `{"name":"hello"}`)).GetFunction()
	if got.String() != made.String() {
		t.Errorf("described %v, want %v", got, made)
	}
	expect(t, f.Post(t, alice, "/v1/function/Update", `{"name":"hello","backend":"https://new.example"}`), 200, `{}`)
	expect(t, f.Get(t, alice, "/v1/function/Proxy?id=hello"), 200, `{"url":"https://new.example"}`)
	expect(t, f.Post(t, alice, "/v1/function/Delete", `{"name":"hello"}`), 200, `{}`)
	expect(t, f.Post(t, alice, "/v1/function/Describe", `{"name":"hello"}`), 404, `"detail":"not found"`)
	expect(t, f.Post(t, alice, "/v1/function/List", ``), 200, `{"functions":[]}`)
	expect(t, f.Post(t, alice, "/v1/function/Regions", ``), 200, `{"regions":["local"]}`)
	expect(t, f.Post(t, alice, "/v1/function/Runtimes", ``), 200, `{"runtimes":["go","python"],"unavailable":{"java":"java: not supported by this ingress","nodejs":"nodejs is not installed on this machine: there is no program node"}}`)
	if logs := f.Logs(); strings.Contains(logs, "sesame") {
		t.Errorf("the log has an environment's value:\n%s", logs)
	}
}

func TestAFunctionFromSource(t *testing.T) {
	f := serve(t)
	made := decode[*functionpb.DeployResponse](t, f.Post(t, alice, "/v1/function/Deploy",
		`{"name":"hello","source":"def hello(request): pass","runtime":"python39","env_vars":{"TOKEN":"sesame"}}`)).GetFunction()
	if made.GetStatus() != "Deploying" || made.GetRuntime() != "python" || made.GetEntrypoint() != "hello" || made.GetNewest().GetSource() != "inline" {
		t.Errorf("made %v", made)
	}
	describe := func() *functionpb.Func {
		return decode[*functionpb.DescribeResponse](t, f.Post(t, alice, "/v1/function/Describe", `{"name":"hello"}`)).GetFunction()
	}
	if got := describe(); got.GetSource() != "def hello(request): pass" || len(got.GetFiles()) > 0 {
		t.Errorf("described %v", got)
	}
	expect(t, f.Post(t, alice, "/v1/function/Call", `{"name":"hello"}`), 503, "hello is not ready: it is being deployed")
	expect(t, f.Post(t, alice, "/v1/function/Proxy", `{"id":"hello"}`), 200, `{"url":""}`)
	expect(t, f.Post(t, alice, "/v1/function/Update", `{"name":"hello","files":{"main.py":"import a","a.py":"b = 1"}}`), 200, `{}`)
	if got := describe(); got.GetSource() != "" || got.GetFiles()["a.py"] != "b = 1" || got.GetNewest().GetNumber() != 2 {
		t.Errorf("described %v", got)
	}
	expect(t, f.Post(t, alice, "/v1/function/Update", `{"name":"hello","runtime":"go","source":"package hello"}`), 200, `{}`)
	if got := describe(); got.GetRuntime() != "go" || got.GetEntrypoint() != "Hello" || got.GetSource() != "package hello" {
		t.Errorf("described %v", got)
	}
	for _, method := range []string{"Deploy", "Versions", "List"} {
		if reply := f.Post(t, bob, "/v1/function/"+method, `{"name":"hello"}`); strings.Contains(reply.Body, "package") {
			t.Errorf("%s shows Bob %s", method, reply.Body)
		}
	}
	versions := decode[*functionpb.VersionsResponse](t, f.Post(t, alice, "/v1/function/Versions", `{"name":"hello"}`)).GetVersions()
	if len(versions) != 3 || versions[0].GetNumber() != 3 || versions[2].GetState() != "stopped" {
		t.Errorf("versions %v", versions)
	}
	expect(t, f.Post(t, alice, "/v1/function/Describe", `{"name":"hello"}`), 200, `"env_vars":{"TOKEN":"***"}`)
}

func TestFunctionErrors(t *testing.T) {
	f := serve(t)
	decode[*functionpb.DeployResponse](t, f.Post(t, alice, "/v1/function/Deploy", deploy))
	before := f.Post(t, alice, "/v1/function/List", "").Body
	const blocked = `"id":"v1.blocked","code":403,"detail":"Request blocked. Insufficient privileges"`
	refused := func(id, detail string) string { return fmt.Sprintf(`"id":%q,"code":400,"detail":%q`, id, detail) }
	for _, row := range []struct {
		name, key, method, body string
		status                  int
		want                    string
	}{
		{"deploy nothing", alice, "Deploy", `{}`, 400, refused("function.deploy", "Missing name")},
		{"deploy without source", alice, "Deploy", `{"name":"Bad Name"}`, 400, refused("function.deploy", "Missing source or repo")},
		{"deploy without runtime", alice, "Deploy", `{"name":"Bad Name","source":"x"}`, 400, refused("function.deploy", "invalid runtime")},
		{"deploy, bad runtime", alice, "Deploy", `{"name":"Bad Name","source":"x","runtime":"cobol"}`, 400, refused("function.deploy", "invalid runtime: there is no language of that name; function/Runtimes lists those there are")},
		{"deploy, a version alone", alice, "Deploy", `{"name":"Bad Name","source":"x","runtime":"39"}`, 400, `"detail":"invalid runtime: `},
		{"deploy, bad region", alice, "Deploy", `{"name":"Bad Name","source":"x","runtime":"go","region":"mars"}`, 400, refused("function.deploy", "Unsupported region")},
		{"deploy, bad name", alice, "Deploy", `{"name":"Bad Name","source":"x","runtime":"go"}`, 400, refused("function.deploy", "invalidate name format")},
		{"deploy, bad repo", alice, "Deploy", `{"name":"other","repo":"--upload-pack=x","runtime":"go"}`, 400, refused("function.deploy", "invalid git repo")},
		{"deploy, bad files", alice, "Deploy", `{"name":"other","source":"x","files":{"a.py":"y"},"runtime":"python"}`, 400, "exclude each other"},
		{"deploy, upload and repo", alice, "Deploy", `{"name":"other","upload":"x","repo":"github.com/a/b","runtime":"python"}`, 400, "exclude each other"},
		{"deploy source with a branch", alice, "Deploy", `{"name":"other","source":"x","branch":"main","runtime":"python"}`, 400, refused("function.deploy", "branch and subfolder go with repo only")},
		{"deploy what is not installed", alice, "Deploy", `{"name":"other","source":"x","runtime":"nodejs16"}`, 400, refused("function.deploy", "invalid runtime: nodejs is not installed on this machine: there is no program node")},
		{"deploy what nobody has", alice, "Deploy", `{"name":"other","source":"x","runtime":"java11"}`, 400, refused("function.deploy", "invalid runtime: java: not supported by this ingress")},
		{"deploy, bad idle timeout", alice, "Deploy", `{"name":"other","source":"x","runtime":"python","idle_timeout":"soon"}`, 400, "invalid idle_timeout: it must be a duration"},
		{"deploy a backend with settings", alice, "Deploy", `{"name":"other","backend":"http://a.b","concurrency":3}`, 400, "do not go with backend"},
		{"deploy source and a backend", alice, "Deploy", `{"name":"other","source":"x","backend":"http://a.b"}`, 400, "do not go with backend"},
		{"deploy a runtime and a backend", alice, "Deploy", `{"name":"other","runtime":"go","backend":"http://a.b"}`, 400, "do not go with backend"},
		{"deploy what exists", alice, "Deploy", deploy, 400, refused("function.deploy", "already exists")},
		{"deploy a backend without the scope", apitest.Alice, "Deploy", `{"name":"other","backend":"http://a.b"}`, 403, blocked},
		{"deploy a backend with a password", alice, "Deploy", `{"name":"other","backend":"http://u:sesame@a.b"}`, 400, refused("function.deploy", "invalid backend: the URL must not hold credentials")},
		{"deploy a forbidden backend", alice, "Deploy", `{"name":"other","backend":"http://169.254.169.254/meta"}`, 400, "link-local"},
		{"deploy, header in a variable", alice, "Deploy", `{"name":"other","backend":"http://a.b","env_vars":{"A\r\nX-Evil":"sesame"}}`, 400, "invalid env_vars"},
		{"deploy, platform's name", alice, "Deploy", `{"name":"api","backend":"http://a.b"}`, 400, refused("function.deploy", "name already reserved")},
		{"update nothing", alice, "Update", `{}`, 400, refused("function.update", "Missing name")},
		{"update what is not there", alice, "Update", `{"name":"nosuch","source":"x"}`, 404, `"id":"function.update","code":404,"detail":"not found"`},
		{"update the source without a language", alice, "Update", `{"name":"hello","source":"x"}`, 400, refused("function.update", "invalid runtime")},
		{"update to two sources", alice, "Update", `{"name":"hello","source":"x","upload":"y","runtime":"go"}`, 400, "exclude each other"},
		{"update to source and backend", alice, "Update", `{"name":"hello","source":"x","runtime":"go","backend":"http://a.b"}`, 400, "do not go with backend"},
		{"update the branch of no repo", alice, "Update", `{"name":"hello","branch":"x"}`, 400, refused("function.update", "branch and subfolder go with repo only")},
		{"update to a bad repo", alice, "Update", `{"name":"hello","repo":"--x","runtime":"go"}`, 400, refused("function.update", "invalid git repo")},
		{"update, bad idle timeout", alice, "Update", `{"name":"hello","idle_timeout":"-1s"}`, 400, "invalid idle_timeout"},
		{"versions of nothing", alice, "Versions", `{}`, 400, refused("function.versions", "Missing name")},
		{"versions of what is not there", alice, "Versions", `{"name":"nosuch"}`, 404, `"id":"function.versions","code":404,"detail":"not found"`},
		{"roll nothing back", alice, "Rollback", `{}`, 400, refused("function.rollback", "Missing name")},
		{"roll back to nonsense", alice, "Rollback", `{"name":"hello","version":-1}`, 404, `"detail":"there is no such version"`},
		{"logs from before the beginning", alice, "Logs", `{"name":"hello","offset":-1}`, 400, "must not be negative"},
		{"update without the scope", apitest.Alice, "Update", `{"name":"hello","backend":"http://a.b"}`, 403, blocked},
		{"describe nothing", alice, "Describe", `{}`, 400, refused("function.describe", "Missing function name")},
		{"describe what is not there", alice, "Describe", `{"name":"' OR ''='"}`, 404, `"id":"function.describe","code":404`},
		{"delete nothing", alice, "Delete", `{}`, 400, refused("function.delete", "Missing function name")},
		{"delete what is not there", alice, "Delete", `{"name":"nosuch"}`, 404, `"id":"function.delete","code":404,"detail":"not found"`},
		{"reserve nothing", alice, "Reserve", `{}`, 400, refused("function.reserve", "missing function name")},
		{"reserve a bad name", alice, "Reserve", `{"name":"a-b"}`, 400, refused("function.reserve", "invalidate name format")},
		{"reserve another tenant's", bob, "Reserve", `{"name":"hello"}`, 400, refused("function.reserve", "name already reserved")},
		{"resolve nothing", alice, "Proxy", `{}`, 400, refused("function.proxy", "missing id")},
		{"resolve a bad id", alice, "Proxy", `{"id":"Hello"}`, 400, refused("function.proxy", "invalid id")},
		{"resolve what is not there", alice, "Proxy", `{"id":"nosuch"}`, 404, `"id":"function.proxy","code":404,"detail":"not found"`},
		{"logs of a bad type", alice, "Logs", `{"name":"hello","logs_type":"all"}`, 400, refused("app.Logs", "Invalid logs_type specified")},
		{"logs of nothing", alice, "Logs", `{}`, 400, refused("app.Logs", "Missing function name")},
		{"logs of a registered backend", alice, "Logs", `{"name":"hello"}`, 501, "hello is a registered backend, which is built and runs elsewhere"},
		{"call nothing", alice, "Call", `{}`, 400, refused("function.call", "Missing name")},
		{"call what is not there", alice, "Call", `{"name":"nosuch"}`, 404, `"id":"function.call","code":404,"detail":"not found"`},
		{"call with a list", alice, "Call", `{"name":"hello","request":[1]}`, 400, `"id":"v1","code":400`},
	} {
		t.Run(row.name, func(t *testing.T) {
			expect(t, f.Post(t, row.key, "/v1/function/"+row.method, row.body), row.status, row.want)
		})
	}
	if after := f.Post(t, alice, "/v1/function/List", "").Body; after != before {
		t.Errorf("what was refused changed\n%s into\n%s", before, after)
	}
}

func TestAnotherTenantSeesAndChangesNothing(t *testing.T) {
	f := serve(t)
	decode[*functionpb.DeployResponse](t, f.Post(t, alice, "/v1/function/Deploy", deploy))
	before := f.Post(t, alice, "/v1/function/List", "").Body
	for _, row := range []struct{ method, body string }{
		{"Describe", `{"name":"hello"}`},
		{"Update", `{"name":"hello","backend":"http://evil.example"}`},
		{"Update", `{"name":"hello","source":"evil"}`},
		{"Delete", `{"name":"hello"}`},
		{"Call", `{"name":"hello"}`},
		{"Logs", `{"name":"hello"}`},
		{"Proxy", `{"id":"hello"}`},
	} {
		expect(t, f.Post(t, bob, "/v1/function/"+row.method, row.body), 404, `"detail":"not found"`)
	}
	expect(t, f.Post(t, bob, "/v1/function/List", ""), 200, `{"functions":[]}`)
	expect(t, f.Post(t, apitest.Operator, "/v1/function/Proxy", `{"id":"hello"}`), 200, `{"url":"http://10.0.0.7:3000/base"}`)
	his := decode[*functionpb.DeployResponse](t, f.Post(t, bob, "/v1/function/Deploy", `{"name":"hello","backend":"http://bob.example"}`)).GetFunction()
	if his.GetName() != "hello" || !strings.HasPrefix(his.GetId(), "hello-") {
		t.Errorf("Bob's is %v", his)
	}
	expect(t, f.Post(t, bob, "/v1/function/Delete", `{"name":"hello"}`), 200, `{}`)
	if after := f.Post(t, alice, "/v1/function/List", "").Body; after != before {
		t.Errorf("Alice's functions were\n%s and are\n%s", before, after)
	}
}
