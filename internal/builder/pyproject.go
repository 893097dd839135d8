package builder

import (
	"strings"
)

// pyproject is what a pyproject.toml says that matters here.
type pyproject struct {
	// name is the project's, dependencies what it needs (PEP 621).
	name         string
	dependencies []string
	// buildable is whether it says how it is built (PEP 518), so that pip can
	// install it as a whole.
	buildable bool
}

// parsePyproject reads a pyproject.toml as far as it needs to: tables, strings and
// arrays of strings. What else there is, it passes over, and a syntax error makes
// it stop there; pip will have something to say about that.
func parsePyproject(text string) pyproject {
	var p pyproject
	table := ""
	for s := (toml{text}); s.next(); {
		if header, ok := s.table(); ok {
			table = header
			p.buildable = p.buildable || table == "build-system"
			continue
		}
		key, ok := s.key()
		if !ok {
			break
		}
		value, ok := s.value(0)
		if !ok {
			break
		}
		if table != "" {
			key = table + "." + key
		}
		switch {
		case key == "project.name" && len(value) > 0:
			p.name = value[0]
		case key == "project.dependencies":
			p.dependencies = value
		case strings.HasPrefix(key, "build-system."):
			p.buildable = true
		}
	}
	return p
}

// toml is what is left of a document (toml.io, version 1.0).
type toml struct{ rest string }

// maxNesting bounds arrays in arrays.
const maxNesting = 50

// next skips to the next line that says something.
func (s *toml) next() bool {
	for {
		s.rest = strings.TrimLeft(s.rest, " \t\r\n,")
		if !strings.HasPrefix(s.rest, "#") {
			return s.rest != ""
		}
		_, s.rest, _ = strings.Cut(s.rest, "\n")
	}
}

// table reads a header such as [project] and returns its name.
func (s *toml) table() (string, bool) {
	if !strings.HasPrefix(s.rest, "[") {
		return "", false
	}
	line, rest, _ := strings.Cut(s.rest, "\n")
	s.rest = rest
	line, _, _ = strings.Cut(line, "#")
	return bare(strings.Trim(strings.TrimSpace(line), "[]")), true
}

// key reads up to and with the equals sign.
func (s *toml) key() (string, bool) {
	line, _, _ := strings.Cut(s.rest, "\n")
	key, _, ok := strings.Cut(line, "=")
	if !ok {
		return "", false
	}
	s.rest = s.rest[len(key)+1:]
	return bare(key), true
}

// bare is a key without quotes and the spaces around its parts.
func bare(key string) string {
	parts := strings.Split(key, ".")
	for i, part := range parts {
		parts[i] = strings.Trim(strings.TrimSpace(part), `"'`)
	}
	return strings.Join(parts, ".")
}

// value reads a value and returns the strings in it.
func (s *toml) value(depth int) (texts []string, ok bool) {
	s.rest = strings.TrimLeft(s.rest, " \t")
	if s.rest == "" || depth > maxNesting {
		return nil, false
	}
	switch s.rest[0] {
	case '"', '\'':
		text, ok := s.text()
		return []string{text}, ok
	case '[':
		return s.array(depth)
	case '{':
		return nil, s.inline()
	}
	end := strings.IndexAny(s.rest, ",]#\r\n")
	if end < 0 {
		end = len(s.rest)
	}
	s.rest = s.rest[end:]
	return nil, end > 0
}

func (s *toml) array(depth int) (texts []string, ok bool) {
	s.rest = s.rest[1:]
	for s.next() {
		if strings.HasPrefix(s.rest, "]") {
			s.rest = s.rest[1:]
			return texts, true
		}
		more, ok := s.value(depth + 1)
		if !ok {
			return nil, false
		}
		texts = append(texts, more...)
	}
	return nil, false
}

// inline skips an inline table.
func (s *toml) inline() bool {
	for depth := 0; s.rest != ""; {
		switch s.rest[0] {
		case '"', '\'':
			if _, ok := s.text(); !ok {
				return false
			}
			continue
		case '{':
			depth++
		case '}':
			depth--
		}
		if s.rest = s.rest[1:]; depth == 0 {
			return true
		}
	}
	return false
}

// text reads a string of any of the four kinds.
func (s *toml) text() (string, bool) {
	quote := s.rest[:1]
	if strings.HasPrefix(s.rest, strings.Repeat(quote, 3)) {
		quote = strings.Repeat(quote, 3)
	}
	for i := len(quote); i < len(s.rest); i++ {
		switch {
		case s.rest[i] == '\\' && quote[0] == '"':
			i++
		case strings.HasPrefix(s.rest[i:], quote):
			text := s.rest[len(quote):i]
			s.rest = s.rest[i+len(quote):]
			if quote[0] == '"' {
				text = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(text)
			}
			return text, true
		case s.rest[i] == '\n' && len(quote) == 1:
			return "", false
		}
	}
	return "", false
}
