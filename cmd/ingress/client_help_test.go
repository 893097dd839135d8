package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// commandsUnder returns every command and group of commands.
func commandsUnder(node *kong.Node) []*kong.Node {
	var all []*kong.Node
	for _, child := range node.Children {
		all = append(append(all, child), commandsUnder(child)...)
	}
	return all
}

func TestEveryCommandHasHelpWithExamplesThatParse(t *testing.T) {
	parser := newParser(t, &commandLine{}, &bytes.Buffer{})
	all := commandsUnder(parser.Model.Node)
	if len(all) < 60 {
		t.Fatalf("found only %d commands", len(all))
	}
	for _, node := range all {
		_, examples, ok := strings.Cut(node.Detail, "Examples:\n\n")
		if node.Help == "" || !ok {
			t.Errorf("%s: no help or no examples", node.FullPath())
		}
		for _, example := range strings.Split(examples, "\n") {
			checkExample(t, node, example)
		}
	}
}

// checkExample parses an example and checks that it is one of the command's.
func checkExample(t *testing.T, node *kong.Node, example string) {
	t.Helper()
	_, text, ok := strings.Cut(example, "ingress ")
	if !ok {
		t.Errorf("%s: %q is no example", node.FullPath(), example)
		return
	}
	parsed, err := newParser(t, &commandLine{}, &bytes.Buffer{}).Parse(words(text))
	if err != nil {
		t.Errorf("%s: example %q: %v", node.FullPath(), example, err)
		return
	}
	if name := "ingress " + commandName(parsed); !strings.HasPrefix(name, node.FullPath()) {
		t.Errorf("%s: has an example of %s", node.FullPath(), name)
	}
}

// words splits a command as a shell does, up to a redirection or the end of a
// substitution. Of quotes it knows single ones.
func words(text string) []string {
	text, _, _ = strings.Cut(text, " < ")
	var all []string
	for i, part := range strings.Split(strings.TrimSuffix(text, ")"), "'") {
		switch {
		case i%2 == 0:
			all = append(all, strings.Fields(part)...)
		case len(all) > 0 && strings.HasSuffix(all[len(all)-1], "="):
			all[len(all)-1] += part
		default:
			all = append(all, part)
		}
	}
	return all
}

func TestHelpNamesTheVariables(t *testing.T) {
	for _, test := range []struct {
		args  []string
		names []string
	}{
		{[]string{"--help"}, []string{"M3O_API_TOKEN", "INGRESS_ADDRESS", "INGRESS_CONFIG", "INGRESS_DATA_DIR"}},
		{[]string{"url", "create", "--help"}, []string{"INGRESS_ADDRESS", "INGRESS_CONFIG", "INGRESS_DATA_DIR"}},
	} {
		for _, set := range []string{"", "http://localhost:1"} {
			t.Setenv("INGRESS_ADDRESS", set)
			out, _, code := runMain(t, test.args...)
			for _, name := range test.names {
				if code != 0 || strings.Count(out, name) != 1 {
					t.Errorf("with %q, %q does not name %s once:\n%s", set, test.args, name, out)
				}
			}
		}
	}
}

func TestHelpShowsTheExamples(t *testing.T) {
	got := withKey().run(t, "url", "create", "--help")
	for _, want := range []string{"Usage: ingress url create <destination>", "Examples:", "    ingress url create https://example.com/ --id docs", "--address=URL", "INGRESS_ADDRESS"} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("the help lacks %q:\n%s", want, got.stdout)
		}
	}
}
