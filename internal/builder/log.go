package builder

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	// tailBytes of what a step printed are kept for its error, of which at most
	// tailLines are shown.
	tailBytes = 2 << 10
	tailLines = 5
)

// buildLog is the build's log: what steps print, which is bounded and whose end
// is remembered, and what the builder says itself. It is safe for concurrent use.
type buildLog struct {
	mu   sync.Mutex
	w    io.Writer
	left int64 // how much steps may still print
	over bool  // whether they tried to print more
	tail []byte
	last byte  // the last byte written
	err  error // the first error of w
}

func newLog(w io.Writer, limit int64) *buildLog {
	return &buildLog{w: w, left: limit, last: '\n'}
}

// Write implements io.Writer for what steps print. It fails once they have printed
// too much, which ends the step.
func (l *buildLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(int64(len(p)), l.left)
	l.left -= n
	l.put(p[:n])
	l.tail = append(l.tail, p[:n]...)
	l.tail = l.tail[max(0, len(l.tail)-tailBytes):]
	switch {
	case l.err != nil:
		return int(n), l.err
	case n < int64(len(p)):
		l.over = true
		return int(n), errOutput
	}
	return int(n), nil
}

// put writes unless writing failed before.
func (l *buildLog) put(p []byte) {
	if l.err != nil || len(p) == 0 {
		return
	}
	_, l.err = l.w.Write(p)
	l.last = p[len(p)-1]
}

// printf prints a line of the builder's own.
func (l *buildLog) printf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := fmt.Sprintf(format, args...) + "\n"
	if l.last != '\n' {
		line = "\n" + line
	}
	l.put([]byte(line))
}

// begin prints the command of a step and forgets what earlier ones printed.
func (l *buildLog) begin(command string) {
	l.printf("$ %s", command)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tail = nil
}

// state returns whether steps printed too much, and the error of writing the log.
func (l *buildLog) state() (over bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over, l.err
}

// escape matches the sequences that colour text and move the cursor (ECMA-48).
var escape = regexp.MustCompile(`\x1b(\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])`)

// ending returns the last lines that the step printed, as readable text, each on a
// line of its own after a line feed; "" when it printed nothing.
func (l *buildLog) ending() string {
	l.mu.Lock()
	text := string(l.tail)
	cut := len(l.tail) == tailBytes
	l.mu.Unlock()
	if i := strings.IndexByte(text, '\n'); cut && i >= 0 {
		text = text[i+1:] // the first line lacks its beginning
	}
	var lines []string
	for line := range strings.Lines(escape.ReplaceAllString(strings.ToValidUTF8(text, "\ufffd"), "")) {
		line = strings.TrimRight(strings.Map(readable, line), " ")
		if strings.TrimSpace(line) != "" && !strings.Contains(line, "npm error Log files were not written") {
			lines = append(lines, line)
		}
	}
	var ending strings.Builder
	for _, line := range lines[max(0, len(lines)-tailLines):] {
		ending.WriteString("\n" + shorten(line, 300))
	}
	return ending.String()
}

// readable turns tabs into spaces and drops what else does not print.
func readable(r rune) rune {
	switch {
	case r == '\t':
		return ' '
	case r < ' ' || r == 0x7f:
		return -1
	}
	return r
}

// shorten returns at most max bytes of text, whole characters only.
func shorten(text string, max int) string {
	if len(text) <= max {
		return text
	}
	for max > 0 && !utf8.RuneStart(text[max]) {
		max--
	}
	return text[:max] + "…"
}

// spent says how long something took, as people would.
func spent(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
