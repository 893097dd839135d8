package workload

import (
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
)

// maxRepo is the longest repository address in bytes.
const maxRepo = 2048

// scpRepo is git's short form of an ssh address: user@host:path.
var scpRepo = regexp.MustCompile(`^([a-z0-9._][a-z0-9._-]*)@([A-Za-z0-9][A-Za-z0-9.-]*):([A-Za-z0-9._~/][A-Za-z0-9._~/+-]*)$`)

// plainRepo is host/owner/repository without a scheme.
var plainRepo = regexp.MustCompile(`^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+/[A-Za-z0-9._~-]+/[A-Za-z0-9._~/+-]+$`)

// userName is what the user of an ssh address may be called.
var userName = regexp.MustCompile(`^[A-Za-z0-9._][A-Za-z0-9._-]*$`)

// Repo is a git address that was checked.
type Repo struct {
	// URL says where it is, whatever form the address had. Its scheme is https,
	// ssh, git or, for one of this machine, file. It holds no password.
	URL *url.URL
	// Address is what git is given.
	Address string
}

// String is the address for people: without a scheme, user or ".git".
func (r Repo) String() string {
	name := strings.TrimSuffix(strings.TrimSuffix(r.URL.Path, "/"), ".git")
	return r.URL.Host + name
}

// ValidRepo reports whether text is an address that ParseRepo takes.
func ValidRepo(text string) bool {
	_, err := ParseRepo(text)
	return err == nil
}

// ValidRepo reports whether text is an address that workloads may come from here.
func (r *Registry) ValidRepo(text string) bool {
	if r.allowLocal {
		if _, err := ParseLocalRepo(text); err == nil {
			return true
		}
	}
	return ValidRepo(text)
}

// ParseRepo reads a git address that can be fetched from: https, ssh or git URLs,
// user@host:path, or host/owner/repository. It says nothing about whether there is
// a repository. No address it takes can be taken for an option by a program it is
// given to, and none holds a password, since addresses are stored and shown. Its
// errors are an *InvalidError that does not repeat the address, for the same reason.
func ParseRepo(text string) (Repo, error) {
	switch {
	case text == "":
		return Repo{}, invalid("repo", "it is empty")
	case len(text) > maxRepo:
		return Repo{}, invalid("repo", "it is longer than %d bytes", maxRepo)
	case strings.HasPrefix(text, "-"):
		return Repo{}, invalid("repo", `it begins with "-"`)
	case strings.Contains(text, "://"):
		return parseRepoURL(text)
	}
	if m := scpRepo.FindStringSubmatch(text); m != nil {
		u := &url.URL{Scheme: "ssh", User: url.User(m[1]), Host: m[2], Path: "/" + strings.TrimPrefix(m[3], "/")}
		return Repo{URL: u, Address: text}, hasName(u)
	}
	if plainRepo.MatchString(text) {
		return parseRepoURL("https://" + text)
	}
	return Repo{}, invalid("repo", "it is no git address, such as github.com/owner/repository, https://… or git@host:path")
}

func parseRepoURL(text string) (Repo, error) {
	u, err := url.Parse(text)
	if err != nil {
		return Repo{}, invalid("repo", "it is not a URL")
	}
	_, password := u.User.Password()
	switch host := u.Hostname(); {
	case u.Scheme == "http":
		return Repo{}, invalid("repo", "http:// can be read and changed on its way: use https://")
	case u.Scheme == "file":
		return Repo{}, invalid("repo", "repositories of the machine itself are not open here; whoever runs it can allow them with --allow-local-repos")
	case u.Scheme != "https" && u.Scheme != "ssh" && u.Scheme != "git":
		return Repo{}, invalid("repo", "the URL must begin with https://, ssh:// or git://")
	case password || u.User != nil && u.Scheme != "ssh":
		return Repo{}, invalid("repo", "the URL must not hold credentials, which would be stored and shown with it: use ingress app credential set HOST")
	case u.User != nil && !userName.MatchString(u.User.Username()):
		return Repo{}, invalid("repo", "the user's name must be of letters, digits, dots, hyphens and underscores")
	case !validHost(host) || host[0] == '-' || !validPort(u):
		return Repo{}, invalid("repo", "the URL must have a host of letters, digits, dots and hyphens, or an IP address, and a port from 1 to 65535 if any")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#"):
		return Repo{}, invalid("repo", "the URL must not have a query or a fragment: give the branch and the folder by themselves")
	case strings.IndexFunc(u.Path, isControl) >= 0:
		return Repo{}, invalid("repo", "the URL must not hold control characters")
	}
	u.Host = strings.ToLower(u.Host)
	if u.Scheme == "ssh" && u.User == nil {
		u.User = url.User("git") // ssh would take the name of whoever runs us
	}
	return Repo{URL: u, Address: u.String()}, hasName(u)
}

// ParseLocalRepo reads a file:// URL or an absolute path of a repository on this
// machine. Only ask it where the operator allows local repositories: git opens
// what it names with the rights of whoever runs it. Its errors are an
// *InvalidError.
func ParseLocalRepo(text string) (Repo, error) {
	path := text
	if strings.HasPrefix(text, "file:") {
		u, err := url.Parse(text)
		if err != nil || u.Host != "" && u.Host != "localhost" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return Repo{}, invalid("repo", "a file URL must be file:// and an absolute path")
		}
		path = u.Path
	}
	if !filepath.IsAbs(path) || len(path) > maxRepo || strings.IndexFunc(path, isControl) >= 0 {
		return Repo{}, invalid("repo", "a local repository must be an absolute path")
	}
	path = filepath.Clean(path)
	u := &url.URL{Scheme: "file", Path: path}
	return Repo{URL: u, Address: u.String()}, hasName(u)
}

func hasName(u *url.URL) error {
	if strings.Trim(u.Path, "/.") == "" {
		return invalid("repo", "it names a host and no repository")
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
