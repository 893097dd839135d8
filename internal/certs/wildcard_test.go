package certs

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/m3o/ingress/internal/certs/acmetest"
)

func TestWildcardsAreObtainedByDNSAndUsed(t *testing.T) {
	ca := acmetest.New(t, validity)
	var domains atomic.Pointer[[]string]
	domains.Store(&[]string{"app.test", "localhost"})
	hosts := serving("m3o.test", "hello.app.test")
	storage := newStorage(t)
	withDNS := func(o *ACME) {
		o.DNS, o.Wildcards = ca.DNS, func() []string { return *domains.Load() }
	}
	s := startSite(t, ca, storage, hosts, withDNS)
	eventually(t, "the wildcard certificate is there", func() bool { return s.m.acme.has("*.app.test") })
	for _, name := range []string{"hello.app.test", "other.app.test"} { // what there is not gets a page, not an alert
		if leaf := s.mustVisit(name); leaf.DNSNames[0] != "*.app.test" {
			t.Errorf("%s is shown the certificate of %v", name, leaf.DNSNames)
		}
		if !s.m.Covers(name) {
			t.Errorf("%s is not covered", name)
		}
	}
	if s.mustVisit("m3o.test").DNSNames[0] != "m3o.test" {
		t.Error("a host that is not under the wildcard has none of its own")
	}
	if _, err := s.visit("two.labels.app.test"); !isUnrecognized(err) {
		t.Errorf("two labels: %v", err)
	}
	if n := ca.Orders(); n != 2 {
		t.Errorf("%d orders, want one for the wildcard and one for the other host", n)
	}
	if set, cleared := ca.DNS.Counts(); set == 0 || set != cleared {
		t.Errorf("%d records were set and %d cleared", set, cleared)
	}

	domains.Store(&[]string{"app.test", "fn.test"})
	s.m.acme.manageWildcards()
	eventually(t, "the wildcard of a new domain is there", func() bool { return s.m.acme.has("*.fn.test") })
	s.mustVisit("any.fn.test")
	s.close()

	again := startSite(t, ca, storage, hosts, withDNS)
	eventually(t, "the wildcards are managed", func() bool { _, ok := again.m.acme.wildcardOf("any.fn.test"); return ok })
	again.mustVisit("hello.app.test")
	again.mustVisit("any.fn.test")
	if n := ca.Orders(); n != 3 {
		t.Errorf("%d orders after a restart, want 3", n)
	}
}

// What an operator must be able to end whose key is out does not depend on the hook
// that it was obtained by.
func TestAWildcardIsRevokedWithoutItsHook(t *testing.T) {
	ca := acmetest.New(t, validity)
	storage := newStorage(t)
	s := startSite(t, ca, storage, serving("hello.app.test"), func(o *ACME) {
		o.DNS, o.Wildcards = ca.DNS, func() []string { return []string{"app.test"} }
	})
	eventually(t, "the wildcard certificate is there", func() bool { return s.m.acme.has("*.app.test") })
	s.close()

	again := startSite(t, ca, storage, serving("hello.app.test"))
	if err := again.m.Revoke(t.Context(), "*.app.test"); err != nil {
		t.Fatal(err)
	}
	if n := ca.Revoked(); n != 1 || again.m.acme.has("*.app.test") {
		t.Errorf("%d certificates were revoked, and there is one: %t", n, again.m.acme.has("*.app.test"))
	}
}

func TestAWildcardIsAwaitedRatherThanReplaced(t *testing.T) {
	ca := acmetest.New(t, validity)
	ca.DNS.Break(errors.New("the provider is away"))
	s := startSite(t, ca, newStorage(t), serving("hello.app.test"), func(o *ACME) {
		o.DNS, o.Wildcards = ca.DNS, func() []string { return []string{"app.test"} }
	})
	eventually(t, "the failure is in the log", func() bool { return strings.Contains(s.log.String(), "the provider is away") })
	if _, err := s.visit("hello.app.test"); err == nil || isUnrecognized(err) {
		t.Errorf("while there is no wildcard: %v, want an internal error", err)
	}
	if s.m.Covers("hello.app.test") {
		t.Error("visitors are redirected to where there is no certificate")
	}
	if set, cleared := ca.DNS.Counts(); set+cleared != 0 {
		t.Errorf("%d set, %d cleared", set, cleared)
	}
}

func TestAProgramIsADNSHook(t *testing.T) {
	t.Setenv("INGRESS_SECRET_KEY", "ours")
	t.Setenv("M3O_API_TOKEN", "ours")
	t.Setenv("PROVIDER_TOKEN", "theirs")
	dir := t.TempDir()
	program := filepath.Join(dir, "hook")
	out := filepath.Join(dir, "out")
	script := fmt.Sprintf("#!/bin/sh\n[ \"$2\" = fail.test ] && { echo no such zone; exit 3; }\necho \"$1|$2|$3|$PROVIDER_TOKEN|$INGRESS_SECRET_KEY$M3O_API_TOKEN\" >> %s\n", out)
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	hook := NewDNSHook(program)
	value := "-x $(id) `id`" // no shell may see it
	if err := errors.Join(hook.Set(t.Context(), "_acme-challenge.app.test", value), hook.Clear(t.Context(), "_acme-challenge.app.test", value)); err != nil {
		t.Fatal(err)
	}
	said, err := os.ReadFile(out)
	want := "set|_acme-challenge.app.test|" + value + "|theirs|\nclear|_acme-challenge.app.test|" + value + "|theirs|\n"
	if err != nil || string(said) != want {
		t.Errorf("it was run as %q, want %q", said, want)
	}
	err = hook.Set(t.Context(), "fail.test", "x")
	if err == nil || !strings.Contains(err.Error(), "no such zone") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("a failure: %v", err)
	}
	if err := NewDNSHook(filepath.Join(dir, "nothing")).Set(t.Context(), "a", "b"); err == nil {
		t.Error("a program that is not there worked")
	}
}

func TestAWebServiceIsADNSHook(t *testing.T) {
	var got []map[string]string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body map[string]string
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %v: %v", r.Method, r.Header, err)
		}
		got = append(got, body)
		if body["name"] == "fail.test" {
			http.Error(w, "no such zone", http.StatusConflict)
		}
	}))
	t.Cleanup(server.Close)
	hook := NewDNSHook(server.URL + "/dns")
	if err := errors.Join(hook.Set(t.Context(), "a.test", "v"), hook.Clear(t.Context(), "a.test", "v")); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != "[map[action:set name:a.test value:v] map[action:clear name:a.test value:v]]" {
		t.Errorf("it got %v", got)
	}
	if err := hook.Set(t.Context(), "fail.test", "v"); err == nil || !strings.Contains(err.Error(), "no such zone") || !strings.Contains(err.Error(), "409") {
		t.Errorf("a failure: %v", err)
	}
}

// A record that was not set must not pass for one that was, and the URL's secret is for
// the host that it names.
func TestADNSHookGoesNowhereElse(t *testing.T) {
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(other.Close)
	for _, status := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect} {
		server := httptest.NewServer(http.RedirectHandler(other.URL, status))
		hook := NewDNSHook(server.URL + "/dns?token=sesame")
		moved := hook.Set(t.Context(), "a.test", "v")
		server.Close()
		gone := hook.Set(t.Context(), "a.test", "v")
		if moved == nil || gone == nil || strings.Contains(moved.Error()+gone.Error(), "sesame") {
			t.Errorf("%d: %v, and without the service: %v", status, moved, gone)
		}
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("the other host was asked %d times", n)
	}
}
