package upstream

import (
	"io"
	"strconv"
	"sync"
)

// piece is room for a part of the body, with some left for what surrounds a chunk.
type piece struct{ room []byte }

const (
	chunkPrefix = len("8000\r\n") // bodyBuffer in hexadecimal
	chunkSuffix = len("\r\n")
)

// space returns where to read into.
func (p piece) space(e *envelope) []byte {
	if e.chunked {
		return p.room[chunkPrefix : len(p.room)-chunkSuffix]
	}
	return p.room
}

// wrap returns what to write for n bytes that were read.
func (p piece) wrap(n int, chunked bool) []byte {
	if !chunked || n == 0 {
		return p.room[:n]
	}
	var size [chunkPrefix]byte
	digits := strconv.AppendInt(size[:0], int64(n), 16)
	begin := chunkPrefix - len(digits) - len("\r\n")
	copy(p.room[begin:], digits)
	copy(p.room[begin+len(digits):], "\r\n")
	copy(p.room[chunkPrefix+n:], "\r\n")
	return p.room[begin : chunkPrefix+n+chunkSuffix]
}

// requestBody is the body of a request, which is closed once.
type requestBody struct {
	io.ReadCloser
	once   sync.Once
	closed error
}

func (b *requestBody) close() error {
	if b == nil {
		return nil
	}
	b.once.Do(func() { b.closed = b.ReadCloser.Close() })
	return b.closed
}
