package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"strconv"
	"sync"
	"time"
)

// load is a number of connections, each with one request at a time: the next is
// sent when the answer to the last was read to its end.
type load struct {
	dial        func(ctx context.Context) (net.Conn, error)
	request     []byte
	status      string // that every answer must have, such as "200"
	connections int
}

// outcome is what became of a load.
type outcome struct {
	requests  int64
	took      time.Duration
	latencies histogram
}

// run sends until the time is over.
func (l load) run(ctx context.Context, d time.Duration) (outcome, error) {
	return drive(ctx, d, l.connections, l.connect)
}

// connect is a client with a connection of its own.
func (l load) connect(ctx context.Context, _ int) (exchange func() error, end func(), err error) {
	conn, err := l.dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	in := bufio.NewReaderSize(conn, 64<<10)
	exchange = func() error {
		if _, err := conn.Write(l.request); err != nil {
			return err
		}
		return readAnswer(in, l.status)
	}
	return exchange, func() { stop(); _ = conn.Close() }, nil
}

// client begins to be the nth of a load's clients: exchange sends one request and
// reads its answer to the end, and end gives up what that needs.
type client func(ctx context.Context, n int) (exchange func() error, end func(), err error)

// drive has a number of clients send until the time is over. One bad answer fails
// it: a proxy that answers errors quickly is not fast.
func drive(ctx context.Context, d time.Duration, clients int, begin client) (outcome, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	outcomes := make([]outcome, clients)
	errs := make([]error, clients)
	var wait sync.WaitGroup
	started := time.Now()
	until := started.Add(d)
	for i := range clients {
		wait.Go(func() {
			if errs[i] = outcomes[i].fill(ctx, until, i, begin); errs[i] != nil {
				cancel()
			}
		})
	}
	wait.Wait()
	all := outcome{took: time.Since(started)}
	for _, o := range outcomes {
		all.requests += o.requests
		all.latencies.merge(&o.latencies)
	}
	return all, errors.Join(errs...)
}

// fill is what becomes of one client.
func (o *outcome) fill(ctx context.Context, until time.Time, n int, begin client) error {
	exchange, end, err := begin(ctx, n)
	if err != nil {
		return err
	}
	defer end()
	for ctx.Err() == nil {
		sent := time.Now()
		if sent.After(until) {
			return nil
		}
		if err := exchange(); err != nil {
			return err
		}
		o.latencies.add(time.Since(sent))
		o.requests++
	}
	return nil
}

// once makes one request.
func (l load) once(conn net.Conn) error {
	if _, err := conn.Write(l.request); err != nil {
		return err
	}
	return readAnswer(bufio.NewReader(conn), l.status)
}

// readAnswer reads an answer with a Content-Length, as all of the bench's have,
// and checks its status.
func readAnswer(in *bufio.Reader, status string) error {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if f := bytes.Fields(line); len(f) < 2 || string(f[1]) != status {
		return fmt.Errorf("the answer is %q, want %s", line, status)
	}
	length := int64(-1)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errors.New("the answer has no Content-Length")
	}
	for length > 0 {
		n, err := in.Discard(int(min(length, 1<<20)))
		if err != nil {
			return io.ErrUnexpectedEOF
		}
		length -= int64(n)
	}
	return nil
}

// histogram counts durations in steps of about 3 %, from microseconds on.
type histogram struct{ counts [40 * subBuckets]int64 }

const subBuckets = 32

func bucketOf(d time.Duration) int {
	us := max(uint64(d.Microseconds()), 1)
	exponent := bits.Len64(us) - 1
	fraction := us << 6 >> exponent & 63 >> 1 // the five bits behind the first
	return min(exponent*subBuckets+int(fraction), 40*subBuckets-1)
}

func (h *histogram) add(d time.Duration) { h.counts[bucketOf(d)]++ }

func (h *histogram) merge(other *histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
}

// quantile is the upper bound of the step that the quantile falls into.
func (h *histogram) quantile(q float64) time.Duration {
	var total int64
	for _, n := range h.counts {
		total += n
	}
	rest := int64(q * float64(total))
	for i, n := range h.counts {
		if rest -= n; rest < 0 {
			exponent, fraction := i/subBuckets, i%subBuckets
			us := (float64(fraction+1)/subBuckets + 1) * float64(uint64(1)<<exponent)
			return time.Duration(us * float64(time.Microsecond))
		}
	}
	return 0
}
