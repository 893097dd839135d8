package workload

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// maxRepo is the longest repository address in bytes.
const maxRepo = 2048

// scpRepo is git's short form of an ssh address: user@host:path.
var scpRepo = regexp.MustCompile(`^[a-z0-9._-]+@[A-Za-z0-9.-]+:[A-Za-z0-9._~/-]+$`)

// plainRepo is host/owner/repository without a scheme.
var plainRepo = regexp.MustCompile(`^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+/[A-Za-z0-9._~-]+/[A-Za-z0-9._~/-]+$`)

// ValidRepo reports whether text has the form of a git address that can be
// fetched from: https, ssh or git URLs, user@host:path, or host/owner/repository.
// It says nothing about whether there is a repository. No valid address can be
// taken for an option by a program it is given to.
func ValidRepo(text string) bool {
	if len(text) > maxRepo || strings.HasPrefix(text, "-") {
		return false
	}
	if !strings.Contains(text, "://") {
		return scpRepo.MatchString(text) || plainRepo.MatchString(text)
	}
	u, err := url.Parse(text)
	return err == nil && slices.Contains([]string{"https", "ssh", "git"}, u.Scheme) &&
		validHost(u.Hostname()) && u.Hostname()[0] != '-' && validPort(u) &&
		strings.Trim(u.Path, "/") != "" && strings.IndexFunc(u.Path, isControl) < 0 &&
		u.RawQuery == "" && !strings.Contains(text, "#")
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
