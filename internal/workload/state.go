package workload

import (
	"fmt"
	"slices"
)

// State is what a workload is doing.
type State string

const (
	// Deploying: it has no address yet.
	Deploying State = "deploying"
	// Ready: requests can be sent to it.
	Ready State = "ready"
	// Failed: the last deploy failed, and nothing answers. The workload's Reason
	// says why.
	Failed State = "failed"
)

// successors returns the states a workload can go to. The zero State is that of
// a workload not made yet.
//
// A registered backend runs already, so it is ready from the start, and
// registering another one makes any workload ready.
func (s State) successors() []State {
	switch s {
	case "", Failed:
		return []State{Deploying, Ready}
	case Deploying:
		return []State{Ready, Failed}
	case Ready:
		return []State{Ready, Deploying}
	}
	return nil
}

// enter returns the state after moving to next, or an error when no workload
// ever goes that way.
func (s State) enter(next State) (State, error) {
	if !slices.Contains(s.successors(), next) {
		return s, fmt.Errorf("a workload that is %q cannot become %q", s, next)
	}
	return next, nil
}
