package upstream

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// TestManyAtOnce has many goroutines send bodies of all sizes and give up on some
// of them. Each answer must be that of its own request.
func TestManyAtOnce(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Early") != "" {
			w.WriteHeader(http.StatusForbidden) // and what is sent is not read
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the request was given up
		}
		w.Header().Set("X-Id", r.Header.Get("X-Id"))
		_, _ = w.Write(body)
	}))
	defer backend.Close()
	transport := newTransport(t, Options{Engine: EngineOwn, IdlePerBackend: 8})
	var all sync.WaitGroup
	for worker := range 16 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 1))
			for range 40 {
				sendRandom(t, transport, backend.URL, random)
			}
		})
	}
	all.Wait()
	s := transport.Stats()
	if s.Idle > 8 || s.Reused == 0 || s.Dials == 0 {
		t.Errorf("%+v", s)
	}
	t.Logf("%+v", s)
}

func sendRandom(t *testing.T, rt http.RoundTripper, address string, random *rand.Rand) {
	id := time.Duration(random.Int64()).String()
	size := []int{0, 1, 100, 5000, joinable + 1, 70_000, 500_000}[random.IntN(7)]
	body := bytes.Repeat([]byte(id), size/len(id)+1)[:size]
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	switch random.IntN(4) {
	case 0:
		timer := time.AfterFunc(time.Duration(random.IntN(2000))*time.Microsecond, cancel)
		defer timer.Stop()
	case 1:
		cancel = func() {}
	}
	var from io.Reader
	if len(body) > 0 {
		from = bytes.NewReader(body)
	}
	req := newRequest(t, "POST", address, from).WithContext(ctx)
	if random.IntN(2) == 0 && from != nil {
		req.ContentLength = -1
	}
	req.Header.Set("X-Id", id)
	early := random.IntN(8) == 0
	if early {
		req.Header.Set("X-Early", "1")
	}
	res, err := rt.RoundTrip(req)
	if err != nil {
		if ctx.Err() == nil {
			t.Error(err)
		}
		return
	}
	defer res.Body.Close()
	if random.IntN(8) == 0 {
		return // and the answer's body is not read
	}
	got, err := io.ReadAll(res.Body)
	switch {
	case err != nil && ctx.Err() == nil:
		t.Error(err)
	case err == nil && early:
		if res.StatusCode != http.StatusForbidden {
			t.Errorf("status %d", res.StatusCode)
		}
	case err == nil && (!bytes.Equal(got, body) || res.Header.Get("X-Id") != id):
		t.Errorf("%d bytes came back for %d, of request %s instead of %s", len(got), len(body), res.Header.Get("X-Id"), id)
	}
}
