package workload

import "time"

// Job is something a deploy has to do: to bring a version on its way to where it
// is the current one, or to put a changed environment in force.
type Job struct {
	// ID and Tenant are the workload's.
	ID, Tenant string
	// Version is the one to deploy, with all of its source.
	Version Version
	// Revision is that of the environment and settings it gets when it is started
	// now.
	Revision int64
	// Restart reports that only these have changed: Version is the current one,
	// built, and is to be started beside itself.
	Restart bool
}

// Intent is a version that shall be there for its requests.
type Intent struct {
	// Key names the workload, as Release.Key does.
	Key string
	// Version is the current one, Revision that of the environment and settings it
	// was promoted with. An instance of a later revision serves as well: it was
	// woken after the change.
	Version, Revision int64
	// State is the one it entered last.
	State State
	// IdleTimeout is that of its Settings.
	IdleTimeout time.Duration
}

// Kept is what the store knows of: the ids of workloads, and of each the numbers
// of the versions whose folders have not been pruned.
type Kept map[string]map[int64]bool

// Workload reports whether there is a workload of that id.
func (k Kept) Workload(id string) bool { return k[id] != nil }

// Version reports whether the version's folder may be needed.
func (k Kept) Version(id string, number int64) bool { return k[id][number] }
