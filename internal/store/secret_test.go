package store_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/store"
	"pgregory.net/rapid"
)

const (
	keyA = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	keyB = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff"
)

func sealer(t *testing.T, setting string) *store.Sealer {
	t.Helper()
	s, err := store.OpenSealer("", setting)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestASealedValueOpensForItsPurposeOnly(t *testing.T) {
	s := sealer(t, keyA)
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOf(rapid.Byte()).Draw(t, "plain")
		purpose := rapid.String().Draw(t, "purpose")
		sealed := s.Seal(purpose, plain)
		if got, err := s.Open(purpose, sealed); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("got %q, %v", got, err)
		}
		if _, err := s.Open(purpose+"x", sealed); err == nil {
			t.Fatal("it opened for another purpose")
		}
		if len(plain) > 8 && strings.Contains(sealed, string(plain)) {
			t.Fatal("the sealed value shows what it hides")
		}
	})
}

func TestKeysRotate(t *testing.T) {
	old := sealer(t, keyA).Seal("p", []byte("x"))
	both := sealer(t, keyB+","+keyA)
	if got, err := both.Open("p", old); err != nil || string(got) != "x" {
		t.Errorf("the old value with both keys: %q, %v", got, err)
	}
	fresh := both.Seal("p", []byte("y"))
	if got, err := sealer(t, keyB).Open("p", fresh); err != nil || string(got) != "y" {
		t.Errorf("the new value with the new key alone: %q, %v", got, err)
	}
	if _, err := sealer(t, keyB).Open("p", old); err == nil || strings.Contains(err.Error(), keyA[:16]) {
		t.Errorf("the old value without its key: %v", err)
	}
}

func TestBadKeysAreRefusedWithoutBeingShown(t *testing.T) {
	for _, bad := range []string{" ", "short", keyA[:62], keyA + "00", keyA + " zz", strings.Repeat("g", 64)} {
		_, err := store.OpenSealer("", bad)
		if err == nil {
			t.Errorf("%q was taken", bad)
		} else if strings.TrimSpace(bad) != "" && strings.Contains(err.Error(), strings.TrimSpace(bad)) {
			t.Errorf("the error shows the key: %v", err)
		}
	}
}

func TestTheKeyFileIsMadeOncePrivately(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret.key")
	first, err := store.OpenSealer(path, "")
	if err != nil {
		t.Fatal(err)
	}
	sealed := first.Seal("p", []byte("x"))
	second, err := store.OpenSealer(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := second.Open("p", sealed); err != nil || string(got) != "x" {
		t.Errorf("after reopening: %q, %v", got, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file is %v, %v; want mode 0600", info, err)
	}
}

func FuzzOpen(f *testing.F) {
	s, err := store.OpenSealer("", keyA)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("")
	f.Add(".")
	f.Add(s.Seal("p", []byte("x")))
	f.Add(s.Seal("q", []byte("x")))
	f.Fuzz(func(t *testing.T, sealed string) {
		if got, err := s.Open("p", sealed); err == nil && string(got) != "x" {
			t.Errorf("%q opened as %q", sealed, got)
		}
	})
}
