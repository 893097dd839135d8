package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// tokenVariable is the environment variable that holds the key, named as M3O's
// own clients name it.
const tokenVariable = "M3O_API_TOKEN"

// bootstrapVariable is the environment variable that gives the platform its
// bootstrap key, instead of the file.
const bootstrapVariable = "INGRESS_BOOTSTRAP_KEY"

// bootstrapKeyFile is where, in its data directory, the platform keeps the key
// that it made at its first start.
const bootstrapKeyFile = "bootstrap.key"

// credential is the key calls are made with.
type credential struct {
	token string
	// localOnly says that the key must not be sent to another machine.
	localOnly bool
}

// findKey returns the key for an address: the one in the environment or, for a
// platform on this machine only, the bootstrap key, given or kept. It may do
// everything, so it is never even read for any other address.
func findKey(address *url.URL, in surroundings) (credential, error) {
	if token, _ := in.LookupEnv(tokenVariable); strings.TrimSpace(token) != "" {
		return checkedKey(token, tokenVariable, false)
	}
	if !isLocal(address) {
		return credential{}, &problem{
			text: "no key for " + address.Redacted(),
			hint: "Set " + tokenVariable + " to a key of that platform; its operator makes one with: ingress key create --scope '*'",
		}
	}
	if key, _ := in.LookupEnv(bootstrapVariable); strings.TrimSpace(key) != "" {
		return checkedKey(key, bootstrapVariable, true)
	}
	if in.DataDir == "" {
		return credential{}, noLocalKey("no key")
	}
	path := filepath.Join(in.DataDir, bootstrapKeyFile)
	content, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return credential{}, noLocalKey("no key: there is no " + path)
	case errors.Is(err, fs.ErrPermission):
		return credential{}, noLocalKey("no key: " + path + " belongs to another user")
	case err != nil:
		return credential{}, fmt.Errorf("read the bootstrap key: %w", err)
	}
	return checkedKey(string(content), path, true)
}

func noLocalKey(text string) error {
	return &problem{
		text: text,
		hint: "Set " + tokenVariable + ", or run this as the user, and with the --data-dir, of the running: ingress serve. " +
			"Of several ingresses on one database the first alone has made a bootstrap key, in its own directory.",
	}
}

// checkedKey refuses what cannot be a header's value, which the HTTP client
// would do later and less clearly. No error repeats the key.
func checkedKey(text, source string, localOnly bool) (credential, error) {
	token := strings.TrimSpace(text)
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return credential{}, &problem{text: source + " does not hold a key", hint: "A key is one word without spaces."}
	}
	return credential{token: token, localOnly: localOnly}, nil
}
