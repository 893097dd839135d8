package link

import (
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/store/storetest"
	urlpb "github.com/m3o/ingress/proto/url"
)

func mustCreate(t *testing.T, s *Service, tenant, id string) {
	t.Helper()
	_, err := s.create(t.Context(), owner(tenant), &urlpb.CreateRequest{Id: id, DestinationURL: "https://example.com"})
	if err != nil {
		t.Fatal(err)
	}
}

func hitsOf(t *testing.T, s *Service, tenant, id string) int64 {
	t.Helper()
	var res *urlpb.ListResponse
	err := s.list(t.Context(), owner(tenant), &urlpb.ListRequest{ShortURL: id}, func(sent *urlpb.ListResponse) error {
		res = sent
		return nil
	})
	if err != nil || len(res.GetUrlPairs()) != 1 {
		t.Fatalf("list: %v, %v", res, err)
	}
	return res.GetUrlPairs()[0].GetHitCount()
}

func TestHitsAreCountedOnceWhateverIsFlushedMeanwhile(t *testing.T) {
	w := newWorld(t)
	mustCreate(t, w.Service, "alice", "a")
	mustCreate(t, w.Service, "alice", "b")
	var begun, ended atomic.Int64 // hits of each link
	var busy sync.WaitGroup
	done := make(chan struct{})
	until := func(f func()) {
		for {
			select {
			case <-done:
				return
			default:
				f()
			}
		}
	}
	for range 2 {
		busy.Go(func() {
			until(func() {
				begun.Add(1)
				w.Hit("a")
				w.Hit("b")
				ended.Add(1)
			})
		})
		busy.Go(func() { // two flush at once, as at shutdown
			until(func() {
				if err := w.Flush(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
	for range 300 {
		least := ended.Load()
		n := hitsOf(t, w.Service, "alice", "a")
		if most := begun.Load(); n < least || n > most {
			t.Errorf("%d hits are listed; there were %d before and %d after", n, least, most)
		}
	}
	close(done)
	busy.Wait()
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := newService(w.db, w.clock) // sees only what is written
	for _, id := range []string{"a", "b"} {
		if n := hitsOf(t, other, "alice", id); n != begun.Load() {
			t.Errorf("%s: %d hits are written, want %d", id, n, begun.Load())
		}
	}
	if left := w.hits.snapshot(); len(left) != 0 {
		t.Errorf("left in memory: %v", left)
	}
}

func TestAFailedFlushLosesNothing(t *testing.T) {
	w := newWorld(t)
	mustCreate(t, w.Service, "alice", "a")
	w.Hit("a")
	w.Hit("a")
	if err := w.Flush(ended(t)); err == nil {
		t.Fatal("a flush that cannot write succeeds")
	}
	w.Hit("a")
	if n := hitsOf(t, w.Service, "alice", "a"); n != 3 {
		t.Errorf("%d hits after a failed flush, want 3", n)
	}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := hitsOf(t, newService(w.db, w.clock), "alice", "a"); n != 3 {
		t.Errorf("%d hits are written, want 3", n)
	}
}

// Whether a flush was done can be unknown. It counts once all the same.
func TestAFlushWithoutAnAnswerCountsOnce(t *testing.T) {
	server := storetest.StartPostgres(t)
	proxy := server.NewProxy(t)
	w := newService(storetest.OpenURL(t, proxy.Through(t, server.CreateDatabase(t))), newWorld(t).clock)
	mustCreate(t, w, "alice", "a")
	const rounds = 3
	for _, lose := range []func(){proxy.LoseCommit, proxy.LoseAnswer} {
		for range rounds {
			w.Hit("a")
			lose()
			if err := w.Flush(t.Context()); !store.IsUnsure(err) {
				t.Fatalf("the flush: %v", err)
			}
			w.Hit("a")
		}
	}
	for range 2 { // the first settles what is unsure and the rest, the second has nothing to do
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := hitsOf(t, w, "alice", "a"); n != 4*rounds {
		t.Errorf("%d hits, want %d", n, 4*rounds)
	}
	if left := w.hits.snapshot(); len(left) != 0 {
		t.Errorf("left in memory: %v", left)
	}
}

// The connection that takes the answer along is often the first sign of an outage. The
// tries that fail while it lasts say nothing of the one before them.
func TestAFlushWithoutAnAnswerBeforeAnOutageCountsOnce(t *testing.T) {
	server := storetest.StartPostgres(t)
	proxy := server.NewProxy(t)
	w := newService(storetest.OpenURL(t, proxy.Through(t, server.CreateDatabase(t))), newWorld(t).clock)
	mustCreate(t, w, "alice", "a")
	for _, lose := range []func(){proxy.LoseCommit, proxy.LoseAnswer} {
		w.Hit("a")
		lose()
		if err := w.Flush(t.Context()); !store.IsUnsure(err) {
			t.Fatalf("the flush: %v", err)
		}
		proxy.Cut()
		for range 2 {
			w.Hit("a")
			if err := w.Flush(t.Context()); err == nil || store.IsUnsure(err) {
				t.Fatalf("the flush without a database: %v", err)
			}
		}
		proxy.Heal()
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := hitsOf(t, w, "alice", "a"); n != 6 {
		t.Errorf("%d hits, want 6", n)
	}
	if left := w.hits.snapshot(); len(left) != 0 {
		t.Errorf("left in memory: %v", left)
	}
}

// Hits that could not be written are not those of another link that gets the id.
func TestHitsOfADeletedLinkAreNotThoseOfTheNext(t *testing.T) {
	w := newWorld(t)
	mustCreate(t, w.Service, "alice", "a")
	mustCreate(t, w.Service, "alice", "b")
	w.Hit("a")
	if err := w.Flush(ended(t)); err == nil {
		t.Fatal("a flush that cannot write succeeds")
	}
	if _, err := w.delete(t.Context(), owner("alice"), &urlpb.DeleteRequest{Id: "a"}); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, w.Service, "alice", "a")
	w.Hit("b")
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]int64{"a": 0, "b": 1} {
		if n := hitsOf(t, w.Service, "alice", id); n != want {
			t.Errorf("%d hits of %s, want %d", n, id, want)
		}
	}
}

func TestRunWritesHitsWhenItEnds(t *testing.T) {
	w := newWorld(t)
	mustCreate(t, w.Service, "alice", "a")
	w.Hit("a")
	w.Run(ended(t))
	if n := hitsOf(t, newService(w.db, w.clock), "alice", "a"); n != 1 {
		t.Errorf("%d hits are written, want 1", n)
	}
}

// An outage is spoken of when it begins, not every second; and at the end hits are not
// said to be kept.
func TestHitsThatCannotBeWrittenAreSpokenOfOnce(t *testing.T) {
	w := newWorld(t)
	var said strings.Builder
	w.log = slog.New(slog.NewTextHandler(&said, nil))
	mustCreate(t, w.Service, "alice", "a")
	w.Hit("a")
	if err := w.db.Close(); err != nil {
		t.Fatal(err)
	}
	for failed := range 3 {
		if !w.flushOrLog(t.Context(), failed == 0) {
			t.Fatal("a flush into a closed database did not fail")
		}
	}
	if n := strings.Count(said.String(), "they are kept"); n != 1 {
		t.Errorf("it was said %d times: %s", n, &said)
	}
	said.Reset()
	w.Run(ended(t))
	if got := said.String(); !strings.Contains(got, "are lost") || strings.Contains(got, "they are kept") {
		t.Errorf("at the end: %s", got)
	}
}

func TestHitDoesNotWaitForTheDatabase(t *testing.T) {
	w := newWorld(t)
	mustCreate(t, w.Service, "alice", "a")
	w.Hit("a")
	flushed := make(chan error, 1)
	err := w.db.Write(t.Context(), func(*store.Tx) error { // nobody else can write now
		go func() { flushed <- w.Flush(t.Context()) }()
		for w.hits.moving.TryRLock() { // until the flush has begun
			w.hits.moving.RUnlock()
			runtime.Gosched()
		}
		for range 100 {
			w.Hit("a")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-flushed; err != nil {
		t.Fatal(err)
	}
	if n := hitsOf(t, w.Service, "alice", "a"); n != 101 {
		t.Errorf("%d hits, want 101", n)
	}
}

func TestPendingHitsAreBounded(t *testing.T) {
	var h hits
	for i := range maxPending + 7 {
		h.add(fmt.Sprint(i))
	}
	h.add("0")
	if len(h.pending) != maxPending {
		t.Errorf("%d links have pending hits, want %d", len(h.pending), maxPending)
	}
	if h.of("0") != 2 {
		t.Error("a known link is not counted when the memory is full")
	}
	if lost := h.takeLost(); lost != 7 {
		t.Errorf("%d hits were lost, want 7", lost)
	}
	if h.takeLost() != 0 {
		t.Error("lost hits are reported twice")
	}
}

func TestHitsOfWhatIsNotThereGoNowhere(t *testing.T) {
	w := newWorld(t)
	mustCreate(t, w.Service, "alice", "a")
	for _, id := range []string{"nothing", "", "'; DELETE FROM links; --", strings.Repeat("x", 1000)} {
		w.Hit(id)
	}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := hitsOf(t, w.Service, "alice", "a"); n != 0 || len(w.hits.snapshot()) != 0 {
		t.Errorf("%d hits, %v pending", n, w.hits.snapshot())
	}
}

func BenchmarkHit(b *testing.B) {
	var h hits
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			h.add("abcdefghi")
		}
	})
}
