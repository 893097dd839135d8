package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/workload"
)

// maxOutput bounds what is kept of a program's output. The list of a repository's
// refs is the largest there is.
const maxOutput = 16 << 20

// What a program that fetches may use.
const (
	fetchMemory    = 1 << 30
	fetchProcesses = 128
	fetchFiles     = 1024
)

// gitPorts are those of the schemes that are taken, and DNS over TCP.
var gitPorts = []uint16{22, 53, 80, 443, 9418}

// findGit returns a function that returns the path of the system's git, or "" when
// there is none, or none that can be used: 2.37 is the first that can be told which
// addresses to connect to, and on Linux it must be where confined programs can
// read.
func findGit() func() string {
	return sync.OnceValue(func() string {
		found, err := exec.LookPath("git")
		if err != nil {
			return ""
		}
		real, err := filepath.EvalSymlinks(found)
		if err != nil || runtime.GOOS == "linux" && !strings.HasPrefix(real, "/usr/") {
			return ""
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		version, err := exec.CommandContext(ctx, found, "version").Output()
		if err != nil || !recentGit(string(version)) {
			return ""
		}
		return found
	})
}

var gitVersion = regexp.MustCompile(`^git version (\d+)\.(\d+)`)

func recentGit(text string) bool {
	m := gitVersion.FindStringSubmatch(text)
	if m == nil {
		return false
	}
	major, _ := strconv.Atoi(m[1]) // digits; one too large becomes the largest
	minor, _ := strconv.Atoi(m[2])
	return major > 2 || major == 2 && minor >= 37
}

// engine chooses who fetches. The system's ssh is of no use to a user that the
// machine has no name for, and apps run as such users.
func (f *Fetcher) engine(j job) engine {
	git := f.git()
	if git == "" || j.Repo.URL.Scheme == "ssh" && !sshWorks(j.request.User) {
		return ownGit{f}
	}
	return systemGit{f, git}
}

func sshWorks(u confine.User) bool {
	if _, err := exec.LookPath("ssh"); err != nil {
		return false
	}
	if u.IsZero() {
		return true
	}
	_, err := user.LookupId(strconv.FormatUint(uint64(u.UID), 10))
	return err == nil
}

// ports returns the TCP ports that fetching may connect to, or an error when the
// address has another one: it must not open what the operator closed.
func (f *Fetcher) ports(u *url.URL) ([]uint16, error) {
	ports := slices.Concat(gitPorts, f.options.Egress)
	slices.Sort(ports)
	ports = slices.Compact(ports)
	if u.Port() == "" {
		return ports, nil
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil || !slices.Contains(ports, uint16(n)) {
		return nil, fail(Refused, "port %s cannot be connected to from here; open are %s", u.Port(), strings.Trim(fmt.Sprint(ports), "[]"))
	}
	return ports, nil
}

// task is what all programs that fetch have in common.
func (f *Fetcher) task(j job) (workload.Task, error) {
	ports, err := f.ports(j.Repo.URL)
	if err != nil {
		return workload.Task{}, err
	}
	t := workload.Task{
		Name:      j.request.Name,
		Dir:       filepath.Join(j.Dir, "repo"),
		User:      j.request.User,
		ReadWrite: []string{j.request.Dest},
		Connect:   ports,
		Limits: confine.Limits{Memory: fetchMemory, Processes: fetchProcesses, Files: fetchFiles,
			Disk: 2*f.options.MaxBytes + f.options.MaxFiles*tarBytesPerFile + ratioFrom},
	}
	if f.options.CAFile != "" {
		t.ReadOnly = append(t.ReadOnly, f.options.CAFile)
	}
	if j.Repo.URL.Scheme == "file" {
		if _, err := os.Stat(j.Repo.URL.Path); err != nil {
			return workload.Task{}, notThere(j)
		}
		t.ReadOnly = append(t.ReadOnly, j.Repo.URL.Path)
	}
	return t, nil
}

// run runs a task and returns what it printed and how it ended.
func (f *Fetcher) run(ctx context.Context, t workload.Task) (string, confine.Exit, error) {
	var out bounded
	t.Output = &out
	exit, err := f.options.Tasks.Run(ctx, t)
	switch {
	case ctx.Err() != nil:
		return "", exit, context.Cause(ctx)
	case out.full:
		return "", exit, fail(TooLarge, "the server said more than %s: that is no source code", bytesText(maxOutput))
	case err != nil:
		return "", exit, fmt.Errorf("run %s: %w", filepath.Base(t.Args[0]), err)
	case exit.Excess != "":
		return "", exit, fail(TooLarge, "fetching was ended: %s", exit.Excess)
	}
	return out.String(), exit, nil
}

// bounded keeps output until there is too much of it, and fails then.
type bounded struct {
	bytes.Buffer
	full bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.full = b.full || b.Len()+len(p) > maxOutput; b.full {
		return 0, errors.New("too much output")
	}
	return b.Buffer.Write(p)
}

// systemGit fetches with the machine's git.
type systemGit struct {
	*Fetcher
	path string
}

// gitJob is a job on its way through systemGit.
type gitJob struct {
	systemGit
	job
	task workload.Task
}

func (s systemGit) fetch(ctx context.Context, j job) (got, error) {
	t, err := s.task(j)
	if err != nil {
		return got{}, err
	}
	t.Env = s.environment(j)
	g := gitJob{systemGit: s, job: j, task: t}
	result, err := g.fetch(ctx)
	var failed *Error
	if errors.As(err, &failed) && failed.Reason == Moved && !strings.HasSuffix(j.Repo.Address, ".git") {
		// Some servers know a repository under its name with ".git" alone. Following
		// them blindly could lead to another server, or to another address of this one.
		g.Repo.Address += ".git"
		result, err = g.fetch(ctx)
	}
	return result, err
}

func (g gitJob) fetch(ctx context.Context) (got, error) {
	refs, err := g.advertised(ctx)
	if err != nil {
		return got{}, err
	}
	c, err := refs.choose(g.Ref, g.Repo.String())
	if err != nil {
		return got{}, err
	}
	commit, err := g.objects(ctx, c, refs)
	if err != nil {
		return got{}, err
	}
	modules, err := g.modules(ctx, commit)
	if err != nil {
		return got{}, err
	}
	if err := g.archive(ctx, commit); err != nil {
		return got{}, err
	}
	hosts, err := learnt(g.job)
	return got{Commit: commit, Ref: c.Name, Modules: modules, KnownHosts: hosts}, err
}

// git runs git; its output and whether it exited with 0.
func (g gitJob) git(ctx context.Context, args ...string) (string, bool, error) {
	t := g.task
	t.Args = append([]string{g.path}, args...)
	out, exit, err := g.run(ctx, t)
	return out, exit.Code == 0, err
}

var (
	refLine  = regexp.MustCompile(`(?m)^([0-9a-f]{40}|[0-9a-f]{64})\t(\S+)$`)
	headLine = regexp.MustCompile(`(?m)^ref: (\S+)\tHEAD$`)
	idLine   = regexp.MustCompile(`(?m)^([0-9a-f]{40}|[0-9a-f]{64})$`)
	linkLine = regexp.MustCompile(`(?m)^160000 commit ([0-9a-f]{40}|[0-9a-f]{64})\t(.+)$`)
)

func (g gitJob) advertised(ctx context.Context) (advertised, error) {
	args := []string{"ls-remote", "--quiet", "--symref", "--", g.gitAddress(), "HEAD", "refs/heads/*", "refs/tags/*"}
	if strings.HasPrefix(g.Ref, "refs/") {
		args = append(args, g.Ref)
	}
	out, ok, err := g.git(ctx, args...)
	if err != nil {
		return advertised{}, err
	}
	if !ok {
		return advertised{}, explain(g.job, out)
	}
	a := advertised{Refs: map[string]string{}}
	for _, m := range refLine.FindAllStringSubmatch(out, -1) {
		if !strings.HasSuffix(m[2], "^{}") {
			a.Refs[m[2]] = m[1]
		}
	}
	if m := headLine.FindStringSubmatch(out); m != nil {
		a.Head = m[1]
	}
	return a, nil
}

// objects fetches what was chosen and returns the commit's id.
func (g gitJob) objects(ctx context.Context, c choice, refs advertised) (string, error) {
	if c.Want != "" {
		out, ok, err := g.git(ctx, "fetch", "--quiet", "--no-tags", "--depth=1", "--", g.gitAddress(), "+"+c.Want+":refs/ingress/code")
		if err != nil {
			return "", err
		}
		if ok {
			return g.commit(ctx, "refs/ingress/code", refs)
		}
		if failure := explain(g.job, out); !isFull(c.Want) || !is(failure, Failed) {
			return "", failure
		}
		c.Search = c.Want // this server gives no commit but those that have a name
	}
	fmt.Fprintf(g.request.Log, "looking for %s in all of its history\n", c.Search)
	out, ok, err := g.git(ctx, "fetch", "--quiet", "--no-tags", "--", g.gitAddress(),
		"+refs/heads/*:refs/ingress/heads/*", "+refs/tags/*:refs/ingress/tags/*")
	if err != nil {
		return "", err
	}
	if !ok {
		return "", explain(g.job, out)
	}
	return g.commit(ctx, c.Search, refs)
}

// commit returns the id of the commit that a name in the repository leads to.
func (g gitJob) commit(ctx context.Context, name string, refs advertised) (string, error) {
	out, ok, err := g.git(ctx, "rev-parse", "--verify", "--end-of-options", name+"^{commit}")
	if err != nil {
		return "", err
	}
	if m := idLine.FindString(out); ok && m != "" {
		return m, nil
	}
	if strings.Contains(out, "ambiguous") {
		return "", ambiguous(g.job)
	}
	return "", refs.missing(g.Ref, g.Repo.String())
}

func ambiguous(j job) error {
	return fail(NoRef, "several commits of %s begin with %s: give more of the id", j.Repo, j.Ref)
}

// modules returns the submodules of a commit.
func (g gitJob) modules(ctx context.Context, commit string) ([]module, error) {
	if !g.Submodules {
		return nil, nil
	}
	text, ok, err := g.git(ctx, "cat-file", "blob", commit+":"+modulesFile)
	if err != nil || !ok {
		return nil, err // no such file
	}
	modules, err := parseModules([]byte(text))
	if err != nil || len(modules) == 0 {
		return nil, err
	}
	args := []string{"--literal-pathspecs", "ls-tree", "--full-tree", commit, "--"}
	for _, m := range modules[:min(len(modules), maxModules+1)] {
		args = append(args, m.Path)
	}
	out, ok, err := g.git(ctx, args...)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, explain(g.job, out)
	}
	commits := map[string]string{}
	for _, m := range linkLine.FindAllStringSubmatch(out, -1) {
		commits[m[2]] = m[1]
	}
	return withCommits(modules, commits), nil
}

// archive writes the tree of a commit, or of its folder, to the archive.
func (g gitJob) archive(ctx context.Context, commit string) error {
	name := commit
	if g.Folder != "." {
		name += ":" + g.Folder
		out, ok, err := g.git(ctx, "cat-file", "-t", name)
		if err != nil {
			return err
		}
		if !ok || strings.TrimSpace(out) != "tree" {
			return noFolder(g.job)
		}
	}
	out, ok, err := g.git(ctx, "archive", "--format=tar", "--output="+filepath.Join(g.job.Dir, archiveName), name)
	if err != nil {
		return err
	}
	if !ok {
		return explain(g.job, out)
	}
	return nil
}

func noFolder(j job) error {
	return fail(NoPath, "there is no folder %q in %s", j.Folder, j.Repo)
}

// environment is all that git gets: no setting of this machine or of us.
func (s systemGit) environment(j job) []string {
	home := filepath.Join(j.Dir, "home")
	env := []string{
		"PATH=" + filepath.Dir(s.path) + ":/usr/bin:/bin",
		"HOME=" + home,
		"TMPDIR=" + j.Dir,
		"LC_ALL=C", // explain reads what git says
		"GIT_DIR=" + filepath.Join(j.Dir, "repo"),
		"GIT_CONFIG_GLOBAL=" + filepath.Join(home, ".gitconfig"),
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0",
		"GIT_ALLOW_PROTOCOL=" + j.Repo.URL.Scheme,
		"GIT_SSH_VARIANT=ssh",
		"GIT_SSH_COMMAND=" + sshCommand(j),
	}
	if j.Repo.URL.Scheme == "git" {
		env = append(env, "GIT_OVERRIDE_VIRTUAL_HOST="+j.Repo.URL.Host)
	}
	if basic := j.Credential.basic(); basic != "" && j.Repo.URL.Scheme == "https" {
		env = append(env, "GIT_CONFIG_COUNT=1",
			"GIT_CONFIG_KEY_0=http."+origin(j.Repo.URL)+"/.extraHeader",
			"GIT_CONFIG_VALUE_0=Authorization: "+basic)
	}
	return env
}

// sshCommand is the ssh that git starts. Names are relative to where git runs,
// since ssh has its own ideas about blanks in names.
func sshCommand(j job) string {
	strict := "accept-new"
	if j.Credential.hosts() != "" {
		strict = "yes"
	}
	command := "ssh -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none" +
		" -o UserKnownHostsFile=../known_hosts -o GlobalKnownHostsFile=/dev/null -o HashKnownHosts=no" +
		" -o UpdateHostKeys=no -o ConnectTimeout=20 -o StrictHostKeyChecking=" + strict + j.sshHost()
	if j.Credential.SSHKey == "" {
		return command + " -o PubkeyAuthentication=no"
	}
	return command + " -i ../key"
}

// learnt returns what ssh added to the known hosts.
func learnt(j job) (string, error) {
	if j.Repo.URL.Scheme != "ssh" || j.Credential.hosts() != "" {
		return "", nil
	}
	dest, err := os.OpenRoot(j.request.Dest)
	if err != nil {
		return "", fmt.Errorf("open the folder for the code: %w", err)
	}
	defer dest.Close()
	root, err := dest.OpenRoot(filepath.Base(j.Dir)) // it may be a link by now
	if err != nil {
		return "", fmt.Errorf("open the folder fetched into: %w", err)
	}
	defer root.Close()
	info, err := root.Lstat("known_hosts")
	if err != nil || !info.Mode().IsRegular() || info.Size() > 1<<16 {
		return "", fmt.Errorf("read the keys of ssh servers: %w", errors.Join(err, errors.New("the file is not one that ssh wrote")))
	}
	text, err := root.ReadFile("known_hosts")
	if err != nil {
		return "", fmt.Errorf("read the keys of ssh servers: %w", err)
	}
	return string(text), nil
}
