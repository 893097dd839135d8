package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// peer is a program that takes requests to the backend.
type peer struct {
	name, version string
	// config is what it was told, for the report.
	config  string
	address string
	secure  string // the address for TLS
	// host is the Host that leads to the backend, linkHost the one of the redirect.
	host, linkHost string
	proc           *process
	cannot         map[string]bool // names of workloads it has no way to do
}

func (p *peer) can(w workload) bool { return !p.cannot[w.name] }

// surroundings are what peers are started with.
type surroundings struct {
	dir, backend string
	install      bool
	certificate  certificate
}

// errAbsent says that a peer is not installed.
var errAbsent = errors.New("it is not installed")

// redirectTarget is where the redirect of every peer leads.
const redirectTarget = "https://example.com/somewhere"

// makers make the peers, in the order of the report. The first is the one that
// the others are compared with.
var makers = []struct {
	name  string
	start func(ctx context.Context, ps *processes, s surroundings, p *peer) error
}{
	{"haproxy", startHAProxy},
	{"nginx", startNginx},
	{"ingress", startIngress("--access-log=none")},
	{"ingress, net/http's transport", startIngress("--access-log=none", "--upstream-transport=std")},
	{"ingress, access log", startIngress("--log-format=json")},
	{"reverseproxy", startPlain},
	{"relay", startRelay},
	{"caddy", startCaddy},
}

// startPeers starts those that are wanted and installed.
func startPeers(ctx context.Context, ps *processes, s surroundings, wanted func(string) bool) ([]*peer, error) {
	var peers []*peer
	for _, m := range makers {
		if !wanted(m.name) {
			continue
		}
		p, err := newPeer(m.name)
		if err != nil {
			return nil, err
		}
		err = m.start(ctx, ps, s, p)
		if errors.Is(err, errAbsent) {
			fmt.Fprintf(os.Stderr, "%s is left out: %v\n", m.name, err)
			continue
		}
		if err == nil {
			err = p.proc.listening(ctx, p.address)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		peers = append(peers, p)
	}
	if len(peers) == 0 {
		return nil, errors.New("there is nothing to measure")
	}
	return peers, nil
}

// newPeer returns a peer with addresses of its own.
func newPeer(name string) (*peer, error) {
	address, err := freePort()
	secure, also := freePort()
	return &peer{name: name, host: "bench", linkHost: "bench", address: address, secure: secure}, errors.Join(err, also)
}

// find looks a program up; Debian keeps some where an ordinary PATH does not lead.
func find(name string) (string, error) {
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/usr/local/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path, nil
		}
	}
	return "", errAbsent
}

var versionNumber = regexp.MustCompile(`\d+\.\d+(\.\d+)*`)

// versionOf asks a program which it is.
func versionOf(program string, args ...string) string {
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		return "unknown"
	}
	return versionNumber.FindString(string(out))
}

// configure writes a peer's configuration.
func (p *peer) configure(s surroundings, extension, text string) (string, error) {
	p.config = text
	path := filepath.Join(s.dir, p.name+extension)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

func startHAProxy(_ context.Context, ps *processes, s surroundings, p *peer) error {
	program, err := find("haproxy")
	if err != nil {
		return err
	}
	p.version = versionOf(program, "-v")
	config, err := p.configure(s, ".cfg", fmt.Sprintf(`global
    maxconn 9000
defaults
    mode http
    timeout connect 3s
    timeout client 60s
    timeout server 60s
    http-reuse always
    option forwardfor
frontend front
    bind %s
    bind %s ssl crt %s alpn h2,http/1.1
    http-request redirect location %s code 302 if { path /u/bench }
    default_backend back
backend back
    server one %s
`, p.address, p.secure, s.certificate.both, redirectTarget, s.backend))
	if err != nil {
		return err
	}
	p.proc, err = ps.start(program, []string{"-db", "-f", config}, nil)
	return err
}

func startNginx(_ context.Context, ps *processes, s surroundings, p *peer) error {
	program, err := find("nginx")
	if err != nil {
		return err
	}
	p.version = versionOf(program, "-v")
	config, err := p.configure(s, ".conf", fmt.Sprintf(`daemon off;
worker_processes auto;
pid %[1]s/nginx.pid;
error_log stderr error;
events { worker_connections 16384; }
http {
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path %[1]s/nginx-body;
    proxy_temp_path %[1]s/nginx-proxy;
    fastcgi_temp_path %[1]s/nginx-fastcgi;
    uwsgi_temp_path %[1]s/nginx-uwsgi;
    scgi_temp_path %[1]s/nginx-scgi;
    upstream back { server %[2]s; keepalive 128; keepalive_requests 1000000000; }
    server {
        listen %[3]s;
        listen %[5]s ssl http2;
        ssl_certificate %[6]s;
        ssl_certificate_key %[7]s;
        location = /u/bench { return 302 %[4]s; }
        location / {
            proxy_pass http://back;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_buffering off;
        }
    }
}
`, s.dir, s.backend, p.address, redirectTarget, p.secure, s.certificate.chain, s.certificate.key))
	if err != nil {
		return err
	}
	p.proc, err = ps.start(program, []string{"-e", "stderr", "-p", s.dir, "-c", config}, nil)
	return err
}

// caddyModule is what --install builds.
const caddyModule = "github.com/caddyserver/caddy/v2/cmd/caddy@v2.10.2"

func startCaddy(ctx context.Context, ps *processes, s surroundings, p *peer) error {
	program, err := find("caddy")
	if errors.Is(err, errAbsent) && s.install {
		program, err = buildCaddy(ctx, s)
	}
	if err != nil {
		return err
	}
	p.version = versionOf(program, "version")
	config, err := p.configure(s, ".caddyfile", fmt.Sprintf(`{
	admin off
	default_sni bench.invalid
	auto_https off
	persist_config off
}
http://%s {
	redir /u/bench %s 302
	reverse_proxy %s
}
https://%s {
	tls %s %s
	reverse_proxy %s
}
`, p.address, redirectTarget, s.backend, p.secure, s.certificate.chain, s.certificate.key, s.backend))
	if err != nil {
		return err
	}
	p.host, p.linkHost = p.address, p.address
	env := []string{"HOME=" + s.dir, "XDG_DATA_HOME=" + s.dir, "XDG_CONFIG_HOME=" + s.dir}
	p.proc, err = ps.start(program, []string{"run", "--adapter", "caddyfile", "--config", config}, env)
	return err
}

func buildCaddy(ctx context.Context, s surroundings) (string, error) {
	fmt.Fprintln(os.Stderr, "building", caddyModule)
	cmd := exec.CommandContext(ctx, "go", "install", caddyModule)
	cmd.Env = append(os.Environ(), "GOBIN="+s.dir, "CGO_ENABLED=0")
	cmd.Dir = s.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build it: %w\n%s", err, out)
	}
	return filepath.Join(s.dir, "caddy"), nil
}

func startPlain(_ context.Context, ps *processes, s surroundings, p *peer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p.version = strings.TrimPrefix(versionOf("go", "version"), "go")
	p.config = "httputil.ReverseProxy on http.Transport, MaxIdleConnsPerHost 1024"
	p.proc, err = ps.start(self, []string{"reverseproxy", p.address, p.secure, s.backend, s.certificate.chain, s.certificate.key}, nil)
	return err
}
