package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/logfile"
	"github.com/m3o/ingress/internal/workload"
)

// Instance is a running process, seen through its launcher. It implements
// workload.Instance.
type Instance struct {
	record
	socket  string
	log     string
	watch   net.Conn
	done    chan struct{}
	notices chan string
	exit    confine.Exit
	// killLauncher ends the launcher, and with it the process.
	killLauncher func() error
	// settled is called when it is ready.
	settled func()
}

// vanished is how a process ended whose launcher did: the kernel ends it then,
// and what it had started is ended by endLeftovers.
var vanished = confine.Exit{Code: -1, Excess: "the process that looked after it was ended"}

// watch connects to a launcher and follows it until its process has ended.
func (l *Local) watch(ctx context.Context, stateFile string, r record) (*Instance, error) {
	i := &Instance{record: r, socket: socketOf(stateFile), done: make(chan struct{}), notices: make(chan string, 1), settled: l.restock}
	conn, err := i.connect(ctx, request{Do: doWatch})
	if err != nil {
		return nil, err
	}
	var first reply
	messages := json.NewDecoder(conn)
	if err := messages.Decode(&first); err != nil {
		_ = conn.Close()
		return nil, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		_ = conn.Close()
		return nil, err
	}
	i.watch = conn
	go func() {
		defer close(i.done)
		defer l.ports.give(r.Port)
		defer l.temps.remove(r.Temp)
		defer conn.Close()
		if exit := i.follow(first, messages); exit != nil {
			i.exit = *exit
			return
		}
		i.exit = vanished
		l.endLeftovers(r, first.PID)
	}()
	return i, nil
}

// follow reads what the launcher says until it says how the process ended, or
// says nothing any more. A notice takes the place of one that nobody has read.
func (i *Instance) follow(message reply, messages *json.Decoder) *confine.Exit {
	for now := ""; message.Exit == nil; {
		if message.Notice != now {
			now = message.Notice
			select {
			case <-i.notices:
			default:
			}
			i.notices <- now
		}
		message = reply{}
		if messages.Decode(&message) != nil {
			return nil
		}
	}
	return message.Exit
}

// Notices implements workload.Noticer.
func (i *Instance) Notices() <-chan string { return i.notices }

// connect sends a request on a connection of its own.
func (i *Instance) connect(ctx context.Context, r request) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", i.socket)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	r.Nonce = i.Nonce
	if err := errors.Join(conn.SetDeadline(deadline), writeMessage(conn, r)); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// ask sends a request and returns the answer.
func (i *Instance) ask(ctx context.Context, r request) (reply, error) {
	conn, err := i.connect(ctx, r)
	if err != nil {
		return reply{}, err
	}
	defer conn.Close()
	var answer reply
	if err := readMessage(conn, &answer); err != nil {
		return reply{}, err
	}
	if answer.Error != "" {
		return reply{}, errors.New(answer.Error)
	}
	return answer, nil
}

// Key implements workload.Instance.
func (i *Instance) Key() string { return i.record.Key }

// Version implements workload.Instance.
func (i *Instance) Version() int64 { return i.record.Version }

// Revision implements workload.Instance.
func (i *Instance) Revision() int64 { return i.record.Revision }

// Addr implements workload.Instance.
func (i *Instance) Addr() netip.AddrPort { return netip.AddrPortFrom(loopback, i.Port) }

// Started implements workload.Instance.
func (i *Instance) Started() time.Time { return i.record.Started }

// Done implements workload.Instance.
func (i *Instance) Done() <-chan struct{} { return i.done }

// Exit implements workload.Instance.
func (i *Instance) Exit() confine.Exit { return i.exit }

