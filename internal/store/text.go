package store

import "strings"

// IsText reports whether a column can hold a text, and can be searched for it: those of
// PostgreSQL have no NUL, and it answers a statement that has one with an error. What
// callers send as an id or a name and is none of these is nobody's.
func IsText(s string) bool { return !strings.Contains(s, "\x00") }
