package builder

import (
	"context"
	"slices"
	"strings"
)

// The languages that can be built, under their versionless names (WIRE.md 5).
const (
	golang = "go"
	nodejs = "nodejs"
	python = "python"
)

// unsupported are the languages of the original platform that no ingress builds.
var unsupported = []string{"java", "dotnet", "ruby", "php"}

// Runtime is a language this machine can build and run.
type Runtime struct {
	// Name is its versionless name: go, nodejs or python.
	Name string
	// Version is the one found, such as "20.20.2".
	Version string
	// Path is the absolute path of its program.
	Path string
}

// Runtimes returns the languages that can be used here, and why the others of the
// platform cannot. It looks again when its last look is older than a few seconds.
func (b *Builder) Runtimes(ctx context.Context) (available []Runtime, unavailable map[string]string) {
	unavailable = make(map[string]string)
	for _, name := range []string{golang, nodejs, python} {
		found, err := b.tools.find(ctx, name)
		if err != nil {
			unavailable[name] = err.Error()
			continue
		}
		available = append(available, Runtime{Name: name, Version: found.version, Path: found.path})
	}
	for _, name := range unsupported {
		unavailable[name] = name + ": not supported by this ingress"
	}
	return available, unavailable
}

// ParseRuntime returns the versionless name of a language of the platform, given
// with or without a version: "nodejs16" is nodejs, "python3.9" is python. It
// reports whether there is such a language, not whether this machine has it.
func ParseRuntime(name string) (string, bool) {
	language := strings.TrimRight(name, "0123456789.")
	if language == "node" {
		language = nodejs
	}
	known := append([]string{golang, nodejs, python}, unsupported...)
	if !slices.Contains(known, language) {
		return "", false
	}
	return language, true
}
