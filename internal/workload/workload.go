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
	// State is what it is doing; Reason says why it failed.
	State  State
	Reason string
	// Region is where it runs.
	Region string
	// Backend is the registered URL.
	Backend string
	// Env has the names of its environment variables, sorted. The values stay
	// sealed in the store.
	Env []string
	// Created and Updated are UTC.
	Created, Updated time.Time
}

// HiddenEnv returns the environment as it may be shown: every value Hidden.
func (w Workload) HiddenEnv() map[string]string {
	shown := make(map[string]string, len(w.Env))
	for _, name := range w.Env {
		shown[name] = Hidden
	}
	return shown
}
