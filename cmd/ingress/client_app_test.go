package main

import (
	"net/http"
	"strings"
	"testing"
)

const appJSON = `{"id":"shop-1a2b3c4d","name":"shop","repo":"","branch":"","region":"local","port":3000,"status":"Running","url":"http://shop-1a2b3c4d.app.localhost:8080","backend":"http://127.0.0.1:3000","created":"2026-11-22T18:03:36Z","updated":"2026-11-22T19:03:36Z","env_vars":{"MODE":"hunter22","API":"hunter33"},"custom_domains":["shop.example.com"],"path":""}`

const appText = "" +
	"ID       shop-1a2b3c4d\n" +
	"NAME     shop\n" +
	"STATUS   Running\n" +
	"URL      http://shop-1a2b3c4d.app.localhost:8080\n" +
	"BACKEND  http://127.0.0.1:3000\n" +
	"REGION   local\n" +
	"PORT     3000\n" +
	"ENV      API, MODE\n" +
	"DOMAINS  shop.example.com\n" +
	"CREATED  2026-11-22 18:03:36\n" +
	"UPDATED  2026-11-22 19:03:36\n"

func TestAppCommands(t *testing.T) {
	checkExchanges(t, []exchange{
		{
			args: []string{"app", "run", "shop", "--backend", "http://127.0.0.1:3000", "--env", "MODE=a=b;c,d", "--env", "EMPTY="},
			path: "/v1/app/Run", body: `{"name":"shop","backend":"http://127.0.0.1:3000","env_vars":{"MODE":"a=b;c,d","EMPTY":""}}`,
			reply: `{"service":` + appJSON + `}`, stdout: appText,
		},
		{
			args: []string{"app", "run", "shop", "--repo", "https://example.com/r", "--branch", "b", "--path", "p", "--region", "local", "--port", "3000"},
			path: "/v1/app/Run", body: `{"name":"shop","repo":"https://example.com/r","branch":"b","path":"p","region":"local","port":3000}`,
			reply: `{"service":` + appJSON + `}`, stdout: appText,
		},
		{
			args: []string{"app", "list"}, path: "/v1/app/List", body: `{}`,
			reply: `{"services":[` + appJSON + `]}`,
			stdout: "" +
				"NAME  STATUS   SOURCE   UPDATED           URL\n" +
				"shop  Running  backend  2026-11-22 19:03  http://shop-1a2b3c4d.app.localhost:8080\n",
		},
		{
			args: []string{"app", "list"}, path: "/v1/app/List", body: `{}`,
			reply: `{"services":[{"name":"bad","status":"DeploymentError: it exited; it printed last:\none\ntwo","url":"http://bad.m3o.app","region":"local"}]}`,
			stdout: "" +
				"NAME  STATUS           SOURCE  UPDATED  URL\n" +
				"bad   DeploymentError  -       -        http://bad.m3o.app\n",
		},
		{
			args: []string{"app", "list"}, path: "/v1/app/List", body: `{}`,
			reply: `{"services":[{"name":"shop","repo":"https://example.com/r","newest":{"source":"https://example.com/r"}},{"name":"pages","newest":{"source":"upload"}}]}`,
			stdout: "" +
				"NAME   STATUS  SOURCE  UPDATED  URL\n" +
				"shop   -       git     -        -\n" +
				"pages  -       upload  -        -\n",
		},
		{
			args: []string{"app", "status", "bad"}, path: "/v1/app/Status", body: `{"name":"bad"}`,
			reply:  `{"service":{"status":"DeploymentError: it printed last:\none\r\ntwo","state":"failed","reason":"it printed last:\none\r\ntwo"}}`,
			stdout: "DeploymentError\nSTATE   failed\nREASON  it printed last: one two\n",
		},
		{
			args: []string{"app", "status", "old"}, path: "/v1/app/Status", body: `{"name":"old"}`,
			reply: `{"service":{"status":"DeploymentError: no\nsuch thing"}}`, stdout: "DeploymentError: no such thing\n",
		},
		{
			args: []string{"app", "list"}, path: "/v1/app/List", body: `{}`, reply: `{"services":[]}`,
			stderr: "no apps yet; make one with: ingress app run NAME --dir .\n",
		},
		{
			args: []string{"app", "get", "shop"}, path: "/v1/app/Get", body: `{"name":"shop"}`,
			reply: `{"service":` + appJSON + `}`, stdout: appText,
		},
		{
			args: []string{"app", "status", "shop"}, path: "/v1/app/Status", body: `{"name":"shop"}`,
			reply: `{"service":` + appJSON + `}`, stdout: "Running\n",
		},
		{
			args: []string{"app", "update", "shop", "--env", "MODE=test"},
			path: "/v1/app/Update", body: `{"name":"shop","env_vars":{"MODE":"test"}}`,
			reply: `{}`, stderr: "app shop is updated\n",
		},
		{
			args: []string{"app", "update", "shop", "--concurrency", "0"},
			path: "/v1/app/Update", body: `{"name":"shop","concurrency":-1}`,
			reply: `{}`, stderr: "app shop is updated\n",
		},
		{
			args: []string{"app", "run", "shop", "--backend", "http://127.0.0.1:3000", "--concurrency", "0"},
			path: "/v1/app/Run", body: `{"name":"shop","backend":"http://127.0.0.1:3000"}`,
			reply: `{"service":` + appJSON + `}`, stdout: appText,
		},
		{
			args: []string{"app", "delete", "shop"}, path: "/v1/app/Delete", body: `{"name":"shop"}`,
			reply: `{}`, stderr: "app shop is deleted\n",
		},
		{
			args: []string{"app", "logs", "shop"}, path: "/v1/app/Logs", body: `{"name":"shop","logs_type":"run"}`,
			reply: `{"logs":"one\n\ttwo \u001b[31mred\n"}`, stdout: "one\n\ttwo \\x1b[31mred\n",
		},
		{
			args: []string{"app", "logs", "shop", "--type", "build"}, path: "/v1/app/Logs", body: `{"name":"shop","logs_type":"build"}`,
			reply: `{"logs":""}`, stderr: "the build log of app shop is empty\n",
		},
		{
			args: []string{"app", "resolve", "shop"}, path: "/v1/app/Resolve", body: `{"id":"shop"}`,
			reply: `{"url":"http://127.0.0.1:3000"}`, stdout: "http://127.0.0.1:3000\n",
		},
		{
			args: []string{"app", "reserve", "shop"}, path: "/v1/app/Reserve", body: `{"name":"shop"}`,
			reply:  `{"reservation":{"name":"shop","owner":"t1","token":"tok","created":"2026-11-22T18:03:36Z","expires":"2027-11-22T18:03:36Z"}}`,
			stdout: "NAME     shop\nTOKEN    tok\nEXPIRES  2027-11-22 18:03:36\n",
		},
		{
			args: []string{"app", "regions"}, path: "/v1/app/Regions", body: `{}`,
			reply: `{"regions":["local","attic"]}`, stdout: "local\nattic\n",
		},
	})
}

