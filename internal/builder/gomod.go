package builder

import (
	"strings"
)

// goMod is what a go.mod file says that matters here.
type goMod struct {
	// module is the module's path, goVersion the oldest Go that it can be built
	// with, or "".
	module, goVersion string
}

// parseGoMod reads the module and go lines of a go.mod file (go.dev/ref/mod).
// What else is in it is the go command's to judge.
func parseGoMod(text string) goMod {
	var m goMod
	block := false
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "//")
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case block:
			block = words[0] != ")"
		case words[len(words)-1] == "(":
			block = true
		case len(words) < 2:
		case words[0] == "module" && m.module == "":
			m.module = strings.Trim(words[1], "\"`")
		case words[0] == "go" && m.goVersion == "":
			m.goVersion = words[1]
		}
	}
	return m
}
