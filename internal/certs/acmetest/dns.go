package acmetest

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// DNS is a name server. Every host has the address 127.0.0.1; TXT records are
// those that were set. It is what a DNS hook works.
type DNS struct {
	// Address is where it listens, TCP.
	Address string

	mu      sync.Mutex
	records map[string][]string
	set     int
	cleared int
	broken  error
}

func newDNS(t testing.TB) *DNS {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &DNS{Address: l.Addr().String(), records: map[string][]string{}}
	server := &dns.Server{Listener: l, Handler: dns.HandlerFunc(d.answer)}
	ended := make(chan error, 1)
	go func() { ended <- server.ActivateAndServe() }()
	t.Cleanup(func() {
		l.Close() // Shutdown fails on a server that has not begun yet
		<-ended
	})
	return d
}

func (d *DNS) answer(w dns.ResponseWriter, question *dns.Msg) {
	answer := new(dns.Msg)
	answer.SetReply(question)
	name := question.Question[0].Name
	header := dns.RR_Header{Name: name, Rrtype: question.Question[0].Qtype, Class: dns.ClassINET}
	switch question.Question[0].Qtype {
	case dns.TypeA:
		answer.Answer = append(answer.Answer, &dns.A{Hdr: header, A: net.IPv4(127, 0, 0, 1)})
	case dns.TypeTXT:
		d.mu.Lock()
		for _, value := range d.records[strings.ToLower(strings.TrimSuffix(name, "."))] {
			answer.Answer = append(answer.Answer, &dns.TXT{Hdr: header, Txt: []string{value}})
		}
		d.mu.Unlock()
	}
	_ = w.WriteMsg(answer) // who asked says what is wrong
}

// Set publishes a record.
func (d *DNS) Set(_ context.Context, name, value string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken != nil {
		return d.broken
	}
	d.records[name] = append(d.records[name], value)
	d.set++
	return nil
}

// Clear takes a record away, and fails when it is not there.
func (d *DNS) Clear(_ context.Context, name, value string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := slices.Index(d.records[name], value)
	if at < 0 {
		return fmt.Errorf("there is no record %s with the value %s", name, value)
	}
	d.records[name] = slices.Delete(d.records[name], at, at+1)
	d.cleared++
	return nil
}

// Break has Set fail with an error, or work again with nil.
func (d *DNS) Break(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = err
}

// Counts returns how many records were set and cleared.
func (d *DNS) Counts() (set, cleared int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.set, d.cleared
}
