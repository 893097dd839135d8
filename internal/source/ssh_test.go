package source

import (
	"crypto/ed25519"
	"encoding/pem"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/skiptest"
	"github.com/m3o/ingress/internal/workload"
)

// newKey makes a private key, in PEM and ready for use.
func newKey(t testing.TB) (string, ssh.Signer) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block)), signer
}

// ssh serves the repositories to the owner of one key.
func (h hub) ssh(t testing.TB, host ssh.Signer, client ssh.PublicKey) (address string) {
	t.Helper()
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(client.Marshal()) {
			return nil, os.ErrPermission
		}
		return nil, nil
	}}
	config.AddHostKey(host)
	home := h.home(t)
	var sessions sync.WaitGroup
	t.Cleanup(sessions.Wait)
	address = listen(t, func(c net.Conn) {
		sessions.Add(1)
		defer sessions.Done()
		defer c.Close()
		conn, channels, requests, err := ssh.NewServerConn(c, config)
		if err != nil {
			return
		}
		defer conn.Close()
		go ssh.DiscardRequests(requests)
		for offered := range channels {
			channel, asked, err := offered.Accept()
			if err != nil {
				return
			}
			h.session(channel, asked, home)
		}
	})
	return "ssh" + strings.TrimSuffix(strings.TrimPrefix(address, "git"), "/app")
}

// session runs git-upload-pack, and nothing else.
func (h hub) session(channel ssh.Channel, requests <-chan *ssh.Request, home string) {
	defer channel.Close()
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home}
	for r := range requests {
		var text struct{ A, B string }
		switch r.Type {
		case "env":
			if ssh.Unmarshal(r.Payload, &text) == nil && text.A == "GIT_PROTOCOL" {
				env = append(env, text.A+"="+text.B)
			}
			r.Reply(true, nil)
		case "exec":
			command, ok := strings.CutPrefix(string(r.Payload[4:]), "git-upload-pack '")
			r.Reply(ok, nil)
			if !ok {
				return
			}
			cmd := exec.Command("git", "upload-pack", filepath.Join(h.dir, strings.TrimSuffix(command, "'")))
			cmd.Env = env
			in, err := cmd.StdinPipe()
			if err != nil {
				return
			}
			cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
			go func() { io.Copy(in, channel); in.Close() }()
			code := byte(0)
			if err := cmd.Run(); err != nil {
				code = 128
			}
			channel.SendRequest("exit-status", false, []byte{0, 0, 0, code})
			return
		default:
			r.Reply(false, nil)
		}
	}
}

func TestRepositoriesAreFetchedOverSSH(t *testing.T) {
	h := newHub(t)
	key, client := newKey(t)
	stranger, _ := newKey(t)
	_, host := newKey(t)
	_, impostor := newKey(t)
	address := h.ssh(t, host, client.PublicKey())
	false1 := h.ssh(t, impostor, client.PublicKey())
	for _, engine := range engines {
		if _, err := exec.LookPath("ssh"); err != nil && engine == "system git" {
			continue // the Fetcher uses its own then, which the other round tests
		}
		f, tasks := fetcher(t, engine, Options{Egress: []uint16{port(t, address), port(t, false1)}})
		get := func(address string, c Credential) (Result, string, error) {
			dest := t.TempDir()
			r, err := f.Fetch(deadline(t), Request{Source: workload.Source{Repo: address, Ref: "other"}, Dest: dest, Name: "t", Credential: c})
			if err != nil {
				wantEmpty(t, dest)
			}
			return r, dest, err
		}
		r, dest, err := get(address+"/app", Credential{SSHKey: key})
		if err != nil || r.Commit != h.First || read(t, dest)["web/index.html"] != "one" {
			t.Fatalf("%s: %+v, %v", engine, r, err)
		}
		if !strings.Contains(r.KnownHosts, "ssh-ed25519 ") {
			t.Errorf("%s: learnt %q", engine, r.KnownHosts)
		}
		known := r.KnownHosts
		if r, _, err := get(address+"/app", Credential{SSHKey: key, KnownHosts: known}); err != nil || r.KnownHosts != "" {
			t.Errorf("%s: with a known host: %+v, %v", engine, r, err)
		}
		other := strings.ReplaceAll(known, strconv.Itoa(int(port(t, address))), strconv.Itoa(int(port(t, false1))))
		for name, test := range map[string]struct {
			address string
			Credential
			want Reason
		}{
			"another host's key": {false1 + "/app", Credential{SSHKey: key, KnownHosts: other}, HostKey},
			"a stranger's key":   {address + "/app", Credential{SSHKey: stranger}, Denied},
			"no key":             {address + "/app", Credential{}, NotFound},
			"no repository":      {address + "/none", Credential{SSHKey: key}, NotFound},
			"an empty one":       {address + "/empty", Credential{SSHKey: key}, Empty},
		} {
			if _, _, err := get(test.address, test.Credential); reason(err) != test.want {
				t.Errorf("%s, %s: %v, want %s", engine, name, err, test.want)
			}
		}
		if strings.Contains(strings.Join(tasks.args, " "), "PRIVATE KEY") {
			t.Errorf("%s: the key is among the arguments", engine)
		}
	}
}

