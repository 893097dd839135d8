package source

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/skiptest"
	"github.com/m3o/ingress/internal/workload"
)

// two are listeners on the same port of two addresses: checked, which a lookup
// gave, and victim, which the name localhost has for whoever looks it up again.
type two struct {
	checked net.Listener
	victim  atomic.Int64 // connections
	port    uint16
}

var checkedAddr = netip.MustParseAddr("127.0.0.2")

func newTwo(t *testing.T) *two {
	t.Helper()
	for range 20 { // until a port is free on both
		checked, err := net.Listen("tcp", net.JoinHostPort(checkedAddr.String(), "0"))
		if err != nil {
			skiptest.Skip(t, "this machine has no second loopback address: "+err.Error())
		}
		port := checked.Addr().(*net.TCPAddr).AddrPort().Port()
		victim, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
		if err != nil {
			checked.Close()
			continue
		}
		w := &two{checked: checked, port: port}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				c, err := victim.Accept()
				if err != nil {
					return
				}
				w.victim.Add(1)
				c.Close()
			}
		}()
		t.Cleanup(func() { checked.Close(); victim.Close(); <-ended })
		return w
	}
	t.Fatal("no port was free on two addresses")
	return nil
}

// rebinding is a Lookup for a name that had the address checked when it was asked,
// and has another since.
func rebinding(t *testing.T, asked *atomic.Int64) func(context.Context, string, uint16) ([]netip.Addr, error) {
	return func(_ context.Context, host string, _ uint16) ([]netip.Addr, error) {
		asked.Add(1)
		if host != "localhost" {
			t.Errorf("asked about %s", host)
		}
		return []netip.Addr{checkedAddr}, nil
	}
}

// TestOnlyTheCheckedAddressIsConnectedTo has the machine's own resolver give
// localhost the address 127.0.0.1, which the check did not see.
func TestOnlyTheCheckedAddressIsConnectedTo(t *testing.T) {
	if addrs, err := net.DefaultResolver.LookupNetIP(deadline(t), "ip4", "localhost"); err != nil || addrs[0].String() == checkedAddr.String() {
		skiptest.Skip(t, "localhost is not 127.0.0.1 here")
	}
	needGit(t)
	key, _ := newKey(t)
	for _, engine := range engines {
		for scheme, first := range map[string]string{"https": "\x16\x03", "ssh": "SSH-2.0", "git": "00"} {
			t.Run(engine+"/"+scheme, func(t *testing.T) {
				w := newTwo(t)
				heard := make(chan string, 10)
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					for {
						c, err := w.checked.Accept()
						if err != nil {
							return
						}
						hear(c, heard)
					}
				}()
				t.Cleanup(func() { w.checked.Close(); <-ended })
				var asked atomic.Int64
				f, _ := fetcher(t, engine, Options{Timeout: 20 * time.Second, Egress: []uint16{w.port}, Lookup: rebinding(t, &asked)})
				address := scheme + "://localhost:" + strconv.Itoa(int(w.port)) + "/app"
				r, err := f.Fetch(deadline(t), Request{Source: workload.Source{Repo: address}, Dest: t.TempDir(), Name: "t", Credential: Credential{SSHKey: key}})
				if err == nil {
					t.Errorf("fetched %+v from nothing", r)
				}
				select {
				case text := <-heard:
					if !strings.HasPrefix(text, first) {
						t.Errorf("the checked address heard %q, want it to begin with %q", text, first)
					}
					if scheme == "git" && engine == "system git" && !strings.Contains(text, "\x00host=localhost:"+strconv.Itoa(int(w.port))+"\x00") {
						t.Errorf("the server was told %q, not its name", text)
					}
				default:
					t.Errorf("the checked address was not connected to: %v", err)
				}
				if n := w.victim.Load(); n != 0 {
					t.Errorf("the address that was not checked got %d connections", n)
				}
				if asked.Load() != 1 {
					t.Errorf("the name was looked up %d times", asked.Load())
				}
			})
		}
	}
}

// hear reports what a client says first, and hangs up.
func hear(c net.Conn, heard chan<- string) {
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return
	}
	from := bufio.NewReader(c)
	first, err := from.Peek(len("SSH-2.0"))
	if err != nil {
		return
	}
	// git:// says first how long its line is, and may send the rest by itself.
	n, err := strconv.ParseUint(string(first[:4]), 16, 16)
	if err != nil {
		heard <- string(first)
		return
	}
	line := make([]byte, n)
	if _, err := io.ReadFull(from, line); err == nil {
		heard <- string(line)
	}
}

