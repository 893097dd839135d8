package source

import (
	"regexp"
	"strings"
)

// symptoms are what git and ssh say (in English, see environment), by reason. The
// first that is found counts.
var symptoms = []struct {
	reason Reason
	text   *regexp.Regexp
}{
	{HostKey, regexp.MustCompile(`(?i)host key verification failed|knownhosts: key|remote host identification has changed`)},
	{Moved, regexp.MustCompile(`(?i)returned error: 30\d|update url base from redirection|http redirect`)},
	{Denied, regexp.MustCompile(`(?i)authentication failed|permission denied|authentication required|authorization failed|unable to authenticate|could not read (user|pass)|terminal prompts disabled|returned error: 40[13]|invalid credentials`)},
	{NotFound, regexp.MustCompile(`(?i)repository( '[^\n]*')? not found|not found|does not exist|returned error: 404|does not appear to be a git repository|access denied or repository not exported|no such file or directory`)},
	{Unreachable, regexp.MustCompile(`(?i)could not resolve|no such host|unexpected eof|\beof\b|dial tcp|couldn't connect|failed to connect|connection (refused|reset|timed out|closed)|broken pipe|timed out|operation too slow|early eof|unexpected disconnect|hung up|rpc failed|empty reply|unable to (access|connect|look up)|index-pack failed|network is unreachable|no route to host`)},
}

// explain makes words for the owner of what a program that fetches said.
func explain(j job, said string) error {
	for _, s := range symptoms {
		if s.text.MatchString(said) {
			return describeFailure(j, s.reason, said)
		}
	}
	if strings.TrimSpace(said) == "" && j.Repo.URL.Scheme != "file" {
		// git is ended by SIGPIPE when it writes to a server that is gone.
		return describeFailure(j, Unreachable, said)
	}
	return describeFailure(j, Failed, said)
}

// describeFailure says what happened, to what, and what to do.
func describeFailure(j job, reason Reason, said string) error {
	name, host := j.Repo.String(), j.Repo.URL.Host
	withKey := j.Credential.SSHKey != "" || j.Credential.Password != ""
	switch reason {
	case Denied, NotFound:
		switch {
		case j.Repo.URL.Scheme == "file":
			return notThere(j)
		case reason == Denied && withKey:
			return fail(Denied, "%s refused the credential for %s: see whether it is still valid and may read the repository, and replace it with ingress app credential set %s", host, name, host)
		case withKey:
			return fail(NotFound, "the repository %s does not exist, or its credential may not read it: check the address, or replace the credential with ingress app credential set %s", name, host)
		}
		return fail(NotFound, "the repository %s does not exist, or needs a password: check the address, or give a credential with ingress app credential set %s", name, host)
	case HostKey:
		return fail(HostKey, "the ssh key of %s is not the one that is known: when its owner says that it changed, set the credential again with ingress app credential set %s", host, host)
	case Moved:
		return fail(Moved, "the repository %s has moved, and following it elsewhere is not safe: give its new address", name)
	case Unreachable:
		return fail(Unreachable, "%s did not answer, or stopped in the middle: check the address and try again (%s)", host, lastLine(j, said))
	}
	return fail(Failed, "%s could not be fetched: %s", name, lastLine(j, said))
}

func notThere(j job) error {
	return fail(NotFound, "there is no repository %s on this machine that can be read from here", j.Repo.URL.Path)
}

// lastLine is the line of a program's output that says most: the last "fatal:", or
// the last of all. No secret is ever in what they print; should one be, it is
// taken out.
func lastLine(j job, said string) string {
	said = strings.Map(func(r rune) rune {
		if r == '\r' {
			return '\n'
		}
		if r < ' ' && r != '\n' || r == 0x7f {
			return -1
		}
		return r
	}, said)
	line := ""
	for text := range strings.SplitSeq(strings.TrimSpace(said), "\n") {
		fatal, ok := strings.CutPrefix(text, "fatal: ")
		if ok || !strings.HasPrefix(said, "fatal: ") && !strings.Contains(said, "\nfatal: ") {
			line = fatal
		}
	}
	for _, secret := range []string{j.Credential.Password, strings.TrimPrefix(j.Credential.basic(), "Basic "), strings.TrimSpace(j.Credential.SSHKey)} {
		if secret != "" {
			line = strings.ReplaceAll(line, secret, "…")
		}
	}
	if len(line) > 300 {
		line = strings.ToValidUTF8(line[:300], "") + "…"
	}
	if line == "" {
		return "the program that fetches said nothing"
	}
	return line
}
