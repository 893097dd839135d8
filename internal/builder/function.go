package builder

import (
	"context"

	"github.com/m3o/ingress/internal/workload"
)

// function builds a function: its own dependencies, then the adapter around it.
func (j *job) function(ctx context.Context) (workload.Artifact, error) {
	return workload.Artifact{}, refuse("%s: not supported by this ingress", j.Program.Runtime)
}
