package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// parseSettings parses a command line of ingress serve as the program does, with
// the variables given and, unless it is empty, the text as configuration file.
func parseSettings(t testing.TB, file string, variables map[string]string, args ...string) (*serveCmd, map[string]setting, error) {
	t.Helper()
	for name, value := range variables {
		setenv(t, name, value)
	}
	args = append([]string{"serve"}, args...)
	if file != "" {
		path := filepath.Join(t.TempDir(), "ingress.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", path)
	}
	return parseArguments(t, args)
}

// parseArguments parses without running anything.
func parseArguments(t testing.TB, args []string) (*serveCmd, map[string]setting, error) {
	t.Helper()
	p := &program{ctx: t.Context(), stdout: new(bytes.Buffer), stderr: new(bytes.Buffer), env: os.Getenv}
	parser, err := p.parser()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.parse(parser, args); err != nil {
		return nil, nil, err
	}
	byName := map[string]setting{}
	for _, s := range readSettings(p.kong, p.file) {
		byName[s.Name] = s
	}
	p.cli.Serve.DataDir = p.cli.DataDir
	return &p.cli.Serve, byName, nil
}

func setenv(t testing.TB, name, value string) {
	t.Helper()
	before, had := os.LookupEnv(name)
	if err := os.Setenv(name, value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := os.Unsetenv(name)
		if had {
			err = os.Setenv(name, before)
		}
		if err != nil {
			t.Error(err)
		}
	})
}

// TestEverySettingHasItsPrecedence gives every kind of setting in all places at
// once and takes them away one by one.
func TestEverySettingHasItsPrecedence(t *testing.T) {
	for _, test := range []struct {
		name                             string
		flag, variable, file, otherwise  string // as given
		wantFlag, wantVariable, wantFile string // as shown, when that differs
	}{
		{name: "apps-domain", flag: "flag.example", variable: "env.example", file: "file.example", otherwise: "app.localhost"},
		{name: "data-dir", flag: "/flag", variable: "/env", file: "/file"},
		{name: "admin-socket", flag: "/flag", variable: "/env", file: "/file"},
		{name: "listen", flag: "localhost:1", variable: "localhost:2,localhost:3", file: "[localhost:4, 'localhost:5']", wantFile: "localhost:4,localhost:5", otherwise: "localhost:8080"},
		{name: "host", flag: "a.example", variable: "b.example,c.example", file: "d.example"},
		{name: "region", flag: "1", variable: "2", file: "[3, 4.5]", wantFile: "3,4.5", otherwise: "local"},
		{name: "allow-private-backends", flag: "true", variable: "no", wantVariable: "false", file: "yes", wantFile: "true", otherwise: "auto"},
		{name: "allow-private-backends", flag: "false", variable: "1", wantVariable: "true", file: "false", otherwise: "auto"},
		{name: "public-resolve", flag: "false", variable: "true", file: "true", otherwise: "false"},
		{name: "dial-timeout", flag: "1m", wantFlag: "1m0s", variable: "2s", file: "3s", otherwise: "3s"},
		{name: "max-url-bytes", flag: "2048", wantFlag: "2KiB", variable: "3KiB", file: "4096", wantFile: "4KiB", otherwise: "16KiB"},
		{name: "upstream-transport", flag: "std", variable: "own", file: "std", otherwise: "own"},
		{name: "log-format", flag: "json", variable: "text", file: "auto", otherwise: "auto"},
	} {
		t.Run(test.name, func(t *testing.T) {
			variable := map[string]string{"INGRESS_" + strings.ToUpper(strings.ReplaceAll(test.name, "-", "_")): test.variable}
			empty := map[string]string{}
			for name := range variable {
				empty[name] = ""
			}
			file, flag := test.name+": "+test.file, "--"+test.name+"="+test.flag
			shown := func(want, given string) string {
				if want != "" {
					return want
				}
				return given
			}
			for _, given := range []struct {
				file      string
				variables map[string]string
				args      []string
				value     string
				source    origin
			}{
				{file, variable, []string{flag}, shown(test.wantFlag, test.flag), fromFlag},
				{"", empty, []string{flag}, shown(test.wantFlag, test.flag), fromFlag},
				{file, variable, nil, shown(test.wantVariable, test.variable), fromEnvironment},
				{"", variable, nil, shown(test.wantVariable, test.variable), fromEnvironment},
				{file, empty, nil, shown(test.wantFile, test.file), fromFile},
				{"", empty, nil, test.otherwise, fromDefault},
			} {
				_, settings, err := parseSettings(t, given.file, given.variables, given.args...)
				if err != nil {
					t.Fatal(err)
				}
				if got := settings[test.name]; got.Value != given.value || got.Source != given.source {
					t.Errorf("with %v, %v and the file %q it is %q from %s, want %q from %s", given.args, given.variables, given.file, got.Value, got.Source, given.value, given.source)
				}
				for name, other := range settings {
					if name != test.name && other.Source != fromDefault {
						t.Errorf("%s changed too: %+v", name, other)
					}
				}
			}
		})
	}
}

