package activator

import "github.com/prometheus/client_golang/prometheus"

// metrics are the figures of what runs. No label has a workload's name: there can
// be any number of them.
type metrics struct {
	coldStart prometheus.Histogram
	starts    *prometheus.CounterVec
	running   prometheus.Gauge
	waiting   prometheus.Gauge
	crashes   prometheus.Counter
	evictions prometheus.Counter
}

// The results of a start.
const (
	startReady     = "ready"
	startFailed    = "failed"
	startCancelled = "cancelled"
	startUnknown   = "unknown" // nobody could tell what to start
)

func newMetrics(registerer prometheus.Registerer) *metrics {
	m := &metrics{
		coldStart: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "ingress_cold_start_seconds",
			Help:    "Time from the request that woke a workload to the workload being ready.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}),
		starts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ingress_workload_starts_total",
			Help: "Starts of workloads, for a request, a deploy or after a crash, by result.",
		}, []string{"result"}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ingress_workloads_running",
			Help: "Instances that requests can be sent to.",
		}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ingress_workload_requests_waiting",
			Help: "Requests that wait for a workload to start, or for their turn.",
		}),
		crashes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ingress_workload_crashes_total",
			Help: "Unexpected ends of instances, and starts that failed other than in a deploy.",
		}),
		evictions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ingress_workload_evictions_total",
			Help: "Workloads stopped because nobody used them.",
		}),
	}
	for _, result := range []string{startReady, startFailed, startCancelled, startUnknown} {
		m.starts.WithLabelValues(result)
	}
	if registerer != nil {
		registerer.MustRegister(m.coldStart, m.starts, m.running, m.waiting, m.crashes, m.evictions)
	}
	return m
}
