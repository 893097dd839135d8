package certs

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// register makes the figures. The only label is where certificates come from.
func (m *Manager) register(registerer prometheus.Registerer) error {
	type source struct {
		name string
		have func() (count int, soonest time.Time)
	}
	sources := []source{{"file", m.files.expiry}}
	if m.acme != nil {
		sources = append(sources, source{"acme", m.acme.expiry})
	}
	for _, source := range sources {
		labels := prometheus.Labels{"source": source.name}
		count := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ingress_certificates", Help: "Certificates in use, by where they come from.", ConstLabels: labels,
		}, func() float64 { n, _ := source.have(); return float64(n) })
		soonest := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ingress_certificate_soonest_expiry_timestamp_seconds", Help: "When the certificate expires that does so first; 0 without one.", ConstLabels: labels,
		}, func() float64 {
			_, at := source.have()
			if at.IsZero() {
				return 0
			}
			return float64(at.Unix())
		})
		for _, c := range []prometheus.Collector{count, soonest} {
			if err := registerer.Register(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// expiry returns how many there are and when the first one expires.
func (f *files) expiry() (count int, soonest time.Time) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, p := range f.loaded {
		if at := p.cert.Leaf.NotAfter; soonest.IsZero() || at.Before(soonest) {
			soonest = at
		}
	}
	return len(f.loaded), soonest
}

// count makes the figures of orders.
func (a *authority) count(registerer prometheus.Registerer) error {
	a.counts = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ingress_certificate_orders_total", Help: "Certificates ordered, renewals included, by what came of it.",
	}, []string{"outcome"})
	a.denied = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ingress_certificate_denials_total", Help: "Handshakes that got no certificate, by reason.",
	}, []string{"reason"})
	for _, outcome := range []string{"obtained", "failed"} {
		a.counts.WithLabelValues(outcome) // so that the first failure is an increase
	}
	return errors.Join(registerer.Register(a.counts), registerer.Register(a.denied))
}

// reasonOf is the label for why a handshake got no certificate.
func reasonOf(err error) string {
	for _, reason := range []struct {
		err  error
		name string
	}{
		{errRefused, "not_served"}, {errTooMany, "lookup_rate"}, {errCannotAsk, "platform_down"},
		{errFull, "max_names"}, {errBudget, "order_rate"}, {errBackoff, "backoff"}, {errPending, "wildcard_pending"},
		{context.DeadlineExceeded, "slow"}, {context.Canceled, "client_gone"},
	} {
		if errors.Is(err, reason.err) {
			return reason.name
		}
	}
	return "order_failed"
}
