package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"

	"github.com/m3o/ingress/internal/upstream"
)

// repoHosts returns source.Options.Lookup by the rules for backends: whoever
// deploys must no more reach this machine's neighbours through git than through a
// backend. The rules judge each address that the one lookup brought.
func repoHosts(rules *upstream.Rules) func(ctx context.Context, host string, port uint16) ([]netip.Addr, error) {
	return func(ctx context.Context, host string, port uint16) ([]netip.Addr, error) {
		resolver := rules.Resolver
		if resolver == nil {
			resolver = net.DefaultResolver
		}
		addrs, err := resolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return nil, notFoundHost(err)
		}
		for i, addr := range addrs {
			addrs[i] = addr.Unmap()
			err := rules.Check(ctx, &url.URL{Scheme: "http", Host: netip.AddrPortFrom(addr, port).String()})
			var forbidden *upstream.ForbiddenError
			if errors.As(err, &forbidden) {
				// Without the address: who deploys must not read the operator's zone with it.
				return nil, errors.New(forbidden.Why)
			}
			if err != nil {
				return nil, err
			}
		}
		return addrs, nil
	}
}

// notFoundHost says why a name has no address, without naming the name server.
func notFoundHost(err error) error {
	var failed *net.DNSError
	if errors.As(err, &failed) && failed.IsNotFound {
		return errors.New("there is no such name")
	}
	return errors.New("the name server did not answer; try again")
}
