package builder

import (
	"maps"
	"slices"
	"strings"
)

// passed are the variables of the ingress's own environment that say where
// packages are fetched from and whose certificates are believed.
var passed = []string{
	"GOPROXY", "GOPRIVATE", "GONOPROXY", "GONOSUMDB", "GOSUMDB", "GOINSECURE",
	"NPM_CONFIG_REGISTRY", "NODE_EXTRA_CA_CERTS",
	"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_TRUSTED_HOST", "PIP_CERT",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
}

// PassedEnv picks, from an environment of NAME=value such as os.Environ returns,
// what builds need of it: mirrors, proxies and certificates. Nothing else of the
// ingress's environment reaches a build, and an address with a user or password
// in it does not either, since whoever deploys could read it.
func PassedEnv(environ []string) map[string]string {
	env := make(map[string]string)
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if slices.Contains(passed, strings.ToUpper(name)) && value != "" && !strings.Contains(value, "@") {
			env[name] = value
		}
	}
	return env
}

// systemPath is the PATH of every step and app after their language's own.
const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environ lays environments over each other, the last one uppermost, and returns
// them as NAME=value in a steady order.
func environ(layers ...map[string]string) []string {
	all := make(map[string]string)
	for _, layer := range layers {
		maps.Copy(all, layer)
	}
	pairs := make([]string, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		pairs = append(pairs, name+"="+all[name])
	}
	return pairs
}

// joinPath returns a PATH of directories followed by the system's own.
func joinPath(dirs ...string) string {
	return strings.Join(append(slices.Compact(dirs), systemPath), ":")
}
