package workload

// Kinds of logs, for LogRequest.Type.
const (
	BuildLogs = "build"
	RunLogs   = "run"
)

// LogRequest asks for a part of a version's log.
type LogRequest struct {
	// Type is BuildLogs or RunLogs.
	Type string
	// Version is whose; 0 for the current one, or, where there is none and for
	// builds, the one asked for last.
	Version int64
	// Offset is where to begin, in bytes from the first ever written; a negative
	// one counts from the end.
	Offset int64
}

// Log is a part of a log.
type Log struct {
	// Text is at most 1 MiB.
	Text string
	// Next is the Offset to go on from.
	Next int64
	// Version is whose log it is.
	Version int64
}
