package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"golang.org/x/net/http/httpguts"
)

// Errors of chunked bodies.
var (
	errChunkSize      = errors.New("malformed answer: chunk size")
	errChunkExtension = errors.New("malformed answer: chunk extension")
	errChunkEnd       = errors.New("malformed answer: a chunk does not end in CR LF")
	errChunkOverhead  = errors.New("malformed answer: chunks with next to nothing in them")
)

// chunkReader reads the chunks of a body (RFC 9112 7.1), but not the trailer
// section behind them.
type chunkReader struct {
	in       *bufio.Reader
	left     int64 // of the chunk
	inside   bool  // the chunk's end has not been read
	ended    bool  // so has the last chunk
	overhead int64 // bytes that are not data, beyond what is usual
}

// read returns io.EOF after the last chunk. It waits for more only when it would
// return nothing otherwise.
func (c *chunkReader) read(p []byte) (n int, err error) {
	for len(p) > 0 {
		if c.left == 0 {
			if n > 0 && !c.nextIsHere() {
				return n, nil
			}
			if err = c.next(); err != nil {
				return n, err
			}
			continue
		}
		if n > 0 && c.in.Buffered() == 0 {
			return n, nil
		}
		m, err := c.in.Read(p[:min(int64(len(p)), c.left)])
		n, p, c.left = n+m, p[m:], c.left-int64(m)
		if err != nil {
			return n, unexpected(err)
		}
	}
	return n, nil
}

// unexpected makes an end that came too early an error.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// nextIsHere reports whether next would not have to wait.
func (c *chunkReader) nextIsHere() bool {
	waiting, _ := c.in.Peek(c.in.Buffered()) // cannot fail: it is there
	if c.inside {
		if len(waiting) < 2 {
			return false
		}
		waiting = waiting[2:]
	}
	return bytes.IndexByte(waiting, '\n') >= 0
}

// next reads what is between the data of two chunks. It returns io.EOF for the
// last one.
func (c *chunkReader) next() error {
	if c.ended {
		return io.EOF
	}
	if c.inside {
		if err := c.endChunk(); err != nil {
			return err
		}
	}
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		if err == bufio.ErrBufferFull {
			return errChunkExtension
		}
		return unexpected(err)
	}
	if c.left, err = parseChunkLine(line); err != nil {
		return err
	}
	if err := c.count(len(line)); err != nil {
		return err
	}
	if c.inside = c.left > 0; c.inside {
		return nil
	}
	c.ended = true
	return io.EOF
}

func (c *chunkReader) endChunk() error {
	end, err := c.in.Peek(2)
	if len(end) < 2 {
		if len(end) == 1 && end[0] != '\r' {
			return errChunkEnd
		}
		return unexpected(err)
	}
	if end[0] != '\r' || end[1] != '\n' {
		return errChunkEnd
	}
	_, err = c.in.Discard(2)
	c.inside = false
	return err
}

// Bounds on what surrounds the data: that of each chunk may be as long as a byte
// sent by itself makes it, and what is more than that and twice the data may come
// to overheadLimit in all.
const (
	usualOverhead = 16
	overheadLimit = 16 << 10
)

func (c *chunkReader) count(line int) error {
	c.overhead = max(0, c.overhead+int64(line)+2-usualOverhead-2*min(c.left, 1<<32))
	if c.overhead > overheadLimit {
		return errChunkOverhead
	}
	return nil
}

// maxChunkDigits keeps chunk sizes within 63 bits.
const maxChunkDigits = 15

// parseChunkLine returns the size of a chunk. White space behind it is what some
// servers pad it with.
func parseChunkLine(line []byte) (size int64, err error) {
	if len(line) < 3 || line[len(line)-2] != '\r' {
		return 0, errChunkSize
	}
	line = line[:len(line)-2]
	digits := 0
	for ; digits < len(line) && digits <= maxChunkDigits; digits++ {
		value := hexValue(line[digits])
		if value < 0 {
			break
		}
		size = size<<4 | int64(value)
	}
	if digits == 0 || digits > maxChunkDigits {
		return 0, errChunkSize
	}
	rest := skipSpace(line[digits:])
	if len(rest) > 0 && rest[0] != ';' {
		return 0, errChunkSize
	}
	return size, checkExtensions(rest)
}

func hexValue(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// checkExtensions accepts any extensions and ignores them (RFC 9112 7.1.1), but
// they must look like some: *( BWS ";" BWS name [ BWS "=" BWS value ] ).
func checkExtensions(b []byte) error {
	for b = skipSpace(b); len(b) > 0; b = skipSpace(b) {
		if b[0] != ';' {
			return errChunkExtension
		}
		name := skipSpace(b[1:])
		if b = skipToken(name); len(b) == len(name) {
			return errChunkExtension
		}
		if rest := skipSpace(b); len(rest) > 0 && rest[0] == '=' {
			value := skipSpace(rest[1:])
			if b = skipValue(value); len(b) == len(value) {
				return errChunkExtension
			}
		}
	}
	return nil
}

func skipSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	return b
}

func skipToken(b []byte) []byte {
	for len(b) > 0 && httpguts.IsTokenRune(rune(b[0])) {
		b = b[1:]
	}
	return b
}

// skipValue skips a token or a quoted string; if there is neither, nothing.
func skipValue(b []byte) []byte {
	if len(b) == 0 || b[0] != '"' {
		return skipToken(b)
	}
	for i := 1; i < len(b); i++ {
		switch {
		case b[i] == '"':
			return b[i+1:]
		case b[i] == '\\' && i+1 < len(b):
			i++
		}
		if !isText(b[i : i+1]) {
			break
		}
	}
	return b
}
