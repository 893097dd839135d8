package main

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// columnGap separates columns.
const columnGap = "  "

// table is rows under a header, lined up with spaces. It looks the same on a
// terminal and in a pipe, so that what was tried by hand works in a script.
//
// A terminal breaks lines that are too long wherever they are, so that tables are
// to be narrow: they leave out what other cells say as well, and have what may be
// of any length, such as a URL or a sentence, in their last column. It is not
// padded, and one that is long takes no room in the other rows.
type table struct {
	header []string
	rows   [][]string
}

// add appends a row, which must be as long as the header.
func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// String returns the table, a line each for the header and the rows. Empty cells
// are shown as "-", so that columns can be counted, and nothing in a cell can
// end its line or reach the terminal as a command.
func (t *table) String() string {
	lines := make([][]string, 0, len(t.rows)+1)
	lines = append(lines, t.header)
	for _, row := range t.rows {
		lines = append(lines, shownCells(row))
	}
	widths := columnWidths(lines)
	var out strings.Builder
	for _, line := range lines {
		writeLine(&out, line, widths)
	}
	return out.String()
}

func shownCells(row []string) []string {
	cells := make([]string, len(row))
	for i, cell := range row {
		if cells[i] = printable(cell); cell == "" {
			cells[i] = "-"
		}
	}
	return cells
}

func columnWidths(lines [][]string) []int {
	var widths []int
	for _, line := range lines {
		for i, cell := range line {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], displayWidth(cell))
		}
	}
	return widths
}

// writeLine writes one line without spaces at its end.
func writeLine(out *strings.Builder, cells []string, widths []int) {
	for i, cell := range cells {
		out.WriteString(cell)
		if i < len(cells)-1 {
			out.WriteString(strings.Repeat(" ", widths[i]-displayWidth(cell)))
			out.WriteString(columnGap)
		}
	}
	out.WriteByte('\n')
}

// displayWidth returns how many columns of a terminal printable text takes: two
// for East Asian wide characters (Unicode Annex 11), none for combining marks.
func displayWidth(text string) int {
	columns := 0
	for _, r := range text {
		switch kind := width.LookupRune(r).Kind(); {
		case unicode.In(r, unicode.Mn, unicode.Me):
		case kind == width.EastAsianWide || kind == width.EastAsianFullwidth:
			columns += 2
		default:
			columns++
		}
	}
	return columns
}

// folded breaks a sentence between words into lines of at most so many columns. A
// word that is longer has a line of its own.
func folded(text string, columns int) []string {
	var lines []string
	for _, word := range strings.Fields(printable(text)) {
		last := len(lines) - 1
		if last >= 0 && displayWidth(lines[last])+1+displayWidth(word) <= columns {
			lines[last] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return lines
}

// printable returns text with everything escaped that is not visible on one
// line: control characters, which are commands to a terminal, invisible ones,
// which can make text look like another, and bytes that are not UTF-8.
func printable(text string) string {
	return escape(text, func(r rune) bool { return unicode.IsPrint(r) })
}

// printableLines is printable for text of many lines: it keeps line ends and
// tabs, and makes CR LF a line end.
func printableLines(text string) string {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	return escape(text, func(r rune) bool { return r == '\n' || r == '\t' || unicode.IsPrint(r) })
}

func escape(text string, keep func(rune) bool) string {
	var out strings.Builder
	for i, r := range text {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], "\uFFFD"):
			fmt.Fprintf(&out, `\x%02x`, text[i])
		case keep(r):
			out.WriteRune(r)
		default:
			out.WriteString(escaped(r))
		}
	}
	return out.String()
}

func escaped(r rune) string {
	switch {
	case r == '\n':
		return `\n`
	case r == '\r':
		return `\r`
	case r == '\t':
		return `\t`
	case r < 0x80:
		return fmt.Sprintf(`\x%02x`, r)
	case r <= 0xFFFF:
		return fmt.Sprintf(`\u%04x`, r)
	}
	return fmt.Sprintf(`\U%08x`, r)
}
