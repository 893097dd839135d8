package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestExplainSaysWhatWouldBecomeOfAURL(t *testing.T) {
	dir := shortTempDir(t)
	i := startIngressIn(t, dir, nil)
	app := recorder(t, "app")
	i.mustCall("app/run", fmt.Sprintf(`{"name":"hello","backend":%q}`, app.URL))
	explain := func(url string) string {
		t.Helper()
		out, stderr, code := i.run(nil, "explain", url)
		if code != 0 {
			t.Fatalf("explain %s: %s", url, stderr)
		}
		return out
	}
	if out := explain("hello.app.localhost"); !strings.Contains(out, "ROUTE       app\nID          hello\nREMEMBERED  no: the platform is asked") {
		t.Errorf("before a visit:\n%s", out)
	}
	i.get("http://hello.app.localhost/")
	if out := explain("http://HELLO.app.localhost:8080/x"); !strings.Contains(out, "fresh: ") || !strings.Contains(out, app.URL) || !strings.Contains(out, "ANSWER      the backend\n") {
		t.Errorf("after a visit:\n%s", out)
	}
	site := t.TempDir()
	if err := os.WriteFile(filepath.Join(site, "index.html"), []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	i.deployed("app", "run", "pages", "--dir", site)
	i.get(appURL("pages", "/"))
	if out := explain("pages.app.localhost"); !strings.Contains(out, "BACKEND     version 1 is ready") || !strings.Contains(out, "LEADS TO    app/pages\n") {
		t.Errorf("an app that runs here:\n%s", out)
	}
	if err := os.WriteFile(filepath.Join(site, "go.mod"), []byte("no module\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := i.run(nil, "app", "run", "broken", "--dir", site); code != 1 {
		t.Fatalf("it was deployed: %s", stderr)
	}
	for _, when := range []string{"before a visit", "after a visit"} {
		if out := explain("broken.app.localhost"); !strings.Contains(out, "BACKEND     it could not be deployed: ") || !strings.Contains(out, "ANSWER      503 deploy_failed\n") {
			t.Errorf("an app that could not be deployed, %s:\n%s", when, out)
		}
		i.get(appURL("broken", "/"))
	}
	if out := explain("http://example.com/"); !strings.Contains(out, "ANSWER  404 unknown_host") {
		t.Errorf("a host nobody serves:\n%s", out)
	}
	if _, stderr, code := i.run(nil, "explain", "/path"); code != 1 || !strings.Contains(stderr, "has no host") {
		t.Errorf("no host: %d %s", code, stderr)
	}
	for _, strange := range []string{"http://[::", "ftp://hello.app.localhost"} {
		if out, stderr, code := i.run(nil, "explain", strange); code != 1 || !strings.Contains(stderr, "the URL to explain ") {
			t.Errorf("%s: %d %s%s", strange, code, out, stderr)
		}
	}
	i.stop()
	if _, stderr, code := runProgram(t, []string{"INGRESS_DATA_DIR=" + dir}, "explain", "hello.app.localhost"); code != 1 || !strings.Contains(stderr, "no ingress is running") {
		t.Errorf("without a running process: %d %s", code, stderr)
	}
}
