package workload_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/workload"
)

// files returns how many files a tenant's uploads have.
func (f *fixture) files(t testing.TB, who string) int {
	t.Helper()
	entries, err := os.ReadDir(f.layout.Uploads(who))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return len(entries)
}

func (f *fixture) upload(t testing.TB, caller api.Caller, content string) string {
	t.Helper()
	id, size, err := f.AddUpload(t.Context(), caller, strings.NewReader(content))
	if err != nil || size != int64(len(content)) {
		t.Fatalf("upload: %d bytes, %v", size, err)
	}
	return id
}

func testUpload(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	id := f.upload(t, a, "archive")
	path, err := f.UploadFile("a", id)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file: %v, %v", info, err)
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != "archive" {
		t.Errorf("it holds %q, %v", content, err)
	}
	s := managedSpec("hello")
	s.Source = workload.Source{Upload: id}
	if _, err := f.Create(ctx, tenant("b"), s); !isInvalid("no such upload")(err) {
		t.Errorf("another tenant's upload: %v", err)
	}
	if _, err := f.Create(ctx, a, s); err != nil {
		t.Fatal(err)
	}
	f.clock.Pass(3 * time.Hour)
	must(t, f.PruneUploads(ctx))
	if f.files(t, "a") != 1 {
		t.Error("it was removed before it was built")
	}
	f.promote(t, "hello", 1)
	must(t, f.PruneUploads(ctx))
	if f.files(t, "a") != 0 {
		t.Error("it is there after it was built")
	}
	for _, u := range []workload.Update{{Redeploy: true}, {Program: &workload.Program{Runtime: "go"}}} {
		if err := f.Update(ctx, a, "hello", u); !errors.Is(err, workload.ErrUploadAgain) {
			t.Errorf("deploying it again: %v", err)
		}
	}
	unused := f.upload(t, a, "x")
	f.clock.Pass(2 * time.Hour)
	must(t, os.WriteFile(filepath.Join(f.layout.Uploads("a"), "stray"), nil, 0o600))
	must(t, f.PruneUploads(ctx))
	if n := f.files(t, "a"); n != 0 {
		t.Errorf("%d files are left of what nobody used", n)
	}
	if err := f.Update(ctx, a, "hello", workload.Update{Source: workload.Source{Upload: unused}}); !isInvalid("upload it again")(err) {
		t.Errorf("an upload of long ago: %v", err)
	}
}

func testUploadBounds(t *testing.T, f *fixture) {
	a := tenant("a")
	broken := errors.New("the line is cut")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	poor := a
	poor.Quotas.VersionBytes = 100
	for _, row := range []struct {
		name   string
		ctx    context.Context
		caller api.Caller
		body   io.Reader
		want   func(error) bool
	}{
		{"one byte too many", t.Context(), a, bytes.NewReader(make([]byte, 1<<20+1)), isQuota},
		{"without end", t.Context(), a, iotest.OneByteReader(io.LimitReader(zeros{}, 2<<20)), isQuota},
		{"beyond the quota", t.Context(), poor, bytes.NewReader(make([]byte, 101)), isQuota},
		{"cut", t.Context(), a, io.MultiReader(strings.NewReader("x"), iotest.ErrReader(broken)), is(broken)},
		{"whose sender left", gone, a, strings.NewReader("x"), is(context.Canceled)},
	} {
		if _, _, err := f.AddUpload(row.ctx, row.caller, row.body); !row.want(err) {
			t.Errorf("an upload %s: %v", row.name, err)
		}
		var rows int
		must(t, f.db.QueryRowContext(t.Context(), "SELECT count(*) FROM uploads").Scan(&rows))
		if n := f.files(t, "a"); n != 0 || rows != 0 {
			t.Errorf("an upload %s left %d files and %d rows", row.name, n, rows)
		}
	}
	f.upload(t, a, strings.Repeat("x", 1<<20))
	f.upload(t, withQuota(a, 1<<20+100), strings.Repeat("x", 99))
	for _, id := range []string{"", "..", "../../ingress.db", strings.Repeat("A", 26), strings.Repeat("a", 25) + "/"} {
		if path, err := f.UploadFile("a", id); !errors.Is(err, workload.ErrNotFound) {
			t.Errorf("%q is at %s, %v", id, path, err)
		}
	}
}

func withQuota(c api.Caller, quota int64) api.Caller {
	c.Quotas.VersionBytes = quota
	return c
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func testConcurrentUploads(t *testing.T, f *fixture) {
	a := withQuota(tenant("a"), 3000)
	stored := 0
	for _, err := range together(12, func(int) error {
		_, _, err := f.AddUpload(t.Context(), a, bytes.NewReader(make([]byte, 1000)))
		return err
	}) {
		if err == nil {
			stored++
		} else if !isQuota(err) {
			t.Error(err)
		}
	}
	if n := f.files(t, "a"); stored > 3 || n != stored {
		t.Errorf("%d uploads were stored of at most 3, and there are %d files", stored, n)
	}
}
