package link

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/m3o/ingress/internal/api"
	urlpb "github.com/m3o/ingress/proto/url"
)

// create makes a link with the id asked for, or with a random one.
func (s *Service) create(ctx context.Context, caller api.Caller, req *urlpb.CreateRequest) (*urlpb.CreateResponse, error) {
	const id = "url.create"
	if req.GetId() != "" && !validID(req.GetId()) {
		return nil, api.BadRequest(id, "invalid id")
	}
	l, err := s.add(ctx, caller, id, req.GetId(), req.GetDestinationURL())
	if err != nil {
		return nil, err
	}
	return &urlpb.CreateResponse{Url: s.message(*l)}, nil
}

// shorten makes a link with a random id.
func (s *Service) shorten(ctx context.Context, caller api.Caller, req *urlpb.ShortenRequest) (*urlpb.ShortenResponse, error) {
	l, err := s.add(ctx, caller, "url.shorten", "", req.GetDestinationURL())
	if err != nil {
		return nil, err
	}
	return &urlpb.ShortenResponse{ShortURL: s.prefix() + l.id}, nil
}

// add checks and writes a link; without an id it gets a random one.
func (s *Service) add(ctx context.Context, caller api.Caller, method, id, destination string) (*link, error) {
	if err := s.checkDestination(destination); err != nil {
		return nil, api.BadRequest(method, "%v", err)
	}
	l := &link{id: id, tenant: caller.Tenant, destination: destination, created: s.now().UTC()}
	var err error
	if id == "" {
		err = s.createRandom(ctx, l, caller.Quotas.Links)
	} else {
		err = s.links.create(ctx, *l, caller.Quotas.Links)
	}
	switch {
	case errors.Is(err, errTaken):
		return nil, api.BadRequest(method, "id already exists")
	case errors.Is(err, errQuota):
		return nil, api.Forbidden(method, "the quota of %d links is reached; delete one that is not needed", caller.Quotas.Links)
	case err != nil:
		return nil, err
	}
	return l, nil
}

// attempts is how many random ids are tried. Of 2^54 ids two hardly ever meet.
const attempts = 5

// createRandom writes the link under a random id that was free, and sets it.
func (s *Service) createRandom(ctx context.Context, l *link, quota int64) error {
	for range attempts {
		id, err := randomID(s.rand)
		if err != nil {
			return err
		}
		l.id = id
		if err := s.links.create(ctx, *l, quota); !errors.Is(err, errTaken) {
			return err
		}
	}
	return fmt.Errorf("%d random ids in a row were taken", attempts)
}

// pageLinks is how many links are read and sent at a time: a tenant may have a
// hundred thousand with 8 KiB each, and ask for them often.
const pageLinks = 100

// list returns the caller's links, or the one given, with their hits, including
// those not written yet.
func (s *Service) list(ctx context.Context, caller api.Caller, req *urlpb.ListRequest, send func(*urlpb.ListResponse) error) error {
	if req.GetShortURL() != "" {
		return s.listOne(ctx, caller.Tenant, idOf(req.GetShortURL()), send)
	}
	from := theFirst()
	for {
		links, err := s.counted(func() ([]link, error) { return s.links.page(ctx, caller.Tenant, from, pageLinks) })
		if err != nil {
			return err
		}
		if err := send(s.listMessage(links)); err != nil {
			return err
		}
		if len(links) < pageLinks {
			return nil
		}
		from = links[len(links)-1].place()
	}
}

// listOne sends the link with the id if it is the tenant's.
func (s *Service) listOne(ctx context.Context, tenant, id string, send func(*urlpb.ListResponse) error) error {
	if !validID(id) {
		return api.BadRequest("url.list", "invalid id")
	}
	links, err := s.counted(func() ([]link, error) {
		l, err := s.links.get(ctx, id)
		if err != nil || l == nil || l.tenant != tenant {
			return nil, err
		}
		return []link{*l}, nil
	})
	if err != nil {
		return err
	}
	return send(s.listMessage(links))
}

// counted reads links and adds the hits that are not in the database yet, while
// none can move there.
func (s *Service) counted(read func() ([]link, error)) ([]link, error) {
	s.hits.moving.RLock()
	defer s.hits.moving.RUnlock()
	links, err := read()
	for i := range links {
		links[i].hits += s.hits.of(links[i].id)
	}
	return links, err
}

func (s *Service) listMessage(links []link) *urlpb.ListResponse {
	res := &urlpb.ListResponse{}
	for _, l := range links {
		res.UrlPairs = append(res.UrlPairs, s.message(l))
	}
	return res
}

// resolve returns where a link leads: one of the caller's, or any for keys with
// the scope "resolve".
func (s *Service) resolve(ctx context.Context, caller api.Caller, req *urlpb.ResolveRequest) (*urlpb.ResolveResponse, error) {
	const method = "url.resolve"
	id, err := named(method, req.GetId(), req.GetShortURL())
	if err != nil {
		return nil, err
	}
	l, err := s.links.get(ctx, id)
	if err != nil {
		return nil, err
	}
	if l == nil || l.tenant != caller.Tenant && !caller.Has(api.ScopeResolve) {
		return nil, api.NotFound(method)
	}
	if req.GetVisit() {
		s.Hit(id)
	}
	return &urlpb.ResolveResponse{DestinationURL: l.destination}, nil
}

// update lets one of the caller's links lead elsewhere.
func (s *Service) update(ctx context.Context, caller api.Caller, req *urlpb.UpdateRequest) (*urlpb.UpdateResponse, error) {
	const method = "url.update"
	id, err := named(method, req.GetId(), req.GetShortURL())
	if err != nil {
		return nil, err
	}
	if err := s.checkDestination(req.GetDestinationURL()); err != nil {
		return nil, api.BadRequest(method, "%v", err)
	}
	found, err := s.links.update(ctx, caller.Tenant, id, req.GetDestinationURL())
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, api.NotFound(method)
	}
	return &urlpb.UpdateResponse{}, nil
}

// delete removes one of the caller's links; that it is not there is no error
// (WIRE.md 4).
func (s *Service) delete(ctx context.Context, caller api.Caller, req *urlpb.DeleteRequest) (*urlpb.DeleteResponse, error) {
	id, err := named("url.delete", req.GetId(), req.GetShortURL())
	if err != nil {
		return nil, err
	}
	found, err := s.links.delete(ctx, caller.Tenant, id, s.now())
	if err != nil {
		return nil, err
	}
	if found {
		s.hits.forget(id)
	}
	return &urlpb.DeleteResponse{}, nil
}

// named returns the id a request names, by itself or in a short URL.
func named(method, id, shortURL string) (string, error) {
	if id == "" && shortURL == "" {
		return "", api.BadRequest(method, "missing id or short url")
	}
	if id == "" {
		id = idOf(shortURL)
	}
	if !validID(id) {
		return "", api.BadRequest(method, "invalid id")
	}
	return id, nil
}

// message is a link as callers see it. The short URL is made from the prefix in
// force now.
func (s *Service) message(l link) *urlpb.URLPair {
	return &urlpb.URLPair{
		Id:             l.id,
		DestinationURL: l.destination,
		ShortURL:       s.prefix() + l.id,
		Created:        l.created.Format(time.RFC3339Nano),
		HitCount:       l.hits,
	}
}
