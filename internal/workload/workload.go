// Package workload is what apps and functions share: names and ids, who holds
// them, states, the environment, and where a workload is reached. The packages
// app and function translate their contracts to it.
//
// For now a workload is a registered backend: the URL of something that already
// runs elsewhere.
package workload

import (
	"time"

	"github.com/m3o/ingress/internal/api"
)

// Kind is what a workload is. Names, ids and quotas of the two kinds have
// nothing to do with each other. The values are those of the change feed.
type Kind string

const (
	// App is a long-running web program.
	App Kind = "app"
	// Function is a few lines of source that answer HTTP requests.
	Function Kind = "function"
)

// quota returns how many workloads of the kind the caller's tenant may have.
func (k Kind) quota(caller api.Caller) int64 {
	if k == Function {
		return caller.Quotas.Functions
	}
	return caller.Quotas.Apps
}

// Workload is an app or a function. It is a value that shares nothing.
type Workload struct {
	// ID is the label in front of the domain: unique over all tenants of a kind,
	// and never changed.
	ID string
	// Tenant owns it.
	Tenant string
	// Name is what the tenant calls it; the id is the name, or begins with it.
	Name string
	// State is what it is doing, and Reason why: that of the current version, or,
	// where there is none, of Newest. A registered backend is Ready.
	State  State
	Reason string
	// Region is where it runs.
	Region string
	// Backend is the registered URL; empty for a workload that runs here.
	Backend string
	// Source and Program are those of the version asked for last.
	Source  Source
	Program Program
	// Settings are how it is run.
	Settings Settings
	// Current is the number of the version that answers requests; 0 when none does
	// or it is a registered backend.
	Current int64
	// Revision grows with each change of environment or settings.
	Revision int64
	// Newest is the version asked for last: the highest number, unless a rollback
	// named an older one since. It is nil for a registered backend, but for one
	// that a version is to replace.
	Newest *Version
	// Env has the names of its environment variables, sorted. The values stay
	// sealed in the store.
	Env []string
	// Domains are the host names of its own that lead to it, sorted.
	Domains []string
	// Created and Updated are UTC.
	Created, Updated time.Time
}

// Managed reports whether it runs here, and is no registered backend.
func (w Workload) Managed() bool { return w.Backend == "" }

// Updating reports whether there is something that answers requests and a
// version that is to replace it is on its way.
func (w Workload) Updating() bool {
	return (w.Current != 0 || !w.Managed()) && w.Newest != nil && w.Newest.Number != w.Current && w.Newest.State.OnItsWay()
}

// HiddenEnv returns the environment as it may be shown: every value Hidden.
func (w Workload) HiddenEnv() map[string]string {
	shown := make(map[string]string, len(w.Env))
	for _, name := range w.Env {
		shown[name] = Hidden
	}
	return shown
}
