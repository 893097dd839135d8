package activator

import (
	"fmt"
	"time"
)

// The reasons for which a workload cannot take a request.
const (
	// ReasonStarting: it was not ready when the request had waited long enough.
	ReasonStarting = "starting"
	// ReasonQueueFull: too many requests wait for its start.
	ReasonQueueFull = "queue_full"
	// ReasonBusy: it has as many requests as it takes, and too many wait, or this
	// one has waited long enough.
	ReasonBusy = "busy"
	// ReasonCrashLooping: it ended five times within ten minutes.
	ReasonCrashLooping = "crash_looping"
	// ReasonStopped: it was deleted, or is run no longer.
	ReasonStopped = "stopped"
	// ReasonDeploying: it has no version yet. Only Releases says so.
	ReasonDeploying = "deploying"
	// ReasonFailed: its deploy failed and there is no version. Only Releases says
	// so.
	ReasonFailed = "failed"
)

// Unready is why a workload cannot take a request now.
type Unready struct {
	// Reason is one of the Reason constants.
	Reason string
	// Message is a sentence for visitors.
	Message string
	// Detail is for the owner's logs alone: it may quote what the process printed.
	Detail string
	// RetryAfter is when it is worth trying again; zero when nobody knows.
	RetryAfter time.Duration
}

// Error implements error, for logs.
func (u *Unready) Error() string {
	if u.Detail == "" {
		return u.Message
	}
	return u.Message + ": " + u.Detail
}

// pause is when a visitor who was turned away may try again, if nothing better is
// known: long enough to spare a machine that is busy starting things.
const pause = 5 * time.Second

func slow(waited time.Duration) *Unready {
	return &Unready{Reason: ReasonStarting, Message: fmt.Sprintf("it did not start within %v", waited), RetryAfter: pause}
}

func queueFull(waiting int) *Unready {
	return &Unready{Reason: ReasonQueueFull, Message: fmt.Sprintf("it is starting and %d requests wait already", waiting), RetryAfter: pause}
}

func busy(detail string) *Unready {
	return &Unready{Reason: ReasonBusy, Message: "it has as many requests as it takes at once", Detail: detail, RetryAfter: pause}
}

func crashed(reason string, next time.Duration) *Unready {
	return &Unready{Reason: ReasonStarting, Message: "it ended unexpectedly and is being started again", Detail: reason, RetryAfter: next}
}

func crashLooping(reason string, next time.Duration) *Unready {
	return &Unready{Reason: ReasonCrashLooping, Message: "it keeps ending unexpectedly", Detail: reason, RetryAfter: next}
}

func stopped() *Unready {
	return &Unready{Reason: ReasonStopped, Message: "it is not run any longer"}
}

// closing is for requests that come while the ingress ends: the workload stays,
// and the next run of the ingress will reach it.
func closing() *Unready {
	return &Unready{Reason: ReasonStarting, Message: "the ingress is being restarted", RetryAfter: time.Second}
}
