package edge

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/m3o/ingress/internal/api"
)

// cacheMetrics are the figures of all resolve caches.
type cacheMetrics struct{ asked, lookups *prometheus.CounterVec }

func newCacheMetrics() cacheMetrics {
	return cacheMetrics{
		asked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ingress_resolve_cache_total",
			Help: "Ids asked for, by kind and how they were answered: fresh and stale from memory, refused because they " +
				"were unknown a moment ago, or by waiting for the platform.",
		}, []string{"kind", "answer"}),
		lookups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ingress_resolve_lookups_total",
			Help: "Ids looked up at the platform, by kind and what came of it.",
		}, []string{"kind", "result"}),
	}
}

// cacheCounts are the counters of one cache, found once: a look into a
// CounterVec costs as much as the look into the cache.
type cacheCounts struct {
	fresh, stale, refused, waited prometheus.Counter
	found, unknown, failed        prometheus.Counter
}

func newCacheCounts(m cacheMetrics, kind Kind) *cacheCounts {
	asked := func(answer string) prometheus.Counter { return m.asked.WithLabelValues(string(kind), answer) }
	lookups := func(result string) prometheus.Counter { return m.lookups.WithLabelValues(string(kind), result) }
	return &cacheCounts{
		fresh: asked("fresh"), stale: asked("stale"), refused: asked("refused"), waited: asked("waited"),
		found: lookups("found"), unknown: lookups("unknown"), failed: lookups("failed"),
	}
}

// lookup counts what came of one.
func (c *cacheCounts) lookup(err error) {
	switch {
	case err == nil:
		c.found.Inc()
	case api.IsNotFound(err):
		c.unknown.Inc()
	default:
		c.failed.Inc()
	}
}
