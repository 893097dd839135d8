package confine

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Probe says what confinement consists of on this machine, for the operator. It
// tries rather than guesses, and leaves nothing behind. Of the given directories,
// which are to hold workloads, it says whether other users can reach them.
func Probe(dirs ...string) []Measure {
	list := []Measure{probeUser(), probePrivileges(), probeFiles(), probePorts(), probeScope(), probeCalls()}
	list = append(list, probeGroups()...)
	list = append(list, Measure{Name: "files, core dumps and disk of a process", InForce: true,
		Detail: "limited by the kernel for each process; what a workload's directories hold is summed up every few seconds"})
	list = append(list, probeView())
	for _, dir := range dirs {
		list = append(list, probeReach(dir))
	}
	return list
}

func probeUser() Measure {
	m := Measure{Name: "a user for each workload", InForce: os.Geteuid() == 0}
	if m.InForce {
		m.Detail = "each workload runs as an unprivileged user of its own"
		return m
	}
	m.Detail = fmt.Sprintf("only root can switch users: all workloads run as user %d, like the ingress", os.Geteuid())
	m.Advice = "run the ingress as root, which gives up its rights for each workload, when tenants do not trust each other"
	return m
}

func probePrivileges() Measure {
	_, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	m := Measure{Name: "no new privileges", InForce: err == nil}
	if m.InForce {
		m.Detail = "no capability, and none to be had from a set-user-id program"
		return m
	}
	m.Detail, m.Advice = "the kernel does not have it, and nothing is started without", "use Linux 3.5 or later"
	return m
}

func probeFiles() Measure {
	version := landlockVersion()
	m := Measure{Name: "files", InForce: version >= landlockFiles}
	switch {
	case m.InForce && version < landlockRefer:
		m.Detail = "Landlock allows the system, read only, and the workload's own directories; moving a file between two directories fails"
		m.Advice = "use Linux 5.19 or later, where files can be moved"
	case m.InForce:
		m.Detail = fmt.Sprintf("Landlock (version %d) allows the system, read only, and the workload's own directories", version)
	default:
		m.Detail = "the kernel has no Landlock: what a workload can read is what its user can"
		m.Advice = "use Linux 5.13 or later with landlock in the kernel's lsm= list"
	}
	return m
}

func probePorts() Measure {
	m := Measure{Name: "TCP ports", InForce: landlockVersion() >= landlockTCP}
	if m.InForce {
		m.Detail = "Landlock allows a workload its own port, and connections to the allowed ports of any address"
		return m
	}
	m.Detail = "the kernel cannot restrict ports: a workload can listen on any free port and connect anywhere"
	m.Advice = "use Linux 6.7 or later with Landlock, and a firewall until then"
	return m
}

func probeScope() Measure {
	m := Measure{Name: "signals and abstract sockets", InForce: landlockVersion() >= landlockScope}
	switch {
	case m.InForce:
		m.Detail = "Landlock keeps them within the workload"
	case os.Geteuid() == 0:
		m.Detail = "signals reach only processes of the same user, which is the workload's own; abstract sockets of others can be reached"
		m.Advice = "use Linux 6.12 or later"
	default:
		m.Detail = "a workload can signal the processes of its user, the ingress among them"
		m.Advice = "use Linux 6.12 or later, or run the ingress as root"
	}
	return m
}

func probeCalls() Measure {
	m := Measure{Name: "system calls", InForce: filterable()}
	if m.InForce {
		m.Detail = "a filter refuses those that look into other processes, make namespaces or change the machine"
		return m
	}
	m.Detail = "the kernel or this architecture has no filter of ours"
	m.Advice = "use Linux on amd64 or arm64 with CONFIG_SECCOMP_FILTER"
	return m
}

// probeGroups makes control groups and removes them.
func probeGroups() []Measure {
	g := newGroups(Policy{Name: "probe-" + strconv.Itoa(os.Getpid()),
		Limits: Limits{Memory: 64 << 20, CPU: 1000, Processes: 10}})
	memory, cpu, pids := g.has("memory"), g.has("cpu"), g.has("pids")
	left := g.remove()
	const advice = "run the ingress as root, or under systemd with Delegate=yes, or in a container with a writable /sys/fs/cgroup"
	measure := func(name string, inForce bool, with, without string) Measure {
		m := Measure{Name: name, InForce: inForce, Detail: with}
		if !inForce {
			m.Detail, m.Advice = without, advice
		}
		if left != nil {
			m.Detail += fmt.Sprintf(" (but: %v)", left)
		}
		return m
	}
	return []Measure{
		measure("memory limit", memory, "a control group holds all processes of a workload, swap included",
			"no control group: each process is limited, and their sum is checked four times a second"),
		measure("processor limit", cpu, "a control group holds all processes of a workload",
			"no control group: workloads that have a limit run with a lower priority instead"),
		measure("process limit", pids, "a control group counts the processes and threads of a workload",
			"no control group: the kernel limits those of its user, and those of the workload are counted four times a second"),
	}
}

func probeView() Measure {
	m := Measure{Name: "a view of the file system for each workload"}
	switch {
	case os.Geteuid() != 0:
		m.Detail = "only root can mount: /tmp is not usable, and other processes' names and arguments can be seen"
		m.Advice = "run the ingress as root when tenants do not trust each other"
	case !mountable():
		m.Detail = "this machine does not let the ingress mount: /tmp is not usable, and other processes' names and arguments can be seen"
		m.Advice = "give the ingress CAP_SYS_ADMIN, and use Linux 5.8 or later"
	default:
		m.InForce = true
		m.Detail = "/tmp and /dev/shm are a workload's own, and it sees only its own processes"
	}
	return m
}

// probeReach says whether what is in a directory can be given to other users.
func probeReach(dir string) Measure {
	m := Measure{Name: "reach of " + dir, InForce: true}
	if os.Geteuid() != 0 {
		m.Detail = "workloads run as the user of the ingress, who can reach it"
		return m
	}
	v := &view{policy: Policy{User: User{UID: 65534, GID: 65534}, ReadWrite: []string{dir}}}
	closed, err := v.closed()
	switch {
	case err != nil:
		m.InForce, m.Detail, m.Advice = false, err.Error(), "make the directory"
	case len(closed) == 0:
		m.Detail = "other users can reach what they own in it"
	case mountable():
		m.Detail = closed[0] + " is closed to other users: each workload sees its own directories there, and nothing else"
	default:
		m.InForce = false
		m.Detail = closed[0] + " is closed to other users, and this machine does not let the ingress mount"
		m.Advice = "move the data directory to where every directory above it has mode 0711 or more"
	}
	return m
}
