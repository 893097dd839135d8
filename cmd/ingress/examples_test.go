package main_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestTheExamplesRun deploys each example with the very command that its row in
// examples/README.md gives, and asks it for what it is there to show.
func TestTheExamplesRun(t *testing.T) {
	needs(t, "go", "node", "npm", "python3")
	i := startPlatform(t)
	table, err := os.ReadFile("../../examples/README.md")
	if err != nil {
		t.Fatal(err)
	}
	shows := map[string]func(a *ingress) (got, want string){
		"counter": func(i *ingress) (string, string) { return i.get(appURL("counter", "/")).body, "<!doctype html>" },
		"chat":    func(i *ingress) (string, string) { return i.get(appURL("chat", "/")).body, "WebSocket" },
		"pages":   func(i *ingress) (string, string) { return i.get(appURL("pages", "/")).body, "<!doctype html>" },
		"greet": func(i *ingress) (string, string) {
			return i.do("POST", "http://greet.fn.localhost/", []string{"Content-Type", "application/json"}, `{"name":"Jane"}`).body, `{"message":"Hello Jane"}`
		},
	}
	commands := regexp.MustCompile("`ingress ((?:app run|function deploy) ([a-z]+) [^`]*)`").FindAllStringSubmatch(string(table), -1)
	if len(commands) != len(shows) {
		t.Fatalf("the table has %d commands, want %d", len(commands), len(shows))
	}
	for _, c := range commands {
		begin := time.Now()
		i.example(strings.Fields(c[1])...)
		got, want := shows[c[2]](i)
		if !strings.Contains(got, want) {
			t.Errorf("%s answers %.300q, want %q", c[2], got, want)
		}
		t.Logf("%s: %v", c[1], time.Since(begin).Round(time.Millisecond))
	}
}

// exampleDeadline is long: the first Go app of a tenant compiles the standard
// library.
const exampleDeadline = 10 * time.Minute

// example runs a command from the top of the repository.
func (i *ingress) example(args ...string) {
	i.t.Helper()
	ctx, cancel := context.WithTimeout(i.t.Context(), exampleDeadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(i.t), args...)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + i.t.TempDir(), "INGRESS_ADDRESS=http://" + i.listen, "M3O_API_TOKEN=" + bootstrapKey}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		i.t.Fatalf("ingress %s: %v\n%s", strings.Join(args, " "), err, out.String())
	}
}
