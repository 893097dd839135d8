package workload_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/logfile"
	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/workload"
)

// another returns a registry that knows only what is stored.
func (f *fixture) another() *workload.Registry { return f.registry(workload.App) }

func testJournal(t *testing.T, f *fixture) {
	a := tenant("a")
	f.createManaged(t, a, "hello")
	f.promote(t, "hello", 1)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	written := make(chan struct{}, 100)
	f.db.Subscribe(func(store.Change) { written <- struct{}{} })
	f.Entered("app/hello", 1, workload.Idle, "nobody asked")
	if w := f.get(t, a, "hello"); w.State != workload.Idle || w.Reason != "nobody asked" || w.Newest.State != workload.Idle {
		t.Errorf("not written yet, it is %q: %s", w.State, w.Reason)
	}
	if b, err := f.Backend(ctx, "hello"); err != nil || b.State != workload.Idle || b.Reason != "nobody asked" {
		t.Errorf("not written yet, it resolves to %+v, %v", b, err)
	}
	if list, err := f.List(ctx, a); err != nil || list[0].State != workload.Idle || f.states(t, a, "hello")[0] != workload.Idle {
		t.Errorf("not written yet, it is listed as %+v, %v", list, err)
	}
	if w, err := f.another().Get(ctx, a, "hello"); err != nil || w.State != workload.Ready {
		t.Errorf("it was written already: %v, %v", w.State, err)
	}
	go func() { ended <- f.RunJournal(ctx) }()
	select {
	case <-written:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was written")
	}
	if w, err := f.another().Get(ctx, a, "hello"); err != nil || w.State != workload.Idle {
		t.Errorf("written, it is %v, %v", w.State, err)
	}
	stop()
	f.Entered("app/hello", 1, workload.Starting, "woken by \xff\x00")
	must(t, <-ended)
	f.Entered("app/nosuch", 1, workload.Ready, "")
	f.Entered("function/hello", 1, workload.Failed, "")
	must(t, f.RunJournal(ctx)) // writes what was told after the end as well
	if w, err := f.another().Get(t.Context(), a, "hello"); err != nil || w.State != workload.Starting || w.Reason != "woken by \uFFFD\uFFFD" {
		t.Errorf("after the end it is %v because %q, %v", w.State, w.Reason, err)
	}
}

func testJournalOrder(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	f.createManaged(t, a, "hello")
	f.promote(t, "hello", 1)
	f.update(t, a, "hello", workload.Update{Env: map[string]string{"A": "1"}})
	for range 3000 { // more than wait
		f.Entered("app/hello", 1, workload.Starting, "crashed")
		f.Entered("app/hello", 1, workload.CrashLooping, "again")
	}
	f.promoted(t, "hello", 1)
	done, stop := context.WithCancel(ctx)
	stop()
	must(t, f.RunJournal(done))
	if w, err := f.another().Get(ctx, a, "hello"); err != nil || w.State != workload.Ready || w.Reason != "" {
		t.Errorf("promoted, it is %q %q, %v", w.State, w.Reason, err)
	}
}

// TestTheJournalWaitsForAStoreThatCannotWrite is for a full disk or a busy store.
func TestTheJournalWaitsForAStoreThatCannotWrite(t *testing.T) {
	f, path := newFileFixture(t)
	a := tenant("a")
	logged := lines{got: make(chan struct{}, 1)}
	o := f.options()
	o.Log = slog.New(slog.NewTextHandler(&logged, nil))
	r := workload.NewRegistry(workload.App, o)
	f.Registry = r
	f.createManaged(t, a, "hello")
	f.promote(t, "hello", 1)
	exec := func(statement string) {
		must(t, f.db.Write(t.Context(), func(tx *store.Tx) error { _, err := tx.ExecContext(t.Context(), statement); return err }))
	}
	exec("CREATE TRIGGER full BEFORE UPDATE ON workload_versions BEGIN SELECT RAISE(ABORT, 'no space'); END")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.RunJournal(ctx) }()
	r.Entered("app/hello", 1, workload.Idle, "")
	logged.wait(t)
	if w := f.get(t, a, "hello"); w.State != workload.Idle {
		t.Errorf("it shows %q", w.State)
	}
	written := make(chan struct{}, 100)
	f.db.Subscribe(func(store.Change) { written <- struct{}{} })
	exec("DROP TRIGGER full")
	select {
	case <-written:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s was not written", path)
	}
	stop()
	must(t, <-ended)
}

// lines tells when something was written to it.
type lines struct{ got chan struct{} }

