package workload

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/m3o/ingress/internal/store"
)

const (
	// maxJournal is how many entries wait before all but the last of each version
	// are dropped. What remains is bounded by the number of running versions.
	maxJournal = 4096
	// flushTime bounds the last writing, when the ingress is told to end.
	flushTime = 5 * time.Second
	// minRetry and maxRetry bound the time between two tries to write.
	minRetry, maxRetry = 100 * time.Millisecond, 10 * time.Second
)

// entry is something the journal was told.
type entry struct {
	sequence int64
	id       string
	version  int64
	state    State
	reason   string
	at       time.Time
}

// journal holds what is not written yet.
type journal struct {
	mu       sync.Mutex
	queue    []entry
	sequence int64
	// filled gets a value when there is something to write.
	filled chan struct{}
	// writing holds a value while somebody writes: what is written later must not
	// be older.
	writing chan struct{}
}

func newJournal() *journal {
	return &journal{filled: make(chan struct{}, 1), writing: make(chan struct{}, 1)}
}

// Entered implements Journal: it notes that a version entered a state. Get, List
// and Backend show it from now on; RunJournal writes it. What cannot be true is
// ignored: of versions on their way, whose deploy says what becomes of them, and
// of those that are neither current nor about to end.
func (r *Registry) Entered(key string, version int64, state State, reason string) {
	id, ok := strings.CutPrefix(key, string(r.kind)+"/")
	if !ok {
		r.log.Error("the journal was told of another kind of workload", "key", key, "kind", r.kind)
		return
	}
	j := r.journal
	j.mu.Lock()
	j.sequence++
	j.queue = append(j.queue, entry{j.sequence, id, version, state, legible(reason), r.now().UTC()})
	if len(j.queue) > maxJournal {
		j.queue = lastOfEach(j.queue)
	}
	j.mu.Unlock()
	select {
	case j.filled <- struct{}{}:
	default:
	}
}

// lastOfEach returns the last entry of each version, in order.
func lastOfEach(queue []entry) []entry {
	type key struct {
		id      string
		version int64
	}
	last := make(map[key]int64, len(queue))
	for _, e := range queue {
		last[key{e.id, e.version}] = e.sequence
	}
	kept := make([]entry, 0, len(last))
	for _, e := range queue {
		if last[key{e.id, e.version}] == e.sequence {
			kept = append(kept, e)
		}
	}
	return kept
}

// pending returns what is not written yet, in order, by id.
func (j *journal) pending() map[string][]entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.queue) == 0 {
		return nil
	}
	byID := make(map[string][]entry)
	for _, e := range j.queue {
		byID[e.id] = append(byID[e.id], e)
	}
	return byID
}

// entries returns what is not written yet, in order.
func (j *journal) entries() []entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]entry(nil), j.queue...)
}

// written drops the entries up to the last of those that were.
func (j *journal) written(entries []entry) {
	if len(entries) == 0 {
		return
	}
	last := entries[len(entries)-1].sequence
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for n < len(j.queue) && j.queue[n].sequence <= last {
		n++
	}
	j.queue = append([]entry(nil), j.queue[n:]...)
}

// write runs f in a transaction after what the journal was told before. So no
// state that f stores is overwritten by an older one.
func (r *Registry) write(ctx context.Context, f func(tx *store.Tx) error) error {
	j := r.journal
	select {
	case j.writing <- struct{}{}:
		defer func() { <-j.writing }()
	case <-ctx.Done():
		return fmt.Errorf("wait for another change: %w", ctx.Err())
	}
	entries := j.entries()
	err := r.db.Write(ctx, func(tx *store.Tx) error {
		if err := r.writeEntries(ctx, tx, entries); err != nil {
			return err
		}
		return f(tx)
	})
	if err == nil {
		j.written(entries)
	}
	return err
}

func (r *Registry) writeEntries(ctx context.Context, tx *store.Tx, entries []entry) error {
	for _, e := range entries {
		if err := r.writeEntry(ctx, tx, e); err != nil {
			return fmt.Errorf("write the journal: %w", err)
		}
	}
	return nil
}

func (r *Registry) writeEntry(ctx context.Context, tx *store.Tx, e entry) error {
	var now status
	var current int64
	err := tx.QueryRowContext(ctx, `
		SELECT v.state, v.reason, w.current_version
		FROM workload_versions v JOIN workloads w ON w.kind = v.kind AND w.id = v.id
		WHERE v.kind = $1 AND v.id = $2 AND v.number = $3`,
		string(r.kind), e.id, e.version).Scan(&now.state, &now.reason, &current)
	if store.IsNoRows(err) {
		return nil // deleted since
	}
	if err != nil {
		return err
	}
	next := now.journalled(e, e.version == current)
	if next == now {
		return nil
	}
	_, err = tx.ExecContext(ctx, "UPDATE workload_versions SET state = $1, reason = $2 WHERE kind = $3 AND id = $4 AND number = $5",
		string(next.state), next.reason, string(r.kind), e.id, e.version)
	if err != nil {
		return err
	}
	if err := r.record(ctx, tx, e.id, Event{Version: e.version, State: e.state, Reason: e.reason, At: e.at}); err != nil {
		return err
	}
	return tx.Changed(ctx, string(r.kind), e.id)
}

// journalled returns what a version is doing after an entry, which may be
// nothing new: the current version is only replaced by a promotion, and any
// other one can only end.
func (s status) journalled(e entry, current bool) status {
	ending := e.state == Draining || e.state == Stopped
	if current == ending || !current && s.state.OnItsWay() {
		return s
	}
	if _, err := s.state.enter(e.state); err != nil {
		return s
	}
	return status{e.state, e.reason}
}

// RunJournal writes what Entered was told, soon after. When ctx ends it writes
// what is left, and returns an error if it cannot. While the store is busy or the
// disk full it tries again, ever more rarely; nothing is lost meanwhile.
func (r *Registry) RunJournal(ctx context.Context) error {
	retry := minRetry
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
			defer cancel()
			return r.flush(last)
		case <-r.journal.filled:
		case <-timer.C:
		}
		err := r.flush(ctx)
		if err == nil {
			retry = minRetry
			continue
		}
		if ctx.Err() == nil {
			r.log.Error("what became of running versions cannot be stored; trying again", slog.Any("error", err), slog.Duration("in", retry))
			timer.Reset(retry)
			retry = min(2*retry, maxRetry)
		}
	}
}

// flush writes what there is to write.
func (r *Registry) flush(ctx context.Context) error {
	if len(r.journal.entries()) == 0 {
		return nil
	}
	return r.write(ctx, func(*store.Tx) error { return nil })
}
