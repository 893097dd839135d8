package main_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// What was acknowledged is there after whatever ends the program.

// acknowledgements is what four clients were told, and how often.
type acknowledgements struct {
	mu      sync.Mutex
	links   map[string]string // link id → destination
	deleted map[string]bool
	writes  int
	another chan struct{} // holds something when writes has grown
}

// note keeps what was acknowledged of a link.
func (a *acknowledgements) note(id, destination string, gone bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.links[id], a.deleted[id] = destination, gone
	a.writes++
	select {
	case a.another <- struct{}{}:
	default:
	}
}

// forget is for what was sent and not acknowledged: either outcome is right.
func (a *acknowledgements) forget(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.links, id)
	delete(a.deleted, id)
}

// await waits until so many writes were acknowledged in all.
func (a *acknowledgements) await(t *testing.T, writes int) {
	t.Helper()
	late := time.After(deadline)
	for {
		a.mu.Lock()
		enough := a.writes >= writes
		a.mu.Unlock()
		if enough {
			return
		}
		select {
		case <-a.another:
		case <-late:
			t.Fatalf("%d writes were not acknowledged within %v", writes, deadline)
		}
	}
}

// TestNothingAcknowledgedIsLostByKill9 kills the program 50 times while four
// clients write, each time after another number of writes, and compares what they
// were told with what is there. The others' writes are anywhere on their way then.
func TestNothingAcknowledgedIsLostByKill9(t *testing.T) {
	dir := shortTempDir(t)
	const rounds, most = 50, 16
	told := &acknowledgements{links: map[string]string{}, deleted: map[string]bool{}, another: make(chan struct{}, 1)}
	written := 0
	for round := range rounds {
		i := startIngressIn(t, dir, nil)
		var clients sync.WaitGroup
		for c := range 4 {
			clients.Go(func() { writeUntilKilled(i, fmt.Sprintf("r%dc%d", round, c), told) })
		}
		written += rand.IntN(most)
		told.await(t, written)
		i.kill()
		clients.Wait()
		written = told.writes
	}
	i := startIngressIn(t, dir, nil)
	found := map[string]string{}
	for _, each := range i.mustCall("url/list", `{}`)["urlPairs"].([]any) {
		link := each.(map[string]any)
		found[link["id"].(string)] = link["destinationURL"].(string)
	}
	for id, destination := range told.links {
		if got, ok := found[id]; told.deleted[id] == ok || !told.deleted[id] && got != destination {
			t.Errorf("%s: acknowledged %q (deleted %v), found %q (%v)", id, destination, told.deleted[id], got, ok)
		}
	}
	if len(told.links) == 0 {
		t.Error("no write was acknowledged; the test tests nothing")
	}
	t.Logf("%d writes of %d links acknowledged, %d links found; the others had been deleted, or were never acknowledged",
		told.writes, len(told.links), len(found))
}

// writeUntilKilled creates, changes and deletes links, noting what was
// acknowledged, until the program no longer answers.
func writeUntilKilled(i *ingress, prefix string, told *acknowledgements) {
	client := i.client()
	post := func(path, body string) bool {
		req, err := http.NewRequest("POST", "http://localhost/v1/"+path, strings.NewReader(body))
		if err != nil {
			i.t.Error(err)
			return false
		}
		req.Header.Set("Authorization", "Bearer "+bootstrapKey)
		res, err := client.Do(req)
		if err != nil {
			return false
		}
		defer res.Body.Close()
		_, err = io.Copy(io.Discard, res.Body)
		return err == nil && res.StatusCode == 200
	}
	for n := 0; ; n++ {
		id, first, second := fmt.Sprintf("%s-%d", prefix, n), "https://example.com/1", "https://example.com/2"
		if !post("url/create", fmt.Sprintf(`{"id":%q,"destinationURL":%q}`, id, first)) {
			return
		}
		told.note(id, first, false)
		if n%2 == 0 {
			if !post("url/update", fmt.Sprintf(`{"id":%q,"destinationURL":%q}`, id, second)) {
				told.forget(id)
				return
			}
			told.note(id, second, false)
		}
		if n%3 == 0 {
			if !post("url/delete", fmt.Sprintf(`{"id":%q}`, id)) {
				told.forget(id)
				return
			}
			told.note(id, second, true)
		}
	}
}

func TestHitsAreFlushedWhenTheProgramEnds(t *testing.T) {
	dir := shortTempDir(t)
	i := startIngressIn(t, dir, nil)
	i.mustCall("url/create", `{"id":"x","destinationURL":"https://example.com/"}`)
	for range 7 {
		i.do("GET", "http://localhost/u/x", []string{"User-Agent", "Mozilla/5.0"}, "")
	}
	i.stop()
	again := startIngressIn(t, dir, nil)
	if got := again.mustCall("url/list", `{}`)["urlPairs"].([]any)[0].(map[string]any)["hitCount"]; got != "7" {
		t.Errorf("after a restart hitCount is %v, want 7", got)
	}
}
