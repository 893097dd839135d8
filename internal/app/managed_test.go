package app_test

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/api/apitest"
	"github.com/m3o/ingress/internal/app"
	"github.com/m3o/ingress/internal/logfile"
	"github.com/m3o/ingress/internal/store/storetest"
	"github.com/m3o/ingress/internal/workload"
	apppb "github.com/m3o/ingress/proto/app"
)

// managed is a server whose apps run here; the test is who deploys them.
type managed struct {
	*apitest.Server
	registry *workload.Registry
	layout   workload.Layout
}

func serveManaged(t *testing.T) *managed {
	t.Helper()
	m := &managed{layout: workload.Layout{Data: t.TempDir()}}
	public := func(id string) string { return "http://" + id + ".app.localhost:8080" }
	m.registry = workload.NewRegistry(workload.App, workload.Options{
		DB: storetest.Open(t), Sealer: storetest.Sealer(t), Rules: rules{}, Layout: m.layout, PublicURL: public,
	})
	m.Server = apitest.NewServer(t, app.New(app.Options{Registry: m.registry, URL: public}).Service())
	return m
}

// deploy brings the version that waits to where it answers.
func (m *managed) deploy(t *testing.T, log string) {
	t.Helper()
	jobs, err := m.registry.Work(t.Context())
	if err != nil || len(jobs) != 1 {
		t.Fatalf("%d jobs, %v", len(jobs), err)
	}
	job := jobs[0]
	dir := m.layout.Version(workload.App, job.ID, job.Version.Number)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	build, err := logfile.Create(workload.BuildLog(dir), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := build.Write([]byte(log)); err != nil {
		t.Error(err)
	}
	if err := build.Close(); err != nil {
		t.Error(err)
	}
	advance := func(to workload.State, change func(*workload.Version)) {
		t.Helper()
		if err := m.registry.Advance(t.Context(), job.ID, job.Version.Number, to, "", change); err != nil {
			t.Fatal(err)
		}
	}
	advance(workload.Building, func(v *workload.Version) {
		v.Steps = append(v.Steps, workload.Step{Name: workload.StepBuild, Started: time.Now(), Took: 1250 * time.Millisecond, Detail: "Go module"})
		v.Artifact = workload.Artifact{Site: "."}
	})
	advance(workload.Starting, nil)
	if err := m.registry.Promoted(t.Context(), job.ID, job.Version.Number, job.Revision); err != nil {
		t.Fatal(err)
	}
}

// fail has the version that waits fail.
func (m *managed) fail(t *testing.T, reason string) {
	t.Helper()
	jobs, err := m.registry.Work(t.Context())
	if err != nil || len(jobs) != 1 {
		t.Fatalf("%d jobs, %v", len(jobs), err)
	}
	if err := m.registry.Advance(t.Context(), jobs[0].ID, jobs[0].Version.Number, workload.Failed, reason, nil); err != nil {
		t.Fatal(err)
	}
}

func (m *managed) status(t *testing.T) *apppb.Service {
	t.Helper()
	return decode[*apppb.StatusResponse](t, m.Post(t, apitest.Alice, "/v1/app/Status", `{"name":"hello"}`)).GetService()
}

func TestADeployedAppsLifeOverHTTP(t *testing.T) {
	m := serveManaged(t)
	made := decode[*apppb.RunResponse](t, m.Post(t, apitest.Alice, "/v1/app/Run",
		`{"name":"hello","repo":"https://example.com/hello","branch":"main","env_vars":{"TOKEN":"sesame"},"idle_timeout":"1m"}`)).GetService()
	if made.GetStatus() != "Deploying" || made.GetState() != "pending" || made.GetNewest().GetNumber() != 1 || made.GetIdleTimeout() != "1m0s" {
		t.Errorf("made %v", made)
	}
	expect(t, m.Post(t, apitest.Alice, "/v1/app/Resolve", `{"id":"hello"}`), 200, `{"url":""}`)
	m.deploy(t, "built it\n")
	if got := m.status(t); got.GetStatus() != "Running" || got.GetVersion() != 1 || got.GetNewest().GetSteps()[0].GetTook() != "1.25s" {
		t.Errorf("deployed %v", got)
	}
	expect(t, m.Post(t, apitest.Alice, "/v1/app/Resolve", `{"id":"hello"}`), 200, `{"url":"http://hello.app.localhost:8080"}`)
	expect(t, m.Post(t, apitest.Alice, "/v1/app/Logs", `{"name":"hello"}`), 200, `"logs":"built it\n"`)
	expect(t, m.Post(t, apitest.Alice, "/v1/app/Logs", `{"name":"hello","version":1,"offset":9}`), 200, `{"logs":"","next":"9","version":"1","latest":"1"}`)
	expect(t, m.Post(t, apitest.Alice, "/v1/app/Logs", `{"name":"hello","version":7}`), 404, "there is no such version")
	expect(t, m.Post(t, apitest.Alice, "/v1/app/Run", `{"name":"hello","repo":"https://example.com/hello"}`), 400, "hello already running")
	expect(t, m.Post(t, apitest.Alice, "/v1/app/Update", `{"name":"hello"}`), 200, `{}`)
	if got := m.status(t); got.GetStatus() != "Updating" || got.GetVersion() != 1 || got.GetNewest().GetNumber() != 2 || got.GetBranch() != "main" {
		t.Errorf("updating %v", got)
	}
	m.fail(t, "the repository is gone")
	if got := m.status(t); got.GetStatus() != "Running" || got.GetReason() != "version 2: the repository is gone" {
		t.Errorf("failed %v", got)
	}
	expect(t, m.Post(t, apitest.Alice, "/v1/app/Update", `{"name":"hello","branch":"next"}`), 200, `{}`)
	m.deploy(t, "")
	versions := decode[*apppb.VersionsResponse](t, m.Post(t, apitest.Alice, "/v1/app/Versions", `{"name":"hello"}`)).GetVersions()
	if len(versions) != 3 || versions[0].GetNumber() != 3 || !versions[0].GetCurrent() || versions[0].GetBranch() != "next" || versions[1].GetState() != "failed" {
		t.Errorf("versions %v", versions)
	}
	back := decode[*apppb.RollbackResponse](t, m.Post(t, apitest.Alice, "/v1/app/Rollback", `{"name":"hello"}`)).GetService()
	if back.GetStatus() != "Updating" || back.GetNewest().GetNumber() != 1 {
		t.Errorf("rolling back %v", back)
	}
	expect(t, m.Post(t, apitest.Alice, "/v1/app/Rollback", `{"name":"hello","version":2}`), 400, "never built")
	for _, method := range []string{"Versions", "Rollback", "Logs", "Update"} {
		expect(t, m.Post(t, apitest.Bob, "/v1/app/"+method, `{"name":"hello"}`), 404, `"detail":"not found"`)
	}
	if logs := m.Logs(); strings.Contains(logs, "sesame") {
		t.Errorf("the log has an environment's value:\n%s", logs)
	}
}

// send uploads a body as Alice or Bob.
func (m *managed) send(t *testing.T, key, body string) apitest.Reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, m.URL+"/v1/app/Upload", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/gzip")
	return m.Send(t, req)
}

