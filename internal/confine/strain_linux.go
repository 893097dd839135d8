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
}

// look is called by the watcher.
func (s *strain) look(p *Process) {
	if p.policy.Limits.CPU <= 0 || time.Since(s.last) < strainEvery {
		return
	}
	s.last = time.Now()
	share := (p.policy.Limits.CPU + 999) / 1000
	if !wants(descendants(os.Getpid(), p.tree), share) {
		if s.looks = 0; s.told {
			s.told = false
			p.notify("")
		}
		return
	}
	if s.looks++; s.looks >= strainedLooks && !s.told {
		s.told = true
		p.notify(fmt.Sprintf("it has wanted all of the processor time that it may use (%s processors) for %v without a pause, and may not answer",
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

// wants reports whether at least so many threads run or wait for a processor.
// Those that a control group holds back count as running, too.
func wants(list []proc, threads int) bool {
	for _, p := range list {
		tasks := "/proc/" + strconv.Itoa(p.pid) + "/task"
		entries, err := os.ReadDir(tasks)
		if err != nil {
			continue // it ended
		}
		for _, entry := range entries {
			stat, err := os.ReadFile(tasks + "/" + entry.Name() + "/stat")
			if err != nil {
				continue
			}
			text := string(stat)
			if strings.HasPrefix(text[strings.LastIndexByte(text, ')')+1:], " R") {
				threads--
			}
			if threads <= 0 {
				return true
			}
		}
	}
	return false
}
