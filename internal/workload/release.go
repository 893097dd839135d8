package workload

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/m3o/ingress/internal/confine"
)

// Source is where the code of a version comes from: exactly one of Repo, Upload
// and Files is set. It is stored with the version.
type Source struct {
	// Repo is a git address, Ref a branch, tag or commit of it, Path a folder in it.
	Repo string `json:"repo,omitempty"`
	Ref  string `json:"ref,omitempty"`
	Path string `json:"path,omitempty"`
	// Upload names an archive that the tenant uploaded.
	Upload string `json:"upload,omitempty"`
	// Files is inline source: slash-separated relative name to content.
	Files map[string]string `json:"files,omitempty"`
}

// Program is what a function is written in and which function of its source
// answers requests. Apps have none.
type Program struct {
	// Runtime is the language under its versionless name: go, nodejs or python.
	Runtime string `json:"runtime,omitempty"`
	// Entrypoint is the function's name in the source.
	Entrypoint string `json:"entrypoint,omitempty"`
}

// Artifact is what a build made: what to start, or a folder to serve. It is
// stored with the version and holds no secret.
type Artifact struct {
	// Args is the command; Args[0] is an absolute path. Empty for a site.
	Args []string `json:"args,omitempty"`
	// Env are variables the command needs beside the owner's own.
	Env map[string]string `json:"env,omitempty"`
	// Dir is where the command starts, relative to the version's code folder.
	Dir string `json:"dir,omitempty"`
	// Site is the folder to serve, relative to the version's code folder, "." for
	// the top; empty for a command.
	Site string `json:"site,omitempty"`
	// Toolchain are absolute paths outside the version that the command must be
	// able to read, such as where its language is installed.
	Toolchain []string `json:"toolchain,omitempty"`
	// Summary says in a few words what was built, such as "Node app, npm start".
	Summary string `json:"summary,omitempty"`
}

// IsSite reports whether there is no process: the folder is served as it is.
func (a Artifact) IsSite() bool { return a.Site != "" }

// Settings are how a workload is run; its owner can change them.
type Settings struct {
	// HealthPath must answer with a status below 400 before a version gets
	// requests; empty when a connection is enough.
	HealthPath string
	// IdleTimeout is how long it stays awake without requests: zero for ever, and
	// DefaultIdle for what the operator set.
	IdleTimeout time.Duration
	// Concurrency is how many requests it gets at once; zero for any number.
	Concurrency int
}

// DefaultIdle is the IdleTimeout of workloads whose owner did not choose one.
const DefaultIdle = -1 * time.Nanosecond

// Release is a version with all that is needed to run it. It holds secrets and is
// never stored or logged as a whole.
type Release struct {
	Kind   Kind
	ID     string
	Tenant string
	// Version is the number of the version. Revision grows with each change of
	// environment or settings, so that a running instance of an older one can be
	// told and replaced.
	Version  int64
	Revision int64
	Artifact Artifact
	Settings Settings
	// Env is the owner's environment, readable.
	Env map[string]string
	// Dir is the version's own directory, Home the workload's, which all its
	// versions share. See the functions of layout.go for what is in them.
	Dir, Home string
	// User is who it runs as.
	User confine.User
}

// Key names the workload: "app/hello". It is the Key of its Backend.
func (r Release) Key() string { return string(r.Kind) + "/" + r.ID }

// Instance is a running process of a release.
type Instance interface {
	// Key, Version and Revision say what runs.
	Key() string
	Version() int64
	Revision() int64
	// Addr is where it listens, or will.
	Addr() netip.AddrPort
	// Started is when it was.
	Started() time.Time
	// Ready returns once the instance itself, and nothing else that may have taken
	// the port, accepts connections, and answers health unless that is empty. It
	// returns an error fit for the owner when the process ends first, or with the
	// last lines of its log when ctx does. ErrPortTaken says that another start may
	// succeed.
	Ready(ctx context.Context, health string) error
	// Done is closed when the process has ended, for whatever reason.
	Done() <-chan struct{}
	// Exit says how it ended; it is valid once Done is closed.
	Exit() confine.Exit
	// Stop asks it to end, and ends it, with all its descendants, when it has not
	// within grace. It returns when nothing of it is left, or when ctx ends; the
	// ending goes on then.
	Stop(ctx context.Context, grace time.Duration) error
}

// ErrPortTaken says that another program listens on the port that an instance was
// given.
var ErrPortTaken = errors.New("another program listens on the port that it was given")

// Noticer is an Instance that tells what is wrong with it while it goes on.
type Noticer interface {
	// Notices gives sentences fit for the owner. An empty one says that what the one
	// before told is over.
	Notices() <-chan string
}

// Runner turns a release into something running with an address: processes of
// this machine today, a cluster later. Its methods are safe for concurrent use.
type Runner interface {
	// Start starts an instance and does not wait for it to be ready. The errors
	// are fit for the owner unless they are the machine's.
	Start(ctx context.Context, r Release) (Instance, error)
	// Adopt returns the instances that an earlier run of the ingress left running.
	// It is called once, before any Start.
	Adopt(ctx context.Context) ([]Instance, error)
}

// Journal records what becomes of running versions. It does not block: what it is
// told is written soon after, in order.
type Journal interface {
	// Entered notes that a version of the workload key entered a state, and why.
	Entered(key string, version int64, state State, reason string)
}

// DefaultSettings are those of workloads whose owner chose nothing.
func DefaultSettings() Settings { return Settings{IdleTimeout: DefaultIdle} }
