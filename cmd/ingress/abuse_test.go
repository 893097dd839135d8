package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/m3o/ingress/internal/store"
)

// What one tenant can do to the others by asking for much at once. None of these
// tests measures time; each must end, leave the others their answers, and keep
// memory bounded.

// maxHeap is what the program may take from the system for its heap under the
// abuse below, which took gigabytes before it was bounded.
const maxHeap = 400 << 20

// checkHeap fails the test when the program's heap has ever been larger: what it
// took from the system it counts until it ends.
func checkHeap(t *testing.T, i *ingress) {
	t.Helper()
	res, err := http.Get("http://" + i.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(body), "\ngo_memstats_heap_sys_bytes ")
	line, _, _ := strings.Cut(rest, "\n")
	heap, err := strconv.ParseFloat(line, 64)
	if !found || err != nil {
		t.Fatalf("no heap in the metrics: %q, %v", line, err)
	}
	t.Logf("heap of at most %.0f MiB", heap/(1<<20))
	if heap > maxHeap {
		t.Errorf("the heap grew to %.0f MiB, more than %d", heap/(1<<20), maxHeap>>20)
	}
}

// withLinks starts a program whose default tenant has so many links with long
// destinations.
func withLinks(t *testing.T, links int) *ingress {
	t.Helper()
	first := startIngress(t)
	tenant := first.mustCall("api/tenants/list", "{}")["tenants"].([]any)[0].(map[string]any)["id"]
	first.stop()
	db, err := store.Open(t.Context(), filepath.Join(first.dir, "ingress.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	err = db.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.ExecContext(t.Context(), `
			WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < $1 - 1)
			INSERT INTO links (id, tenant, destination, created)
			SELECT printf('link%07d', i), $2, 'https://example.com/' || printf('%.*c', 1000, 'x'), i / 7 FROM n`, links, tenant)
		return err
	})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return startIngressIn(t, first.dir, nil)
}

// TestAHundredThousandLinksAreListed while fifty others ask for the same list
// and do not read it: 5 GB, were it all held.
func TestAHundredThousandLinksAreListed(t *testing.T) {
	links := 100_000
	if raceEnabled {
		links = 20_000
	}
	i := withLinks(t, links)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	client := i.client()
	client.Timeout = 0 // the fifty take all the time they like
	ask := func() *http.Response {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/v1/url/list", nil)
		if err != nil {
			t.Error(err)
			return nil
		}
		req.Header.Set("Authorization", "Bearer "+bootstrapKey)
		res, err := client.Do(req)
		if err != nil {
			t.Error(err)
			return nil
		}
		return res
	}
	var asking sync.WaitGroup
	for range 50 {
		asking.Go(func() {
			if res := ask(); res != nil {
				context.AfterFunc(ctx, func() { res.Body.Close() })
			}
		})
	}
	asking.Wait()
	res := ask()
	if res == nil {
		return
	}
	defer res.Body.Close()
	checkLinks(t, res.Body, links)
	checkHeap(t, i)
}

// checkLinks reads a list of links, which must be whole and in order.
func checkLinks(t *testing.T, body io.Reader, links int) {
	t.Helper()
	decoder := json.NewDecoder(body)
	for range 3 { // {"urlPairs":[
		if _, err := decoder.Token(); err != nil {
			t.Fatal(err)
		}
	}
	count := 0
	for ; decoder.More(); count++ {
		var link struct{ ID string }
		if err := decoder.Decode(&link); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("link%07d", count); link.ID != want {
			t.Fatalf("link %d is %s", count, link.ID)
		}
	}
	if _, err := decoder.Token(); err != nil || count != links {
		t.Errorf("%d links, %v; want %d", count, err, links)
	}
}

// crowd makes n calls with at most a hundred connections and returns how many
// got each status.
func crowd(i *ingress, n int, do func(client *http.Client, call int) (int, error)) map[int]int {
	i.t.Helper()
	client := i.client()
	client.Transport.(*http.Transport).MaxConnsPerHost = 100
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = 100
	var mu sync.Mutex
	statuses := map[int]int{}
	var all sync.WaitGroup
	for call := range n {
		all.Go(func() {
			status, err := do(client, call)
			if err != nil {
				i.t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			statuses[status]++
		})
	}
	all.Wait()
	return statuses
}

// send makes a request and reads the answer to its end.
func send(client *http.Client, method, url, key, body string) (int, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, err
}

// TestAThousandUnknownIDsAtOnce scans each of the three name spaces. Whoever scans
// may be told to come back, when the machine is too slow to look up a hundred ids
// at once; what is known is answered all the while.
func TestAThousandUnknownIDsAtOnce(t *testing.T) {
	// Each host has connections of its own, all from one address.
	i := startIngress(t, "--max-client-connections", "5000")
	p := newPair(t, i, "known")
	const scans = 1000
	for _, space := range []string{"http://%s.app.localhost/", "http://%s.fn.localhost/", "http://localhost/u/%s"} {
		known := fmt.Sprintf(space, p.name)
		i.get(known) // a first visit, which is remembered
		got := crowd(i, scans, func(client *http.Client, call int) (int, error) {
			if call%100 == 0 {
				if status, err := send(client, http.MethodGet, known, "", ""); status >= 400 || err != nil {
					t.Errorf("during the scan %s is answered %d, %v", known, status, err)
				}
			}
			return send(client, http.MethodGet, fmt.Sprintf(space, fmt.Sprintf("nosuch%d", call)), "", "")
		})
		if got[http.StatusNotFound]+got[http.StatusServiceUnavailable] != scans || got[http.StatusNotFound] < scans/2 {
			t.Errorf("%s: %v", space, got)
		}
		if a := i.get(known); a.status >= 400 {
			t.Errorf("%s: what is known is answered %d", space, a.status)
		}
	}
	checkHeap(t, i)
}

// TestAThousandLogins: whoever sends them, for names that nobody has, may be
// told to come back; another tenant's user logs in meanwhile as if nothing were.
func TestAThousandLogins(t *testing.T) {
	i := startIngress(t)
	p := newPair(t, i, "busy")
	p.must(p.b, "user/create", map[string]any{"email": "b@example.com", "password": userPassword})
	i.mustCall("api/tenants/setquotas", `{"tenant":"busy-a","quotas":{"requests_per_second":100000,"burst":100000}}`)
	crowded := 1000
	if raceEnabled { // hashing takes several times as long
		crowded = 200
	}
	var done atomic.Bool
	quiet := make(chan int, 1)
	go func() {
		logins := 0
		for client := i.client(); !done.Load(); logins++ {
			status, err := send(client, http.MethodPost, "http://localhost/v1/user/login", p.b, `{"email":"b@example.com","password":"`+userPassword+`"}`)
			if status != http.StatusOK {
				t.Errorf("the other tenant's user is answered %d, %v", status, err)
			}
		}
		quiet <- logins
	}()
	got := crowd(i, crowded, func(client *http.Client, call int) (int, error) {
		login := fmt.Sprintf(`{"email":"nobody%d@example.com","password":%q}`, call, userPassword)
		return send(client, http.MethodPost, "http://localhost/v1/user/login", p.a, login)
	})
	done.Store(true)
	logins := <-quiet
	t.Logf("the crowd was answered %v; meanwhile another tenant logged in %d times", got, logins)
	if got[http.StatusUnauthorized] == 0 || got[http.StatusUnauthorized]+got[http.StatusServiceUnavailable] != crowded {
		t.Errorf("the crowd was answered %v", got)
	}
	if logins == 0 {
		t.Error("the other tenant did not log in once")
	}
	checkHeap(t, i)
}

// TestManyValuesInLittleJSON: four megabytes that would decode to two hundred
// are refused before they do.
func TestManyValuesInLittleJSON(t *testing.T) {
	i := startIngress(t)
	p := newPair(t, i, "dense")
	body := `{"name":"dense","request":{"a":[` + strings.Repeat("1,", 2_000_000) + `1]}}`
	got := crowd(i, 100, func(client *http.Client, _ int) (int, error) {
		return send(client, http.MethodPost, "http://localhost/v1/function/call", p.a, body)
	})
	if got[http.StatusRequestEntityTooLarge] != 100 {
		t.Errorf("got %v", got)
	}
	if a := callV1(t, i, p.a, "/v1/function/call", `{"name":"dense","request":{"a":[1,2,3]}}`); a.status != http.StatusOK {
		t.Errorf("a small call is answered %d %s", a.status, a.body)
	}
}
