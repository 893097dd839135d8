package workload

import (
	"fmt"
	"slices"
)

// State is what a version, or a workload as a whole, is doing.
type State string

const (
	// Pending: it waits for its turn to be built.
	Pending State = "pending"
	// Building: its source is fetched and built.
	Building State = "building"
	// Starting: it was started and does not answer yet: for the first time, after
	// a crash, or because a request woke it.
	Starting State = "starting"
	// Ready: requests can be sent to it.
	Ready State = "ready"
	// Idle: it was stopped because nobody asked for it; the next request starts it.
	Idle State = "idle"
	// Draining: another version has taken its place, and it finishes its requests.
	Draining State = "draining"
	// Stopped: it does not run, and nothing will start it but a rollback.
	Stopped State = "stopped"
	// Failed: it could not be built or started. The reason says why.
	Failed State = "failed"
	// CrashLooping: it ended by itself too often, and is started again ever more
	// rarely.
	CrashLooping State = "crash-looping"
)

// States returns all there are.
func States() []State {
	return []State{Pending, Building, Starting, Ready, Idle, Draining, Stopped, Failed, CrashLooping}
}

// OnItsWay reports whether a version that is not the current one is going to be.
// The current version, too, is Starting when it wakes or has crashed.
func (s State) OnItsWay() bool { return s == Pending || s == Building || s == Starting }

// successors returns the states a version can go to. The zero State is that of a
// version not made yet. Building and Starting can be entered again: a deploy that
// was cut short by the end of the ingress is repeated.
func (s State) successors() []State {
	switch s {
	case "":
		return []State{Pending}
	case Pending:
		return []State{Building, Starting, Stopped, Failed}
	case Building:
		return []State{Building, Starting, Stopped, Failed}
	case Starting:
		return []State{Building, Starting, Ready, Idle, Draining, Stopped, Failed, CrashLooping}
	case Ready:
		return []State{Ready, Starting, Idle, Draining, Stopped, Failed, CrashLooping}
	case Idle, Failed, CrashLooping:
		return []State{Starting, Ready, Idle, Draining, Stopped, Failed, CrashLooping}
	case Draining, Stopped:
		return []State{Starting, Stopped}
	}
	return nil
}

// enter returns the state after moving to next, or an error when no version ever
// goes that way.
func (s State) enter(next State) (State, error) {
	if !slices.Contains(s.successors(), next) {
		return s, fmt.Errorf("a version that is %q cannot become %q", s, next)
	}
	return next, nil
}
