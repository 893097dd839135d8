package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// startIngress starts the program of this repository, with an app whose backend is
// registered and a link.
func startIngress(flags ...string) func(context.Context, *processes, surroundings, *peer) error {
	return func(ctx context.Context, ps *processes, s surroundings, p *peer) error {
		program, err := buildIngress(ctx, s)
		if err != nil {
			return err
		}
		if !knows(program, flags) {
			return fmt.Errorf("%w: this version has no %s", errAbsent, strings.Join(flags, " "))
		}
		p.version = versionOf("go", "version")
		p.host, p.linkHost = "bench.app.localhost", "localhost"
		// Two runs of one program must not share their state.
		data, err := os.MkdirTemp(s.dir, "data")
		if err != nil {
			return err
		}
		args := append([]string{"serve", "--listen", p.address, "--admin-listen", "127.0.0.1:0", "--data-dir", data, "--max-client-connections", "20000",
			"--listen-tls", p.secure, "--tls-cert", s.certificate.chain, "--tls-key", s.certificate.key}, flags...)
		p.config = "ingress " + strings.Join(args[:1], " ") + " " + strings.Join(flags, " ")
		key := "m3o_bench_" + rand.Text()
		env := []string{"INGRESS_BOOTSTRAP_KEY=" + key}
		if p.proc, err = ps.startQuiet(program, args, env); err != nil {
			return err
		}
		if err := p.proc.listening(ctx, p.address); err != nil {
			return err
		}
		client := func(args ...string) error {
			cmd := exec.CommandContext(ctx, program, append(args, "--address", "http://"+p.address)...)
			cmd.Env = append(os.Environ(), "M3O_API_TOKEN="+key)
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
			}
			return nil
		}
		return errors.Join(
			client("app", "run", "bench", "--backend", "http://"+s.backend),
			client("url", "create", redirectTarget, "--id", "bench"),
		)
	}
}

// buildIngress builds the program, as it would be released.
func buildIngress(ctx context.Context, s surroundings) (string, error) {
	program := filepath.Join(s.dir, "ingress")
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", program, "github.com/m3o/ingress/cmd/ingress")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the ingress: %w\n%s", err, out)
	}
	return program, nil
}

// knows reports whether the program has all flags.
func knows(program string, flags []string) bool {
	help, err := exec.Command(program, "serve", "--help").CombinedOutput()
	if err != nil {
		return false
	}
	for _, flag := range flags {
		name, _, _ := strings.Cut(flag, "=")
		if !strings.Contains(string(help), name) {
			return false
		}
	}
	return true
}
