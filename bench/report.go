package main

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// results are the samples of each peer at each workload.
type results map[string][]sample

func key(p *peer, w workload) string { return p.name + "\x00" + w.name }

func (r results) add(p *peer, w workload, s sample) { r[key(p, w)] = append(r[key(p, w)], s) }

// median of one figure of the samples; false when there are none.
func median[T cmp.Ordered](samples []sample, figure func(sample) T) (T, bool) {
	var none T
	if len(samples) == 0 {
		return none, false
	}
	list := make([]T, len(samples))
	for i, s := range samples {
		list[i] = figure(s)
	}
	slices.Sort(list)
	return list[len(list)/2], true
}

// report writes the tables in Markdown.
func report(o options, peers []*peer, chosen []workload, r results, resolving string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d processors, %s, Linux %s. %d rounds of %v, %d connections, medians; ratios to %s in the same run.\n\n",
		processor(), runtime.NumCPU(), runtime.Version(), kernel(), o.rounds, o.duration, o.connections, peers[0].name)
	for _, w := range chosen {
		fmt.Fprintf(&b, "### %s: %s\n\n", w.name, w.what)
		if w.memory {
			memoryTable(&b, peers, w, r)
		} else {
			requestTable(&b, peers, w, r)
		}
		b.WriteByte('\n')
	}
	if resolving != "" {
		b.WriteString("### Resolving\n\n" + resolving + "\n")
	}
	b.WriteString("### Who took part\n\n")
	for _, p := range peers {
		fmt.Fprintf(&b, "%s, %s:\n\n", p.name, p.version)
		for line := range strings.Lines(p.config) {
			b.WriteString("    " + strings.TrimRight(line, "\n") + "\n")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func requestTable(b *strings.Builder, peers []*peer, w workload, r results) {
	b.WriteString("| | CPU a request | ratio | requests/s | p50 | p99 | memory |\n|---|---:|---:|---:|---:|---:|---:|\n")
	first, compared := median(r[key(peers[0], w)], func(s sample) time.Duration { return s.cpu })
	for _, p := range peers {
		samples := r[key(p, w)]
		cpu, ok := median(samples, func(s sample) time.Duration { return s.cpu })
		if !ok {
			continue
		}
		rate, _ := median(samples, func(s sample) float64 { return s.rate })
		p50, _ := median(samples, func(s sample) time.Duration { return s.p50 })
		p99, _ := median(samples, func(s sample) time.Duration { return s.p99 })
		memory, _ := median(samples, func(s sample) float64 { return s.memory })
		ratio := "–"
		if compared && first > 0 {
			ratio = fmt.Sprintf("%.2f", float64(cpu)/float64(first))
		}
		fmt.Fprintf(b, "| %s | %s | %s | %.0f | %s | %s | %.1f MiB |\n", p.name, micro(cpu), ratio, rate, micro(p50), micro(p99), memory/(1<<20))
	}
}

func memoryTable(b *strings.Builder, peers []*peer, w workload, r results) {
	b.WriteString("| | KiB each | ratio |\n|---|---:|---:|\n")
	first, compared := median(r[key(peers[0], w)], func(s sample) float64 { return s.memory })
	for _, p := range peers {
		memory, ok := median(r[key(p, w)], func(s sample) float64 { return s.memory })
		if !ok {
			continue
		}
		ratio := "–"
		if compared && first > 0 {
			ratio = fmt.Sprintf("%.2f", memory/first)
		}
		fmt.Fprintf(b, "| %s | %.1f | %s |\n", p.name, memory/1024, ratio)
	}
}

// micro writes a duration in microseconds.
func micro(d time.Duration) string { return fmt.Sprintf("%.1f µs", float64(d.Nanoseconds())/1000) }

// processor is what the machine calls its processor.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// kernel is the version of the kernel, without what a vendor adds.
func kernel() string {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "of unknown version"
	}
	version, _, _ := strings.Cut(strings.TrimSpace(string(text)), "-")
	return version
}
