package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/m3o/ingress/internal/builder"
	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/logfile"
	"github.com/m3o/ingress/internal/source"
	"github.com/m3o/ingress/internal/workload"
)

// deploy does one job and stores what became of it.
func (d *Deployer) deploy(ctx context.Context, s subject, job workload.Job) {
	v := &deployment{Deployer: d, subject: s, registry: d.Registries[s.kind], job: job, built: job.Version.Built()}
	log := d.Log.With("workload", s.key(), "version", job.Version.Number)
	err := v.run(ctx)
	defer d.prune(s)
	defer v.pruneUploads()
	if v.log != nil { // it was built, or was to be
		defer d.pruneCache(job.Tenant)
	}
	switch {
	case err == nil:
		log.Info("deployed", "restart", job.Restart)
	case errors.Is(err, workload.ErrNotFound), errors.Is(context.Cause(ctx), errGone):
		return // its removal clears up
	case errors.Is(context.Cause(ctx), errSuperseded), errors.Is(err, workload.ErrSuperseded):
		v.discard() // that it is superseded is stored by whoever asked for the newer one
	case ctx.Err() != nil:
		return // the ingress ends; the next one begins again
	default:
		reason, known := ownerReason(err)
		if known {
			log.Warn("deploy failed", "reason", reason)
		} else {
			log.Error("deploy failed", "error", err)
		}
		if !v.fail(reason) {
			d.pause(ctx) // it is still to be done, and would fail at once again
		}
	}
}

// pause waits as long as Run does between looks.
func (d *Deployer) pause(ctx context.Context) {
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// ownerReason returns what the owner of a version is told of a failure, and
// whether that is all there is to know. What the machine could not do is for the
// operator.
func ownerReason(err error) (reason string, known bool) {
	var fetch *source.Error
	var build *builder.Error
	var start *startError
	var quota *workload.QuotaError
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return "the disk of the machine is full", false
	case errors.As(err, &fetch), errors.As(err, &build), errors.As(err, &start), errors.As(err, &quota):
		return err.Error(), true
	}
	return "the ingress could not do it; its operator finds the reason in its log", false
}

// startError is why a built version does not run. Its text is the owner's.
type startError struct{ error }

func (e *startError) Unwrap() error { return e.error }

// deployment is one version on its way.
type deployment struct {
	*Deployer
	subject
	registry Registry
	job      workload.Job
	release  workload.Release
	built    bool      // stored as built: its code is there
	log      io.Writer // the build log
	steps    []workload.Step
}

// run does what is left to do.
func (v *deployment) run(ctx context.Context) error {
	var err error
	if v.release, err = v.registry.Release(ctx, v.id, v.job.Version.Number); err != nil {
		return err
	}
	if !v.built {
		if err := v.beginAnew(ctx); err != nil {
			return err
		}
		if err := v.makeInSlot(ctx); err != nil {
			return err
		}
		if v.release, err = v.registry.Release(ctx, v.id, v.job.Version.Number); err != nil {
			return err
		}
	} else { // a rollback, or begun before the ingress ended: only the start is repeated
		v.steps = slices.DeleteFunc(v.job.Version.Steps, func(s workload.Step) bool { return s.Name == workload.StepStart })
	}
	return v.start(ctx)
}