// TestNoVariableMattersWhenEmpty sets every variable to nothing.
func TestNoVariableMattersWhenEmpty(t *testing.T) {
	_, want, err := parseSettings(t, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	variables := map[string]string{"INGRESS_CONFIG": ""}
	for name := range want {
		variables["INGRESS_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))] = ""
	}
	_, got, err := parseSettings(t, "", variables)
	if err != nil {
		t.Fatal(err)
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s is %+v, want %+v", name, got[name], want[name])
		}
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	for _, test := range []struct{ name, file, says string }{
		{"an unknown key", "apps-domian: m3o.app", `"apps-domian"`},
		{"a flag that is no setting", "json: true", `"json"`},
		{"the file itself", "config: other.yaml", `"config"`},
		{"a number as key", "1: x", `"1"`},
		{"a section", "limits:\n  dial-timeout: 3s", `"limits"`},
		{"a key twice", "host: a.example\nhost: b.example", `"host"`},
		{"no value", "host:", "host: it has no value"},
		{"null", "host: ~", "host: it has no value"},
		{"null in a list", "host: [a.example, ~]", "host: item 2"},
		{"a list in a list", "host: [[a.example]]", "host: item 1"},
		{"a map in a list", "host: [{a: b}]", "host: item 1"},
		{"a map", "apps-domain: {a: b}", "apps-domain: it must be"},
		{"a list for one value", "apps-domain: [a.example, b.example]", "apps-domain: it takes one value"},
		{"bytes", "host: !!binary aGVsbG8=", "host: it must be"},
		{"a list of settings", "- host: a.example", "not YAML with a key for each setting"},
		{"a text", "hello", "not YAML with a key for each setting"},
		{"two documents", "host: a.example\n---\nlisten: :80", "more than one document"},
		{"a duration without unit", "dial-timeout: 3", `--dial-timeout: expected duration but got "3"`},
		{"a bad size", "max-url-bytes: big", `--max-url-bytes: "big"`},
		{"a bad bool", "public-resolve: maybe", `"maybe"`},
		{"a bad tri-state", "allow-private-backends: auto", `"auto"`},
		{"a bad choice", "log-format: xml", `"xml"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := parseSettings(t, test.file, nil)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("got %v, want it to say %s", err, test.says)
			}
			if strings.Contains(err.Error(), "--help") && !strings.Contains(err.Error(), "serve --help") {
				t.Errorf("it blames a flag that has nothing to do with it: %v", err)
			}
		})
	}
}

func TestABrokenFileIsNotQuoted(t *testing.T) {
	for _, file := range []string{
		"smtp-url: 'smtp://u:hunter2@h'\nhost: [\n",
		"smtp-url: 'smtp://u:hunter2@h'\nsmtp-url: x\n",
		"hunter2",
	} {
		if _, _, err := parseSettings(t, file, nil); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", file, err)
		}
	}
}

func TestFilesThatAreTaken(t *testing.T) {
	for _, test := range []struct{ name, file, setting, want string }{
		{"nothing", "\n", "apps-domain", "app.localhost"},
		{"a comment", "# apps-domain: m3o.app", "apps-domain", "app.localhost"},
		{"a byte order mark", "\ufeffapps-domain: m3o.app", "apps-domain", "m3o.app"},
		{"lines that end in CR LF", "apps-domain: m3o.app\r\nuser-host: u.example\r\n", "apps-domain", "m3o.app"},
		{"an anchor", "apps-domain: &x m3o.app\nuser-host: *x", "user-host", "m3o.app"},
		{"one value for a list", "host: a.example", "host", "a.example"},
		{"an empty list", "host: []", "host", ""},
		{"a comma in a single value", `mail-from: "Doe, Jane <a@b.example>"`, "mail-from", "Doe, Jane <a@b.example>"},
		{"none", `admin-listen: ""`, "admin-listen", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, settings, err := parseSettings(t, test.file, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := settings[test.setting].Value; got != test.want {
				t.Errorf("%s is %q, want %q", test.setting, got, test.want)
			}
		})
	}
}

func TestPathsInSettings(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for given, want := range map[string]string{
		"":         "",
		"relative": filepath.Join(here, "relative"),
		"~/x":      kong.ExpandPath("~/x"),
		"/a/../b":  "/a/../b",
	} {
		c, _, err := parseSettings(t, fmt.Sprintf("data-dir: %q", given), nil, "--admin-socket", given)
		if err != nil || c.DataDir != want || c.AdminSocket != want {
			t.Errorf("%q is %q and %q, %v; want %q", given, c.DataDir, c.AdminSocket, err, want)
		}
	}
}

func TestTheFileMayBeNamedByAVariable(t *testing.T) {
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "c.yaml"), []byte("apps-domain: m3o.app"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(home)
	for _, path := range []string{filepath.Join(home, "c.yaml"), "c.yaml", "./c.yaml"} {
		_, settings, err := parseSettings(t, "", map[string]string{"INGRESS_CONFIG": path})
		if err != nil || settings["apps-domain"].Value != "m3o.app" {
			t.Errorf("%s: %+v, %v", path, settings["apps-domain"], err)
		}
	}
	if _, _, err := parseSettings(t, "apps-domain: flag.example", map[string]string{"INGRESS_CONFIG": "missing.yaml"}); err != nil {
		t.Errorf("the flag does not win: %v", err)
	}
	if _, _, err := parseSettings(t, "", map[string]string{"INGRESS_CONFIG": "missing.yaml"}); err == nil || !strings.Contains(err.Error(), "missing.yaml") {
		t.Errorf("a missing file: %v", err)
	}
}

// TestTheFileIsForTheIngressAlone checks that a flag of another command does not
// take the value of the setting that has its name.
func TestTheFileIsForTheIngressAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ingress.yaml")
	if err := os.WriteFile(path, []byte("region: [us, eu]\ndata-dir: /data"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &program{ctx: t.Context(), stdout: new(bytes.Buffer), stderr: new(bytes.Buffer), env: os.Getenv}
	parser, err := p.parser()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.parse(parser, []string{"app", "run", "hello", "--backend", "http://x.example", "--config", path}); err != nil {
		t.Fatal(err)
	}
	if got := p.cli.App.Run.Region; got != "" {
		t.Errorf("app run got the region %q", got)
	}
	if p.cli.DataDir != "/data" {
		t.Errorf("the data directory is %q; every command needs it", p.cli.DataDir)
	}
}

// Every command that has the settings of ingress serve takes them from its file: one that
// did not would ask another process, or none.
func TestTheFileIsForEveryCommandWithSettings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ingress.yaml")
	if err := os.WriteFile(path, []byte("admin-socket: /run/ours.sock\ndatabase: postgres://db.example/ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{
		{"serve"}, {"config", "list"}, {"config", "get", "x"}, {"config", "set", "x", "y"}, {"config", "unset", "x"},
		{"explain", "http://x.example"}, {"certificate", "revoke", "x.example"}, {"upgrade"}, {"doctor"},
		{"db", "status"}, {"db", "migrate"}, {"db", "export", "x"}, {"db", "import", "x"},
	} {
		p := &program{ctx: t.Context(), stdout: new(bytes.Buffer), stderr: new(bytes.Buffer), env: os.Getenv}
		parser, err := p.parser()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.parse(parser, append(command, "--config", path)); err != nil {
			t.Fatal(err)
		}
		taken := map[string]string{}
		for _, flag := range p.kong.Selected().Flags {
			taken[flag.Name] = formatFlag(flag)
		}
		if socket, ok := taken["admin-socket"]; ok && socket != "/run/ours.sock" || taken["database"] != "postgres://db.example/ours" {
			t.Errorf("%s: the socket is %q, the database %q", strings.Join(command, " "), socket, taken["database"])
		}
	}
}

// FuzzConfigFile checks that no file ends the program otherwise than by an error
// that can be shown on a terminal, and that what is taken is taken as it reads.
func FuzzConfigFile(f *testing.F) {
	for _, seed := range []string{
		"listen: [localhost:8080]\n", "host:\n  - a\n  - b\n", "dial-timeout: 3s", "max-url-bytes: 64KiB", "public-resolve: true",
		"allow-private-backends: no", "a: &x b\n<<: *x", "\ufeffhost: x", "---\n---\n", "{host: x}", "? host\n: x", "host: !!str 1", "host: |\n  a\n  b\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "ingress.yaml")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		c, settings, err := parseArguments(t, []string{"serve", "--config", path})
		if err != nil {
			if err.Error() == "" {
				t.Error("an error that says nothing")
			}
			return
		}
		for name, s := range settings {
			if strings.Contains(s.Value, "<nil>") && !bytes.Contains(content, []byte("nil")) || s.Source != fromFile && s.Source != fromDefault {
				t.Errorf("%s is %q from %s", name, s.Value, s.Source)
			}
		}
		_ = c.validate(os.Getenv) // must not panic
	})
}

// A placeholder hides a default, which the help then has to say.
func TestTheHelpHasEveryDefault(t *testing.T) {
	p := &program{}
	parser, err := p.parser()
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range commandsUnder(parser.Model.Node) {
		for _, flag := range node.Flags {
			if flag.HasDefault && !flag.IsBool() && flag.PlaceHolder != "" && !strings.Contains(flag.Help, "unless set") && !strings.Contains(flag.Help, "unless given") {
				t.Errorf("%s --%s=%s: the help does not say that it is %s unless set", node.Name, flag.Name, flag.PlaceHolder, flag.Default)
			}
		}
	}
}
