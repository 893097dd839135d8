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
func (db *DB) Collector() prometheus.Collector {
	all := collectors{db.durations}
	if db.Shared() {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ingress_store_behind_seconds",
			Help: "How long ago this process last saw what other nodes have changed: a second or two while the database can be reached.",
		}, func() float64 { return db.Behind().Seconds() }), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ingress_store_connections",
			Help: "Connections to the database in use.",
		}, func() float64 { return float64(db.write.Stats().InUse) }))
	}
	return all
}

// collectors are several in one.
type collectors []prometheus.Collector

// Describe implements prometheus.Collector.
func (all collectors) Describe(to chan<- *prometheus.Desc) {
	for _, c := range all {
		c.Describe(to)
	}
}

// Collect implements prometheus.Collector.
func (all collectors) Collect(to chan<- prometheus.Metric) {
	for _, c := range all {
		c.Collect(to)
	}
}

// since observes how long something took that began then.
func since(o prometheus.Observer, begin time.Time) { o.Observe(time.Since(begin).Seconds()) }
