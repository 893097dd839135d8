package workload_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/workload"
	"golang.org/x/crypto/ssh"
)

// sshKey returns a new private key in PEM form and its public one.
func sshKey(t testing.TB, passphrase string) (private, public string) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(key, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	shown, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block)), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(shown)))
}

func testCredentials(t *testing.T, f *fixture) {
	ctx, a, b := t.Context(), tenant("a"), tenant("b")
	key, _ := sshKey(t, "")
	locked, _ := sshKey(t, "passphrase")
	c := workload.Credential{Host: "Git.Example", Username: "alice", Password: "sesame-password", SSHKey: key}
	must(t, f.SetCredential(ctx, a, c))
	c.Host = "git.example"
	functions := f.registry(workload.Function)
	if got, found, err := functions.CredentialFor(ctx, "a", "GIT.example"); !found || err != nil || got != c {
		t.Errorf("found %v, %v", found, err)
	}
	hidden := c
	hidden.Password, hidden.SSHKey = workload.Hidden, workload.Hidden
	list, err := f.Credentials(ctx, a)
	hidden.Updated = f.clock.Now()
	if err != nil || len(list) != 1 || list[0] != hidden {
		t.Errorf("listed %v, %v", list, err)
	}
	hidden.Username = "carol"
	must(t, f.SetCredential(ctx, a, hidden))
	c.Username = "carol"
	if got, _, err := f.CredentialFor(ctx, "a", "git.example"); err != nil || got != c {
		t.Errorf("hidden values did not stay: %v", err)
	}
	if _, found, err := f.CredentialFor(ctx, "b", "git.example"); found || err != nil {
		t.Errorf("another tenant has it: %v, %v", found, err)
	}
	if list, err := f.Credentials(ctx, b); len(list) != 0 || err != nil {
		t.Errorf("another tenant sees %v, %v", list, err)
	}
	if err := f.DeleteCredential(ctx, b, "git.example"); !errors.Is(err, workload.ErrNotFound) {
		t.Errorf("another tenant deletes it: %v", err)
	}
	for _, bad := range []workload.Credential{
		{Host: "", Password: "sesame"}, {Host: "https://x", Password: "sesame"}, {Host: "x"}, {Host: "x", SSHKey: "sesame"},
		{Host: "x", SSHKey: locked}, {Host: "x", Password: "sesame\nhost: evil"}, {Host: "x", Password: strings.Repeat("sesame", 1000)},
		{Host: "new", Password: workload.Hidden}, {Host: "x", KnownHosts: "not a key"}, {Host: "x", Username: "a\x00", Password: "sesame"},
	} {
		if err := f.SetCredential(ctx, a, bad); !isInvalid("")(err) || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%.60q: %v", bad.Host, err)
		}
	}
	must(t, f.DeleteCredential(ctx, a, "git.example"))
	if _, found, err := f.CredentialFor(ctx, "a", "git.example"); found || err != nil {
		t.Errorf("deleted, it is found: %v, %v", found, err)
	}
}

func testLearnHost(t *testing.T, f *fixture) {
	ctx := t.Context()
	_, one := sshKey(t, "")
	_, two := sshKey(t, "")
	must(t, f.LearnHost(ctx, "a", "Git.example", "git.example "+one))
	must(t, f.LearnHost(ctx, "a", "git.example", "git.example "+two))
	if c, found, err := f.CredentialFor(ctx, "a", "git.example"); !found || err != nil || c.KnownHosts != "git.example "+one {
		t.Errorf("known by %+v, %v, %v", c, found, err)
	}
	if err := f.LearnHost(ctx, "a", "other.example", "nonsense"); !isInvalid("known_hosts")(err) {
		t.Errorf("nonsense: %v", err)
	}
	if _, found, err := f.CredentialFor(ctx, "b", "git.example"); found || err != nil {
		t.Errorf("another tenant knows it: %v, %v", found, err)
	}
}

// TestSecretsAreNowhereInTheDatabase looks at the bytes on disk.
func TestSecretsAreNowhereInTheDatabase(t *testing.T) {
	f, path := newFileFixture(t)
	a := tenant("a")
	key, _ := sshKey(t, "")
	must(t, f.SetCredential(t.Context(), a, workload.Credential{Host: "git.example", Username: "alice", Password: "sesame-password", SSHKey: key}))
	s := managedSpec("hello")
	s.Env = map[string]string{"TOKEN": "sesame-env"}
	if _, err := f.Create(t.Context(), a, s); err != nil {
		t.Fatal(err)
	}
	must(t, f.db.Checkpoint(t.Context()))
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(raw), "git.example") {
		t.Error("the file has not even the host: this test looks at the wrong one")
	}
	for _, secret := range []string{"sesame", strings.Split(key, "\n")[2]} {
		if strings.Contains(string(raw), secret) {
			t.Errorf("%.10s… is in the database file", secret)
		}
	}
}
