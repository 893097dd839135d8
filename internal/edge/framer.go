package edge

import (
	"bytes"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"
)

// framer follows the bytes that a visitor sends over HTTP/1 and finds the end of
// each request by the letter of RFC 9112. Whatever another reader could
// understand differently is a doubt, and a doubt is never resolved: the request
// it is in gets 400, and nothing behind it is a request.
//
// net/http is more generous. It ends lines with a bare LF, unfolds headers, and
// prefers Transfer-Encoding to a Content-Length beside it, and a handler sees
// nothing of all that. So the bytes are read here as well, before net/http does.
// Where the two disagree about the end of a request, its number tells, and what
// follows is refused.
//
// It is safe for concurrent use.
type framer struct {
	maxLine int // a head's longest line

	mu    sync.Mutex
	state framing
	line  []byte // the beginning of a line whose end has not come yet
	left  uint64 // bytes of the body, or of the chunk
	head  head
	heads int // how many heads are complete

	doubt   string // what is doubtful, for the visitor; empty while nothing is
	request int    // in which request, counted from 0
	inBody  bool   // in its body: its head was good
}

// framing is what the next byte belongs to.
type framing uint8

const (
	inRequestLine framing = iota
	inHeaders
	inBody
	inChunkSize
	inChunk
	inChunkEnd
	inTrailers
	inNothing // nothing is known any more, or it is not HTTP/1 any more
)

// head is what the head of one request says about where the request ends and
// whom it is for.
type head struct {
	http10    bool
	authority string // of a target in absolute form
	length    uint64
	lengths   int // how many headers say so
	chunked   bool
	codings   int
}

// What is doubtful in HTTP/2 as well.
const (
	nearlyLength = "A header's name is nearly Content-Length."
	manyLengths  = "It has more than one Content-Length."
	twoHosts     = "Its target and its Host header name different hosts."
	nearlyCoding = "A header's name is nearly Transfer-Encoding."
)

const (
	// lineSlack is how far net/http reads beyond its limit of bytes.
	lineSlack = 8 << 10
	// maxChunkLine bounds a chunk's size with its extensions, as net/http does.
	maxChunkLine = 4 << 10
)

// feed is given every byte, in order, before net/http sees it.
func (f *framer) feed(p []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(p) > 0 {
		switch f.state {
		case inNothing:
			return
		case inBody, inChunk:
			p = f.skip(p)
		default:
			p = f.readLine(p)
		}
	}
}

// skip takes what is neither looked at nor kept.
func (f *framer) skip(p []byte) (rest []byte) {
	n := min(f.left, uint64(len(p)))
	if f.left -= n; f.left == 0 {
		if f.state == inChunk {
			f.state = inChunkEnd
		} else {
			f.next()
		}
	}
	return p[n:]
}

func (f *framer) next() { f.state, f.head = inRequestLine, head{} }

// readLine takes a line, or what there is of one. A line that came in one piece
// is not copied.
func (f *framer) readLine(p []byte) (rest []byte) {
	end := bytes.IndexByte(p, '\n')
	if end < 0 {
		f.line = append(f.line, p...)
		if len(f.line) > f.longest() {
			f.doubted("A line of it is too long.")
		}
		return nil
	}
	line := p[:end]
	if len(f.line) > 0 {
		f.line = append(f.line, line...)
		line = f.line
	}
	f.take(line)
	if f.line = f.line[:0]; cap(f.line) > maxChunkLine {
		f.line = nil
	}
	return p[end+1:]
}

func (f *framer) longest() int {
	if f.state == inRequestLine || f.state == inHeaders {
		return f.maxLine
	}
	return maxChunkLine
}

