package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// managers begin the names of the variables by which version managers know what
// to start when their stand-in for a language is called.
var managers = []string{"PYENV_", "NODENV_", "NVM_", "ASDF_", "MISE_", "VOLTA_", "GOENV_", "FNM_"}

// ask returns the first three lines that a program of this machine prints.
func ask(ctx context.Context, path string, args []string) ([]string, error) {
	text, err := output(ctx, path, args)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(text, "\n")
	if len(lines) < 3 {
		return nil, fmt.Errorf("does not say its version but %q", shorten(text, 200))
	}
	return lines[:3], nil
}

// output starts a program of this machine, never one of a tenant, and returns what
// it prints. It runs in the top directory, where no file can tell a version manager
// or Go to use another version.
func output(ctx context.Context, path string, args []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = "/"
	cmd.WaitDelay = time.Second
	cmd.Env = probeEnv(os.Environ())
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = errors.New("it did not answer")
		}
		first, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		return "", fmt.Errorf("does not work: %w %s", err, shorten(first, 200))
	}
	return strings.TrimSpace(stdout.String()), nil
}

// probeEnv keeps of an environment what a program needs to find itself.
func probeEnv(environ []string) []string {
	kept := []string{"GOTOOLCHAIN=local", "GOENV=off", "LANG=C.UTF-8", "COREPACK_ENABLE_NETWORK=0"}
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		manager := slices.ContainsFunc(managers, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
		if manager || name == "PATH" || name == "HOME" || name == "USER" || name == "GOROOT" {
			kept = append(kept, pair)
		}
	}
	return kept
}
