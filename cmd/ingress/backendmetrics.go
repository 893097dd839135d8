package main

import (
	"github.com/m3o/ingress/internal/upstream"
	"github.com/prometheus/client_golang/prometheus"
)

// registerBackendMetrics shows what the transports to backends do.
func registerBackendMetrics(r prometheus.Registerer, c *upstream.Counters) {
	counter := func(name, help string, value func(upstream.Stats) int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(value(c.Stats())) })
	}
	r.MustRegister(
		counter("ingress_backend_dials_total", "Connections to backends that were tried to be made.",
			func(s upstream.Stats) int64 { return s.Dials }),
		counter("ingress_backend_reused_total", "Requests sent to backends over connections that had been idle.",
			func(s upstream.Stats) int64 { return s.Reused }),
	)
}
