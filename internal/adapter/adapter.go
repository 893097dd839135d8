// Package adapter turns the source of a function into a program that serves it
// over HTTP. A function follows the HTTP signature of Cloud Functions (WIRE.md
// 5): what its author knows of requests and answers there is what it finds here.
//
// The adapters are small programs in the function's own language. They ship
// inside the ingress, are written next to the function's source, and need
// nothing installed but the language.
package adapter

import (
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Plan says how the function is started, and for a compiled language how it is
// compiled first. All paths in it are relative to the folder given to Prepare,
// where everything is run.
type Plan struct {
	// Args is the command that serves the function on 127.0.0.1 at the port in
	// PORT. Args[0] is the name of a program, such as "node" or "python", or a
	// path with a slash that Compile makes; whoever starts it makes it absolute.
	Args []string
	// Env are variables the command needs, which those of the owner may override.
	Env map[string]string
	// Compile are commands to run once beforehand, one after the other, each with
	// a program's name first; none when there is nothing to compile.
	Compile [][]string
}

// language is what differs between the runtimes.
type language struct {
	name string
	// source is the file that a function given as one text is written to.
	source string
	// entrypoint makes the default entrypoint from the function's name.
	entrypoint func(name string) string
	prepare    func(s source, entrypoint string) (Plan, error)
}

// languages are in the order of their names.
func languages() []language {
	same := func(name string) string { return name }
	return []language{
		{"go", "main.go", upperFirst, prepareGo},
		{"nodejs", "index.js", same, prepareNode},
		{"python", "main.py", same, preparePython},
	}
}

func lookup(runtime string) (language, error) {
	for _, l := range languages() {
		if l.name == runtime {
			return l, nil
		}
	}
	return language{}, fmt.Errorf("there is no runtime %q; there are %s", runtime, strings.Join(Languages(), ", "))
}

// Languages returns the runtimes there are adapters for, under their versionless
// names, sorted. Which of them this machine can run is for the builder to say.
func Languages() []string {
	var names []string
	for _, l := range languages() {
		names = append(names, l.name)
	}
	return names
}

// SourceFile returns the name of the file that inline source is written to, such
// as "index.js", or "" when there is no such runtime.
func SourceFile(runtime string) string {
	l, err := lookup(runtime)
	if err != nil {
		return ""
	}
	return l.source
}

// DefaultEntrypoint returns the name in the source of a function whose owner did
// not say (WIRE.md 5): its own name, for Go with the first letter in upper case.
func DefaultEntrypoint(runtime, name string) string {
	l, err := lookup(runtime)
	if err != nil {
		return name
	}
	return l.entrypoint(name)
}

func upperFirst(name string) string {
	r, size := utf8.DecodeRuneInString(name)
	if size == 0 {
		return name
	}
	return string(unicode.ToUpper(r)) + name[size:]
}

// Prepare checks the source of a function in dir and writes the adapter next to
// it, into a folder that was not there before; no file of the author is changed
// and nothing outside of dir touched, whatever links the source has. The
// function's dependencies must have been installed by then. What it writes
// belongs to the owner of dir. Its errors say what is wrong with the source in
// words fit for the author, unless they are the machine's.
func Prepare(runtime, dir, entrypoint string) (Plan, error) {
	l, err := lookup(runtime)
	if err != nil {
		return Plan{}, err
	}
	if entrypoint == "" {
		return Plan{}, fmt.Errorf("the function has no entrypoint")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Plan{}, fmt.Errorf("open the function's source: %w", err)
	}
	defer root.Close()
	return l.prepare(source{root}, entrypoint)
}

// variables are those that authors know from Cloud Functions.
func variables(entrypoint string) map[string]string {
	return map[string]string{"FUNCTION_TARGET": entrypoint, "FUNCTION_SIGNATURE_TYPE": "http"}
}
