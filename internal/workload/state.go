package workload

import "fmt"

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

// enter returns the state after moving to next, or an error when no workload
// ever goes that way. The zero State is that of a workload not made yet.
//
// A registered backend runs already, so it is ready from the start, and
// registering another one makes any workload ready.
func (s State) enter(next State) (State, error) {
	switch next {
	case Ready:
		return next, nil
	case Deploying:
		if s != Deploying {
			return next, nil
		}
	case Failed:
		if s == Deploying {
			return next, nil
		}
	}
	return s, fmt.Errorf("a workload that is %q cannot become %q", s, next)
}
