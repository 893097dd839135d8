package workload_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/workload"
	"pgregory.net/rapid"
)

// testModel makes, deletes and reserves a few names for a few tenants while time
// passes, and holds what happens against the rule: an id belongs to the tenant
// that used or reserved it last until both deadlines have passed.
func testModel(t *testing.T, open opener) {
	f := newFixture(t, open)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++ // a kind of its own makes the registry an empty one
		m := &model{
			fixture: f, registry: f.registry(workload.Kind(fmt.Sprint("kind", run))),
			owner: map[string]string{}, until: map[string]time.Time{}, live: map[[2]string]string{},
		}
		rt.Repeat(map[string]func(*rapid.T){
			"create": m.create, "delete": m.delete, "reserve": m.reserve, "wait": m.wait, "": m.check,
		})
	})
}

type model struct {
	*fixture
	registry *workload.Registry
	owner    map[string]string    // id to tenant
	until    map[string]time.Time // id to when it is free, unless it is live
	live     map[[2]string]string // tenant and name to id
}

func draw(rt *rapid.T) (tenantName, name string) {
	return rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "tenant"), rapid.SampledFrom([]string{"one", "two"}).Draw(rt, "name")
}

// free reports whether a tenant may have an id.
func (m *model) free(who, id string) bool {
	if owner, known := m.owner[id]; !known || owner == who {
		return true
	}
	for _, used := range m.live {
		if used == id {
			return false
		}
	}
	return !m.until[id].After(m.clock.Now())
}

func (m *model) create(rt *rapid.T) {
	who, name := draw(rt)
	w, err := m.registry.Create(context.Background(), tenant(who), spec(name))
	if _, there := m.live[[2]string{who, name}]; there {
		if !errors.Is(err, workload.ErrExists) {
			rt.Fatalf("creating what exists: %v", err)
		}
		return
	}
	if err != nil {
		rt.Fatal(err)
	}
	if !m.free(who, w.ID) {
		rt.Fatalf("%s got %s, which is held by %s until %v", who, w.ID, m.owner[w.ID], m.until[w.ID])
	}
	if w.ID != name && m.free(who, name) && m.owner[w.ID] != who {
		rt.Fatalf("%s got the new id %s although %s is free", who, w.ID, name)
	}
	m.take(who, w.ID)
	m.live[[2]string{who, name}] = w.ID
}

func (m *model) take(who, id string) {
	if m.owner[id] != who {
		m.owner[id], m.until[id] = who, time.Time{}
	}
}

func (m *model) delete(rt *rapid.T) {
	who, name := draw(rt)
	id, there := m.live[[2]string{who, name}]
	err := m.registry.Delete(context.Background(), tenant(who), name)
	if there != (err == nil) || !there && !errors.Is(err, workload.ErrNotFound) {
		rt.Fatalf("deleting, when its being there is %v: %v", there, err)
	}
	if there {
		delete(m.live, [2]string{who, name})
		m.extend(id, m.clock.Now().Add(30*day))
	}
}

func (m *model) reserve(rt *rapid.T) {
	who, name := draw(rt)
	free := m.free(who, name)
	_, err := m.registry.Reserve(context.Background(), tenant(who), name)
	if free != (err == nil) || !free && !errors.Is(err, workload.ErrReserved) {
		rt.Fatalf("%s reserving %s, when its being free is %v: %v", who, name, free, err)
	}
	if free {
		m.take(who, name)
		m.extend(name, m.clock.Now().AddDate(1, 0, 0))
	}
}

func (m *model) extend(id string, until time.Time) {
	if until.After(m.until[id]) {
		m.until[id] = until
	}
}

func (m *model) wait(rt *rapid.T) {
	m.clock.Pass(time.Duration(rapid.IntRange(1, 200).Draw(rt, "days")) * day)
}

// check compares what resolves with what is live.
func (m *model) check(rt *rapid.T) {
	for key, id := range m.live {
		if b, err := m.registry.Backend(context.Background(), id); err != nil || b.Tenant != key[0] {
			rt.Fatalf("%s resolves to %q's, %v; want %s's", id, b.Tenant, err, key[0])
		}
	}
	for id := range m.owner {
		if b, err := m.registry.Backend(context.Background(), id); err == nil && m.live[[2]string{b.Tenant, id[:3]}] != id {
			rt.Fatalf("%s resolves to %s's, which was deleted", id, b.Tenant)
		}
	}
}
