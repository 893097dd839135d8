package workload

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/m3o/ingress/internal/store"
)

// Hidden stands for a value wherever an environment is shown. Given back in an
// update it means "as it is", so that an environment can be read, changed and
// written without knowing its secrets.
const Hidden = "***"

// Bounds of an environment, in bytes but for the first. Linux gives a process
// 128 KiB for any one string and shares its argument space with the rest.
const (
	maxVars     = 256
	maxVarName  = 128
	maxVarValue = 32 << 10
	maxEnv      = 64 << 10
)

// checkEnv returns an *InvalidError unless every name is one that a shell could
// use, every value one that a process can be given, and all are within bounds.
// Values do not show in the error.
func checkEnv(env map[string]string) error {
	if len(env) > maxVars {
		return invalid("env_vars", "there are %d variables and at most %d allowed", len(env), maxVars)
	}
	total := 0
	for name, value := range env {
		if err := checkVar(name, value); err != nil {
			return err
		}
		total += len(name) + len(value)
	}
	if total > maxEnv {
		return invalid("env_vars", "names and values have %d bytes together and at most %d are allowed", total, maxEnv)
	}
	return nil
}

func checkVar(name, value string) error {
	if len(name) > maxVarName {
		return invalid("env_vars", "a name has %d bytes and at most %d are allowed", len(name), maxVarName)
	}
	if name == "" || strings.IndexFunc(name, notVarName) >= 0 || name[0] >= '0' && name[0] <= '9' {
		return invalid("env_vars", "the name %q must consist of letters, digits and underscores and not begin with a digit", name)
	}
	if len(value) > maxVarValue {
		return invalid("env_vars", "the value of %s has %d bytes and at most %d are allowed", name, len(value), maxVarValue)
	}
	if strings.ContainsRune(value, 0) || !utf8.ValidString(value) {
		return invalid("env_vars", "the value of %s must be valid UTF-8 without zero bytes", name)
	}
	return nil
}

func notVarName(r rune) bool {
	return r != '_' && (r < 'A' || r > 'Z') && notAlphanumeric(r)
}

// sealedEnv is an environment as it is stored: the names readable, each value
// sealed for the workload and the name it belongs to.
type sealedEnv map[string]string

// sealEnv seals an environment. A value that is Hidden is taken from old.
func sealEnv(sealer *store.Sealer, kind Kind, id string, env map[string]string, old sealedEnv) (sealedEnv, error) {
	sealed := make(sealedEnv, len(env))
	for name, value := range env {
		if value != Hidden {
			sealed[name] = sealer.Seal(envPurpose(kind, id, name), []byte(value))
			continue
		}
		kept, ok := old[name]
		if !ok {
			return nil, invalid("env_vars", "%s is %q, which keeps a stored value, and none is stored", name, Hidden)
		}
		sealed[name] = kept
	}
	return sealed, nil
}

func envPurpose(kind Kind, id, name string) string {
	return fmt.Sprintf("workload-env/%s/%s/%s", kind, id, name)
}

func (e sealedEnv) names() []string { return slices.Sorted(maps.Keys(e)) }

// text returns the environment as the store keeps it.
func (e sealedEnv) text() (string, error) {
	raw, err := json.Marshal(e)
	if err != nil {
		return "", fmt.Errorf("encode an environment: %w", err)
	}
	return string(raw), nil
}

func parseSealedEnv(text string) (sealedEnv, error) {
	var env sealedEnv
	if err := json.Unmarshal([]byte(text), &env); err != nil {
		return nil, fmt.Errorf("decode a stored environment: %w", err)
	}
	return env, nil
}
