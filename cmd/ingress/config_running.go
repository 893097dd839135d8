package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// running is how apps and functions are built and run on this machine.
type running struct {
	IdleTimeout  time.Duration `default:"15m" env:"INGRESS_IDLE_TIMEOUT" help:"For an app or function without requests, unless its owner chose another; it sleeps then. 0 for never."`
	StartTimeout time.Duration `default:"60s" env:"INGRESS_START_TIMEOUT" help:"For a started process to accept a connection."`
	WakeTimeout  time.Duration `default:"30s" env:"INGRESS_WAKE_TIMEOUT" help:"For a request that waits for a process to start."`
	WakeQueue    int           `default:"100" env:"INGRESS_WAKE_QUEUE" help:"Requests that may wait for one process."`
	DrainTimeout time.Duration `default:"30s" env:"INGRESS_DRAIN_TIMEOUT" help:"For the requests of a version that another one replaces."`
	StopTimeout  time.Duration `default:"10s" env:"INGRESS_STOP_TIMEOUT" help:"Between SIGTERM and SIGKILL."`

	AppMemory      byteSize `default:"512MiB" env:"INGRESS_APP_MEMORY" help:"Memory of one process with its descendants."`
	AppCPUs        float64  `name:"app-cpus" default:"1" env:"INGRESS_APP_CPUS" help:"Processors that one may use, such as 0.5. 0 for any number."`
	AppProcesses   int      `default:"256" env:"INGRESS_APP_PROCESSES" help:"Processes and threads that one may have."`
	AppFiles       int      `default:"1024" env:"INGRESS_APP_FILES" help:"Files that one may have open."`
	AppDisk        byteSize `default:"1GiB" env:"INGRESS_APP_DISK" help:"Disk that one may fill."`
	AppPorts       portSpan `default:"20000-29999" env:"INGRESS_APP_PORTS" placeholder:"FIRST-LAST" help:"Loopback ports that processes are given, ${default} unless set."`
	AppEgressPorts []string `default:"53,80,443,465,587,3306,5432,6379,27017" env:"INGRESS_APP_EGRESS_PORTS" placeholder:"PORT" help:"TCP ports that processes may connect to, ${default} unless set."`
	AppLogBytes    byteSize `default:"2MiB" env:"INGRESS_APP_LOG_BYTES" help:"What is kept of a version's log."`
	AppUIDBase     uint32   `name:"app-uid-base" default:"1900000000" env:"INGRESS_APP_UID_BASE" help:"The users that processes run as are numbered from here, when the ingress runs as root."`

	Builds           int           `default:"2" env:"INGRESS_BUILDS" help:"Builds at the same time."`
	BuildTimeout     time.Duration `default:"10m" env:"INGRESS_BUILD_TIMEOUT" help:"For one build."`
	BuildMemory      byteSize      `default:"2GiB" env:"INGRESS_BUILD_MEMORY" help:"Memory of one build."`
	BuildDisk        byteSize      `default:"4GiB" env:"INGRESS_BUILD_DISK" help:"Disk that one build may fill, its tenant's cache included."`
	BuildLogBytes    byteSize      `default:"10MiB" env:"INGRESS_BUILD_LOG_BYTES" help:"What a build may print; one that prints more fails."`
	BuildCacheBytes  byteSize      `default:"2GiB" env:"INGRESS_BUILD_CACHE_BYTES" help:"What builds of a tenant may leave for its next ones. 0 for nothing."`
	KeepVersions     int           `default:"5" env:"INGRESS_KEEP_VERSIONS" help:"Versions kept of each app and function."`
	SourceTimeout    time.Duration `default:"2m" env:"INGRESS_SOURCE_TIMEOUT" help:"For fetching a repository."`
	MaxSourceBytes   byteSize      `default:"256MiB" env:"INGRESS_MAX_SOURCE_BYTES" help:"For a repository, or an upload (beyond it, 413) and what it unpacks to."`
	MaxSourceFiles   int64         `default:"50000" env:"INGRESS_MAX_SOURCE_FILES" help:"Files of a repository or an upload."`
	GitSubmodules    bool          `env:"INGRESS_GIT_SUBMODULES" help:"Fetch a repository's submodules, too."`
	AllowLocalRepos  bool          `env:"INGRESS_ALLOW_LOCAL_REPOS" help:"Let everybody deploy from file:// addresses, which are files of this machine."`
	BuildEgressPorts []string      `default:"22,53,80,443,9418" env:"INGRESS_BUILD_EGRESS_PORTS" placeholder:"PORT" help:"TCP ports that builds and git may connect to, ${default} unless set."`
}

