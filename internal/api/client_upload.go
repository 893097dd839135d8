package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Upload calls a method that takes a body of any length, such as app/Upload. The
// body is sent as it is read, and not held in memory; a platform that refuses the
// upload is given the chance to say so before anything is sent, for as long as the
// HTTP client waits for that (http.Transport.ExpectContinueTimeout). A body that is
// an io.Closer is closed, also when not all of it was wanted; its Close must end a
// Read that goes on. Nothing reads from it once Upload has returned.
//
// Its errors are those of Call, and that of body when reading it failed.
func (c *Client) Upload(ctx context.Context, service, endpoint string, body io.Reader, res proto.Message) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	patience := cmp.Or(c.Timeout, 30*time.Second)
	sent := &sentBody{from: body, patience: patience}
	sent.late = time.AfterFunc(patience, func() { cancel(context.DeadlineExceeded) })
	defer sent.late.Stop()
	reply, err := c.upload(ctx, service, endpoint, sent)
	failed := sent.end()
	switch {
	case failed != nil:
		return fmt.Errorf("read what is uploaded: %w", failed)
	case err != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return unreachable(context.DeadlineExceeded)
	case err != nil:
		return err
	}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(reply, res); err != nil {
		return badReply("the platform's reply does not fit the contract", err)
	}
	return nil
}

// upload sends the body and returns the reply.
func (c *Client) upload(ctx context.Context, service, endpoint string, body io.Reader) ([]byte, error) {
	req, err := c.post(ctx, service, endpoint, uploadTypes()[0], body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Expect", "100-continue")
	res, err := c.direct().Do(req)
	if err != nil {
		return nil, unreachable(err)
	}
	defer res.Body.Close()
	reply, err := c.read(res.Body)
	if err != nil {
		return nil, err
	}
	return reply, classify(res, reply)
}

// sentBody is the body of an upload on its way. The transport may go on reading it
// after the reply, in a goroutine of its own, until end.
type sentBody struct {
	from     io.Reader
	patience time.Duration
	late     *time.Timer // runs while the platform is to take what was read
	ending   atomic.Bool
	close    sync.Once
	mu       sync.Mutex
	failed   error
}

// Read implements io.Reader. The time that reading takes is not the platform's.
func (b *sentBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ending.Load() {
		return 0, fs.ErrClosed
	}
	b.late.Stop()
	defer b.late.Reset(b.patience)
	n, err := b.from.Read(p)
	if err != nil && err != io.EOF && !b.ending.Load() {
		b.failed = err
	}
	return n, err
}

// Close implements io.Closer.
func (b *sentBody) Close() (err error) {
	b.ending.Store(true)
	b.close.Do(func() {
		if closer, ok := b.from.(io.Closer); ok {
			err = closer.Close()
		}
	})
	return err
}

// end returns once nothing reads any more, with the error reading ended with.
func (b *sentBody) end() error {
	_ = b.Close() // what was read of it has been sent, or is not wanted
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed
}
