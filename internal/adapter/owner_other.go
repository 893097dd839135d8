//go:build !unix

package adapter

// giveAway does nothing where files have no such owners.
func (s source) giveAway(string) error { return nil }