// Stop implements workload.Instance. A launcher that does not answer is killed.
func (i *Instance) Stop(ctx context.Context, grace time.Duration) error {
	_, err := i.ask(ctx, request{Do: doStop, Grace: grace})
	if err != nil && !i.endedWithin(ctx, leaving) {
		// It hangs, or cannot be reached: nobody else would ever end its process.
		if killed := i.killLauncher(); killed != nil {
			return fmt.Errorf("stop version %d of %s: %w", i.Version(), i.Key(), errors.Join(err, killed))
		}
	}
	select {
	case <-i.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leaving is how long after the end of its process a launcher may take to say so.
// Its socket is gone by then, so that it cannot be asked anything.
const leaving = time.Second

// endedWithin reports whether the process ends within a time. When ctx ends first
// it was not waited for long enough, which counts as an end: there is more to
// come.
func (i *Instance) endedWithin(ctx context.Context, limit time.Duration) bool {
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-i.done:
		return true
	case <-ctx.Done():
		return true
	case <-late.C:
		return false
	}
}

// Ready implements workload.Instance.
func (i *Instance) Ready(ctx context.Context, health string) error {
	err := i.listening(ctx)
	if err == nil && health != "" {
		err = i.healthy(ctx, health)
	}
	if err == nil {
		i.settled()
	}
	return err
}

// The pauses between tries. They grow by a quarter, so that what is ready is seen
// to be soon after: a request may wait for it.
const (
	firstPause = time.Millisecond
	lastPause  = 50 * time.Millisecond
)

// listening waits until the process itself accepts connections.
func (i *Instance) listening(ctx context.Context) error {
	err := i.retry(ctx, fmt.Sprintf("it did not listen on port %d, which the variable PORT names", i.Port), func() (bool, error) {
		if !i.accepts(ctx) {
			return false, nil // not yet
		}
		answer, err := i.ask(ctx, request{Do: doListens, Port: i.Port})
		if err != nil {
			return false, nil // its end, if that is it, is noticed elsewhere
		}
		if !answer.Listens {
			return false, fmt.Errorf("%w: %d", workload.ErrPortTaken, i.Port)
		}
		return true, nil
	})
	if err != nil && i.ended() && i.accepts(ctx) {
		// Nothing of it runs any more, so that the other program may be why it ended.
		return fmt.Errorf("%w: %d; %w", workload.ErrPortTaken, i.Port, err)
	}
	return err
}

// accepts reports whether somebody accepts connections on its port.
func (i *Instance) accepts(ctx context.Context) bool {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", i.Addr().String())
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

func (i *Instance) ended() bool {
	select {
	case <-i.done:
		return true
	default:
		return false
	}
}

// healthy waits until the path answers with a status below 400.
func (i *Instance) healthy(ctx context.Context, path string) error {
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		Timeout:       5 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	last := "no answer"
	return i.retry(ctx, "its health path "+path+" did not answer well", func() (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+i.Addr().String()+"/"+strings.TrimPrefix(path, "/"), nil)
		if err != nil {
			return false, fmt.Errorf("the health path %q is not one: %w", path, err)
		}
		res, err := client.Do(req)
		if err != nil {
			return false, nil
		}
		_ = res.Body.Close()
		if last = res.Status; res.StatusCode >= 400 {
			return false, nil
		}
		return true, nil
	}, &last)
}

// retry tries until it succeeds, fails for good, the process ends or ctx does.
func (i *Instance) retry(ctx context.Context, missed string, try func() (bool, error), last ...*string) error {
	for pause := firstPause; ; pause = min(pause+pause/4, lastPause) {
		if ok, err := try(); ok || err != nil {
			return err
		}
		select {
		case <-i.done:
			return i.explain(i.exit.String())
		case <-ctx.Done():
			for _, detail := range last {
				missed += " (" + *detail + ")"
			}
			return i.explain(missed)
		case <-time.After(pause):
		}
	}
}

// What an error repeats of the log.
const (
	tailLines = 20
	tailBytes = 2 << 10
)

// explain adds the last lines of the log to a reason.
func (i *Instance) explain(reason string) error {
	tail, err := logfile.Tail(i.log, tailLines, tailBytes)
	text := strings.TrimSpace(string(tail))
	if err != nil || text == "" {
		return errors.New(reason + "; it printed nothing")
	}
	return errors.New(reason + "; it printed last:\n" + text)
}
