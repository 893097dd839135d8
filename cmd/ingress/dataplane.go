package main

import (
	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/edge"
)

// openEdge makes the data plane and lets later settings change it.
func (s *server) openEdge() error {
	now := s.settings.addresses()
	limits := s.config.Limits
	c := edge.Config{
		PublicResolve:       s.config.PublicResolve,
		Hosts:               now.edgeHosts(),
		VerifyRedirectHosts: s.config.VerifyRedirectTo,
		TrustedProxies:      s.config.trustedPrefixes(),
		Limits: edge.Limits{
			ReadHeader: limits.ReadHeaderTimeout, Idle: limits.KeepAliveTimeout,
			HeaderBytes: int(limits.MaxHeaderBytes), URLBytes: int(limits.MaxURLBytes), BodyBytes: int64(limits.MaxAPIBodyBytes),
			UploadBytes: int64(s.config.Running.MaxSourceBytes),
			ReadBody:    limits.ReadBodyTimeout, Resolve: limits.ResolveTimeout, HalfClosed: limits.HalfClosedTimeout, TunnelIdle: limits.TunnelIdleTimeout,
			Headers: limits.MaxHeaders, Request: limits.RequestTimeout, BodyStall: limits.BodyStallTimeout,
			WriteStall: limits.WriteStallTimeout, Connections: limits.MaxConnections, ClientConnections: limits.MaxClientConnections,
			Streams: limits.HTTP2MaxStreams, Resets: limits.HTTP2MaxResets,
			ClientRate: limits.ClientRate, ClientBurst: limits.ClientBurst,
			BackendRequests: orNone(limits.BackendMaxRequests), BackendQueue: orNone(limits.BackendQueue),
		},
		Secure:           s.securing(),
		Logger:           s.log,
		AccessLogEvery:   s.config.AccessLogEvery,
		AnonymiseClients: s.config.AnonymiseClients,
		Metrics:          s.metrics,
	}
	s.platform.fill(&c)
	var err error
	if c.AccessLog, err = s.openAccessLog(); err != nil {
		return err
	}
	if c.Tracing, err = s.openTracing(); err != nil {
		return err
	}
	if c.TakesUpload, err = api.Uploads(); err != nil {
		return err
	}
	if s.edge, err = edge.New(c); err != nil {
		return err
	}
	s.onClose(func() error { s.edge.Close(); return nil })
	s.platform.watch(s.edge)
	s.front = edge.NewServer(s.edge)
	s.settings.apply = func(a *addresses) error { return s.edge.SetHosts(a.edgeHosts()) }
	return nil
}

// orNone is a number as the data plane wants it, where 0 means its default.
func orNone(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

// checkAddresses reports whether the data plane would take the addresses.
func checkAddresses(a *addresses) error { return a.edgeHosts().Check() }

// edgeHosts is the addresses as the data plane wants them.
func (a *addresses) edgeHosts() edge.Hosts {
	return edge.Hosts{
		Own: a.hosts, AppsDomain: a.appsDomain, FunctionsDomain: a.functionsDomain, UserHost: a.userHost,
		VerifyEmailURL: a.verifyEmailURL, PublicURL: a.public.String(), URLPrefix: a.urlPrefix,
	}
}
