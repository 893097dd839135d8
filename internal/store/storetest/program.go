package storetest

import (
	"errors"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// ProgramsVariable names the variable with the folder of PostgreSQL's programs that
// servers are started from, instead of the newest that is installed.
const ProgramsVariable = "INGRESS_TEST_POSTGRES_PROGRAMS"

// ErrNotInstalled says that there is no PostgreSQL on this machine.
var ErrNotInstalled = errors.New("PostgreSQL's initdb and postgres are not installed, and " + URLVariable + " is not set")

// findPrograms returns the newest folder that has what is needed, or "". Debian
// keeps them where an ordinary PATH does not lead.
func findPrograms() string {
	if given := os.Getenv(ProgramsVariable); given != "" {
		return given
	}
	candidates, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is right
	slices.Sort(candidates)
	slices.Reverse(candidates)
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			candidates = append(candidates, filepath.Dir(path))
		}
	}
	for _, dir := range candidates {
		_, noInit := os.Stat(filepath.Join(dir, "initdb"))
		_, noServer := os.Stat(filepath.Join(dir, "postgres"))
		if noInit == nil && noServer == nil {
			return dir
		}
	}
	return ""
}

// unprivileged is somebody to run the server as.
func unprivileged() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, badUID := strconv.ParseUint(u.Uid, 10, 32)
		gid, badGID := strconv.ParseUint(u.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(badUID, badGID)
	}
	return nil, errors.New("there is no user postgres or nobody to run it as")
}

func (s *Server) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, program), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "HOME=" + s.dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner}
	return cmd
}
