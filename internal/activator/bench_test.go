package activator

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"
)

func BenchmarkAcquire(b *testing.B) {
	w := newWorld(b, nil)
	w.acquire(b, hello).Release()
	b.ReportAllocs()
	for b.Loop() {
		l, err := w.Acquire(context.Background(), hello)
		if err != nil {
			b.Fatal(err)
		}
		l.Release()
	}
}

func BenchmarkAcquireParallel(b *testing.B) {
	w := newWorld(b, nil)
	w.acquire(b, hello).Release()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l, err := w.Acquire(context.Background(), hello)
			if err != nil {
				b.Error(err)
				return
			}
			l.Release()
		}
	})
}

func BenchmarkAcquireLimited(b *testing.B) {
	w := newWorld(b, nil)
	r := release(1)
	r.Settings.Concurrency = 10
	w.releases.set(r)
	w.acquire(b, hello).Release()
	b.ReportAllocs()
	for b.Loop() {
		l, err := w.Acquire(context.Background(), hello)
		if err != nil {
			b.Fatal(err)
		}
		l.Release()
	}
}

// BenchmarkWake measures what waking costs beyond the app's own start: that of a
// made-up app takes no time.
func BenchmarkWake(b *testing.B) {
	w := newWorld(b, nil)
	b.ReportAllocs()
	for b.Loop() {
		l, err := w.Acquire(context.Background(), hello)
		if err != nil {
			b.Fatal(err)
		}
		l.Release()
		if err := w.Remove(context.Background(), hello); err != nil {
			b.Fatal(err)
		}
	}
}

// sleepers wakes n workloads, lets them fall asleep, and returns the heap and the
// goroutines that remain, each less what there was before.
func sleepers(tb testing.TB, n int) (bytes, goroutines int) {
	var before, after runtime.MemStats
	elapsed := time.Now()
	clock := func() time.Time { return elapsed }
	w := newWorld(tb, func(o *Options) { o.Now = clock })
	w.stopRun()
	keys := make([]string, n)
	for i := range keys {
		r := release(1)
		r.ID = fmt.Sprintf("app%d", i)
		w.releases.set(r)
		keys[i] = r.Key()
	}
	w.journal.told()
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&before)
	running := runtime.NumGoroutine()
	for _, key := range keys {
		w.acquire(tb, key).Release()
	}
	elapsed = elapsed.Add(time.Hour)
	if !w.begin() {
		tb.Fatal("closed")
	}
	for _, r := range w.unused() {
		w.sleep(r)
	}
	w.Activator.tasks.Done()
	eventually(tb, func() bool { return w.alive() == 0 && runtime.NumGoroutine() <= running })
	w.set(func(r *runner) { // what the fakes keep is not the Activator's
		r.started, r.byAddr = nil, nil
	})
	w.journal.forget()
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	goroutines = runtime.NumGoroutine() - running
	runtime.KeepAlive(w)
	runtime.KeepAlive(keys)
	return int(after.HeapAlloc) - int(before.HeapAlloc), goroutines
}

func eventually(tb testing.TB, done func() bool) {
	tb.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(20 * time.Second)
	for !done() {
		select {
		case <-ticker.C:
		case <-deadline:
			tb.Fatal("it did not happen in time")
		}
	}
}

func TestSleepersCostNextToNothing(t *testing.T) {
	for _, n := range []int{1_000, 10_000} {
		bytes, goroutines := sleepers(t, n)
		t.Logf("%d idle workloads: %d bytes each, %d goroutines", n, bytes/n, goroutines)
		if bytes > n*4096 || goroutines > 0 {
			t.Errorf("%d idle workloads cost %d bytes each and %d goroutines, want fewer than 4096 and none", n, bytes/n, goroutines)
		}
	}
}

func BenchmarkSleepers(b *testing.B) {
	for b.Loop() {
		bytes, _ := sleepers(b, 1_000)
		b.ReportMetric(float64(bytes)/1_000, "B/workload")
	}
}
