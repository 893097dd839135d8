// Package builder makes something that can be started, or served, of a folder of
// code: it finds out what the code is, has the language's own tools install and
// compile it, and says how to start it. Everything that comes from the code's
// author runs confined, through a workload.TaskRunner.
package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/workload"
)

// What is in force when an option is zero.
const (
	// DefaultTimeout is how long a build may take in all.
	DefaultTimeout = 10 * time.Minute
	// DefaultOutputBytes is how much a build may print in all.
	DefaultOutputBytes = 10 << 20
)

// Options are what all builds have in common.
type Options struct {
	// Tasks runs the steps of builds.
	Tasks workload.TaskRunner
	// Egress are the TCP ports that steps may connect to, and Limits what one step
	// and its descendants may use; Limits.Disk is what a build may have on disk in
	// its own directories and add to the tenant's cache.
	Egress []uint16
	Limits confine.Limits
	// Timeout is how long one build may take; zero for DefaultTimeout.
	Timeout time.Duration
	// OutputBytes is how much one build may print before it is ended; zero for
	// DefaultOutputBytes.
	OutputBytes int64
	// SearchPath are the directories in which languages are looked for, first
	// first; nil for those of the ingress's PATH and, after them, the places where
	// systems usually have them.
	SearchPath []string
	// Env are variables for every step of every build, such as the address of a
	// package mirror. Whoever deploys can read them, so none may be a secret; see
	// PassedEnv.
	Env map[string]string
}

// Builder builds. Its methods are safe for concurrent use.
type Builder struct {
	options Options
	tools   *finder
}

// New returns a Builder. It starts nothing.
func New(o Options) *Builder {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.OutputBytes <= 0 {
		o.OutputBytes = DefaultOutputBytes
	}
	return &Builder{options: o, tools: newFinder(o.SearchPath)}
}

// Request is one folder to build.
type Request struct {
	// Code is the folder, which belongs to User. It is built in place and must not
	// be moved afterwards: what is installed refers to it by its absolute name.
	Code string
	// Temp is the TMPDIR of the steps, Home their HOME, and Cache where downloads
	// and compiled packages are kept for the tenant's next builds. They exist, and
	// User can write to them.
	Temp, Home, Cache string
	// User is who the steps run as.
	User confine.User
	// Name is the name of the tasks, such as "app-hello-build".
	Name string
	// Program is set for a function and zero for an app.
	Program workload.Program
	// Env is the owner's environment, which the steps get too: package managers
	// may need a token. It is neither stored nor printed.
	Env map[string]string
	// Log gets what was found, each command and what it prints.
	Log io.Writer
}

// Build builds what req.Code holds. The error is an *Error when the code, or the
// lack of its language on this machine, is to blame; ctx's when that ended; and
// any other when the machine failed. When Build returns, none of its processes is
// left.
func (b *Builder) Build(ctx context.Context, req Request) (workload.Artifact, error) {
	if !filepath.IsAbs(req.Code) {
		return workload.Artifact{}, fmt.Errorf("building %q: the name of a code folder must be absolute", req.Code)
	}
	code, err := openFolder(req.Code)
	if err != nil {
		return workload.Artifact{}, fmt.Errorf("opening the code folder: %w", err)
	}
	defer code.Close()
	limited, cancel := context.WithTimeoutCause(ctx, b.options.Timeout, errTimeout)
	defer cancel()
	j := &job{Request: req, builder: b, code: code, log: newLog(req.Log, b.options.OutputBytes)}
	j.cacheSize = sync.OnceValue(func() int64 { return treeSize(req.Cache) })
	artifact, err := j.build(limited)
	switch {
	case err == nil:
		return artifact, nil
	case ctx.Err() != nil:
		return workload.Artifact{}, context.Cause(ctx)
	case errors.Is(context.Cause(limited), errTimeout):
		err = &Error{Step: failedStep(err), Reason: fmt.Sprintf("the build took longer than %s and was ended", b.options.Timeout)}
	}
	var failure *Error
	if errors.As(err, &failure) {
		j.log.printf("%v", failure)
	}
	return workload.Artifact{}, err
}

func (j *job) build(ctx context.Context) (workload.Artifact, error) {
	if j.Program.Runtime != "" {
		return j.function(ctx)
	}
	return j.app(ctx)
}