func TestSSHKeysAreChecked(t *testing.T) {
	good, _ := newKey(t)
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckSSHKey(good); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "nonsense", string(pem.EncodeToMemory(block))} {
		if err := CheckSSHKey(bad); reason(err) != Denied {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestRepositoriesAreFetchedFromGitDaemon(t *testing.T) {
	h := newHub(t)
	program, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	daemon := filepath.Join(strings.TrimSpace(string(program)), "git-daemon")
	if _, err := os.Stat(daemon); err != nil {
		skiptest.Skip(t, "there is no git daemon, which serves git:// in this test")
	}
	home := h.home(t)
	address := listen(t, func(c net.Conn) {
		defer c.Close()
		file, err := c.(*net.TCPConn).File()
		if err != nil {
			return
		}
		defer file.Close()
		cmd := exec.Command(daemon, "--inetd", "--export-all", "--base-path="+h.dir)
		cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}
		cmd.Stdin, cmd.Stdout, cmd.Stderr = file, file, testLog{t}
		if err := cmd.Run(); err != nil {
			return // the client learns of it
		}
	})
	for _, engine := range engines {
		f, _ := fetcher(t, engine, Options{Egress: []uint16{port(t, address)}})
		r, err := f.Fetch(deadline(t), Request{Source: workload.Source{Repo: address}, Dest: t.TempDir(), Name: "t"})
		if err != nil || r.Commit != h.Second {
			t.Errorf("%s: %+v, %v", engine, r, err)
		}
		dest := t.TempDir()
		_, err = f.Fetch(deadline(t), Request{Source: workload.Source{Repo: strings.TrimSuffix(address, "app") + "none"}, Dest: dest, Name: "t"})
		if reason(err) != NotFound {
			t.Errorf("%s: no repository: %v", engine, err)
		}
		wantEmpty(t, dest)
	}
}

func TestFetchingAsAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can be another user; root runs this")
	}
	h := newHub(t)
	address, caFile := h.https(t, "")
	open, err := os.MkdirTemp("", "source-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(open) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"/program": program, "/ca.pem": ca} {
		if err := os.WriteFile(open+name, text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	user := confine.User{UID: 23456, GID: 23456}
	for _, engine := range engines {
		f, _ := fetcher(t, engine, Options{CAFile: open + "/ca.pem", Egress: []uint16{port(t, address)}})
		f.options.Executable = open + "/program"
		dest := filepath.Join(open, engine)
		if err := os.Mkdir(dest, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dest, int(user.UID), int(user.GID)); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Fetch(deadline(t), Request{Source: workload.Source{Repo: address + "/app"}, Dest: dest, Name: "t", User: user}); err != nil {
			t.Fatalf("%s: %v", engine, err)
		}
		wantOwner(t, dest, user)
	}
}
