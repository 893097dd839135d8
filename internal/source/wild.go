package source

import "strings"

// wild reports whether text matches a pattern with the wildcards of gitignore(5).
// With paths, "*", "?" and "[…]" match no slash, and "**" does where it stands for
// whole folders.
func wild(pattern, text string, paths bool) bool {
	m := matcher{paths: paths, seen: map[[2]int]bool{}}
	m.pattern, m.text = pattern, text
	return m.from(0, 0, 0)
}

// matcher is one match. It remembers where it failed, so that patterns of many
// stars take no more than the product of both lengths.
type matcher struct {
	pattern, text string
	paths         bool
	seen          map[[2]int]bool
}

// from matches what is left from p and t on; start is where the pattern was
// entered, which counts as the beginning for "**".
func (m matcher) from(p, t, start int) bool {
	for ; p < len(m.pattern); p++ {
		c := m.pattern[p]
		if c == '*' {
			return m.star(p, t, start)
		}
		if t >= len(m.text) {
			return false
		}
		switch c {
		case '?':
			if m.paths && m.text[t] == '/' {
				return false
			}
		case '[':
			end, in := class(m.pattern[p:], m.text[t])
			if end < 0 || !in || m.paths && m.text[t] == '/' {
				return false
			}
			p += end
		case '\\':
			if p++; p >= len(m.pattern) || m.pattern[p] != m.text[t] {
				return false
			}
		default:
			if c != m.text[t] {
				return false
			}
		}
		t++
	}
	return t == len(m.text)
}

// star matches from a star on.
func (m matcher) star(p, t, start int) bool {
	first := p
	for p < len(m.pattern) && m.pattern[p] == '*' {
		p++
	}
	slashes := !m.paths
	if m.paths && p-first > 1 && (first == start || m.pattern[first-1] == '/') &&
		(p == len(m.pattern) || m.pattern[p] == '/' || strings.HasPrefix(m.pattern[p:], `\/`)) {
		slashes = true
		if p < len(m.pattern) && m.pattern[p] == '/' && m.fresh(-p, t) && m.from(p+1, t, p+1) {
			return true
		}
	}
	for ; t <= len(m.text); t++ {
		if !m.fresh(p, t) {
			return false // and so did all that follows
		}
		if m.from(p, t, p) {
			return true
		}
		if t < len(m.text) && m.text[t] == '/' && !slashes {
			break
		}
	}
	return false
}

// fresh reports whether a place is reached for the first time. What was tried from
// there before did not match, or the match would be over.
func (m matcher) fresh(p, t int) bool {
	key := [2]int{p, t}
	if m.seen[key] {
		return false
	}
	m.seen[key] = true
	return true
}

// class matches one byte with the "[…]" that a pattern begins with. It returns
// where that ends, or a negative number when it does not.
func class(pattern string, c byte) (end int, in bool) {
	i := 1
	negated := i < len(pattern) && (pattern[i] == '!' || pattern[i] == '^')
	if negated {
		i++
	}
	var previous byte
	for first := true; ; first = false {
		if i >= len(pattern) {
			return -1, false
		}
		switch b := pattern[i]; {
		case b == ']' && !first:
			return i, in != negated
		case b == '-' && previous != 0 && i+1 < len(pattern) && pattern[i+1] != ']':
			i++
			high := pattern[i]
			if high == '\\' {
				if i++; i >= len(pattern) {
					return -1, false
				}
				high = pattern[i]
			}
			in = in || previous <= c && c <= high
			previous = 0
		case b == '[' && i+1 < len(pattern) && pattern[i+1] == ':':
			length := strings.IndexByte(pattern[i+2:], ']')
			if length < 0 {
				return -1, false
			}
			name := pattern[i+2 : i+2+length]
			if !strings.HasSuffix(name, ":") {
				in, previous = in || c == '[', '[' // a set that has "[" and ":" in it
				break
			}
			found, known := named(strings.TrimSuffix(name, ":"), c)
			if !known {
				return -1, false
			}
			in, previous = in || found, 0
			i += 2 + length
		default:
			if b == '\\' {
				if i++; i >= len(pattern) {
					return -1, false
				}
				b = pattern[i]
			}
			in, previous = in || b == c, b
		}
		i++
	}
}

// named reports whether a byte is in a class of POSIX, and whether there is one.
func named(name string, c byte) (in, known bool) {
	lower, upper, digit := c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9'
	graph := c > ' ' && c < 0x7f
	switch name {
	case "alnum":
		return lower || upper || digit, true
	case "alpha":
		return lower || upper, true
	case "blank":
		return c == ' ' || c == '\t', true
	case "cntrl":
		return c < ' ' || c == 0x7f, true
	case "digit":
		return digit, true
	case "graph":
		return graph, true
	case "lower":
		return lower, true
	case "print":
		return graph || c == ' ', true
	case "punct":
		return graph && !lower && !upper && !digit, true
	case "space":
		return c == ' ' || c >= '\t' && c <= '\r', true
	case "upper":
		return upper, true
	case "xdigit":
		return digit || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F', true
	}
	return false, false
}
