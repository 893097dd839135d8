package edge

import (
	"io"
	"net/http"
	"time"
)

// pace is how many bytes buy a sender another second.
const pace = 16 << 10

// pacedBody is a request body that must keep coming: within a time that grows
// with what has arrived. A sender that drips would otherwise hold a connection, on
// /api before anybody knows who it is.
type pacedBody struct {
	io.ReadCloser
	control  *http.ResponseController
	patience time.Duration
	now      func() time.Time
	// whole is set when the body is read as a whole before anything is done with
	// it. One that is passed on is watched by the proxy; see stallOf.
	whole bool
	// steadily is set when no read may take longer than patience.
	steadily bool
	started  time.Time
	received int64
}

// Read implements io.Reader. It fails with os.ErrDeadlineExceeded when the sender
// was too slow.
func (b *pacedBody) Read(p []byte) (int, error) {
	if !b.whole {
		return b.ReadCloser.Read(p)
	}
	// A writer without deadlines is a test's; net/http's have them.
	_ = b.control.SetReadDeadline(b.due())
	n, err := b.ReadCloser.Read(p)
	b.received += int64(n)
	if err == io.EOF {
		// The server goes on reading to notice when the client leaves.
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// due is when the next bytes must have arrived.
func (b *pacedBody) due() time.Time {
	now := b.now()
	if b.started.IsZero() {
		b.started = now
	}
	step := now.Add(b.patience)
	all := b.started.Add(b.patience + time.Duration(b.received/pace)*time.Second)
	if b.steadily && step.Before(all) {
		return step
	}
	return all
}

// readWhole has the body's sender hurry.
func readWhole(r *http.Request) {
	if b, ok := r.Body.(*pacedBody); ok {
		b.whole = true
	}
}
