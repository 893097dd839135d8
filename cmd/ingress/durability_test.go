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

// TestNothingAcknowledgedIsLostByKill9 kills the program at 50 random moments
// while four clients write, and compares what they were told with what is there.
func TestNothingAcknowledgedIsLostByKill9(t *testing.T) {
	dir := shortTempDir(t)
	var mu sync.Mutex
	acknowledged := map[string]string{} // link id → destination
	deleted := map[string]bool{}
	for round := range 50 {
		i := startIngressIn(t, dir, nil)
		var clients sync.WaitGroup
		for c := range 4 {
			clients.Go(func() { writeUntilKilled(i, fmt.Sprintf("r%dc%d", round, c), &mu, acknowledged, deleted) })
		}
		// The moment is random; what it hits, whatever it hits, must survive.
		select {
		case <-time.After(time.Duration(rand.IntN(120)) * time.Millisecond):
		case <-t.Context().Done():
		}
		i.kill()
		clients.Wait()
	}
	i := startIngressIn(t, dir, nil)
	found := map[string]string{}
	for _, each := range i.mustCall("url/list", `{}`)["urlPairs"].([]any) {
		link := each.(map[string]any)
		found[link["id"].(string)] = link["destinationURL"].(string)
	}
	for id, destination := range acknowledged {
		if got, ok := found[id]; deleted[id] == ok || !deleted[id] && got != destination {
			t.Errorf("%s: acknowledged %q (deleted %v), found %q (%v)", id, destination, deleted[id], got, ok)
		}
	}
	if len(acknowledged) < 100 {
		t.Errorf("only %d writes were acknowledged; the test tests little", len(acknowledged))
	}
	t.Logf("%d links acknowledged, %d found; the others had been deleted, or were never acknowledged", len(acknowledged), len(found))
}

// writeUntilKilled creates, changes and deletes links, noting what was
// acknowledged, until the program no longer answers.
func writeUntilKilled(i *ingress, prefix string, mu *sync.Mutex, acknowledged map[string]string, deleted map[string]bool) {
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
	note := func(id, destination string, gone bool) {
		mu.Lock()
		defer mu.Unlock()
		acknowledged[id] = destination
		deleted[id] = gone
	}
	forget := func(id string) { // sent but not acknowledged: either outcome is right
		mu.Lock()
		defer mu.Unlock()
		delete(acknowledged, id)
		delete(deleted, id)
	}
	for n := 0; ; n++ {
		id, first, second := fmt.Sprintf("%s-%d", prefix, n), "https://example.com/1", "https://example.com/2"
		if !post("url/create", fmt.Sprintf(`{"id":%q,"destinationURL":%q}`, id, first)) {
			return
		}
		note(id, first, false)
		if n%2 == 0 {
			if !post("url/update", fmt.Sprintf(`{"id":%q,"destinationURL":%q}`, id, second)) {
				forget(id)
				return
			}
			note(id, second, false)
		}
		if n%3 == 0 {
			if !post("url/delete", fmt.Sprintf(`{"id":%q}`, id)) {
				forget(id)
				return
			}
			note(id, second, true)
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
