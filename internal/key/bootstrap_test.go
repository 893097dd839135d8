package key

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/store/storetest"
	apipb "github.com/m3o/ingress/proto/api"
)

// restart is what a new process does with the same database.
func restart(t *testing.T, db *store.DB, given, file string) (*Service, Bootstrap) {
	t.Helper()
	s := New(db, Options{})
	b, err := s.EnsureBootstrap(t.Context(), given, file)
	if err != nil {
		t.Fatal(err)
	}
	return s, b
}

func works(t *testing.T, s *Service, secret string) bool {
	t.Helper()
	caller, err := s.Authenticate(t.Context(), secret)
	if err != nil {
		unauthorizedIs(t, err)
	}
	return err == nil && caller.Unlimited && caller.Has(api.ScopeOperator)
}

func TestAGeneratedBootstrapKeyIsKept(t *testing.T) {
	db, file := storetest.Open(t), filepath.Join(t.TempDir(), "bootstrap.key")
	s, first := restart(t, db, "", file)
	if !first.Generated || first.File != file || first.Revoked || !Valid(first.Secret) || !works(t, s, first.Secret) {
		t.Errorf("at first: %v", first)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v; want mode 0600", info, err)
	}
	s, second := restart(t, db, "", file)
	if second.Generated || second.Secret != first.Secret || second.File != file || !works(t, s, first.Secret) {
		t.Errorf("at the second start: %v", second)
	}
	if tenants, err := s.keys.tenants(t.Context()); err != nil || len(tenants) != 1 || tenants[0].name != "default" {
		t.Errorf("the tenants are %v, %v", tenants, err)
	}
}

func TestAChangedBootstrapKeyReplacesTheOld(t *testing.T) {
	db, file := storetest.Open(t), filepath.Join(t.TempDir(), "bootstrap.key")
	const a, b = "given key A, twenty or more", "given key B, twenty or more"
	_, generated := restart(t, db, "", file)
	s, given := restart(t, db, a+"\n", file)
	if given.Generated || given.File != "" || given.Secret != a {
		t.Errorf("a given key: %v", given)
	}
	if !works(t, s, a) || works(t, s, generated.Secret) {
		t.Error("the given key did not replace the generated one")
	}
	s, _ = restart(t, db, b, file)
	if !works(t, s, b) || works(t, s, a) {
		t.Error("B did not replace A")
	}
	s, _ = restart(t, db, a, file)
	if !works(t, s, a) || works(t, s, b) {
		t.Error("A did not come back")
	}
	s, fresh := restart(t, db, "", file)
	if !fresh.Generated || works(t, s, generated.Secret) || works(t, s, a) || !works(t, s, fresh.Secret) {
		t.Error("without a given key there is a new one, and none of the replaced")
	}
	if _, same := restart(t, db, fresh.Secret, file); same.File != "" {
		t.Errorf("given what is in the file: %v", same)
	}
	if content, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(content)) != fresh.Secret {
		t.Errorf("the file of a key that was not replaced is %q, %v", content, err)
	}
}

func TestAReplacedBootstrapKeyIsOutOfCachesAtOnce(t *testing.T) {
	db := storetest.Open(t)
	const a, b = "given key A, twenty or more", "given key B, twenty or more"
	s, _ := restart(t, db, a, "")
	if !works(t, s, a) {
		t.Fatal("A does not work")
	}
	restart(t, db, b, "")
	if works(t, s, a) {
		t.Error("the old process accepts the replaced key")
	}
}

func TestARevokedBootstrapKeyIsNotBroughtBack(t *testing.T) {
	for _, given := range []string{"", "given key A, twenty or more"} {
		db, file := storetest.Open(t), filepath.Join(t.TempDir(), "bootstrap.key")
		s, b := restart(t, db, given, file)
		caller, err := s.Authenticate(t.Context(), b.Secret)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.revoke(t.Context(), caller, &apipb.RevokeRequest{Id: caller.KeyID}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if works(t, s, b.Secret) {
				t.Error("a revoked key works")
			}
			if !s.IsPlatformKey(b.Secret) {
				t.Error("a revoked key is still a secret of ours")
			}
			var again Bootstrap
			if s, again = restart(t, db, given, file); !again.Revoked || again.Generated || again.Secret != b.Secret {
				t.Errorf("after a restart: %v", again)
			}
		}
		s, other := restart(t, db, "another key, twenty or more", file)
		if other.Revoked || !works(t, s, other.Secret) {
			t.Error("a new key does not work")
		}
		// A generated key went with its file; going back to a given one leaves none.
		if s, again := restart(t, db, given, file); again.Revoked != (given != "") || works(t, s, b.Secret) || works(t, s, other.Secret) {
			t.Error("the revoked key came back")
		}
	}
}

func TestBadBootstrapKeys(t *testing.T) {
	db := storetest.Open(t)
	folder := t.TempDir()
	short := filepath.Join(folder, "short.key")
	if err := os.WriteFile(short, []byte("too-short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, given, file, says string }{
		{"short", "nineteen-characters", "", "at least 20 characters"},
		{"short in runes", strings.Repeat("é", 19), "", "at least 20 characters"},
		{"two lines", "ten chars\nand ten more", "", "one line"},
		{"invalid UTF-8", strings.Repeat("\xff", 20), "", "one line"},
		{"short file", "", short, short},
		{"a folder", "", folder, folder},
		{"no such folder", "", filepath.Join(folder, "none", "bootstrap.key"), "none"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, err := New(db, Options{}).EnsureBootstrap(t.Context(), test.given, test.file)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("got %v, %v; want an error that says %q", b, err, test.says)
			}
			if strings.Contains(err.Error(), "too-short") || test.given != "" && strings.Contains(err.Error(), test.given) {
				t.Errorf("the error shows the key: %v", err)
			}
		})
	}
	var rows int
	if err := db.QueryRowContext(t.Context(), "SELECT (SELECT COUNT(*) FROM keys) + (SELECT COUNT(*) FROM tenants)").Scan(&rows); err != nil || rows != 0 {
		t.Errorf("%d rows were written, %v", rows, err)
	}
}

func TestAKeyOfSomebodyCannotBecomeTheBootstrapKey(t *testing.T) {
	w := newWorld(t, Options{})
	_, err := w.EnsureBootstrap(t.Context(), w.aliceKey, "")
	if err == nil || !strings.Contains(err.Error(), "give another one") || strings.Contains(err.Error(), w.aliceKey) {
		t.Errorf("got %v", err)
	}
	if caller := w.mustAuthenticate(t, w.aliceKey); caller.Tenant != w.alice.Tenant || caller.Unlimited {
		t.Errorf("the key is now %+v", caller)
	}
}

func TestTheBootstrapKeyIsNotPrinted(t *testing.T) {
	b := Bootstrap{Secret: "the secret itself", File: "/data/bootstrap.key", Generated: true}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("started", "bootstrap", b)
	for _, text := range []string{fmt.Sprint(b), fmt.Sprintf("%+v", b), fmt.Sprintf("%#v", b), log.String()} {
		if strings.Contains(text, b.Secret) || !strings.Contains(text, b.File) {
			t.Errorf("printed as %s", text)
		}
	}
}
