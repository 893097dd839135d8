package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// maxFields bounds the lines of a header or trailer section. The bytes are bounded
// too, but a line of four of them costs a hundred in memory.
const maxFields = 1000

// Errors of answers that are not HTTP/1.1, or not unambiguously so.
var (
	errLineEnd     = errors.New("malformed answer: a line does not end in CR LF")
	errStatus      = errors.New("malformed answer: status line")
	errVersion     = errors.New("malformed answer: neither HTTP/1.1 nor HTTP/1.0")
	errField       = errors.New("malformed answer: header field")
	errFolded      = errors.New("malformed answer: header field on several lines")
	errTooMany     = fmt.Errorf("malformed answer: more than %d header fields", maxFields)
	errLength      = errors.New("malformed answer: Content-Length")
	errCoding      = errors.New("malformed answer: Transfer-Encoding")
	errAmbiguous   = errors.New("malformed answer: Content-Length besides Transfer-Encoding")
	errTrailer     = errors.New("malformed answer: trailer")
	errUnsolicited = errors.New("the backend answered before it was asked anything")
	errUnasked     = errors.New("the backend switched protocols without being asked, or too soon")
)

// readHead reads a head of at most room bytes into the response, and returns how
// many it had.
func (x *exchange) readHead(room int64) (int64, error) {
	block, err := readBlock(x.buffers.in, x.buffers.block[:0], room)
	x.buffers.block = block
	if err != nil {
		return 0, err
	}
	line := bytes.IndexByte(block, '\n') + 1
	if err := checkStatusLine(block[:line-2]); err != nil {
		return 0, err
	}
	n, err := canonicalize(block[line:])
	if err != nil {
		return 0, err
	}
	text := string(block) // the only copy: all values are parts of it
	x.parseStatusLine(text[:line-2])
	x.response.Header = parseFields(text[line:], n)
	fixPragma(x.response.Header)
	return int64(len(block)), x.frame()
}

// readBlock appends the lines up to and including the empty one. Each must end in
// CR LF: a lone LF is a line's end to some and part of it to others.
func readBlock(in *bufio.Reader, block []byte, room int64) ([]byte, error) {
	for begin := len(block); ; {
		part, err := in.ReadSlice('\n')
		if int64(len(block)+len(part)) > room {
			return block, fmt.Errorf("the answer's headers exceed %d bytes", room)
		}
		block = append(block, part...)
		switch line := block[begin:]; {
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF:
			return block, io.ErrUnexpectedEOF
		case err != nil:
			return block, err
		case len(line) < 2 || line[len(line)-2] != '\r':
			return block, errLineEnd
		case len(line) == 2:
			return block, nil
		}
		begin = len(block)
	}
}

// checkStatusLine accepts "HTTP/1.1 200 OK" and, as many leave it out, no space
// behind the status (RFC 9112 4).
func checkStatusLine(line []byte) error {
	switch {
	case len(line) < len("HTTP/1.1 200") || string(line[:7]) != "HTTP/1.":
		return errStatus
	case line[7] != '0' && line[7] != '1':
		return errVersion
	case line[8] != ' ' || line[9] < '1' || line[9] > '9' || !isDigit(line[10]) || !isDigit(line[11]):
		return errStatus
	case len(line) > 12 && line[12] != ' ' || !isText(line[12:]):
		return errStatus
	}
	return nil
}

func (x *exchange) parseStatusLine(line string) {
	r := &x.response
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	if line[7] == '0' {
		r.Proto, r.ProtoMinor = "HTTP/1.0", 0
	}
	r.Status = line[9:]
	r.StatusCode = int(line[9]-'0')*100 + int(line[10]-'0')*10 + int(line[11]-'0')
}

// canonicalize checks the field lines of a block and brings their names into the
// form they have in a http.Header, in place. It returns how many there are.
func canonicalize(block []byte) (int, error) {
	n := 0
	for ; len(block) > 2; n++ {
		end := bytes.IndexByte(block, '\n')
		if err := canonicalizeLine(block[:end-1]); err != nil {
			return 0, err
		}
		block = block[end+1:]
	}
	if n > maxFields {
		return 0, errTooMany
	}
	return n, nil
}

// canonicalizeLine does so with one line. There is no space before the colon
// (RFC 9112 5.1), and none at the beginning, where it would continue the line
// before (5.2).
func canonicalizeLine(line []byte) error {
	if line[0] == ' ' || line[0] == '\t' {
		return errFolded
	}
	colon := bytes.IndexByte(line, ':')
	if colon < 1 || !isText(line[colon+1:]) {
		return errField
	}
	first := true
	for i, c := range line[:colon] {
		switch {
		case !httpguts.IsTokenRune(rune(c)):
			return errField
		case first && 'a' <= c && c <= 'z', !first && 'A' <= c && c <= 'Z':
			line[i] = c ^ 0x20
		}
		first = c == '-'
	}
	return nil
}

// isText reports whether there are only visible characters, spaces, tabs and
// bytes beyond ASCII.
func isText(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// parseFields makes a header of n canonical lines.
func parseFields(text string, n int) http.Header {
	h := make(http.Header, n)
	all := make([]string, n) // one for each line, cut up
	for i := range n {
		end := strings.IndexByte(text, '\n')
		colon := strings.IndexByte(text, ':')
		name := text[:colon]
		all[i] = strings.Trim(text[colon+1:end-1], " \t")
		if have := h[name]; have != nil {
			h[name] = append(have, all[i])
		} else {
			h[name] = all[i : i+1 : i+1]
		}
		text = text[end+1:]
	}
	return h
}

// fixPragma adds what HTTP/1.0 servers mean by Pragma, as net/http does.
func fixPragma(h http.Header) {
	if pragma := h["Pragma"]; len(pragma) > 0 && pragma[0] == "no-cache" && h["Cache-Control"] == nil {
		h["Cache-Control"] = []string{"no-cache"}
	}
}
