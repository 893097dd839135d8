package workload

import (
	"fmt"
	"strings"
	"time"
)

// What the contracts of apps and functions write alike.

// defaultIdleWord stands for DefaultIdle in requests and replies.
const defaultIdleWord = "default"

// ParseIdle reads how long a workload may stay awake without requests: a duration
// such as "15m", zero for ever, or "default" for what the operator set. Its errors
// are *InvalidError.
func ParseIdle(text string) (time.Duration, error) {
	if text == defaultIdleWord {
		return DefaultIdle, nil
	}
	idle, err := time.ParseDuration(text)
	if err != nil || idle < 0 {
		return 0, invalid("idle_timeout", "it must be a duration such as 15m, 0s for ever, or default")
	}
	return idle, nil
}

// FormatIdle writes what ParseIdle reads.
func FormatIdle(idle time.Duration) string {
	if idle == DefaultIdle {
		return defaultIdleWord
	}
	return idle.String()
}

// legible makes text of a reason, which may quote what a program printed. Neither
// a protocol buffer nor PostgreSQL takes other bytes than UTF-8, the latter no
// NUL either.
func legible(reason string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(reason, "\uFFFD"), "\x00", "\uFFFD")
}

// Origin says in one word, or by its address, where a source comes from.
func (s Source) Origin() string {
	switch {
	case s.Repo != "":
		return s.Repo
	case s.Upload != "":
		return "upload"
	case len(s.Files) > 0:
		return "inline"
	}
	return ""
}

// WhyNot says what there is to say about the workload's state: its own reason, or,
// while another version answers, why the one asked for last does not.
func (w Workload) WhyNot() string {
	if w.Newest != nil && w.Newest.Number != w.Current && w.Newest.State == Failed && w.Current != 0 {
		return fmt.Sprintf("version %d: %s", w.Newest.Number, w.Newest.Reason)
	}
	return w.Reason
}

// Latest returns the number of the version whose log of a type is the newest
// there is: what LogRequest takes 0 for.
func (w Workload) Latest(logType string) int64 {
	if w.Newest != nil && (logType == BuildLogs || w.Current == 0) {
		return w.Newest.Number
	}
	return w.Current
}
