package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	git "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	gitssh "github.com/go-git/go-git/v5/plumbing/transport/ssh"
	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
)

// FetchMain is the hidden command `ingress fetch`, which a Fetcher runs, confined,
// where the machine's git cannot be used. args are those after "fetch": one, an
// order in JSON. It prints an answer in JSON and returns the exit code. It changes
// how this whole process fetches, so it is for a process that does nothing else.
func FetchMain(args []string, getenv func(string) string, stdout io.Writer) int {
	var a answer
	g, err := fetchOrder(args, getenv)
	var own *Error
	switch {
	case errors.As(err, &own):
		a.Reason, a.Error = own.Reason, own.Text
	case err != nil:
		a.Error = err.Error()
	default:
		a.Got = g
	}
	if err := json.NewEncoder(stdout).Encode(a); err != nil || a.Error != "" {
		return 1
	}
	return 0
}

func fetchOrder(args []string, getenv func(string) string) (got, error) {
	var o order
	if len(args) != 1 {
		return got{}, errors.New("fetch takes one argument: it is started by the ingress itself")
	}
	if err := json.Unmarshal([]byte(args[0]), &o); err != nil {
		return got{}, fmt.Errorf("read what to fetch: %w", err)
	}
	if o.Local == "" {
		if len(o.Addresses) == 0 {
			return got{}, errors.New("there is no address that may be connected to")
		}
		o.install()
	}
	r := &remote{order: o}
	if err := r.open(getenv); err != nil {
		return got{}, err
	}
	return r.fetch(context.Background())
}

// remote is a repository fetched with go-git.
type remote struct {
	order
	repo  *git.Repository
	auth  transport.AuthMethod
	ca    []byte
	learn string // known_hosts line of a server met for the first time
}

// open opens the bare repository to fetch into, or a local one as it is.
func (r *remote) open(getenv func(string) string) (err error) {
	where := r.Local
	if where == "" {
		where = filepath.Join(r.Dir, "repo")
	}
	if r.repo, err = git.PlainOpen(where); err != nil {
		return fmt.Errorf("open the repository: %w", err)
	}
	if r.CAFile != "" {
		if r.ca, err = os.ReadFile(r.CAFile); err != nil {
			return fmt.Errorf("read the certificates of authorities: %w", err)
		}
	}
	switch password := getenv(envPassword); {
	case r.isSSH():
		return r.openSSH()
	case password != "":
		r.auth = &githttp.BasicAuth{Username: getenv(envUsername), Password: password}
	}
	return nil
}

// openSSH reads the key and the known hosts from the directory.
func (r *remote) openSSH() error {
	ep, err := transport.NewEndpoint(r.Address)
	if err != nil {
		return fmt.Errorf("read the address: %w", err)
	}
	auth := &gitssh.PublicKeys{User: ep.User}
	key, err := os.ReadFile(filepath.Join(r.Dir, "key"))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fail(NotFound, "the repository %s needs an ssh key: give one with ingress app credential set %s", r.Name, r.Host)
	case err != nil:
		return fmt.Errorf("read the ssh key: %w", err)
	}
	if err := CheckSSHKey(string(key)); err != nil {
		return err
	}
	if auth.Signer, err = ssh.ParsePrivateKey(key); err != nil {
		return errors.New("the ssh key cannot be read")
	}
	port := ep.Port
	if port == 0 {
		port = 22
	}
	host := net.JoinHostPort(ep.Host, fmt.Sprint(port)) // and not the address that is dialled
	file := filepath.Join(r.Dir, "known_hosts")
	info, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("read the known hosts: %w", err)
	}
	if info.Size() == 0 {
		auth.HostKeyCallback = func(_ string, _ net.Addr, key ssh.PublicKey) error {
			r.learn = knownhosts.Line([]string{host}, key) + "\n"
			return nil
		}
	} else {
		known, err := knownhosts.NewDB(file)
		if err != nil {
			return fail(HostKey, "the known hosts of %s cannot be read: %v", r.Host, err)
		}
		check := known.HostKeyCallback()
		auth.HostKeyCallback = func(_ string, from net.Addr, key ssh.PublicKey) error { return check(host, from, key) }
		auth.HostKeyAlgorithms = known.HostKeyAlgorithms(host)
	}
	r.auth = auth
	return nil
}

func (r *remote) fetch(ctx context.Context) (got, error) {
	refs, err := r.advertised(ctx)
	if err != nil {
		return got{}, err
	}
	c, err := refs.choose(r.Ref, r.Name)
	if err != nil {
		return got{}, err
	}
	commit, err := r.objects(ctx, c, refs)
	if err != nil {
		return got{}, err
	}
	g := got{Commit: commit.Hash.String(), Ref: c.Name, KnownHosts: r.learn}
	if g.Modules, err = r.modules(commit); err != nil {
		return got{}, err
	}
	return g, r.archive(commit)
}

func (r *remote) remote() *git.Remote {
	return git.NewRemote(r.repo.Storer, &config.RemoteConfig{Name: "origin", URLs: []string{r.Address}})
}

func (r *remote) advertised(ctx context.Context) (advertised, error) {
	refs, err := r.list(ctx)
	if errors.Is(err, transport.ErrEmptyRemoteRepository) {
		refs, err = nil, nil
	}
	if err != nil {
		return advertised{}, err
	}
	a := advertised{Refs: map[string]string{}}
	head := ""
	for _, ref := range refs {
		name := ref.Name().String()
		switch {
		case ref.Type() == plumbing.SymbolicReference && name == "HEAD":
			head = ref.Target().String()
		case ref.Type() == plumbing.HashReference && wanted(name, r.Ref):
			a.Refs[name] = ref.Hash().String()
		}
	}
	if id, ok := a.Refs[head]; ok {
		a.Head, a.Refs["HEAD"] = head, id
	}
	return a, nil
}

// wanted reports whether a ref is one that can be asked for, or is asked for.
func wanted(name, ref string) bool {
	return !strings.HasSuffix(name, "^{}") && (name == "HEAD" || name == ref ||
		strings.HasPrefix(name, "refs/heads/") || strings.HasPrefix(name, "refs/tags/"))
}

func (r *remote) list(ctx context.Context) ([]*plumbing.Reference, error) {
	if r.Local == "" {
		return r.remote().ListContext(ctx, &git.ListOptions{Auth: r.auth, CABundle: r.ca})
	}
	iter, err := r.repo.References()
	if err != nil {
		return nil, err
	}
	var refs []*plumbing.Reference
	err = iter.ForEach(func(ref *plumbing.Reference) error {
		refs = append(refs, ref)
		return nil
	})
	return refs, err
}
