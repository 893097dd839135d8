package workload

import "time"

// Version is one deploy of a workload: a source, and what became of it. Its
// number, source and program never change. It is a value.
type Version struct {
	// Number counts from 1 and is never given twice for an id.
	Number int64
	// State is what it is doing, and Reason why; fit for the owner.
	State  State
	Reason string
	// Source is where it comes from. Lists leave out the content of inline files.
	Source Source
	// Program is what a function is written in.
	Program Program
	// Commit is what a git source stood for when it was fetched.
	Commit string
	// Size is what it takes on disk, in bytes; 0 until it is known.
	Size int64
	// Created is UTC.
	Created time.Time
	// Artifact is what the build made; the zero Artifact until then.
	Artifact Artifact
	// Steps are what its deploy did so far, in order.
	Steps []Step
	// Available reports whether its folder has not been pruned.
	Available bool
}

// Built reports whether there is something to start or to serve.
func (v Version) Built() bool { return v.Artifact.IsSite() || len(v.Artifact.Args) > 0 }

// The steps of a deploy, by Step.Name.
const (
	StepFetch = "fetch"
	StepBuild = "build"
	StepStart = "start"
)

// Step is a part of a deploy, stored with its version.
type Step struct {
	// Name is StepFetch, StepBuild or StepStart.
	Name string `json:"name"`
	// Started is when it began. Took is how long it lasted; 0 while it goes on.
	Started time.Time     `json:"started"`
	Took    time.Duration `json:"took"`
	// Detail says in a few words what was found, such as a commit.
	Detail string `json:"detail,omitempty"`
}
