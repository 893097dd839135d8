package link

import (
	"fmt"
	"io"
	"strings"
)

// alphabet is what link ids are made of (WIRE.md 5). Its 64 characters divide
// the values of a byte evenly.
const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-"

// randomChars is the length of random ids, maxIDChars of those asked for.
const (
	randomChars = 9
	maxIDChars  = 128
)

// reserved is the path segment that is a method wherever links are served
// (WIRE.md 1). Methods are found in any case.
const reserved = "resolve"

// validID reports whether a link may have this id.
func validID(id string) bool {
	if id == "" || len(id) > maxIDChars || strings.EqualFold(id, reserved) {
		return false
	}
	for i := range len(id) {
		if strings.IndexByte(alphabet, id[i]) < 0 {
			return false
		}
	}
	return true
}

// randomID makes an id.
func randomID(random io.Reader) (string, error) {
	var b [randomChars]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("make a random id: %w", err)
	}
	for i := range b {
		b[i] = alphabet[int(b[i])%len(alphabet)]
	}
	return string(b[:]), nil
}

// idOf returns the id in a short URL: its last path segment, whatever is before
// it, since prefixes change and people leave them out.
func idOf(shortURL string) string {
	path, _, _ := strings.Cut(strings.TrimSpace(shortURL), "#")
	path, _, _ = strings.Cut(path, "?")
	path = strings.TrimRight(path, "/")
	return path[strings.LastIndexByte(path, '/')+1:]
}
