package confine

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// EndLeftovers kills what a launcher that is gone has left, and returns when
// nothing of it that can be found runs any more. What is in the tree's control
// groups is always found. Where there are none it is what is in its session, what
// has its environment, and the descendants and sessions of those: a program that
// left the session and cleared its environment, and whose parents have ended,
// gets away.
func EndLeftovers(r Remains) error {
	if !names.MatchString(r.Name) {
		return fmt.Errorf("the name %q of a confined process has to be of letters, digits, - and _", r.Name)
	}
	g := existingGroups(r.Name)
	g.kill()
	t := &tree{groups: g}
	deadline := time.Now().Add(endDeadline)
	pause := time.NewTicker(time.Millisecond)
	defer pause.Stop()
	for {
		list, err := r.find(g)
		if err != nil {
			return err
		}
		if t.kill(list) == 0 {
			return g.remove()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("some processes of %s have not ended within %v of SIGKILL", r.Name, endDeadline)
		}
		<-pause.C
	}
}

// existingGroups are the control groups of a name, where there are any.
func existingGroups(name string) *groups {
	g := &groups{}
	for _, h := range hierarchies() {
		path := filepath.Join(h.base, groupsDir, name)
		if _, err := os.Stat(path); err == nil {
			g.dirs = append(g.dirs, groupDir{hierarchy: h, path: path})
		}
	}
	return g
}

// find lists the living of what is left. Nothing of another user is, except in
// the control groups, which nobody else gets into.
func (r Remains) find(g *groups) ([]proc, error) {
	table, err := processes()
	if err != nil {
		return nil, err
	}
	in := map[int]bool{}
	for _, pid := range g.members() {
		in[pid] = true
	}
	sessions := map[int]bool{}
	if r.Session > 1 {
		sessions[r.Session] = true
	}
	for pid := range table {
		if !in[pid] && r.owns(pid) && r.hasEnv(pid) {
			in[pid] = true
		}
	}
	own := table[os.Getpid()].session
	for grew := true; grew; {
		grew = false
		for pid, p := range table {
			switch {
			case in[pid] && p.session > 1 && p.session != own && !sessions[p.session]:
				sessions[p.session], grew = true, true
			case !in[pid] && (sessions[p.session] || in[p.parent]) && r.owns(pid):
				in[pid], grew = true, true
			}
		}
	}
	delete(in, os.Getpid())
	var list []proc
	for pid := range in {
		if p, ok := table[pid]; ok && p.alive() {
			list = append(list, p)
		}
	}
	return list, nil
}

// owns reports whether a process runs as the tree's user.
func (r Remains) owns(pid int) bool {
	uid := r.User.UID
	if r.User.IsZero() {
		uid = uint32(os.Geteuid())
	}
	var st unix.Stat_t
	return unix.Stat("/proc/"+strconv.Itoa(pid), &st) == nil && st.Uid == uid
}

// hasEnv reports whether a process was started with all of Env.
func (r Remains) hasEnv(pid int) bool {
	if len(r.Env) == 0 {
		return false
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return false // it has ended, or is nobody's we may look at
	}
	has := bytes.Split(text, []byte{0})
	return !slices.ContainsFunc(r.Env, func(entry string) bool {
		return !slices.ContainsFunc(has, func(e []byte) bool { return string(e) == entry })
	})
}
