package builder

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/skiptest"
)

// registry is an npm registry of packages made by a test.
type registry struct {
	*httptest.Server
	packages map[string]map[string]any // what it says of a package, by name
	archives map[string][]byte         // by path
}

// newRegistry serves the packages of folders, which have a package.json.
func newRegistry(t *testing.T, folders ...fs.FS) *registry {
	t.Helper()
	r := &registry{packages: map[string]map[string]any{}, archives: map[string][]byte{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	for _, folder := range folders {
		r.add(t, folder)
	}
	return r
}

func (r *registry) add(t *testing.T, folder fs.FS) {
	t.Helper()
	text, err := fs.ReadFile(folder, "package.json")
	if err != nil {
		t.Fatal(err)
	}
	var about map[string]any
	if err := json.Unmarshal(text, &about); err != nil {
		t.Fatal(err)
	}
	name, version := about["name"].(string), about["version"].(string)
	archive := tarball(t, folder)
	at := "/" + name + "/-/" + path.Base(name) + "-" + version + ".tgz"
	r.archives[at] = archive
	short, long := sha1.Sum(archive), sha512.Sum512(archive)
	about["dist"] = map[string]any{"tarball": r.URL + at, "shasum": hex.EncodeToString(short[:]),
		"integrity": "sha512-" + base64.StdEncoding.EncodeToString(long[:])}
	r.packages[name] = map[string]any{
		"name": name, "dist-tags": map[string]any{"latest": version}, "versions": map[string]any{version: about},
		"time": map[string]any{version: "2020-01-01T00:00:00.000Z"}, // yarn takes nothing that is new
	}
}

// ServeHTTP implements http.Handler.
func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if archive, ok := r.archives[req.URL.Path]; ok {
		w.Write(archive) //nolint:errcheck // the client is gone
		return
	}
	about, ok := r.packages[strings.TrimPrefix(req.URL.Path, "/")]
	if !ok {
		http.NotFound(w, req)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(about) //nolint:errcheck // the client is gone
}

// port is where it listens, for Options.Egress.
func (r *registry) port(t *testing.T) uint16 {
	t.Helper()
	u, err := url.Parse(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(n)
}

// env is what tells package managers of it.
func (r *registry) env() map[string]string {
	return map[string]string{"NPM_CONFIG_REGISTRY": r.URL + "/", "YARN_UNSAFE_HTTP_WHITELIST": "127.0.0.1"}
}

// tarball packs a folder as npm does.
func tarball(t *testing.T, folder fs.FS) []byte {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	packed := tar.NewWriter(zipped)
	err := fs.WalkDir(folder, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := fs.ReadFile(folder, name)
		if err != nil {
			return err
		}
		mode := int64(0o644)
		if strings.Contains(name, "bin/") {
			mode = 0o755
		}
		if err := packed.WriteHeader(&tar.Header{Name: "package/" + name, Mode: mode, Size: int64(len(text))}); err != nil {
			return err
		}
		_, err = packed.Write(text)
		return err
	})
	for _, err := range []error{err, packed.Close(), zipped.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// managerPackages are the package managers that tests build with: the package, its
// program and what that is called.
var managerPackages = map[string]struct{ folder, program, name string }{
	"yarn":  {"yarn", "bin/yarn.js", "yarn"},
	"berry": {"@yarnpkg/cli-dist", "bin/yarn.js", "yarn"},
	"pnpm":  {"pnpm", "bin/pnpm.cjs", "pnpm"},
}

// managerFolderOf returns the folder of a package manager.
func managerFolderOf(t *testing.T, name string) string {
	t.Helper()
	needs(t, nodejs)
	const why = "the package managers are not here; to get them: npm ci --prefix internal/builder/testdata/managers"
	dir, err := filepath.Abs(filepath.Join("testdata", "managers", "node_modules", filepath.FromSlash(managerPackages[name].folder)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		skiptest.Skip(t, why)
	}
	return dir
}

// needsNoManager skips a test of machines without yarn and pnpm on one that has.
func needsNoManager(t *testing.T) {
	t.Helper()
	for _, name := range []string{"yarn", "pnpm"} {
		if path, err := exec.LookPath(name); err == nil {
			skiptest.Skip(t, "this machine has "+path+", which the test is to do without")
		}
	}
}

// searchPath is that of a machine with Node.js, npm and those package managers.
func searchPath(t *testing.T, managers ...string) []string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range managers {
		m := managerPackages[name]
		if err := os.Symlink(filepath.Join(managerFolderOf(t, name), m.program), filepath.Join(dir, m.name)); err != nil {
			t.Fatal(err)
		}
	}
	return slices.Concat([]string{dir}, filepath.SplitList(os.Getenv("PATH")), usualPlaces)
}