// take reads one line without its LF. RFC 9112 2.2 lets a recipient take a bare
// LF for the end of a line, and one that does not sees other lines.
func (f *framer) take(line []byte) {
	line, ok := bytes.CutSuffix(line, []byte("\r"))
	switch {
	case !ok:
		f.doubted("A line of it ends without a carriage return.")
	case bytes.IndexByte(line, '\r') >= 0 || bytes.IndexByte(line, 0) >= 0:
		f.doubted("It has a control character in a line.")
	case f.state == inRequestLine:
		f.takeRequestLine(line)
	case f.state == inHeaders:
		f.takeHeader(line)
	case f.state == inChunkSize:
		f.takeChunkSize(line)
	case f.state == inChunkEnd:
		f.takeChunkEnd(line)
	case f.state == inTrailers:
		f.takeTrailer(line)
	}
}

// takeRequestLine leaves what is wrong with it to net/http, but for the ends of a
// target in absolute form. Empty lines before it count for nothing (RFC 9112 2.2).
func (f *framer) takeRequestLine(line []byte) {
	if len(line) == 0 {
		return
	}
	f.state = inHeaders
	f.head.http10 = bytes.HasSuffix(line, []byte(" HTTP/1.0"))
	_, target, _ := bytes.Cut(line, []byte(" "))
	if scheme, rest, ok := bytes.Cut(target, []byte("://")); ok && len(target) > 0 && target[0] != '/' && len(scheme) > 0 {
		authority := rest
		if end := bytes.IndexAny(rest, "/?# "); end >= 0 {
			authority = rest[:end]
		}
		if at := bytes.LastIndexByte(authority, '@'); at >= 0 {
			authority = authority[at+1:]
		}
		f.head.authority = string(authority)
	}
}

func (f *framer) takeHeader(line []byte) {
	if len(line) == 0 {
		f.endHead()
		return
	}
	if line[0] == ' ' || line[0] == '\t' {
		f.doubted("A header is folded over several lines.") // RFC 9112 5.2
		return
	}
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok {
		f.doubted("A line of it is no header.")
		return
	}
	value = bytes.Trim(value, " \t")
	// The length tells nearly all others apart.
	switch len(name) {
	case len("Host"):
		if bytes.EqualFold(name, []byte("Host")) {
			f.takeHost(value)
		}
	case len("Content-Length"):
		if isNamed(name, "Content-Length") {
			f.takeLength(name, value)
		}
	case len("Transfer-Encoding"):
		if isNamed(name, "Transfer-Encoding") {
			f.takeCoding(name, value)
		}
	}
}

// isNamed also recognises the name with an underscore, which servers that put
// headers into environment variables (RFC 3875 4.1.18) do not tell from a hyphen.
func isNamed(name []byte, want string) bool {
	for i, c := range name {
		if c == '_' {
			c = '-'
		}
		if c|0x20 != want[i]|0x20 {
			return false
		}
	}
	return true
}

// takeHost compares with the target, which decides (RFC 9112 3.2.2) unless who
// stands before us was not aware of that.
func (f *framer) takeHost(value []byte) {
	if f.head.authority == "" {
		return
	}
	named, err := normaliseHost(string(value))
	target, targetErr := normaliseHost(f.head.authority)
	if err != nil || targetErr != nil || named != target {
		f.doubted(twoHosts)
	}
}

func (f *framer) takeLength(name, value []byte) {
	f.head.lengths++
	n, ok := parseDigits(value)
	switch {
	case bytes.IndexByte(name, '_') >= 0:
		f.doubted(nearlyLength)
	case !ok:
		f.doubted("Its Content-Length is not a number.")
	case f.head.lengths > 1:
		// RFC 9110 8.6 lets equal ones pass; who sends them is broken or has plans.
		f.doubted(manyLengths)
	}
	f.head.length = n
}

// parseDigits reads digits and nothing but digits.
func parseDigits(value []byte) (uint64, bool) {
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(string(value), 10, 63)
	return n, err == nil
}

