// Package domaintest has a name server for tests.
package domaintest

import (
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// Zone is a name server on loopback that knows the records it is told. Its methods
// are safe for concurrent use.
type Zone struct {
	// Address is where it listens, by UDP and TCP.
	Address string

	mu      sync.Mutex
	records []dns.RR
	rcode   int
	asked   int
}

// NewZone starts a name server that ends with the test.
func NewZone(t testing.TB) *Zone {
	t.Helper()
	l, packets := listen(t)
	z := &Zone{Address: l.Addr().String()}
	handler := dns.HandlerFunc(z.answer)
	ended := make(chan error, 2)
	for _, s := range []*dns.Server{{Listener: l, Handler: handler}, {PacketConn: packets, Handler: handler}} {
		go func() { ended <- s.ActivateAndServe() }()
	}
	t.Cleanup(func() {
		_ = l.Close() // Shutdown fails on a server that has not begun yet
		_ = packets.Close()
		<-ended
		<-ended
	})
	return z
}

// listen finds a port that is free for both.
func listen(t testing.TB) (net.Listener, net.PacketConn) {
	t.Helper()
	for attempt := 0; ; attempt++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		packets, err := net.ListenPacket("udp", l.Addr().String())
		if err == nil {
			return l, packets
		}
		_ = l.Close()
		if attempt == 10 {
			t.Fatal(err)
		}
	}
}

// Set makes the zone consist of these records, written as in a zone file.
func (z *Zone) Set(t testing.TB, records ...string) {
	t.Helper()
	parsed := make([]dns.RR, len(records))
	for i, text := range records {
		var err error
		if parsed[i], err = dns.NewRR(text); err != nil {
			t.Fatal(err)
		}
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records = parsed
}

// Fail has it answer every question with a code, and as usual again with
// dns.RcodeSuccess.
func (z *Zone) Fail(rcode int) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.rcode = rcode
}

// Asked returns how many questions have come.
func (z *Zone) Asked() int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked
}

func (z *Zone) answer(w dns.ResponseWriter, question *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.asked++
	answer := new(dns.Msg)
	answer.SetReply(question)
	q := question.Question[0]
	known := false
	for _, record := range z.records {
		if !strings.EqualFold(record.Header().Name, q.Name) {
			continue
		}
		known = true
		if record.Header().Rrtype == q.Qtype {
			answer.Answer = append(answer.Answer, record)
		}
	}
	if !known {
		answer.Rcode = dns.RcodeNameError
	}
	if z.rcode != dns.RcodeSuccess {
		answer.Rcode, answer.Answer = z.rcode, nil
	}
	if _, byUDP := w.RemoteAddr().(*net.UDPAddr); byUDP {
		answer.Truncate(dns.MinMsgSize)
	}
	_ = w.WriteMsg(answer) // who asked says what is wrong
}
