package upstream

import (
	"io"
	"net/http"
	"sync"
)

// maxTrailer bounds the trailer section, in bytes, as net/http does.
const maxTrailer = 4 << 10

// body is the body of an answer. Reading its end ends the exchange; closing it
// before closes the connection, which may be done while another goroutine reads.
type body struct {
	x       *exchange
	framing framing
	left    int64 // byLength
	chunks  chunkReader

	mu      sync.Mutex
	err     error // what reading returns from now on
	reading bool
}

// Read implements io.Reader. The end of a body of known length comes with its last
// bytes, so that the connection is ready for the next request at once.
func (b *body) Read(p []byte) (int, error) {
	if err := b.start(); err != nil {
		return 0, err
	}
	n, err := b.read(p)
	return n, b.stopped(err)
}

func (b *body) start() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.reading = true
	}
	return b.err
}

// stopped notes what came of reading.
func (b *body) stopped(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading = false
	switch {
	case b.err != nil: // closed meanwhile
		b.x.end(false)
		return b.err
	case err == nil:
		return nil
	case err == io.EOF:
		b.x.end(true)
	default:
		err = b.x.cause(err)
		b.x.giveUp()
		b.x.end(false)
	}
	b.err = err
	return err
}

// Close implements io.Closer.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return nil
	}
	b.err = http.ErrBodyReadAfterClose
	b.x.giveUp()
	if b.reading {
		b.x.conn.discard() // the reader ends the rest
		return nil
	}
	b.x.end(false)
	return nil
}

// WriteTo implements io.WriterTo. A TCP connection takes what is not in our buffer
// yet from the backend's inside the kernel, where that is possible; not so with
// chunks, which must be looked at. An error of the writer ends the body, too.
func (b *body) WriteTo(w io.Writer) (int64, error) {
	if b.framing == byChunks {
		return io.Copy(w, struct{ io.Reader }{b})
	}
	err := b.start()
	if err != nil {
		return 0, notEOF(err)
	}
	n, err := b.pass(w)
	return n, notEOF(b.stopped(err))
}

// notEOF makes the expected end no error.
func notEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// pass writes the rest of the body, and returns io.EOF at its end.
func (b *body) pass(w io.Writer) (int64, error) {
	n, err := b.passBuffered(w)
	if err != nil {
		return n, err
	}
	var rest io.Reader = b.x.conn.Conn
	if b.framing == byLength {
		if b.left == 0 {
			return n, io.EOF
		}
		rest = &io.LimitedReader{R: rest, N: b.left}
	}
	m, err := io.Copy(w, rest)
	b.left -= m
	switch {
	case err != nil:
		return n + m, err
	case b.framing == byLength && b.left > 0:
		return n + m, io.ErrUnexpectedEOF
	}
	return n + m, io.EOF
}

// passBuffered writes what has been read from the connection already.
func (b *body) passBuffered(w io.Writer) (int64, error) {
	in := b.x.buffers.in
	size := in.Buffered()
	if b.framing == byLength {
		size = int(min(int64(size), b.left))
	}
	if size == 0 {
		return 0, nil
	}
	waiting, err := in.Peek(size)
	if err != nil {
		return 0, err
	}
	n, err := w.Write(waiting)
	if err != nil {
		return int64(n), err
	}
	b.left -= int64(n)
	_, err = in.Discard(n)
	return int64(n), err
}

func (b *body) read(p []byte) (int, error) {
	switch in := b.x.buffers.in; b.framing {
	case byLength:
		return b.readLength(p)
	case byChunks:
		return b.readChunks(p)
	default:
		return in.Read(p)
	}
}

func (b *body) readLength(p []byte) (int, error) {
	n, err := b.x.buffers.in.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	switch {
	case b.left == 0:
		return n, io.EOF
	case err != nil:
		return n, unexpected(err)
	}
	return n, nil
}

func (b *body) readChunks(p []byte) (int, error) {
	b.chunks.in = b.x.buffers.in
	n, err := b.chunks.read(p)
	if err == io.EOF {
		if err = b.readTrailer(); err == nil {
			err = io.EOF
		}
	}
	return n, err
}

// readTrailer reads the trailer section into the response. Fields that would
// frame a message are an error (RFC 9110 6.5.1).
func (b *body) readTrailer() error {
	block, err := readBlock(b.x.buffers.in, b.x.buffers.block[:0], maxTrailer)
	b.x.buffers.block = block
	if err != nil {
		return err
	}
	n, err := canonicalize(block)
	if err != nil || n == 0 {
		return err
	}
	trailer := parseFields(string(block), n)
	for name := range trailer {
		if framesMessage(name) {
			return errTrailer
		}
	}
	if b.x.response.Trailer == nil {
		b.x.response.Trailer = make(http.Header, n)
	}
	for name, values := range trailer {
		b.x.response.Trailer[name] = values
	}
	return nil
}
