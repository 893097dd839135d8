package source

import (
	"path"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/config"

	"github.com/m3o/ingress/internal/workload"
)

// modulesFile is where a repository says where its submodules come from.
const modulesFile = ".gitmodules"

// module is a submodule: a commit of another repository in a folder of this one.
type module struct {
	Path   string `json:"path"`
	URL    string `json:"url"`
	Commit string `json:"commit"`
}

// parseModules reads a .gitmodules file. Commits are not in it.
func parseModules(text []byte) ([]module, error) {
	modules := config.NewModules()
	if err := modules.Unmarshal(text); err != nil {
		return nil, fail(Refused, "its %s cannot be read: %v", modulesFile, err)
	}
	var list []module
	for _, m := range modules.Submodules {
		if m.Path != "" && m.URL != "" {
			list = append(list, module{Path: path.Clean(m.Path), URL: m.URL})
		}
	}
	return list, nil
}

// withCommits returns the modules of which there is a commit, in order of path.
func withCommits(modules []module, commits map[string]string) []module {
	var list []module
	for _, m := range modules {
		if m.Commit = commits[m.Path]; m.Commit != "" {
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(a, b module) int { return strings.Compare(a.Path, b.Path) })
	return list
}

// resolve returns the submodule's address, which may be relative to its parent's
// (gitmodules(5)).
func (m module) resolve(parent workload.Repo) string {
	if !strings.HasPrefix(m.URL, "./") && !strings.HasPrefix(m.URL, "../") {
		return m.URL
	}
	base, rest := parent.Address, strings.TrimSuffix(m.URL, "/")
	base = strings.TrimSuffix(base, "/")
	for {
		switch {
		case strings.HasPrefix(rest, "./"):
			rest = rest[2:]
		case strings.HasPrefix(rest, "../"):
			rest = rest[3:]
			cut := strings.LastIndexAny(base, "/:")
			if cut < 0 {
				return m.URL // refused as an address
			}
			if base[cut] == ':' {
				cut++ // of git@host:path, all but the path stays
			}
			base = base[:cut]
		case strings.HasSuffix(base, ":"):
			return base + rest
		default:
			return base + "/" + rest
		}
	}
}
