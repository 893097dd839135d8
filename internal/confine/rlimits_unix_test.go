//go:build unix && !solaris

package confine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The limits change the process that sets them, for good unless it may raise them, so
// the tests have one of their own, and that starts another one that looks.

const limitsEnv = "INGRESS_TEST_CONFINE_LIMITS"

var limited = Policy{Name: "limited", User: User{UID: 4711, GID: 4711}, Limits: Limits{Memory: 1 << 30, Processes: 4000, Files: 100, Disk: 100 << 20}}

// again runs this program's test of the name alone, in a role.
func again(t *testing.T, role string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), limitsEnv+"="+role, "INGRESS_TEST_CONFINE_PROBE=/nonexistent")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", role, err, out)
	}
	return string(out)
}

// show prints the limits of this process.
func show(t *testing.T, who string) {
	t.Helper()
	for _, l := range rlimits(limited) {
		var now unix.Rlimit
		if err := unix.Getrlimit(l.resource, &now); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("%s: %s: %d of %d\n", who, l.what, now.Cur, now.Max)
	}
}

func TestAChildIsBornWithItsLimits(t *testing.T) {
	switch os.Getenv(limitsEnv) {
	case "parent":
		var unlimited unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_CORE, &unlimited); err != nil {
			t.Fatal(err)
		}
		show(t, "before")
		if err := underLimits(rlimits(limited), func() error { fmt.Print(again(t, "child")); return nil }); err != nil {
			t.Fatal(err)
		}
		show(t, "after")
		if err := unix.Setrlimit(unix.RLIMIT_CORE, &unlimited); err == nil {
			fmt.Println("may raise limits")
		}
		return
	case "child":
		show(t, "child")
		return
	}
	lines := strings.Split(again(t, "parent"), "\n")
	has := func(line string) bool { return slices.Contains(lines, line) }
	for _, want := range []struct {
		what  string
		value int64
	}{
		{"core dumps", 0}, {"open files", 100}, {"file sizes", 100 << 20}, {"memory", 1<<30 + dataSlack}, {"processes", 4000},
	} {
		if line := fmt.Sprintf("child: %s: %d of %d", want.what, want.value, want.value); !has(line) {
			t.Errorf("no line %q in\n%s", line, strings.Join(lines, "\n"))
		}
	}
	if !has("may raise limits") {
		return // neither may root in many a container; the parent keeps them
	}
	for _, line := range lines {
		if rest, ok := strings.CutPrefix(line, "before: "); ok && !has("after: "+rest) {
			t.Errorf("not taken back: %s\n%s", rest, strings.Join(lines, "\n"))
		}
	}
}

func TestLimitsLeaveWhatALauncherNeeds(t *testing.T) {
	got := rlimits(Policy{Limits: Limits{Files: 1, Disk: 1, Processes: 1}})
	want := []rlimit{
		{"core dumps", unix.RLIMIT_CORE, 0},
		{"open files", unix.RLIMIT_NOFILE, leastFiles},
		{"file sizes", unix.RLIMIT_FSIZE, leastFileSize},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v: no memory, as there is no limit, and no processes, as the user is shared", got, want)
	}
	if got := rlimits(Policy{}); len(got) != 1 {
		t.Errorf("without limits: %v", got)
	}
}

func TestALimitThatCannotBeSetStopsTheStart(t *testing.T) {
	err := underLimits([]rlimit{{"wishes", -1, 3}}, func() error {
		t.Error("it was started")
		return nil
	})
	if !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), "wishes") {
		t.Errorf("got %v", err)
	}
}

func TestMeasuresOfLimitsSayWhatTheyAreWorth(t *testing.T) {
	for _, row := range []struct {
		system string
		root   bool
		want   string
	}{
		{"darwin", false, "files and core dumps of a process"},
		{"darwin", true, "files and core dumps of a process, process limit"},
		{"openbsd", false, "files and core dumps of a process, memory limit"},
	} {
		var inForce []string
		for _, m := range rlimitMeasures(row.system, row.root) {
			if m.InForce {
				inForce = append(inForce, m.Name)
			}
			if m.Detail == "" || m.InForce == (m.Advice != "") {
				t.Errorf("%+v", m)
			}
		}
		if got := strings.Join(inForce, ", "); got != row.want {
			t.Errorf("%s, root %v: in force are %s, want %s", row.system, row.root, got, row.want)
		}
	}
}
