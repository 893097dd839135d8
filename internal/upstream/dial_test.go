package upstream

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/porttest"
)

// TestErrorsOfConnecting checks what those who explain failures look for.
func TestErrorsOfConnecting(t *testing.T) {
	closed := porttest.Closed(t)
	onEachEngine(t, func(t *testing.T, engine Engine) {
		for name, c := range map[string]struct {
			address string
			options Options
			dialOp  bool
			check   func(error) bool
		}{
			"refused": {closed, Options{}, true, func(err error) bool { return !isTimeout(err) }},
			"no such name": {"nowhere.invalid", Options{}, true, func(err error) bool {
				var name *net.DNSError
				return errors.As(err, &name)
			}},
			"forbidden": {"127.0.0.1:80", Options{Rules: &Rules{}}, true, func(err error) bool {
				var forbidden *ForbiddenError
				return errors.As(err, &forbidden)
			}},
			"too slow": {"127.0.0.1:80", Options{DialTimeout: time.Nanosecond}, true, isTimeout},
		} {
			t.Run(name, func(t *testing.T) {
				c.options.Engine = engine
				transport := newTransport(t, c.options)
				body := &closeCounter{Reader: strings.NewReader("x")}
				_, err := transport.RoundTrip(newRequest(t, "POST", "http://"+c.address, body))
				var operation *net.OpError
				if isDial := errors.As(err, &operation) && operation.Op == "dial"; isDial != c.dialOp || !c.check(err) {
					t.Errorf("error %v (%T)", err, err)
				}
				if errors.Is(err, ErrStale) || body.closed.Load() != 1 || transport.Stats().Retried != 0 {
					t.Errorf("error %v; the body was closed %d times; %+v", err, body.closed.Load(), transport.Stats())
				}
			})
		}
	})
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.As(err, &network) && network.Timeout()
}

// TestASecondAttemptThatCannotConnect says so, and not that the first was stale.
func TestASecondAttemptThatCannotConnect(t *testing.T) {
	b := newFlakyBackend(t, 1)
	transport := newTransport(t, Options{Engine: EngineOwn})
	b.fill(t, transport, 1)
	transport.own.dial = func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("no route")}
	}
	_, err := transport.RoundTrip(newRequest(t, "GET", b.url(), nil))
	var operation *net.OpError
	if !errors.As(err, &operation) || operation.Op != "dial" || errors.Is(err, ErrStale) {
		t.Errorf("error %v", err)
	}
	if s := transport.Stats(); s.Retried != 1 {
		t.Errorf("%+v", s)
	}
}

func TestAddressesOfHosts(t *testing.T) {
	for host, want := range map[string]string{
		"a.example": "a.example:80", "a.example:": "a.example:80", "a.example:8080": "a.example:8080",
		"127.0.0.1": "127.0.0.1:80", "[::1]": "[::1]:80", "[::1]:8080": "[::1]:8080", "[fe80::1%en0]": "[fe80::1%en0]:80",
		"münchen.example": "xn--mnchen-3ya.example:80",
	} {
		if got, err := addressOf(host); got != want || err != nil {
			t.Errorf("%s is dialled as %s, %v; want %s", host, got, err, want)
		}
	}
}
