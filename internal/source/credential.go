package source

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Credential opens repositories of one server. It is a secret: it has no String,
// prints as nothing, and is given to programs in files and the environment alone.
type Credential struct {
	// Username and Password are for https; tokens go in Password, with any name or
	// none.
	Username, Password string
	// SSHKey is a private key without a passphrase, PEM.
	SSHKey string
	// KnownHosts are lines of a known_hosts file. When there are any, the server's
	// key must be in them; when there are none, the key it shows is believed, and
	// returned in Result.KnownHosts.
	KnownHosts string
}

// String implements fmt.Stringer, so that no log can hold it.
func (Credential) String() string { return "credential" }

// GoString implements fmt.GoStringer, for the same reason.
func (Credential) GoString() string { return "source.Credential{}" }

// CheckSSHKey refuses private keys that cannot be used. Its error is an *Error
// and holds nothing of the key.
func CheckSSHKey(key string) error {
	_, err := ssh.ParsePrivateKey([]byte(key))
	if _, locked := err.(*ssh.PassphraseMissingError); locked {
		return fail(Denied, "the ssh key has a passphrase, which nobody is there to type: make a key without one for this")
	}
	if err != nil {
		return fail(Denied, "the ssh key is no private key in PEM form")
	}
	return nil
}

// basic is the value of an Authorization header, or empty.
func (c Credential) basic() string {
	if c.Password == "" {
		return ""
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.user()+":"+c.Password))
}

// user is the name that goes with a password. Servers that take tokens want some
// name, and any will do.
func (c Credential) user() string {
	if c.Username == "" {
		return "x-access-token"
	}
	return c.Username
}

// key returns the private key as ssh wants it in a file.
func (c Credential) key() string {
	return strings.TrimSpace(strings.ReplaceAll(c.SSHKey, "\r\n", "\n")) + "\n"
}

// hosts returns the known_hosts lines as a file.
func (c Credential) hosts() string {
	if trimmed := strings.TrimSpace(c.KnownHosts); trimmed != "" {
		return trimmed + "\n"
	}
	return ""
}

// origin is scheme, host and port of a URL, for which a credential is meant.
func origin(u *url.URL) string { return fmt.Sprintf("%s://%s", u.Scheme, strings.ToLower(u.Host)) }
