package certs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// DNS publishes TXT records, by which an authority sees that a domain is ours.
// Several with one name and different values may be set at once. Both methods are
// called concurrently.
type DNS interface {
	// Set publishes a record, and returns once the domain's name servers answer
	// with it. The name is fully qualified, without a trailing dot.
	Set(ctx context.Context, name, value string) error
	// Clear takes the record with the name and the value away.
	Clear(ctx context.Context, name, value string) error
}

// dnsTimeout bounds one call of a hook.
const dnsTimeout = 5 * time.Minute

// maxHookOutput is what is quoted of what a hook says when it fails.
const maxHookOutput = 1 << 10

// NewDNSHook returns a DNS that the operator's own program or web service works:
// target is an http or https URL, or else a program's file.
//
// A program is run with the arguments "set" or "clear", name and value. It must
// exit with 0. It gets our environment without our own secrets. A web service
// gets a POST of {"action":"set","name":…,"value":…}, and must answer 2xx. Its URL
// may have a secret in it, which no error repeats.
func NewDNSHook(target string) DNS {
	if strings.HasPrefix(target, "http://") || strings.HasPrefix(target, "https://") {
		return webHook{url: target, client: &http.Client{Timeout: dnsTimeout, CheckRedirect: stay}}
	}
	return programHook{target}
}

// stay follows no redirect: most would make a GET of the POST, whose answer says nothing
// of the record, and tell another host the URL.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

type programHook struct{ path string }

// Set implements DNS.
func (h programHook) Set(ctx context.Context, name, value string) error {
	return h.run(ctx, "set", name, value)
}

// Clear implements DNS.
func (h programHook) Clear(ctx context.Context, name, value string) error {
	return h.run(ctx, "clear", name, value)
}

func (h programHook) run(ctx context.Context, action, name, value string) error {
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.path, action, name, value)
	cmd.Env = slices.DeleteFunc(os.Environ(), isOurs)
	cmd.WaitDelay = 5 * time.Second // for what it started and left behind
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("the DNS hook %s %s %s: %w: %s", h.path, action, name, err, tail(output))
	}
	return nil
}

// isOurs reports whether a variable is a setting of the ingress, some of which are
// secrets.
func isOurs(variable string) bool {
	return strings.HasPrefix(variable, "INGRESS_") || strings.HasPrefix(variable, "M3O_")
}

func tail(output []byte) []byte {
	output = bytes.TrimSpace(output)
	return output[max(0, len(output)-maxHookOutput):]
}

type webHook struct {
	url    string
	client *http.Client
}

// Set implements DNS.
func (h webHook) Set(ctx context.Context, name, value string) error {
	return h.post(ctx, "set", name, value)
}

// Clear implements DNS.
func (h webHook) Clear(ctx context.Context, name, value string) error {
	return h.post(ctx, "clear", name, value)
}

func (h webHook) post(ctx context.Context, action, name, value string) error {
	body, err := json.Marshal(map[string]string{"action": action, "name": name, "value": value})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("the DNS hook: %w", withoutURL(err))
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := h.client.Do(req)
	if err != nil {
		return fmt.Errorf("the DNS hook: %s %s: %w", action, name, withoutURL(err))
	}
	defer res.Body.Close()
	said, err := io.ReadAll(io.LimitReader(res.Body, maxHookOutput))
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("the DNS hook: %s %s: it answered %s: %s", action, name, res.Status, tail(said))
	}
	return err
}

// withoutURL takes the URL out of an error of net/http's or net/url's.
func withoutURL(err error) error {
	if tried, ok := errors.AsType[*url.Error](err); ok {
		return tried.Err
	}
	return err
}

// dnsSolver proves by DNS-01 that a domain is ours. It is an acmez.Solver.
type dnsSolver struct {
	dns DNS
	log *slog.Logger
}

// Present implements acmez.Solver.
func (s dnsSolver) Present(ctx context.Context, challenge acme.Challenge) error {
	return s.dns.Set(ctx, challenge.DNS01TXTRecordName(), challenge.DNS01KeyAuthorization())
}

// CleanUp implements acmez.Solver. The order may have been given up, which is no
// reason to leave records behind.
func (s dnsSolver) CleanUp(ctx context.Context, challenge acme.Challenge) error {
	err := s.dns.Clear(context.WithoutCancel(ctx), challenge.DNS01TXTRecordName(), challenge.DNS01KeyAuthorization())
	if err != nil {
		s.log.Warn("a DNS record was not cleared", "name", challenge.DNS01TXTRecordName(), "error", err)
	}
	return err
}