func (l *lines) Write(p []byte) (int, error) {
	select {
	case l.got <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (l *lines) wait(t *testing.T) {
	t.Helper()
	select {
	case <-l.got:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was logged")
	}
}

func testLogs(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	f.createManaged(t, a, "hello")
	f.create(t, a, "registered")
	if _, err := f.Logs(ctx, a, "registered", workload.LogRequest{Type: workload.RunLogs}); !errors.Is(err, workload.ErrRegistered) {
		t.Errorf("of a backend: %v", err)
	}
	if log, err := f.Logs(ctx, a, "hello", workload.LogRequest{Type: workload.BuildLogs}); err != nil || log != (workload.Log{Version: 1}) {
		t.Errorf("before it is built: %+v, %v", log, err)
	}
	f.promote(t, "hello", 1)
	f.update(t, a, "hello", workload.Update{Redeploy: true})
	for n, name := range map[int64]func(string) string{1: workload.RunLog, 2: workload.BuildLog} {
		dir := f.layout.Version(workload.App, "hello", n)
		f.writeLog(t, dir, name(dir), fmt.Sprintf("line %d\nmore\xff\n", n))
	}
	for _, row := range []struct {
		req  workload.LogRequest
		want workload.Log
	}{
		{workload.LogRequest{Type: workload.RunLogs}, workload.Log{Text: "line 1\nmore\uFFFD\n", Next: 13, Version: 1}},
		{workload.LogRequest{Type: workload.BuildLogs}, workload.Log{Text: "line 2\nmore\uFFFD\n", Next: 13, Version: 2}},
		{workload.LogRequest{Type: workload.BuildLogs, Version: 1}, workload.Log{Version: 1}},
		{workload.LogRequest{Type: workload.RunLogs, Offset: 7}, workload.Log{Text: "more\uFFFD\n", Next: 13, Version: 1}},
		{workload.LogRequest{Type: workload.RunLogs, Offset: -6}, workload.Log{Text: "more\uFFFD\n", Next: 13, Version: 1}},
		{workload.LogRequest{Type: workload.RunLogs, Offset: 99}, workload.Log{Next: 13, Version: 1}},
	} {
		if got, err := f.Logs(ctx, a, "hello", row.req); err != nil || got != row.want {
			t.Errorf("%+v: %+v, %v; want %+v", row.req, got, err, row.want)
		}
	}
	if _, err := f.Logs(ctx, a, "hello", workload.LogRequest{Type: "../run"}); !isInvalid("logs_type")(err) {
		t.Errorf("of another type: %v", err)
	}
	if _, err := f.Logs(ctx, a, "hello", workload.LogRequest{Type: workload.RunLogs, Version: 9}); !errors.Is(err, workload.ErrNoVersion) {
		t.Errorf("of no version: %v", err)
	}
	if _, err := f.Logs(ctx, tenant("b"), "hello", workload.LogRequest{Type: workload.RunLogs}); !errors.Is(err, workload.ErrNotFound) {
		t.Errorf("another tenant's: %v", err)
	}
	f.testLongLog(t)
}

// testLongLog reads what takes three bytes for each one of the file.
func (f *fixture) testLongLog(t *testing.T) {
	a := tenant("a")
	dir := f.layout.Version(workload.App, "hello", 2)
	content := make([]byte, 3<<20)
	for i := range content {
		content[i] = 0xff
		if i%2 == 0 {
			content[i] = 'x'
		}
	}
	f.writeLog(t, dir, workload.RunLog(dir), string(content))
	var offset int64
	for parts := 0; offset < int64(len(content)); parts++ {
		log, err := f.Logs(t.Context(), a, "hello", workload.LogRequest{Type: workload.RunLogs, Version: 2, Offset: offset})
		if err != nil || len(log.Text) > 1<<20 || log.Next <= offset || parts > 20 {
			t.Fatalf("part %d at %d: %d bytes, next %d, %v", parts, offset, len(log.Text), log.Next, err)
		}
		offset = log.Next
	}
}

func (f *fixture) writeLog(t *testing.T, dir, path, content string) {
	t.Helper()
	mkdir(t, dir)
	w, err := logfile.Create(path, 16<<20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	must(t, w.Close())
}

func testManagedIsolation(t *testing.T, f *fixture) {
	ctx, a, b := t.Context(), tenant("a"), tenant("b")
	f.createManaged(t, a, "hello")
	f.promote(t, "hello", 1)
	before := f.get(t, a, "hello")
	for name, call := range map[string]func() error{
		"versions": func() error { _, _, err := f.Versions(ctx, b, "hello"); return err },
		"events":   func() error { _, err := f.Events(ctx, b, "hello"); return err },
		"rollback": func() error { _, err := f.Rollback(ctx, b, "hello", 0); return err },
		"logs": func() error {
			_, err := f.Logs(ctx, b, "hello", workload.LogRequest{Type: workload.RunLogs})
			return err
		},
		"update": func() error { return f.Update(ctx, b, "hello", workload.Update{Redeploy: true}) },
		"get":    func() error { _, err := f.Get(ctx, b, "hello"); return err },
		"delete": func() error { return f.Delete(ctx, b, "hello") },
	} {
		if err := call(); !errors.Is(err, workload.ErrNotFound) {
			t.Errorf("%s by another tenant: %v", name, err)
		}
	}
	if after := f.get(t, a, "hello"); after.Current != before.Current || after.Revision != before.Revision || !slices.Equal(f.states(t, a, "hello"), []workload.State{workload.Ready}) {
		t.Errorf("it was %+v and is %+v", before, after)
	}
	if w := f.createManaged(t, b, "hello"); w.ID == "hello" || w.Newest.Number != 1 {
		t.Errorf("the other tenant's is %+v", w)
	}
}
