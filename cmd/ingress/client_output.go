package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
)

// printTable writes a table, or says on stderr, where it does not end up in a
// pipe, that there is nothing to show.
func (c *client) printTable(t *table, empty string) error {
	if len(t.rows) == 0 {
		c.say("%s", empty)
		return nil
	}
	return c.write(t.String())
}

// property is one line of a single thing shown.
type property struct{ name, value string }

// printProperties writes a single thing, a line for each property that is not
// empty.
func (c *client) printProperties(properties []property) error {
	return c.write(propertyLines(properties))
}

// propertyLines is what printProperties writes.
func propertyLines(properties []property) string {
	widest := 0
	for _, p := range properties {
		if p.value != "" {
			widest = max(widest, displayWidth(p.name))
		}
	}
	var out strings.Builder
	for _, p := range properties {
		if p.value != "" {
			writeLine(&out, []string{p.name, printable(p.value)}, []int{widest, 0})
		}
	}
	return out.String()
}

// printLine writes one value on a line of its own.
func (c *client) printLine(value string) error { return c.write(printable(value) + "\n") }

// printLines writes values, a line each.
func (c *client) printLines(values []string, empty string) error {
	if len(values) == 0 {
		c.say("%s", empty)
		return nil
	}
	for _, value := range values {
		if err := c.printLine(value); err != nil {
			return err
		}
	}
	return nil
}

// printLog writes text of many lines, ending in a line end.
func (c *client) printLog(text, empty string) error {
	if text == "" {
		c.say("%s", empty)
		return nil
	}
	return c.write(strings.TrimSuffix(printableLines(text), "\n") + "\n")
}

// printJSON writes JSON, indented and otherwise as it came: numbers, order and
// names stay. Characters that a terminal could take for commands are escaped,
// which in JSON means the same.
func (c *client) printJSON(reply []byte) error {
	var out bytes.Buffer
	if err := json.Indent(&out, bytes.TrimSpace(reply), "", "  "); err != nil {
		return &problem{text: "the reply is not JSON", cause: err}
	}
	return c.write(escapeJSON(out.String()) + "\n")
}

// escapeJSON escapes what is not printable inside JSON's strings. Valid JSON has
// such characters nowhere else, but for line ends and spaces.
func escapeJSON(text string) string {
	var out strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			out.WriteRune(r)
		case r <= 0xFFFF:
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		}
	}
	return out.String()
}

// say writes a remark for a person to stderr.
func (c *client) say(format string, args ...any) {
	// The result counts; a remark nobody can read is no failure.
	_, _ = fmt.Fprintln(c.Stderr, printable(fmt.Sprintf(format, args...)))
}

// confirm says what was done, when the API's reply has nothing to show.
func (c *client) confirm(format string, args ...any) func() error {
	return func() error {
		c.say(format, args...)
		return nil
	}
}

func (c *client) write(text string) error {
	if _, err := io.WriteString(c.Stdout, text); err != nil {
		return &problem{text: "cannot write the result: " + err.Error(), cause: err}
	}
	return nil
}

// timeFormat is how times are shown, in the zone of whoever looks.
const timeFormat = "2006-01-02 15:04:05"

// minuteFormat is the same for lists, in which seconds would only take room.
const minuteFormat = "2006-01-02 15:04"

// stamp shows a time of the url, app and function services, RFC 3339, and leaves
// what is none as it is.
func (c *client) stamp(text string) string { return c.shownTime(text, timeFormat) }

// minute is stamp for lists.
func (c *client) minute(text string) string { return c.shownTime(text, minuteFormat) }

func (c *client) shownTime(text, format string) string {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return text
	}
	return at.In(c.zone).Format(format)
}

// unixStamp shows a time of the user and key services, Unix seconds; zero, which
// means never, is empty.
func (c *client) unixStamp(seconds int64) string { return c.shownUnix(seconds, timeFormat) }

// unixMinute is unixStamp for lists.
func (c *client) unixMinute(seconds int64) string { return c.shownUnix(seconds, minuteFormat) }

func (c *client) shownUnix(seconds int64, format string) string {
	if seconds == 0 {
		return ""
	}
	return time.Unix(seconds, 0).In(c.zone).Format(format)
}

// names shows the keys of a map in order. The values of an environment are
// secrets and appear only with --json, as far as the API shows them.
func names(of map[string]string) string {
	return strings.Join(slices.Sorted(maps.Keys(of)), ", ")
}

// pairs shows a map in order.
func pairs(of map[string]string) string {
	var shown []string
	for _, key := range slices.Sorted(maps.Keys(of)) {
		shown = append(shown, key+"="+of[key])
	}
	return strings.Join(shown, ", ")
}

// oneLine puts a reason on one line, which may quote what a program or a compiler
// printed on several.
func oneLine(reason string) string {
	return strings.Join(strings.FieldsFunc(reason, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
}

// statusWord is a status without its reason, for lists of which one row must not make
// all others wide.
func statusWord(status string) string {
	word, _, _ := strings.Cut(status, ": ")
	return word
}

func count(n int64) string { return strconv.FormatInt(n, 10) }

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// examples returns the examples of a command as kong prints them in its help.
func examples(lines ...string) string {
	return "Examples:\n\n  " + strings.Join(lines, "\n  ")
}
