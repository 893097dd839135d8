package main_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/porttest"
	"github.com/m3o/ingress/internal/skiptest"
)

// TestEveryCommandOfTheREADME runs what a newcomer would paste, in order, in one
// shell, and checks what each line promises behind an arrow.
func TestEveryCommandOfTheREADME(t *testing.T) {
	for _, program := range []string{"bash", "curl", "python3"} {
		if _, err := exec.LookPath(program); err != nil {
			skiptest.Skip(t, "there is no "+program+" here")
		}
	}
	home := filepath.Dir(shortTempDir(t))
	endAppsOf(t, home)
	i := startIngressIn(t, filepath.Join(home, "m3o-ingress"), []string{"INGRESS_BOOTSTRAP_KEY="})
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, setUp := range []string{"    go run ./cmd/ingress\n", "    go test ./...\n"} {
		if !bytes.Contains(text, []byte(setUp)) {
			t.Errorf("the README lacks the line %q", setUp)
		}
	}
	shell := newShell(t, home, i)
	ran := 0
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		for _, step := range steps(block[1]) {
			shell.run(step)
			ran++
		}
	}
	if ran < 20 {
		t.Errorf("only %d commands were found", ran)
	}
}

// step is a command with what its output must contain.
type step struct{ command, want string }

func steps(block string) []step {
	var found []step
	for line := range strings.Lines(block) {
		line = strings.TrimSuffix(line, "\n")
		if want, ok := strings.CutPrefix(line, "# → "); ok {
			found[len(found)-1].want = want
		} else if line != "" {
			found = append(found, step{command: line})
		}
	}
	return found
}

// shell runs the README's commands with the program, its address and the
// examples' ports replaced by those of the test.
type shell struct {
	t        *testing.T
	home     string
	replace  *strings.Replacer
	examples map[string]string // command → binary
	setup    []string          // assignments, which later commands see
}

func newShell(t *testing.T, home string, i *ingress) *shell {
	s := &shell{t: t, home: home, examples: map[string]string{}}
	ports := []string{fmt.Sprint(porttest.Free(t)), fmt.Sprint(porttest.Free(t))}
	for n, name := range []string{"hello", "greeter"} {
		path := filepath.Join(t.TempDir(), name)
		if out, err := exec.Command("go", "build", "-o", path, "../../examples/"+name).CombinedOutput(); err != nil {
			t.Fatalf("build the example %s: %v\n%s", name, err, out)
		}
		s.examples["go run ./examples/"+name+" &"] = path + "\x00PORT=" + ports[n]
	}
	s.replace = strings.NewReplacer(
		"go run ./cmd/ingress", binary(t),
		"localhost:8080", i.listen,
		"127.0.0.1:9000", "127.0.0.1:"+ports[0],
		"127.0.0.1:9001", "127.0.0.1:"+ports[1],
		"--listen :8080", "--listen 127.0.0.1:0",
		"--listen :80 --tls", "--listen 127.0.0.1:0 --listen-tls 127.0.0.1:0 --tls",
	)
	t.Setenv("INGRESS_ADDRESS", "http://"+i.listen)
	t.Setenv("XDG_DATA_HOME", home)
	return s
}

func (s *shell) run(step step) {
	s.t.Helper()
	switch {
	case s.examples[step.command] != "":
		s.startExample(s.examples[step.command])
	case strings.Contains(step.command, "ingress serve"):
		s.serve(step.command)
	default:
		s.bash(step)
	}
}

// startExample runs an example until the test ends, and waits until it listens.
func (s *shell) startExample(spec string) {
	path, port, _ := strings.Cut(spec, "\x00")
	cmd := exec.Command(path)
	cmd.Env = append(os.Environ(), port)
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // "signal: killed"
	})
	address := "127.0.0.1:" + strings.TrimPrefix(port, "PORT=")
	ctx, cancel := context.WithTimeout(s.t.Context(), deadline)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			conn.Close()
			return
		}
		if ctx.Err() != nil {
			s.t.Fatalf("%s does not listen: %v", path, err)
		}
	}
}

// serve starts another ingress as the README says, and ends it once it is ready.
func (s *shell) serve(line string) {
	s.t.Helper()
	_, flags, _ := strings.Cut(s.replace.Replace(line), " serve ")
	var env []string
	if name, value, ok := strings.Cut(strings.Fields(line)[0], "="); ok {
		env = append(env, name+"="+value)
	}
	i := startIngressIn(s.t, shortTempDir(s.t), env, strings.Fields(flags)...)
	if a := i.get("http://localhost/nosuch"); a.status != 404 {
		s.t.Errorf("%s: it answers %d", line, a.status)
	}
	i.stop()
}

// bash runs a command after the assignments that came before it.
func (s *shell) bash(step step) {
	s.t.Helper()
	script := strings.Join(append(append([]string{"set -e -o pipefail"}, s.setup...), s.replace.Replace(step.command)), "\n")
	ctx, cancel := context.WithTimeout(s.t.Context(), deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = "../.."
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), step.want) {
		s.t.Errorf("%s\nwant %q, got %v\n%s", step.command, step.want, err, out)
	}
	if regexp.MustCompile(`^[A-Z]+="?\$`).MatchString(step.command) {
		s.setup = append(s.setup, step.command)
	}
	if s.t.Failed() {
		fmt.Fprintln(os.Stderr, script)
	}
}
