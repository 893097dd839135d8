package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// runServe runs ingress serve in this process. It must end by itself, because
// the start is refused or ctx has ended.
func runServe(ctx context.Context, t *testing.T, variables map[string]string, args ...string) (code int, stderr string) {
	t.Helper()
	for name, value := range variables {
		setenv(t, name, value)
	}
	var out, errs bytes.Buffer
	p := &program{ctx: ctx, stdout: &out, stderr: &errs, env: os.Getenv}
	code = p.main(append([]string{"serve", "--log-format", "json"}, args...))
	return code, errs.String()
}

// runEnded is runServe with a signal that has come already.
func runEnded(t *testing.T, args ...string) (code int, stderr string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return runServe(ctx, t, nil, args...)
}

func TestASignalDuringTheStartEndsItWell(t *testing.T) {
	dir := filepath.Join(socketDir(t), "data")
	for range 2 { // nothing may be left that stops the second
		code, stderr := runEnded(t, "--data-dir", dir, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
		if code != 0 || !strings.Contains(stderr, "ended before it was ready") {
			t.Errorf("it ended with %d and said %s", code, stderr)
		}
	}
}

func TestAStartThatIsRefused(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(busy.Addr().String())
	if err := busy.Close(); err != nil { // free again, for two of our own
		t.Fatal(err)
	}
	at := "127.0.0.1:" + port
	secret := map[string]string{"INGRESS_SECRET_KEY": strings.Repeat("ab", 32)}
	for _, test := range []struct {
		name      string
		variables map[string]string
		args      []string
		says      []string
	}{
		{"an address twice", nil, []string{"--listen", at, "--listen", at}, []string{"--listen", at, "another address given"}},
		{"the admin address is a public one", nil, []string{"--listen", at, "--admin-listen", at}, []string{"--admin-listen", at, "another address given"}},
		{"two things at once", nil, []string{"--listen", "x", "--trusted-proxies", "y"}, []string{"--listen", "--trusted-proxies", "; "}},
		{"no apps domain", nil, []string{"--apps-domain", ""}, []string{"--apps-domain", "empty"}},
		{"no user host", nil, []string{"--user-host", ""}, []string{"--user-host", "empty"}},
		{"no region", nil, []string{"--region", ""}, []string{"--region"}},
		{"a password in the public URL", nil, []string{"--public-url", "https://u:hunter2@x.example"}, []string{"--public-url", "x.example"}},
		{"a password in the API's address", nil, []string{"--api-address", "https://u:hunter2@x.example"}, []string{"--api-address", "M3O_API_TOKEN"}},
		{"a password in the mail server's URL", nil, []string{"--smtp-url", "smtp://u:hunter2@x.example"}, []string{"--smtp-url", "INGRESS_SMTP_PASSWORD"}},
		{"a broken mail server's URL", nil, []string{"--smtp-url", "smtp://u:hunter2 @x.example"}, []string{"--smtp-url"}},
		{"a password in the collector's URL", nil, []string{"--otlp-endpoint", "https://u:hunter2@x.example"}, []string{"--otlp-endpoint", "OTEL_EXPORTER_OTLP_HEADERS"}},
		{"a key in the collector's URL", nil, []string{"--otlp-endpoint", "https://x.example/?key=hunter2"}, []string{"--otlp-endpoint", "OTEL_EXPORTER_OTLP_HEADERS"}},
		{"a part of requests that is no number", nil, []string{"--trace-ratio", "NaN"}, []string{"--trace-ratio", "NaN"}},
		{"a token of two lines", map[string]string{"M3O_API_TOKEN": "hunter2\nhunter2"}, []string{"--api-address", "https://x.example"}, []string{"M3O_API_TOKEN", "one line"}},
		{"a missing key file", nil, []string{"--bootstrap-key-file", "/nonexistent"}, []string{"--bootstrap-key-file", "/nonexistent"}},
		{"a short limit", nil, []string{"--max-url-bytes", "12"}, []string{"--max-url-bytes", "12"}},
		{"a session that never begins", nil, []string{"--session-life=-1h"}, []string{"--session-life", "-1h"}},
		{"an access log of nothing", nil, []string{"--access-log-every", "0"}, []string{"--access-log-every"}},
		{"a small access log", nil, []string{"--access-log-max-bytes", "1KiB"}, []string{"--access-log-max-bytes"}},
		{"no old access log", nil, []string{"--access-log-keep", "0"}, []string{"--access-log-keep"}},
		{"an access log nowhere", nil, []string{"--access-log", "/nonexistent/access.log"}, []string{"--access-log", "/nonexistent"}},
		{"a database and somebody else's platform", nil, []string{"--database", "postgres://u@x.example/y", "--api-address", "https://x.example"}, []string{"--database", "--api-address"}},
		{"a database without a secret key", nil, []string{"--database", "postgres://u@x.example/y"}, []string{"--database", "INGRESS_SECRET_KEY", "openssl rand -hex 32"}},
		{"no URL of a database", secret, []string{"--database", "hunter2"}, []string{"--database", "postgres://"}},
		{"a password among the flags", secret, []string{"--database", "postgres://u:hunter2@x.example/y"}, []string{"--database", "INGRESS_DATABASE_PASSWORD"}},
		{"a bad secret key", map[string]string{"INGRESS_SECRET_KEY": "hunter2"}, []string{"--database", "postgres://u@x.example/y"}, []string{"INGRESS_SECRET_KEY", "64 hexadecimal"}},
		{"one connection", secret, []string{"--database", "postgres://u@x.example/y", "--database-connections", "1"}, []string{"--database-connections"}},
		{"nobody at the database", map[string]string{"INGRESS_SECRET_KEY": strings.Repeat("ab", 32), "INGRESS_DATABASE": "postgres://u:hunter2@" + at + "/y"}, nil, []string{"--database", "cannot be reached", at}},
		{"no time", nil, []string{"--resolve-timeout", "0s"}, []string{"--resolve-timeout", "0s"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(socketDir(t), "data")
			args := append([]string{"--data-dir", dir}, test.args...)
			if !strings.Contains(strings.Join(test.args, " "), "--listen") {
				args = append(args, "--listen", "127.0.0.1:0")
			}
			if !strings.Contains(strings.Join(test.args, " "), "--admin-listen") {
				args = append(args, "--admin-listen", "")
			}
			code, stderr := runServe(t.Context(), t, test.variables, args...)
			if code != 1 || strings.Count(stderr, "\n") > 2 || strings.Contains(stderr, `\n`) {
				t.Errorf("it ended with %d and said %s", code, stderr)
			}
			for _, want := range test.says {
				if !strings.Contains(stderr, want) {
					t.Errorf("%q is not in: %s", want, stderr)
				}
			}
			if strings.Contains(stderr, "hunter2") {
				t.Errorf("it shows the secret: %s", stderr)
			}
		})
	}
}

func TestABadBootstrapKeyIsNamedByWhereItIsFrom(t *testing.T) {
	for name, says := range map[string]string{"M3O_API_TOKEN": "M3O_API_TOKEN, which is the bootstrap key", "INGRESS_BOOTSTRAP_KEY": "INGRESS_BOOTSTRAP_KEY: "} {
		dir := filepath.Join(socketDir(t), "data")
		t.Run(name, func(t *testing.T) {
			code, stderr := runServe(t.Context(), t, map[string]string{name: "hunter2"}, "--data-dir", dir, "--listen", "127.0.0.1:0", "--admin-listen", "")
			if code != 1 || !strings.Contains(stderr, says) || strings.Contains(stderr, "hunter2") {
				t.Errorf("it ended with %d and said %s", code, stderr)
			}
		})
	}
}

func TestADataDirectoryThatOthersCanEnterIsWarnedOf(t *testing.T) {
	for mode, warned := range map[os.FileMode]bool{0o700: false, 0o755: true, 0o770: true} {
		dir := socketDir(t)
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		_, stderr := runEnded(t, "--data-dir", dir, "--listen", "127.0.0.1:0", "--admin-listen", "")
		var line struct{ Level, Dir string }
		if err := json.Unmarshal([]byte(strings.SplitN(stderr, "\n", 2)[0]), &line); err != nil {
			t.Fatalf("%v: %s", err, stderr)
		}
		if got := line.Level == "WARN" && line.Dir == dir; got != warned {
			t.Errorf("mode %v: %s", mode, stderr)
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != mode {
			t.Errorf("the mode was changed to %v, %v", info.Mode(), err)
		}
	}
}