func TestAnAppOfAnUpload(t *testing.T) {
	m := serveManaged(t)
	upload := decode[*apppb.UploadResponse](t, m.send(t, apitest.Alice, "an archive"))
	if upload.GetSize() != 10 || upload.GetUpload() == "" {
		t.Errorf("uploaded %v", upload)
	}
	run := `{"name":"hello","upload":"` + upload.GetUpload() + `"}`
	expect(t, m.Post(t, apitest.Bob, "/v1/app/Run", run), 400, "upload")
	made := decode[*apppb.RunResponse](t, m.Post(t, apitest.Alice, "/v1/app/Run", run)).GetService()
	if made.GetNewest().GetSource() != "upload" {
		t.Errorf("made %v", made)
	}
	m.deploy(t, "")
	expect(t, m.Post(t, apitest.Alice, "/v1/app/Update", `{"name":"hello"}`), 400, "upload it again")
	m.Grant("poor", api.Caller{Tenant: "poor", KeyID: "poor", Scopes: []string{"app"}, Quotas: api.Quotas{Apps: 1, VersionBytes: 5}})
	expect(t, m.send(t, "poor", "an archive"), 403, `"id":"app.upload","code":403`)
}

func TestCredentialsAreKeptAndNotShown(t *testing.T) {
	m := serveManaged(t)
	expect(t, m.Post(t, apitest.Alice, "/v1/app/SetCredential", `{"host":"github.com","password":"sesame"}`), 200, `{}`)
	list := decode[*apppb.ListCredentialsResponse](t, m.Post(t, apitest.Alice, "/v1/app/ListCredentials", `{}`)).GetCredentials()
	if len(list) != 1 || list[0].GetHost() != "github.com" || list[0].GetUsername() != "git" || !list[0].GetHasPassword() || list[0].GetHasSshKey() {
		t.Errorf("got %v", list)
	}
	if at, err := time.Parse(time.RFC3339Nano, list[0].GetUpdated()); err != nil || time.Since(at) > time.Hour {
		t.Errorf("updated %q, %v", list[0].GetUpdated(), err)
	}
	expect(t, m.Post(t, apitest.Alice, "/v1/app/ListCredentials", `{}`), 200, "github.com") // and no "sesame"
	expect(t, m.Post(t, apitest.Alice, "/v1/app/SetCredential", `{"host":"github.com","ssh_key":"sesame"}`), 400, "invalid ssh_key")
	expect(t, m.Post(t, apitest.Bob, "/v1/app/ListCredentials", `{}`), 200, `{"credentials":[]}`)
	expect(t, m.Post(t, apitest.Bob, "/v1/app/DeleteCredential", `{"host":"github.com"}`), 404, "not found")
	expect(t, m.Post(t, apitest.Alice, "/v1/app/DeleteCredential", `{"host":"github.com"}`), 200, `{}`)
	expect(t, m.Post(t, apitest.Alice, "/v1/app/ListCredentials", `{}`), 200, `{"credentials":[]}`)
	if logs := m.Logs(); strings.Contains(logs, "sesame") {
		t.Errorf("the log has a password:\n%s", logs)
	}
}
