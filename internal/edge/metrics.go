package edge

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the figures of the data plane. Every label has a bounded set of
// values: nothing a client sends becomes one.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	resolve  *prometheus.HistogramVec
	sent     *prometheus.CounterVec
	retries  *prometheus.CounterVec
	hits     prometheus.Counter
	inFlight prometheus.Gauge
	caches   cacheMetrics
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ingress_requests_total",
			Help: "Requests answered, by route, class of status, and why the ingress itself answered.",
		}, []string{"route", "class", "reason"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "ingress_request_duration_seconds",
			Help:    "Time from a request's headers to the end of its answer, upgraded connections left out.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"route"}),
		resolve: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "ingress_resolve_duration_seconds",
			Help:    "Time a request waited for its id to be resolved, cache hits included.",
			Buckets: []float64{.00001, .0001, .001, .01, .1, .5, 1, 5},
		}, []string{"route"}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ingress_response_bytes_total",
			Help: "Bytes of response bodies sent, and of what was sent through upgraded connections.",
		}, []string{"route"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ingress_backend_retries_total",
			Help: "Requests sent to their backend a second time.",
		}, []string{"route"}),
		hits: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ingress_link_hits_total",
			Help: "Visits of short links that count for their owners: those by people.",
		}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ingress_requests_in_flight",
			Help: "Requests being answered, upgraded connections included.",
		}),
		caches: newCacheMetrics(),
	}
	return m, register(registerer, []prometheus.Collector{m.requests, m.duration, m.resolve, m.sent, m.retries, m.hits, m.inFlight, m.caches.asked, m.caches.lookups})
}

func register(registerer prometheus.Registerer, all []prometheus.Collector) error {
	for _, c := range all {
		if err := registerer.Register(c); err != nil {
			return err
		}
	}
	return nil
}

func (m *metrics) observe(rec *record, res *response, took time.Duration) {
	m.requests.WithLabelValues(rec.route, statusClass(res.status), string(rec.reason)).Inc()
	m.sent.WithLabelValues(rec.route).Add(float64(res.bytes))
	if res.hijacked == nil {
		m.duration.WithLabelValues(rec.route).Observe(took.Seconds())
	}
	if rec.resolve > 0 {
		m.resolve.WithLabelValues(rec.route).Observe(rec.resolve.Seconds())
	}
	if rec.retried {
		m.retries.WithLabelValues(rec.route).Inc()
	}
}

// statusClass is 1xx to 5xx, or "none" when the connection was aborted before
// there was a status.
func statusClass(status int) string {
	if status < 100 || status > 599 {
		return "none"
	}
	return [...]string{"1xx", "2xx", "3xx", "4xx", "5xx"}[status/100-1]
}
