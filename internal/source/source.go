// Package source is where code comes from: git repositories, uploaded archives
// and inline files. It also packs a directory for upload.
//
// Everything it is given is hostile until checked: addresses, names of branches,
// what a server sends, and every name and link in an archive. Programs that talk
// to a server run confined, as the workload's own user.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/workload"
)

// What is allowed when Options say nothing.
const (
	DefaultBytes   = 256 << 20
	DefaultFiles   = 50_000
	DefaultTimeout = 5 * time.Minute
)

// Options are what a Fetcher is made of.
type Options struct {
	// Tasks runs the programs that talk to git servers.
	Tasks workload.TaskRunner
	// Executable is the absolute path of this program, which fetches by itself
	// (FetchMain) when the machine has no git it can use.
	Executable string
	// Lookup returns the addresses at which a host can be reached, those to try
	// first first, or an error when it has none or has one that must not be reached
	// from here; the error is shown to the owner. It is asked once about the host and
	// port of every repository and submodule, and no other address than those it
	// returned is connected to. It is called concurrently. Nil asks the machine's
	// resolver and refuses none.
	Lookup func(ctx context.Context, host string, port uint16) ([]netip.Addr, error)
	// AllowLocal takes file:// addresses and absolute paths of this machine.
	AllowLocal bool
	// MaxBytes and MaxFiles bound what one fetch may bring, MaxBytes also what is
	// transferred for it. Zero means DefaultBytes and DefaultFiles.
	MaxBytes, MaxFiles int64
	// Timeout bounds one fetch. Zero means DefaultTimeout.
	Timeout time.Duration
	// Submodules fetches those of a repository too.
	Submodules bool
	// Egress are TCP ports that fetching may connect to besides git's own.
	Egress []uint16
	// CAFile has certificates (PEM) of the authorities that may vouch for https
	// servers, in place of the machine's own. Empty for those.
	CAFile string
}

// Fetcher gets code. Its methods are safe for concurrent use.
type Fetcher struct {
	options Options
	git     func() string
}

// New returns a Fetcher. It starts nothing.
func New(o Options) *Fetcher {
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultBytes
	}
	if o.MaxFiles == 0 {
		o.MaxFiles = DefaultFiles
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Lookup == nil {
		o.Lookup = lookUp
	}
	return &Fetcher{options: o, git: findGit()}
}

// Request is one fetch.
type Request struct {
	// Source is what to get.
	Source workload.Source
	// Dest is an empty directory that exists. It ends up with exactly the code at
	// Source.Path, owned by User; after an error it is empty again.
	Dest string
	// User is who programs run as.
	User confine.User
	// Name tells the programs' control groups from others, as in workload.Task.
	Name string
	// UploadFile is the path of the archive when Source.Upload is set.
	UploadFile string
	// Credential opens the repository; the zero Credential is none.
	Credential Credential
	// Log gets lines that say how it goes, for the owner. Nil for none.
	Log io.Writer
}

// Result is what a fetch brought.
type Result struct {
	// Commit is the full id of the commit; empty for archives and inline files.
	Commit string
	// Detail describes it in one line, such as
	// "github.com/owner/repo@main 3f2a91c04b1e, 214 files, 1.2 MiB".
	Detail string
	// Bytes were written in Files files; links are files, folders are not.
	Bytes, Files int64
	// KnownHosts are known_hosts lines of ssh servers met for the first time, to
	// be stored with the Credential.
	KnownHosts string

	pointers pointers
}

// Fetch gets the code of a request. Its errors are an *Error when the owner can do
// something about them, ctx's own when that ended, and otherwise the machine's.
func (f *Fetcher) Fetch(ctx context.Context, req Request) (Result, error) {
	if req.Log == nil {
		req.Log = io.Discard
	}
	if err := checkEmpty(req.Dest); err != nil {
		return Result{}, err
	}
	limited, cancel := context.WithTimeout(ctx, f.options.Timeout)
	defer cancel()
	result, err := f.fetch(limited, req)
	if err == nil {
		result.pointers.warn(req.Log)
		return result, nil
	}
	if cleared := clearDir(req.Dest); cleared != nil {
		err = errors.Join(err, cleared)
	}
	switch {
	case ctx.Err() != nil:
		return Result{}, ctx.Err()
	case limited.Err() != nil:
		return Result{}, fail(TooLong, "fetching took longer than %v and was ended: see whether the server answers, or make the repository smaller", f.options.Timeout)
	}
	return Result{}, err
}

func (f *Fetcher) fetch(ctx context.Context, req Request) (Result, error) {
	limits := Limits{Bytes: f.options.MaxBytes, Files: f.options.MaxFiles, Owner: req.User}
	switch s := req.Source; {
	case s.Repo != "":
		return f.fetchRepo(ctx, req, limits)
	case s.Upload != "":
		return fetchUpload(ctx, req, limits)
	case len(s.Files) > 0:
		return writeInline(s.Files, req.Dest, limits)
	}
	return Result{}, fail(Empty, "there is no source: give a repository, an archive or files")
}

// fetchUpload unpacks the archive of a request.
func fetchUpload(ctx context.Context, req Request, limits Limits) (Result, error) {
	folder, err := cleanPath(req.Source.Path)
	if err != nil {
		return Result{}, err
	}
	archive, err := os.Open(req.UploadFile)
	if errors.Is(err, os.ErrNotExist) {
		return Result{}, fail(NotFound, "the uploaded archive is no longer there: upload it again")
	}
	if err != nil {
		return Result{}, fmt.Errorf("open the uploaded archive: %w", err)
	}
	defer archive.Close()
	limits.Folder = folder
	result, err := Unpack(ctx, archive, req.Dest, limits)
	result.Detail = "archive, " + size(result)
	return result, err
}