// TestNamesAreFetchedFromTheirCheckedAddress fetches from a name that has no
// address at all but the one that Lookup gave, submodules too.
func TestNamesAreFetchedFromTheirCheckedAddress(t *testing.T) {
	h := newHub(t)
	address, caFile := h.https(t, "")
	_, at, _ := strings.Cut(address, "://127.0.0.1:")
	for _, engine := range engines {
		var asked []string
		f, _ := fetcher(t, engine, Options{CAFile: caFile, Submodules: true, Egress: []uint16{port(t, address)},
			Lookup: func(_ context.Context, host string, _ uint16) ([]netip.Addr, error) {
				asked = append(asked, host)
				return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
			}})
		dest := t.TempDir()
		_, err := f.Fetch(deadline(t), Request{Source: workload.Source{Repo: "https://Example.com:" + at + "/parent"}, Dest: dest, Name: "t"})
		if err != nil {
			t.Fatalf("%s: %v", engine, err)
		}
		if read(t, dest)["lib/app/main.go"] == "" {
			t.Errorf("%s: the submodule is missing", engine)
		}
		if strings.Join(asked, " ") != "example.com example.com" {
			t.Errorf("%s: asked about %v, want the repository's host and its submodule's", engine, asked)
		}
	}
}

// TestSubmodulesAndRedirectsDoNotLeadToAddressesThatAreNotChecked has a server
// that may be reached send its visitors to one that may not.
func TestSubmodulesAndRedirectsDoNotLeadToAddressesThatAreNotChecked(t *testing.T) {
	h := newHub(t)
	var hits atomic.Int64
	victim := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	victim.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			hits.Add(1)
		}
	}
	victim.StartTLS()
	defer victim.Close()
	inside := "https://localhost" + victim.URL[strings.LastIndex(victim.URL, ":"):]
	h.make(t, t.TempDir(), "sly", map[string]string{".gitmodules": "[submodule \"in\"]\n\tpath = in\n\turl = " + inside + "/app\n"})
	addLink(t, h, "sly", "in")
	address, caFile := h.https(t, "")
	redirects, redirectsCA := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, inside+r.URL.String(), http.StatusFound)
	}))
	for _, engine := range engines {
		for name, row := range map[string]struct {
			base, path, caFile string
			want               Reason
		}{
			"a submodule": {address, "/sly", caFile, Refused},
			"a redirect":  {redirects, "/app", redirectsCA, Moved},
		} {
			_, at, _ := strings.Cut(row.base, "://127.0.0.1:")
			f, _ := fetcher(t, engine, Options{CAFile: row.caFile, Submodules: true, Egress: []uint16{port(t, row.base), port(t, inside)},
				Lookup: func(_ context.Context, host string, _ uint16) ([]netip.Addr, error) {
					if host == "localhost" {
						return nil, os.ErrPermission
					}
					return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
				}})
			dest := t.TempDir()
			_, err := f.Fetch(deadline(t), Request{Source: workload.Source{Repo: "https://example.com:" + at + row.path}, Dest: dest, Name: "t"})
			if reason(err) != row.want {
				t.Errorf("%s, %s: %v, want %s", engine, name, err, row.want)
			}
			wantEmpty(t, dest)
		}
	}
	if hits.Load() != 0 {
		t.Errorf("the address that must not be reached got %d connections", hits.Load())
	}
}

// addLink makes a folder of a repository of the hub a submodule.
func addLink(t *testing.T, h hub, name, folder string) {
	t.Helper()
	work := t.TempDir()
	runGit(t, work, "clone", "-q", h.dir+"/"+name, "work")
	runGit(t, work+"/work", "update-index", "--add", "--cacheinfo", "160000,"+h.First+","+folder)
	runGit(t, work+"/work", "commit", "-qm", "module")
	runGit(t, work+"/work", "push", "-q", "origin", "HEAD:main")
}

func TestSettingsThatPinAddresses(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for address, want := range map[string]struct{ curl, git, ssh string }{
		"https://example.com/a/b": {
			"\tcurloptResolve = \"example.com:443:192.0.2.1,[2001:db8::1]\"\n\tcurloptResolve = \"*:443:192.0.2.1,[2001:db8::1]\"\n", "https://example.com/a/b", ""},
		"https://[2001:db8::1]:8443/a": {"\tcurloptResolve = \"*:8443:192.0.2.1,[2001:db8::1]\"\n", "https://[2001:db8::1]:8443/a", ""},
		"git://example.com/a":          {"", "git://192.0.2.1:9418/a", ""},
		"git@example.com:a/b":          {"", "git@example.com:a/b", " -o Hostname=192.0.2.1 -o HostKeyAlias='example.com' -o CheckHostIP=no"},
		"ssh://example.com:2222/a":     {"", "ssh://git@example.com:2222/a", " -o Hostname=192.0.2.1 -o HostKeyAlias='[example.com]:2222' -o CheckHostIP=no"},
	} {
		repo, err := workload.ParseRepo(address)
		if err != nil {
			t.Fatal(err)
		}
		j := job{Repo: repo, Addresses: []netip.Addr{v4, v6}}
		if j.curlResolve() != want.curl || j.gitAddress() != want.git || j.sshHost() != want.ssh {
			t.Errorf("%s: %q, %q, %q, want %q", address, j.curlResolve(), j.gitAddress(), j.sshHost(), want)
		}
	}
}