func (f *framer) takeCoding(name, value []byte) {
	f.head.codings++
	f.head.chunked = bytes.EqualFold(value, []byte("chunked"))
	switch {
	case bytes.IndexByte(name, '_') >= 0:
		f.doubted(nearlyCoding)
	case !f.head.chunked || f.head.codings > 1:
		f.doubted("Its Transfer-Encoding is not understood.")
	}
}

// endHead decides how the body is framed (RFC 9112 6.3).
func (f *framer) endHead() {
	switch h := &f.head; {
	case f.state == inNothing:
		return
	case h.codings > 0 && h.lengths > 0:
		f.doubted("It has both a Transfer-Encoding and a Content-Length.")
		return
	case h.codings > 0 && h.http10:
		f.doubted("HTTP/1.0 has no Transfer-Encoding.")
		return
	case h.chunked:
		f.state = inChunkSize
	case h.length > 0:
		f.state, f.left = inBody, h.length
	default:
		f.next()
	}
	f.heads++
}

// takeChunkSize reads a size and its extensions, which nobody uses and which are
// not passed on (RFC 9112 7.1.1).
func (f *framer) takeChunkSize(line []byte) {
	size, extensions, _ := bytes.Cut(line, []byte(";"))
	n, ok := parseHex(size)
	switch {
	case !ok:
		f.doubted("The size of a chunk is not a number.")
	case bytes.Count(extensions, []byte(`"`))%2 != 0 || bytes.ContainsFunc(extensions, isControl):
		f.doubted("The extension of a chunk is broken.")
	case n == 0:
		f.state = inTrailers
	default:
		f.state, f.left = inChunk, n
	}
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// parseHex reads hexadecimal digits and nothing else.
func parseHex(digits []byte) (uint64, bool) {
	for _, c := range digits {
		if c < '0' || c > '9' && c|0x20 < 'a' || c|0x20 > 'f' {
			return 0, false
		}
	}
	if len(digits) > 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(digits), 16, 64)
	return n, err == nil && n <= math.MaxInt64
}

func (f *framer) takeChunkEnd(line []byte) {
	if len(line) > 0 {
		f.doubted("A chunk is longer than its size says.")
		return
	}
	f.state = inChunkSize
}

// takeTrailer refuses trailers that would frame, route or authorise a request
// (RFC 9110 6.5.1): somebody may take them for headers.
func (f *framer) takeTrailer(line []byte) {
	if len(line) == 0 {
		f.next()
		return
	}
	name, _, ok := bytes.Cut(line, []byte(":"))
	canonical := http.CanonicalHeaderKey(strings.ReplaceAll(string(name), "_", "-"))
	if !ok || !httpguts.ValidHeaderFieldName(string(name)) || !httpguts.ValidTrailerHeader(canonical) {
		f.doubted("It has a trailer that may not be one.")
	}
}

// doubted notes the first doubt. What follows is not looked at.
func (f *framer) doubted(why string) {
	if f.doubt == "" {
		f.inBody = f.state != inRequestLine && f.state != inHeaders
		f.doubt, f.request = why, f.heads
		if f.inBody {
			f.request--
		}
	}
	f.state, f.line = inNothing, nil
}

// headDoubt returns why the request with this number may not be served, or nothing. It
// must be asked when net/http has read the request's head.
func (f *framer) headDoubt(request int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.doubt != "" && request > f.request:
		return "What came before it has no certain end."
	case f.doubt != "" && request == f.request && !f.inBody:
		return f.doubt
	case f.doubt == "" && request >= f.heads:
		return "It has no certain beginning."
	}
	return ""
}

// bodyDoubt returns what is doubtful in the body of a request, or nothing.
func (f *framer) bodyDoubt(request int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.inBody && request == f.request {
		return f.doubt
	}
	return ""
}

// doubtInBody returns what is doubtful in the body that ends all.
func (f *framer) doubtInBody() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.inBody {
		return ""
	}
	return f.doubt
}

// stop ends the following: the connection is not HTTP/1 any more.
func (f *framer) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state, f.line = inNothing, nil
}
