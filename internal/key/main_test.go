package key

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/leaktest"
	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/store/storetest"
	apipb "github.com/m3o/ingress/proto/api"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// world is a service with its operator and two tenants besides.
type world struct {
	*Service
	db       *store.DB
	operator api.Caller
	alice    api.Caller
	aliceKey string
	bob      api.Caller
	bobKey   string
}

func newWorld(t *testing.T, o Options) *world {
	t.Helper()
	db := storetest.Open(t)
	w := &world{Service: New(db, o), db: db}
	b, err := w.EnsureBootstrap(t.Context(), "", filepath.Join(t.TempDir(), "bootstrap.key"))
	if err != nil {
		t.Fatal(err)
	}
	w.operator = w.mustAuthenticate(t, b.Secret)
	w.alice, w.aliceKey = w.newTenant(t, "alice")
	w.bob, w.bobKey = w.newTenant(t, "bob")
	return w
}

func (w *world) newTenant(t *testing.T, name string) (api.Caller, string) {
	t.Helper()
	res, err := w.createTenant(t.Context(), w.operator, &apipb.CreateRequest{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return w.mustAuthenticate(t, res.GetApiKey()), res.GetApiKey()
}

func (w *world) mustAuthenticate(t *testing.T, secret string) api.Caller {
	t.Helper()
	caller, err := w.Authenticate(t.Context(), secret)
	if err != nil {
		t.Fatalf("authenticate: %v", err)
	}
	return caller
}

// newKey makes a key of the caller's tenant and returns its secret and its id.
func (w *world) newKey(t *testing.T, caller api.Caller, scopes ...string) (secret, id string) {
	t.Helper()
	res, err := w.generate(t.Context(), caller, &apipb.GenerateRequest{Scopes: scopes})
	if err != nil {
		t.Fatal(err)
	}
	return res.GetApiKey(), res.GetApiKeyId()
}

// refused checks that err is the API error with this id, code and detail.
func refused(t *testing.T, err error, id string, code int, detail string) {
	t.Helper()
	e, ok := errors.AsType[*api.Error](err)
	if !ok {
		t.Fatalf("got %v, want an API error", err)
	}
	if e.ID != id || e.Code != code || e.Detail != detail {
		t.Errorf("got %s %d %q, want %s %d %q", e.ID, e.Code, e.Detail, id, code, detail)
	}
}

func unauthorizedIs(t *testing.T, err error) {
	t.Helper()
	refused(t, err, "v1", 401, "Unauthorized")
}

// clock is a time that only the test moves.
type clock struct{ at time.Time }

func newClock() *clock { return &clock{time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time { return c.at }

// ended is a context that is over.
func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
