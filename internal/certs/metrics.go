package certs

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// register makes the figures. The only label is where certificates come from.
func (m *Manager) register(registerer prometheus.Registerer) error {
	for _, source := range []struct {
		name string
		have func() (count int, soonest time.Time)
	}{
		{"file", m.files.expiry},
	} {
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
