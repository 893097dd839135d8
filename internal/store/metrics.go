package store

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are how long the database takes.
type metrics struct{ reads, writes prometheus.Observer }

func newMetrics() (metrics, *prometheus.HistogramVec) {
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "ingress_store_duration_seconds",
		Help:    "Time of queries (read), and of transactions that write, their wait for each other and for the disk included (write).",
		Buckets: []float64{.0001, .0005, .001, .005, .01, .05, .1, .5, 1, 5},
	}, []string{"operation"})
	return metrics{reads: durations.WithLabelValues("read"), writes: durations.WithLabelValues("write")}, durations
}

// Collector has the database's figures.
func (db *DB) Collector() prometheus.Collector { return db.durations }

// since observes how long something took that began then.
func since(o prometheus.Observer, begin time.Time) { o.Observe(time.Since(begin).Seconds()) }
