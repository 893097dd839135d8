package builder

import (
	"bufio"
	"bytes"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// nodeLocks are the lock files of package managers, the first that is there first.
var nodeLocks = []struct{ file, manager string }{
	{"npm-shrinkwrap.json", "npm"}, {"package-lock.json", "npm"}, {"pnpm-lock.yaml", "pnpm"}, {"yarn.lock", "yarn"},
}

// managerField is packageManager of package.json, as Corepack has it: a name, a
// version and perhaps a hash, which belongs to Corepack's own way of fetching.
var managerField = regexp.MustCompile(`^(npm|yarn|pnpm)@(\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?)(?:\+[0-9A-Za-z.+/=-]*)?$`)

// managerWish is which package manager a project wants.
type managerWish struct {
	name string
	// version is exact when package.json gives it, otherwise the major version that
	// wrote the lock file.
	version string
	exact   bool
	// newest is whether the lock file has the newest format known here, which later
	// major versions are taken to read, too.
	newest bool
}

// fits reports whether a version is as wanted.
func (w managerWish) fits(version string) bool {
	if w.exact {
		return version == w.version
	}
	has, wants := major(version), major(w.version)
	return has > 0 && (has == wants || w.newest && has > wants)
}

// major is the first number of a version, or 0.
func major(version string) int {
	first, _, _ := strings.Cut(version, ".")
	n, _ := strconv.Atoi(first) // no number is 0
	return n
}

// wish says which package manager a project wants: the one that package.json names,
// unless the lock file is another one's, or else the lock file's.
func (n *nodeProject) wish(j *job) managerWish {
	byLock := "npm"
	for _, l := range nodeLocks {
		if l.file == n.lock {
			byLock = l.manager
		}
	}
	if m := managerField.FindStringSubmatch(n.pkg.packageManager); m != nil {
		if m[1] == byLock || n.lock == "" {
			return managerWish{name: m[1], version: m[2], exact: true}
		}
		j.log.printf("Warning: package.json names %s and %s is %s's, which counts", shorten(n.pkg.packageManager, 60), n.lock, byLock)
	}
	w := managerWish{name: byLock}
	switch text := j.code.head(n.lock); byLock {
	case "yarn":
		w.version, w.newest = yarnMajor(text)
	case "pnpm":
		w.version, w.newest = pnpmMajor(text)
	}
	return w
}

// headBytes is how much of a lock file is read to find out who wrote it.
const headBytes = 4096

// head returns the beginning of a file, or nothing when it cannot be read.
func (f *folder) head(name string) []byte {
	file, err := f.open(name)
	if err != nil {
		return nil
	}
	defer file.Close()
	text := make([]byte, headBytes)
	n, _ := file.Read(text) // nothing read is nothing known
	return text[:n]
}

// yarnMajor says which major version of yarn wrote a yarn.lock.
func yarnMajor(lock []byte) (version string, newest bool) {
	_, metadata, later := bytes.Cut(lock, []byte("__metadata:"))
	if !later {
		return "1", false
	}
	switch format := major(yamlValue(metadata, "version")); {
	case format >= 8 || format == 0:
		return "4", true
	case format >= 5:
		return "3", false
	}
	return "2", false
}

// pnpmMajor says which major version of pnpm wrote a pnpm-lock.yaml.
func pnpmMajor(lock []byte) (version string, newest bool) {
	switch format := major(yamlValue(lock, "lockfileVersion")); {
	case format >= 9 || format == 0:
		return "9", true
	case format >= 6:
		return "8", false
	}
	return "7", false
}

// yamlValue returns the text of a key in a YAML file of simple lines, or "".
func yamlValue(text []byte, key string) string {
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), ":")
		if ok && strings.TrimSpace(name) == key {
			return strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	return ""
}

// ownYarn returns the yarn that a project brings itself (yarnPath in .yarnrc.yml),
// and its version as far as its name tells; "" when there is none.
func ownYarn(f *folder) (file, version string) {
	name := filepath.ToSlash(filepath.Clean(yamlValue(f.head(".yarnrc.yml"), "yarnPath")))
	if name == "." || !filepath.IsLocal(name) || !f.isFile(name) {
		return "", ""
	}
	version = strings.TrimPrefix(strings.TrimSuffix(filepath.Base(name), filepath.Ext(name)), "yarn-")
	return name, version
}
