package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// awaitNodes waits until an ingress knows of so many on its database.
func (i *ingress) awaitNodes(number int) {
	i.t.Helper()
	i.await(fmt.Sprintf("%d nodes", number), func() bool {
		return i.figure("ingress_nodes") == float64(number)
	})
}

// Two programs on one database let through what one would, though the clock of one is
// wrong. On a slow machine a node may be taken for dead for a moment, so that the other has
// the whole rate, too: one of several looks must find that the rate holds. Were it not
// shared, none would.
func TestTwoProgramsOnOneDatabaseShareTheRateOfAKey(t *testing.T) {
	t.Parallel()
	const rate, looks = 20, 5
	c := newCluster(t)
	nodes := []*ingress{c.node(), c.nodeOff(time.Hour)}
	for _, node := range nodes {
		node.awaitNodes(len(nodes))
	}
	key := nodes[0].mustCall("api/tenants/create", `{"name":"busy"}`)["api_key"].(string)
	nodes[0].mustCall("api/tenants/setquotas", fmt.Sprintf(`{"tenant":"busy","quotas":{"requests_per_second":%d,"burst":%d}}`, rate, rate))
	clients := []*http.Client{nodes[0].client(), nodes[1].client()}
	beat := time.NewTicker(time.Second / (8 * rate))
	defer beat.Stop()
	ask := func(period time.Duration) (allowed, offered int, took float64) {
		begin := time.Now()
		for time.Since(begin) < period {
			<-beat.C
			if nodes[offered%2].helloAs(clients[offered%2], key) {
				allowed++
			}
			offered++
		}
		return allowed, offered, time.Since(begin).Seconds()
	}
	ask(4 * time.Second) // the burst, and until both know of each other's demand
	for look := 1; ; look++ {
		allowed, offered, took := ask(4 * time.Second)
		t.Logf("%d of %d requests were allowed in %.1f s", allowed, offered, took)
		if allowed == 0 {
			t.Fatal("nothing is allowed any more")
		}
		if float64(allowed) < 1.4*rate*took {
			break
		}
		if look == looks {
			t.Fatalf("%d requests were allowed in %.1f s, of a key that has %d a second", allowed, took, rate)
		}
	}
	// One that ends says so, and the other has the rate to itself.
	nodes[1].stop()
	nodes[0].awaitNodes(1)
}

// helloAs calls a method and reports whether the rate allowed it.
func (i *ingress) helloAs(client *http.Client, key string) bool {
	i.t.Helper()
	req, err := http.NewRequestWithContext(i.t.Context(), http.MethodPost, "http://localhost/v1/helloworld/Call", strings.NewReader(`{"name":"World"}`))
	if err != nil {
		i.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		i.t.Fatal(err)
	}
	defer res.Body.Close()
	var said any
	if err := json.NewDecoder(res.Body).Decode(&said); err != nil {
		i.t.Fatalf("%s: %v", res.Status, err)
	}
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusTooManyRequests {
		i.t.Fatalf("%s: %v", res.Status, said)
	}
	return res.StatusCode == http.StatusOK
}
