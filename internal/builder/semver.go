package builder

import (
	"slices"
	"strings"
)

// inRange reports whether a version is in an npm range such as ">=18 <21 || ^22.1"
// (docs.npmjs.com, "semver"), and whether the range could be read.
func inRange(version, text string) (fits, known bool) {
	if len(text) > 200 {
		return false, false
	}
	for alternative := range strings.SplitSeq(text, "||") {
		all, ok := inAll(numbers(version), alternative)
		if !ok {
			return false, false
		}
		fits = fits || all
	}
	return fits, true
}

// inAll reports whether a version fits each of the comparators in text.
func inAll(version []int, text string) (fits, known bool) {
	words := strings.Fields(spaceless.Replace(text))
	if len(words) == 3 && words[1] == "-" {
		words = []string{">=" + words[0], "<=" + words[2]}
	}
	for _, word := range words {
		low, high, ok := bounds(word)
		if !ok {
			return false, false
		}
		if slices.Compare(version, low) < 0 || high != nil && slices.Compare(version, high) >= 0 {
			return false, true
		}
	}
	return true, true
}

// spaceless joins comparators with the versions they stand before.
var spaceless = strings.NewReplacer(">= ", ">=", "<= ", "<=", "> ", ">", "< ", "<", "^ ", "^", "~ ", "~", "= ", "=")

// bounds returns the lowest version that fits a comparator and the lowest above it
// that does not, nil when all do.
func bounds(word string) (low, high []int, ok bool) {
	operator := word[:len(word)-len(strings.TrimLeft(word, "<>=^~"))]
	text := strings.TrimPrefix(word[len(operator):], "v")
	given, ok := given(text)
	if !ok {
		return nil, nil, false
	}
	low = make([]int, 3)
	copy(low, given)
	if len(given) == 0 {
		return low, nil, operator != "<" && operator != ">"
	}
	zero := []int{0, 0, 0}
	switch operator {
	case "", "=":
		return low, after(low, len(given)), true
	case ">=":
		return low, nil, true
	case ">":
		return after(low, len(given)), nil, true
	case "<":
		return zero, low, true
	case "<=":
		return zero, after(low, len(given)), true
	case "~":
		return low, after(low, min(len(given), 2)), true
	case "^":
		first := slices.IndexFunc(given, func(n int) bool { return n > 0 })
		if first < 0 {
			first = len(given) - 1
		}
		return low, after(low, first+1), true
	}
	return nil, nil, false
}

// given returns the numbers of a version, up to the first that is left open.
func given(text string) ([]int, bool) {
	text, _, _ = strings.Cut(text, "-")
	text, _, _ = strings.Cut(text, "+")
	var parts []int
	for part := range strings.SplitSeq(text, ".") {
		if part == "" || part == "x" || part == "X" || part == "*" {
			return parts, true
		}
		if strings.Trim(part, "0123456789") != "" || len(part) > 6 || len(parts) == 3 {
			return nil, false
		}
		parts = append(parts, numbers(part)[0])
	}
	return parts, true
}

// after returns the first version that differs from v in its first n numbers.
func after(v []int, n int) []int {
	next := make([]int, 3)
	copy(next, v[:n])
	next[n-1]++
	return next
}
