package source

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/runner"
	"github.com/m3o/ingress/internal/workload"
)

// confinedData is a data directory as the ingress has it, which others cannot
// enter, and of a path short enough for sockets.
func confinedData(t *testing.T) string {
	t.Helper()
	data, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(data); err != nil {
			t.Error(err)
		}
	})
	return data
}

func TestRepositoriesAreFetchedConfined(t *testing.T) {
	h := newHub(t)
	key, client := newKey(t)
	_, host := newKey(t)
	sshAddress := h.ssh(t, host, client.PublicKey())
	address, certificate := h.https(t, "")
	data := confinedData(t)
	// Only what the policy names can be read, and /tmp is not a part of it.
	caFile := filepath.Join(data, "ca.pem")
	text, err := os.ReadFile(certificate)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(caFile, text, 0o644); err != nil {
		t.Fatal(err)
	}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	local, err := runner.NewLocal(runner.Options{Layout: workload.Layout{Data: data}, Executable: executable, FirstPort: 20000, LastPort: 20010})
	if err != nil {
		t.Fatal(err)
	}
	var user confine.User
	if os.Getuid() == 0 {
		user = confine.User{UID: 23456, GID: 23456}
	}
	released := make(chan struct{})
	hang := listen(t, func(c net.Conn) { <-released; c.Close() })
	t.Cleanup(func() { close(released) })
	for _, engine := range engines {
		for name, test := range map[string]struct {
			address string
			Credential
			want Reason
		}{
			"https":        {address: address + "/app"},
			"ssh":          {sshAddress + "/app", Credential{SSHKey: key}, ""},
			"file":         {address: h.dir + "/app"},
			"none":         {address: address + "/none", want: NotFound},
			"huge":         {address: address + "/huge", want: TooLarge},
			"a hang":       {address: hang, want: TooLong},
			"a bad key":    {sshAddress + "/app", Credential{}, NotFound},
			"another port": {address: "https://127.0.0.1:1/app", want: Refused},
		} {
			f, _ := fetcher(t, engine, Options{CAFile: caFile, AllowLocal: true, MaxBytes: 2 << 20,
				Egress: []uint16{port(t, address), port(t, sshAddress), port(t, hang)}})
			f.options.Tasks = local
			if name == "a hang" {
				f.options.Timeout = 2 * time.Second
			}
			if name == "file" && !user.IsZero() {
				continue // the test's folder is closed to other users
			}
			dest := filepath.Join(data, strings.ReplaceAll(engine+name, " ", ""))
			if err := os.Mkdir(dest, 0o700); err != nil {
				t.Fatal(err)
			}
			if !user.IsZero() {
				if err := os.Chown(dest, int(user.UID), int(user.GID)); err != nil {
					t.Fatal(err)
				}
			}
			start := time.Now()
			r, err := f.Fetch(deadline(t), Request{Source: workload.Source{Repo: test.address}, Dest: dest, Name: "test-fetch", User: user, Credential: test.Credential, Log: io.Discard})
			t.Logf("%s, %s: %v: %+v, %v", engine, name, time.Since(start).Round(time.Millisecond), r, err)
			if test.want != "" {
				if reason(err) != test.want {
					t.Errorf("%s, %s: %v, want %s", engine, name, err, test.want)
				}
				wantEmpty(t, dest)
				continue
			}
			if err != nil || r.Commit != h.Second {
				t.Errorf("%s, %s: %+v, %v", engine, name, r, err)
				continue
			}
			if !user.IsZero() {
				wantOwner(t, dest, user)
			}
		}
	}
}
