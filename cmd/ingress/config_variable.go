package main

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// otherVariables are those that are no flags: secrets, and what one program tells the one
// that takes its place.
var otherVariables = []string{
	bootstrapVariable, "INGRESS_SECRET_KEY", "INGRESS_SMTP_PASSWORD", "INGRESS_DATABASE_PASSWORD", handoverVariable,
}

// serviceVariable matches what Kubernetes gives every container of a namespace that has a
// service whose name begins with ingress, but for INGRESS_PORT and the like, which are URLs.
var serviceVariable = regexp.MustCompile(`^INGRESS_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// isForeign reports whether a variable is Kubernetes', or one that this project's tests go by.
func isForeign(name, value string) bool {
	return strings.HasPrefix(name, "INGRESS_TEST_") || serviceVariable.MatchString(name) ||
		strings.HasSuffix(name, "_PORT") && strings.Contains(value, "://")
}

// flagVariables are the variables of all flags of a command line.
func flagVariables(node *kong.Node) map[string]bool {
	all := map[string]bool{}
	for _, flag := range node.Flags {
		for _, name := range flag.Tag.Envs {
			all[name] = true
		}
	}
	for _, child := range node.Children {
		maps.Copy(all, flagVariables(child))
	}
	return all
}

// mistakenVariable is one that is named like a setting, and is none.
type mistakenVariable struct {
	name    string
	nearest string // the setting's that it may have been meant for, or ""
}

// mistakenVariables finds them in an environment of NAME=value. A flag or a key of the
// file that is misspelt ends the start; a variable may be somebody else's.
func mistakenVariables(flags map[string]bool, environment []string) []mistakenVariable {
	known := slices.Concat(slices.Sorted(maps.Keys(flags)), otherVariables)
	var mistaken []mistakenVariable
	for _, pair := range environment {
		name, value, _ := strings.Cut(pair, "=")
		if value == "" || !strings.HasPrefix(name, "INGRESS_") || slices.Contains(known, name) || isForeign(name, value) {
			continue
		}
		mistaken = append(mistaken, mistakenVariable{name, nearest(name, known)})
	}
	slices.SortFunc(mistaken, func(a, b mistakenVariable) int { return strings.Compare(a.name, b.name) })
	return mistaken
}

// nearest is the name that takes the fewest changes of a letter, or "" if the best of
// them takes many.
func nearest(name string, names []string) string {
	const many = 3
	best, fewest := "", many
	for _, other := range names {
		if n := changes(name, other); n < fewest {
			best, fewest = other, n
		}
	}
	return best
}

// changes is how many letters must be put in, taken out or replaced to make one text of
// another (their Levenshtein distance).
func changes(a, b string) int {
	row := make([]int, len(b)+1) // of a's beginning so far, to each beginning of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
