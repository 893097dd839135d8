package workload

import "slices"

// Regions are the places workloads can run in, the default first.
type Regions []string

// DefaultRegions is what there is when an operator configured nothing: this
// machine.
func DefaultRegions() Regions { return Regions{"local"} }

// originalRegions are the hosted platform's. Clients written for it name them,
// so they are accepted and mean the default (WIRE.md 5).
func originalRegions() []string {
	return []string{"europe-west1", "us-central1", "us-east1", "us-west1", "asia-east1"}
}

// Pick returns the region a request means, and false when it means none.
func (r Regions) Pick(name string) (string, bool) {
	if slices.Contains(r, name) {
		return name, true
	}
	if name == "" || slices.Contains(originalRegions(), name) {
		return r[0], true
	}
	return "", false
}
