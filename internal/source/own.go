package source

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
)

// order is what our own program is told to fetch, as its one argument. Nothing in
// it is secret: arguments can be read by every process of a machine.
type order struct {
	Address    string `json:"address"`
	Local      string `json:"local,omitempty"` // path of a file:// repository
	Name       string `json:"name"`            // of the repository, for people
	Host       string `json:"host"`
	Ref        string `json:"ref,omitempty"`
	Folder     string `json:"folder"`
	Dir        string `json:"dir"`
	Submodules bool   `json:"submodules,omitempty"`
	CAFile     string `json:"ca_file,omitempty"`
	// Addresses are those of Host that may be connected to.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	MaxBytes  int64        `json:"max_bytes"`
}

// answer is what it prints: what it got, or why not. Error is set with Reason when
// it is for the owner as it is; otherwise it is what a library said.
type answer struct {
	Got    got    `json:"got"`
	Reason Reason `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Variables with the credential. The known hosts and the key's file are in the
// directory, where the system's ssh wants them too.
const (
	envUsername = "INGRESS_FETCH_USERNAME"
	envPassword = "INGRESS_FETCH_PASSWORD"
)

// ownGit fetches with this program: `ingress fetch`.
type ownGit struct{ *Fetcher }

func (o ownGit) fetch(ctx context.Context, j job) (got, error) {
	if o.options.Executable == "" {
		return got{}, fail(Failed, "this machine has no git that can be used for %s: install git 2.37 or newer", j.Repo)
	}
	t, err := o.task(j)
	if err != nil {
		return got{}, err
	}
	text, err := json.Marshal(order{Address: j.Repo.Address, Local: localPath(j), Name: j.Repo.String(), Host: j.Repo.URL.Host,
		Ref: j.Ref, Folder: j.Folder, Dir: j.Dir, Submodules: j.Submodules, CAFile: o.options.CAFile, MaxBytes: o.options.MaxBytes, Addresses: j.Addresses})
	if err != nil {
		return got{}, fmt.Errorf("write what to fetch: %w", err)
	}
	t.Args = []string{o.options.Executable, "fetch", string(text)}
	t.ReadOnly = append(t.ReadOnly, o.options.Executable)
	t.Env = []string{"HOME=" + filepath.Join(j.Dir, "home"), "TMPDIR=" + j.Dir, "PATH=/usr/bin:/bin",
		"GOMEMLIMIT=512MiB"}
	if j.Repo.URL.Scheme == "https" {
		t.Env = append(t.Env, envUsername+"="+j.Credential.user(), envPassword+"="+j.Credential.Password)
	}
	out, exit, err := o.run(ctx, t)
	if err != nil {
		return got{}, err
	}
	var a answer
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		return got{}, fail(Failed, "%s could not be fetched: %v (%s)", j.Repo, exit, lastLine(j, out))
	}
	switch {
	case a.Reason != "":
		return got{}, &Error{Reason: a.Reason, Text: a.Error}
	case a.Error != "":
		return got{}, explain(j, a.Error)
	}
	return a.Got, nil
}

func localPath(j job) string {
	if j.Repo.URL.Scheme == "file" {
		return j.Repo.URL.Path
	}
	return ""
}

// isSSH reports whether an address is for ssh: a URL of it, or user@host:path.
func (o order) isSSH() bool {
	return strings.HasPrefix(o.Address, "ssh://") || o.Local == "" && !strings.Contains(o.Address, "://")
}
