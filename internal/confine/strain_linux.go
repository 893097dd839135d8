package confine

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// strainEvery is how often it is looked whether a tree wants more of the
	// processors than it may have, and strainedLooks after how many such looks in a
	// row its owner is told: one that computes for a moment is as it should be.
	strainEvery   = time.Second
	strainedLooks = 10
)

// strain is how long a tree has wanted all of the processors that it may have. To
// want them ends nobody: an app that serves many people does, too. But an app that
// does nothing else any more answers nobody, and its owner should learn why.
type strain struct {
	last  time.Time
	looks int
	told  bool
	// pauses are how often each thread, by its number, had waited at the last look.
	pauses map[string]int64
}

// look is called by the watcher.
func (s *strain) look(p *Process) {
	if p.policy.Limits.CPU <= 0 || time.Since(s.last) < strainEvery {
		return
	}
	s.last = time.Now()
	share := (p.policy.Limits.CPU + 999) / 1000
	if s.busy(descendants(os.Getpid(), p.tree)) < share {
		if s.looks = 0; s.told {
			s.told = false
			p.notify("")
		}
		return
	}
	if s.looks++; s.looks >= strainedLooks && !s.told {
		s.told = true
		p.notify(fmt.Sprintf("it has wanted all of the processor time that it may use (processors: %s) for %v without a pause, and may not answer",
			strconv.FormatFloat(float64(p.policy.Limits.CPU)/1000, 'f', -1, 64), strainedLooks*strainEvery))
	}
}

// notify puts a notice in the place of one that nobody has read.
func (p *Process) notify(text string) {
	select {
	case <-p.notices:
	default:
	}
	p.notices <- text
}

// fewPauses is how often in strainEvery a thread may wait for something and still
// count as one that does nothing but compute. A server waits for each connection.
const fewPauses = 2

// busy counts the threads that run, or wait for nothing but a processor, and have
// hardly waited for anything else since the last call. Those that a control group
// holds back count, too.
func (s *strain) busy(list []proc) int {
	pauses := map[string]int64{}
	count := 0
	for _, p := range list {
		tasks := "/proc/" + strconv.Itoa(p.pid) + "/task"
		entries, err := os.ReadDir(tasks)
		if err != nil {
			continue // it ended
		}
		for _, entry := range entries {
			text, err := os.ReadFile(tasks + "/" + entry.Name() + "/status")
			if err != nil {
				continue
			}
			running, paused := parseThread(string(text))
			pauses[entry.Name()] = paused
			if before, known := s.pauses[entry.Name()]; running && known && paused-before <= fewPauses {
				count++
			}
		}
	}
	s.pauses = pauses
	return count
}

// parseThread reads /proc/PID/task/TID/status (proc_pid_status(5)): whether the
// thread runs or could, and how often it has given up a processor by itself.
func parseThread(status string) (running bool, paused int64) {
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "State":
			running = strings.HasPrefix(strings.TrimSpace(value), "R")
		case "voluntary_ctxt_switches":
			paused, _ = strconv.ParseInt(strings.TrimSpace(value), 10, 64) // what the kernel writes is a number
		}
	}
	return running, paused
}