// validate names the flag that is wrong, and why.
func (r *running) validate() error {
	if err := checkPositive([]namedDuration{
		{"--start-timeout", r.StartTimeout}, {"--wake-timeout", r.WakeTimeout}, {"--stop-timeout", r.StopTimeout},
		{"--drain-timeout", r.DrainTimeout}, {"--build-timeout", r.BuildTimeout}, {"--source-timeout", r.SourceTimeout},
	}); err != nil {
		return err
	}
	if r.IdleTimeout < 0 {
		return fmt.Errorf("--idle-timeout: %v must not be negative; 0 means never", r.IdleTimeout)
	}
	if r.AppCPUs < 0 || r.AppCPUs > 1024 || r.AppCPUs > 0 && r.AppCPUs < 0.01 {
		return fmt.Errorf("--app-cpus: %v must be from 0.01 to 1024, or 0 for any number", r.AppCPUs)
	}
	if r.AppUIDBase < 1000 || r.AppUIDBase > 1<<32-1<<20 {
		return fmt.Errorf("--app-uid-base: %d must be at least 1000, and leave room for a million users", r.AppUIDBase)
	}
	return joinErrors(
		checkPorts("--app-egress-ports", r.AppEgressPorts),
		checkPorts("--build-egress-ports", r.BuildEgressPorts),
		r.validateAmounts(),
	)
}

func (r *running) validateAmounts() error {
	for _, each := range []struct {
		flag         string
		value, least int64
	}{
		{"--wake-queue", int64(r.WakeQueue), 1}, {"--app-processes", int64(r.AppProcesses), 16}, {"--app-files", int64(r.AppFiles), 64},
		{"--builds", int64(r.Builds), 1}, {"--keep-versions", int64(r.KeepVersions), 2}, {"--max-source-files", r.MaxSourceFiles, 1},
	} {
		if each.value < each.least {
			return fmt.Errorf("%s: %d must be at least %d", each.flag, each.value, each.least)
		}
	}
	for _, each := range []struct {
		flag         string
		value, least byteSize
	}{
		{"--app-memory", r.AppMemory, 32 << 20}, {"--app-disk", r.AppDisk, 1 << 20}, {"--app-log-bytes", r.AppLogBytes, 4 << 10},
		{"--build-memory", r.BuildMemory, 64 << 20}, {"--build-disk", r.BuildDisk, 16 << 20}, {"--build-log-bytes", r.BuildLogBytes, 4 << 10},
		{"--max-source-bytes", r.MaxSourceBytes, 1 << 10},
	} {
		if each.value < each.least {
			return fmt.Errorf("%s: %v is too small; give %v or more", each.flag, each.value, each.least)
		}
	}
	return nil
}

func checkPorts(flag string, list []string) error {
	for _, port := range list {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("%s: %q is not a port from 1 to 65535", flag, port)
		}
	}
	return nil
}

// ports returns a list that checkPorts has checked.
func ports(list []string) []uint16 {
	var parsed []uint16
	for _, port := range list {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil {
			parsed = append(parsed, uint16(n))
		}
	}
	return parsed
}

// portSpan is a range of TCP ports, both ends included.
type portSpan struct{ First, Last uint16 }

// UnmarshalText reads "20000-29999"; it implements encoding.TextUnmarshaler.
func (p *portSpan) UnmarshalText(text []byte) error {
	from, to, ok := strings.Cut(string(text), "-")
	first, errFirst := strconv.ParseUint(from, 10, 16)
	last, errLast := strconv.ParseUint(to, 10, 16)
	if !ok || errFirst != nil || errLast != nil || first < 1024 || first > last {
		return fmt.Errorf("%q is not a range of ports from 1024 to 65535, such as 20000-29999", text)
	}
	p.First, p.Last = uint16(first), uint16(last)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (p portSpan) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// String writes the range as UnmarshalText reads it.
func (p portSpan) String() string { return fmt.Sprintf("%d-%d", p.First, p.Last) }
