package edge

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/upstream"
)

// endless is a body that never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// fill sends until nothing has been taken for a while.
func fill(t *testing.T, conn net.Conn) {
	t.Helper()
	piece := make([]byte, 64<<10)
	for {
		if err := conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Write(piece)
		if n == 0 || err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return // or the ingress has given the request up already
		}
	}
}

// A backend that has stopped reading, hung or halted, keeps its connection: its
// system answers for it. While what is sent to it waits nobody reads from the
// visitor, so that one who leaves is not noticed.
func TestABackendThatTakesNothingHoldsNoRequest(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
	for _, engine := range engines() {
		for name, test := range map[string]struct {
			answer string
			leaves bool
			want   string // of the log
		}{
			"the visitor waits":    {"", false, `"reason":"backend_timeout"`},
			"the visitor leaves":   {"", true, `"duration"`},
			"the answer has begun": {head, true, `"duration"`},
		} {
			t.Run(string(engine)+", "+name, func(t *testing.T) {
				ended := make(chan struct{})
				defer close(ended)
				address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
					_, _ = in.ReadString('\n') // what came is of no interest
					fmt.Fprint(c, test.answer)
					<-ended
				})
				transport := newTransport(t, upstream.Options{Engine: engine, WriteStall: 300 * time.Millisecond})
				r := newRig(t, nil, func(c *Config) { c.Transport = transport })
				r.backends["halted"] = preserving(t, "http://"+address)
				conn := dial(t, r.addr)
				fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: halted.app.test\r\nAccept: application/json\r\nContent-Length: 1000000000\r\n\r\n")
				if test.leaves {
					fill(t, conn)
					conn.Close()
				} else {
					// The visitor goes on sending until there is an answer: on a slow machine
					// a pause does not mean yet that the backend takes nothing, and a visitor
					// who sends nothing more would be the one who is waited for.
					sent := make(chan struct{})
					go func() {
						defer close(sent)
						_, _ = io.Copy(conn, endless{}) // it ends with the connection
					}()
					if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != 504 {
						t.Errorf("got %v, %v", res, err)
					}
					conn.Close()
					<-sent
				}
				eventually(t, "the request has ended", func() bool { return strings.Contains(r.log.String(), test.want) })
			})
		}
	}
}