func TestEnvironmentValuesAreNotShown(t *testing.T) {
	p := newFakePlatform(t, http.StatusOK, `{"service":`+appJSON+`}`)
	got := withKey().run(t, "app", "get", "shop", "--address", p.URL)
	if strings.Contains(got.stdout+got.stderr, "hunter") {
		t.Errorf("a value of the environment is shown: %+v", got)
	}
}

func TestEnvTakesAValueFromThisEnvironment(t *testing.T) {
	p := newFakePlatform(t, http.StatusOK, `{"service":`+appJSON+`}`)
	s := withKey()
	s.env["SECRET"] = "hunter22"
	got := s.run(t, "app", "run", "shop", "--backend", "http://x", "--env", "SECRET", "--address", p.URL)
	if want := `{"name":"shop","env_vars":{"SECRET":"hunter22"},"backend":"http://x"}`; got.code != 0 || !sameJSON(t, p.requests()[0].body, want) {
		t.Errorf("%+v, sent %s", got, p.requests()[0].body)
	}
}

func TestAppThatIsStillDeployingHasNoAddress(t *testing.T) {
	p := newFakePlatform(t, http.StatusOK, `{"url":""}`)
	for _, args := range [][]string{{"app", "resolve", "shop"}, {"function", "proxy", "shop"}} {
		got := withKey().run(t, append(args, "--address", p.URL)...)
		if got.code != 1 || got.stdout != "" || !strings.Contains(got.stderr, "still being deployed") {
			t.Errorf("%q: %+v", args, got)
		}
	}
}

func TestADomainThatIsNotProved(t *testing.T) {
	reply := `{"domain":"www.example.com","accepted":false,"reason":"no record\nof either kind","records":[{"type":"TXT","name":"_m3o.www.example.com","value":"m3o-domain=1"}]}`
	p := newFakePlatform(t, http.StatusOK, reply)
	args := []string{"app", "domain", "add", "shop", "www.example.com", "--address", p.URL}
	const says = "ingress: app domain add: the domain is not added: no record of either kind\n"
	got := withKey().run(t, args...)
	if want := "TYPE  NAME                  VALUE\nTXT   _m3o.www.example.com  m3o-domain=1\n"; got.code != 1 || got.stdout != want || !strings.HasSuffix(got.stderr, says) {
		t.Errorf("%+v", got)
	}
	if got := withKey().run(t, append(args, "--json")...); got.code != 1 || !sameJSON(t, got.stdout, reply) || got.stderr != says {
		t.Errorf("with --json: %+v", got)
	}
}