// beginAnew clears up after a workload that had the id before this one, if it was
// deleted and this one made before that was seen.
func (v *deployment) beginAnew(ctx context.Context) error {
	if !v.job.First {
		return nil
	}
	if err := v.Activator.Remove(ctx, v.key()); err != nil {
		return err
	}
	if err := confine.Remove(v.Layout.Workload(v.kind, v.id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("make room for a workload: %w", err)
	}
	return nil
}

// makeInSlot waits until fewer than Builds others are being built.
func (v *deployment) makeInSlot(ctx context.Context) error {
	leave, err := v.slots.enter(ctx, v.job.Tenant)
	if err != nil {
		return err
	}
	defer leave()
	using := v.cacheUse.of(v.job.Tenant)
	using.RLock()
	defer using.RUnlock()
	if err := v.makeFolders(); err != nil {
		return err
	}
	log, err := logfile.Create(workload.BuildLog(v.release.Dir), v.LogBytes)
	if err != nil {
		return fmt.Errorf("open the build log: %w", err)
	}
	defer log.Close()
	defer v.dropTemp()
	v.log = log
	err = v.make(ctx)
	if err != nil && ctx.Err() == nil {
		reason, _ := ownerReason(err)
		v.say("Failed: %s", reason)
	}
	return err
}

// dropTemp removes what the build has left in its TMPDIR; a process has another.
func (v *deployment) dropTemp() {
	if err := confine.Remove(workload.TempDir(v.release.Dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		v.Log.Error("the temporary folder of a build could not be removed", "workload", v.key(), "error", err)
	}
}

// make fetches and builds.
func (v *deployment) make(ctx context.Context) error {
	var fetched source.Result
	err := v.step(ctx, workload.Building, workload.StepFetch, func() (detail string, err error) {
		fetched, err = v.fetch(ctx)
		return fetched.Detail, err
	})
	if err != nil {
		return err
	}
	var artifact workload.Artifact
	err = v.step(ctx, workload.Building, workload.StepBuild, func() (detail string, err error) {
		artifact, err = v.Builder.Build(ctx, v.buildRequest())
		return artifact.Summary, err
	})
	if err != nil {
		return err
	}
	size, err := diskUsage(workload.CodeDir(v.release.Dir))
	if err != nil {
		return fmt.Errorf("measure what was built: %w", err)
	}
	err = v.registry.Advance(ctx, v.id, v.job.Version.Number, workload.Starting, "", func(to *workload.Version) {
		to.Commit, to.Artifact, to.Size, to.Steps = fetched.Commit, artifact, size, v.steps
	})
	v.built = err == nil
	return err
}

func (v *deployment) buildRequest() builder.Request {
	return builder.Request{
		Code: workload.CodeDir(v.release.Dir), Temp: workload.TempDir(v.release.Dir), Home: v.release.Home,
		Cache: v.Layout.Cache(v.job.Tenant), User: v.release.User, Name: v.taskName("build"),
		Program: v.job.Version.Program, Env: v.release.Env, Log: v.log,
	}
}

// taskName names the control groups of a step; it must not be another's.
func (v *deployment) taskName(step string) string {
	return fmt.Sprintf("%s-%s-%d-%s", v.kind, v.id, v.job.Version.Number, step)
}

// fetch gets the code.
func (v *deployment) fetch(ctx context.Context) (source.Result, error) {
	from, err := v.registry.Source(ctx, v.id, v.job.Version.Number)
	if err != nil {
		return source.Result{}, err
	}
	r := source.Request{
		Source: from, Dest: workload.CodeDir(v.release.Dir), User: v.release.User, Name: v.taskName("fetch"), Log: v.log,
	}
	host := repoHost(from.Repo)
	switch {
	case from.Upload != "":
		if r.UploadFile, err = v.registry.UploadFile(v.job.Tenant, from.Upload); err != nil {
			return source.Result{}, err
		}
	case host != "":
		known, ok, err := v.registry.CredentialFor(ctx, v.job.Tenant, host)
		if err != nil {
			return source.Result{}, err
		}
		if ok {
			r.Credential = source.Credential{
				Username: known.Username, Password: known.Password, SSHKey: known.SSHKey, KnownHosts: known.KnownHosts,
			}
		}
	}
	res, err := v.Fetcher.Fetch(ctx, r)
	if err != nil {
		return res, err
	}
	if res.KnownHosts != "" && r.Credential.KnownHosts == "" {
		err = v.registry.LearnHost(ctx, v.job.Tenant, host, res.KnownHosts)
	}
	return res, err
}

// start has the version started and made the current one.
func (v *deployment) start(ctx context.Context) error {
	return v.step(ctx, workload.Starting, workload.StepStart, func() (string, error) {
		var stored error
		err := v.Activator.Promote(ctx, v.release, func(ctx context.Context) error {
			stored = v.commit(ctx)
			return stored
		})
		switch {
		case err == nil, ctx.Err() != nil, errors.Is(err, workload.ErrNotFound):
			return "", err
		case stored != nil:
			return "", stored // which says nothing about the version
		}
		return "", &startError{err}
	})
}

// commit makes the version the current one. How long its start took is stored
// before: nothing is, afterwards.
func (v *deployment) commit(ctx context.Context) error {
	if !v.job.Restart {
		v.stamp()
		if err := v.advance(ctx, workload.Starting); err != nil {
			return err
		}
	}
	return v.registry.Promoted(ctx, v.id, v.job.Version.Number, v.release.Revision)
}

// stamp notes how long the present step has taken.
func (v *deployment) stamp() {
	now := &v.steps[len(v.steps)-1]
	now.Took = max(v.Now().Sub(now.Started), time.Nanosecond)
}

// step does a part of the deploy and stores when it began and how long it took.
// The steps of a restart are those of another time, and stay.
func (v *deployment) step(ctx context.Context, state workload.State, name string, do func() (detail string, err error)) error {
	if v.job.Restart {
		_, err := do()
		return err
	}
	v.steps = append(v.steps, workload.Step{Name: name, Started: v.Now().UTC()})
	if err := v.advance(ctx, state); err != nil {
		return err
	}
	detail, err := do()
	if name == workload.StepStart && err == nil {
		return nil // stored with the change to it
	}
	v.steps[len(v.steps)-1].Detail = detail
	v.stamp()
	if err != nil {
		return err
	}
	return v.advance(ctx, state)
}

func (v *deployment) advance(ctx context.Context, state workload.State) error {
	return v.registry.Advance(ctx, v.id, v.job.Version.Number, state, "", func(to *workload.Version) { to.Steps = v.steps })
}

// endTimeout bounds storing how a deploy ended.
const endTimeout = 10 * time.Second

// fail stores that the version will not run, and gives back the disk of one that
// was not built. After a restart that failed it runs on as it was, with the
// environment it had. It reports false when that cannot be stored.
func (v *deployment) fail(reason string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	var err error
	if v.job.Restart {
		err = v.registry.RestartFailed(ctx, v.id, v.job.Version.Number, v.release.Revision, reason)
	} else {
		err = v.registry.Advance(ctx, v.id, v.job.Version.Number, workload.Failed, reason, func(to *workload.Version) { to.Steps = v.steps })
	}
	if err != nil && !errors.Is(err, workload.ErrNotFound) && !errors.Is(err, workload.ErrSuperseded) {
		v.Log.Error("what became of a deploy could not be stored", "workload", v.key(), "version", v.job.Version.Number, "error", err)
		return false
	}
	v.discard()
	return true
}

// discard removes the code of a version that will not run, unless it was built: it
// can be rolled back to, and is started again when its environment changes.
func (v *deployment) discard() {
	if v.release.Dir == "" || v.built {
		return
	}
	if err := confine.Remove(workload.CodeDir(v.release.Dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		v.Log.Error("the folder of a failed deploy could not be removed", "workload", v.key(), "error", err)
	}
}

// pruneUploads removes the archive a version was made of, and those of versions
// before it that were never begun.
func (v *deployment) pruneUploads() {
	if v.job.Version.Source.Upload == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	if err := v.registry.PruneTenantUploads(ctx, v.job.Tenant); err != nil {
		v.Log.Error("uploads that were deployed could not be removed", "tenant", v.job.Tenant, "error", err)
	}
}

// say writes a line of our own into the build log; what cannot be written is
// missed by nobody but its reader.
func (v *deployment) say(format string, args ...any) {
	if v.log != nil {
		fmt.Fprintf(v.log, format+"\n", args...)
	}
}

// repoHost is the host that a repository is fetched from, in any of the forms
// that an address can have.
func repoHost(repo string) string {
	if u, err := url.Parse(repo); err == nil && u.Host != "" {
		return strings.ToLower(u.Hostname())
	}
	host, _, _ := strings.Cut(repo, "/")
	if _, after, ok := strings.Cut(host, "@"); ok {
		host = after
	}
	host, _, _ = strings.Cut(host, ":")
	return strings.ToLower(host)
}

// diskUsage is about how many bytes a folder takes on a disk, with all that is in
// it. Its author chose what that is: names may be longer together than the system
// takes at once, and a folder may be closed to us.
func diskUsage(dir string) (int64, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	var size int64
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrPermission) {
			return &builder.Error{Reason: fmt.Sprintf("the build left the folder %.200q, which cannot be read: change its permissions, or remove it", name)}
		}
		if err != nil {
			return err
		}
		if name == "." {
			return nil
		}
		if entry.IsDir() {
			size += diskBlock
			return nil
		}
		info, err := entry.Info()
		if err == nil {
			size += max(1, (info.Size()+diskBlock-1)/diskBlock) * diskBlock // one without content is a file, too
		}
		return err
	})
	return size, err
}
