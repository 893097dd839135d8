// Package link is the service "url": short links that lead elsewhere, and the
// count of how often each was followed.
package link

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net/url"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/store"
	urlpb "github.com/m3o/ingress/proto/url"
)

// Options is what a Service may be told. Prefix and IsOwn are required.
type Options struct {
	// Prefix returns what short URLs begin with, such as "https://m3o.one/u/". It
	// is asked each time, since the setting changes while running.
	Prefix func() string
	// IsOwn reports whether a destination is the shortener itself, which would
	// send visitors round in circles.
	IsOwn func(*url.URL) bool
	// Log hears of hits that could not be written; nothing when nil.
	Log *slog.Logger
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	// Rand is where random ids come from; crypto/rand.Reader when nil.
	Rand io.Reader
}

// Service serves the methods of "url", and resolves links and counts hits for
// the edge. It is safe for concurrent use.
type Service struct {
	links  repository
	hits   hits
	prefix func() string
	isOwn  func(*url.URL) bool
	log    *slog.Logger
	now    func() time.Time
	rand   io.Reader
}

// New returns a Service that keeps links in db.
func New(db *store.DB, o Options) *Service {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	return &Service{links: repository{db}, prefix: o.Prefix, isOwn: o.IsOwn, log: o.Log, now: o.Now, rand: o.Rand}
}

// Service returns the table of the methods under /v1/url.
func (s *Service) Service() api.Service {
	return api.Service{
		Descriptor: urlpb.File_url_url_proto.Services().ByName("Url"),
		Methods: []api.Method{
			api.Unary("Create", s.create),
			api.Unary("Shorten", s.shorten),
			api.Listing("List", s.list),
			api.Unary("Resolve", s.resolve),
			api.Unary("Update", s.update),
			api.Unary("Delete", s.delete),
		},
	}
}

// link is a short link.
type link struct {
	id, tenant  string
	destination string
	created     time.Time
	hits        int64
}

// ResolveLink returns where a link of any tenant leads, or the api.NotFound
// error. It counts no hit. It is what the edge asks, behind its cache.
func (s *Service) ResolveLink(ctx context.Context, id string) (destination string, err error) {
	if !validID(id) {
		return "", api.NotFound("url.resolve")
	}
	l, err := s.links.get(ctx, id)
	if err != nil {
		return "", err
	}
	if l == nil {
		return "", api.NotFound("url.resolve")
	}
	return l.destination, nil
}

// keepDeleted is how long the id of a deleted link is kept from other tenants
// (DESIGN 6), and maxKept how many of one tenant's are kept, the latest: one
// that makes and deletes links in a loop must not fill the disk.
const (
	keepDeleted = 30 * 24 * time.Hour
	maxKept     = 100_000
)

// Intervals of Run, and how long it may take at the end.
const (
	flushEvery   = time.Second
	pruneEvery   = time.Hour
	flushTimeout = 5 * time.Second
)

// Run writes the hits counted in memory every second and once more when ctx
// ends, and frees the ids of links deleted long ago, at first and every hour. It
// returns after ctx has ended.
func (s *Service) Run(ctx context.Context) {
	flush, prune := time.NewTicker(flushEvery), time.NewTicker(pruneEvery)
	defer flush.Stop()
	defer prune.Stop()
	s.pruneOrLog(ctx)
	for failed := false; ; {
		select {
		case <-flush.C:
			failed = s.flushOrLog(ctx, !failed)
		case <-prune.C:
			s.pruneOrLog(ctx)
		case <-ctx.Done():
			s.flushAtTheEnd(context.WithoutCancel(ctx))
			return
		}
	}
}

// flushOrLog reports whether hits could not be written. A database that is away for
// hours is spoken of once, by aloud, and not every second.
func (s *Service) flushOrLog(ctx context.Context, aloud bool) (failed bool) {
	err := s.Flush(ctx)
	if err != nil && ctx.Err() == nil && aloud {
		s.log.WarnContext(ctx, "hits of short links could not be written; they are kept and will be tried again", "error", err)
	}
	if lost := s.hits.takeLost(); lost > 0 {
		s.log.ErrorContext(ctx, "hits of short links were not counted: too many links were visited while hits could not be written", "hits", lost)
	}
	return err != nil
}

// flushAtTheEnd is the last chance of the hits in memory.
func (s *Service) flushAtTheEnd(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if err := s.Flush(ctx); err != nil {
		s.log.ErrorContext(ctx, "hits of short links could not be written before the end, and are lost", "error", err)
	}
}

func (s *Service) pruneOrLog(ctx context.Context) {
	if err := s.links.prune(ctx, s.now().Add(-keepDeleted), maxKept); err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "the ids of links deleted long ago could not be freed", "error", err)
	}
}
