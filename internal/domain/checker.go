package domain

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// askTimeout bounds one question to one server, checkTimeout all of them.
	askTimeout   = 3 * time.Second
	checkTimeout = 10 * time.Second
	// maxAliases is how many aliases are followed, as resolvers do.
	maxAliases = 8
	// resolverConfig is where Unix systems name their servers.
	resolverConfig = "/etc/resolv.conf"
)

// Checker looks for records. Its methods are safe for concurrent use.
type Checker struct {
	// Servers are the recursive servers to ask, as host:port, one after the other.
	// When there are none, those of the system are.
	Servers []string
}

// IsAlias reports whether host is another name of target, directly or by further
// aliases. An error means that no server could tell.
func (c *Checker) IsAlias(ctx context.Context, host, target string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	for range maxAliases {
		answer, err := c.ask(ctx, host, dns.TypeCNAME)
		if err != nil {
			return false, err
		}
		next := ""
		for _, record := range answer {
			if alias, ok := record.(*dns.CNAME); ok && sameName(alias.Hdr.Name, host) {
				next = alias.Target
			}
		}
		if next == "" {
			return false, nil
		}
		if sameName(next, target) {
			return true, nil
		}
		host = next
	}
	return false, nil
}

// Has reports whether there is the TXT record. An error means that no server could
// tell.
func (c *Checker) Has(ctx context.Context, want Record) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	answer, err := c.ask(ctx, want.Name, dns.TypeTXT)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(answer, func(record dns.RR) bool {
		text, ok := record.(*dns.TXT)
		return ok && strings.Join(text.Txt, "") == want.Value
	}), nil
}

func sameName(a, b string) bool { return strings.EqualFold(dns.Fqdn(a), dns.Fqdn(b)) }

// ask returns the records that one of the servers has; none when it says that
// there is no such name.
func (c *Checker) ask(ctx context.Context, name string, kind uint16) ([]dns.RR, error) {
	servers, err := c.servers()
	if err != nil {
		return nil, err
	}
	question := new(dns.Msg)
	question.SetQuestion(dns.Fqdn(name), kind)
	question.SetEdns0(dns.DefaultMsgSize, false)
	var failed error
	for _, server := range slices.Concat(servers, servers) { // a datagram may be lost
		answer, err := exchange(ctx, question, server)
		if err == nil {
			return answer, nil
		}
		failed = fmt.Errorf("the DNS server %s: %w", server, err)
	}
	return nil, failed
}

// exchange asks by UDP, and by TCP when the answer is too large for that (RFC 7766
// 5).
func exchange(ctx context.Context, question *dns.Msg, server string) ([]dns.RR, error) {
	answer, _, err := (&dns.Client{Timeout: askTimeout}).ExchangeContext(ctx, question, server)
	if err == nil && answer.Truncated {
		answer, _, err = (&dns.Client{Net: "tcp", Timeout: askTimeout}).ExchangeContext(ctx, question, server)
	}
	switch {
	case err != nil:
		return nil, err
	case answer.Rcode == dns.RcodeSuccess, answer.Rcode == dns.RcodeNameError:
		return answer.Answer, nil
	}
	return nil, fmt.Errorf("it answered %s", dns.RcodeToString[answer.Rcode])
}

func (c *Checker) servers() ([]string, error) {
	if len(c.Servers) > 0 {
		return c.Servers, nil
	}
	config, err := dns.ClientConfigFromFile(resolverConfig)
	if err != nil {
		return nil, fmt.Errorf("the system names no DNS server: %w", err)
	}
	servers := make([]string, len(config.Servers))
	for i, server := range config.Servers {
		servers[i] = net.JoinHostPort(server, config.Port)
	}
	if len(servers) == 0 {
		return nil, errors.New("the system names no DNS server in " + resolverConfig)
	}
	return servers, nil
}
