package edge

import (
	"errors"
	"net/http"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Each id asked for is counted once, by how it was answered, and each lookup by
// what came of it.
func TestTheCacheCountsHowItAnswered(t *testing.T) {
	clock := newClock()
	registry := prometheus.NewRegistry()
	r := newRig(t, nil, func(c *Config) { c.Metrics, c.Now = registry, clock.now })
	r.backends["known"] = backend(t, func(http.ResponseWriter, *http.Request) {})
	r.get("known.app.test/") // waits, found
	r.get("known.app.test/") // fresh
	r.get("nosuch.app.test/")
	r.get("nosuch.app.test/") // refused
	r.setDown(errors.New("down"))
	clock.advance(2 * freshFor)
	r.get("known.app.test/") // stale, and a lookup that fails
	r.get("other.app.test/") // waits, in vain
	count := func(name, value string) float64 { return counted(t, registry, name, "app", value) }
	for answer, want := range map[string]float64{"fresh": 1, "stale": 1, "refused": 1, "waited": 3} {
		if got := count("ingress_resolve_cache_total", answer); got != want {
			t.Errorf("answered %s: %v, want %v", answer, got, want)
		}
	}
	eventually(t, "the lookup in the background has failed", func() bool {
		return count("ingress_resolve_lookups_total", "failed") == 2
	})
	for result, want := range map[string]float64{"found": 1, "unknown": 1} {
		if got := count("ingress_resolve_lookups_total", result); got != want {
			t.Errorf("lookups %s: %v, want %v", result, got, want)
		}
	}
}

// counted is the value of a counter with two labels.
func counted(t *testing.T, registry *prometheus.Registry, name string, labels ...string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			got := []string{}
			for _, pair := range m.GetLabel() {
				got = append(got, pair.GetValue())
			}
			slices.Sort(got)
			want := slices.Sorted(slices.Values(labels))
			if family.GetName() == name && slices.Equal(got, want) {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("there is no %s of %q", name, labels)
	return 0
}
