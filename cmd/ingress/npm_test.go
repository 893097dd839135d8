package main_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/skiptest"
)

// TestTheNpmClient has the platform's existing JavaScript client make its calls.
func TestTheNpmClient(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		skiptest.Skip(t, "there is no node here")
	}
	if _, err := os.Stat("testdata/npm/node_modules/m3o"); err != nil {
		skiptest.Skip(t, "the npm client is not here; to get it: npm ci --prefix cmd/ingress/testdata/npm")
	}
	i := startIngress(t)
	for _, prefix := range []string{"v1/", "api/"} {
		t.Run(prefix, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			cmd := exec.CommandContext(ctx, node, "client.js", "http://"+i.listen+"/", prefix, bootstrapKey)
			cmd.Dir = "testdata/npm"
			out, err := cmd.CombinedOutput()
			if err != nil || strings.TrimSpace(string(out)) != "ok" {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
