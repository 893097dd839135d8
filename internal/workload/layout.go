package workload

import (
	"path/filepath"
	"strconv"
)

// The data directory holds, for each workload, DATA/{kind}s/{id}/ with a folder
// for each version and one that all of them share:
//
//	{number}/code       what was fetched and built; where the process starts
//	{number}/tmp        the TMPDIR of its build
//	{number}/tmp-{name} that of a process, made at its start and removed at its end
//	{number}/build.log  what fetching and building printed (package logfile)
//	{number}/run.log    what the process printed (package logfile)
//	home                its HOME, which outlives versions
//
// Only code, the temporary folders and home belong to the workload's own user, who
// cannot add to the folder they are in.

// Layout knows where things are in a data directory.
type Layout struct{ Data string }

// Workload is the directory of a workload.
func (l Layout) Workload(kind Kind, id string) string {
	return filepath.Join(l.Data, string(kind)+"s", id)
}

// Version is the directory of one version.
func (l Layout) Version(kind Kind, id string, number int64) string {
	return filepath.Join(l.Workload(kind, id), strconv.FormatInt(number, 10))
}

// Home is the directory a workload's versions share.
func (l Layout) Home(kind Kind, id string) string {
	return filepath.Join(l.Workload(kind, id), "home")
}

// Cache is where the builds of a tenant keep what the next one can use again.
func (l Layout) Cache(tenant string) string { return filepath.Join(l.Data, "cache", tenant) }

// Uploads is where uploaded archives of a tenant wait for their deploy.
func (l Layout) Uploads(tenant string) string { return filepath.Join(l.Data, "uploads", tenant) }

// What is in a version's directory.
func CodeDir(version string) string  { return filepath.Join(version, "code") }
func TempDir(version string) string  { return filepath.Join(version, "tmp") }
func BuildLog(version string) string { return filepath.Join(version, "build.log") }
func RunLog(version string) string   { return filepath.Join(version, "run.log") }

// ProcessTempDir is the TMPDIR of one process of a version: two of them run at a
// time while its environment changes.
func ProcessTempDir(version, process string) string {
	return TempDir(version) + "-" + process
}
