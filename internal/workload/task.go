package workload

import (
	"context"
	"io"

	"github.com/m3o/ingress/internal/confine"
)

// Task is a command of a deploy, such as a fetch or a step of a build, which
// runs confined like the workload itself and ends with the ingress.
type Task struct {
	// Name says what it is, for control groups and errors: "app-hello-build".
	Name string
	// Args is the command; Args[0] is an absolute path. Env is the whole
	// environment, as NAME=value. Dir is where it starts.
	Args []string
	Env  []string
	Dir  string
	// User is who it runs as; ReadWrite and ReadOnly what it may change and read;
	// Connect the TCP ports it may connect to; Limits what it may use.
	User                confine.User
	ReadWrite, ReadOnly []string
	Connect             []uint16
	Limits              confine.Limits
	// Umask are the permissions that files it makes do not get; 0 stands for 022.
	Umask uint32
	// Output gets what it prints. When Output fails, the task is ended.
	Output io.Writer
}

// TaskRunner runs tasks to their end.
type TaskRunner interface {
	// Run returns how the command ended, or an error when it could not be started
	// or ctx ended; the command and its descendants are gone then.
	Run(ctx context.Context, t Task) (confine.Exit, error)
}
