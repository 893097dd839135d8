package workload_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/workload"
	"pgregory.net/rapid"
)

// testVersionModel has two tenants deploy, roll back and delete one app each while
// their versions advance, fail and are promoted, and holds what happens against
// a model that knows only: the order of asking, who has begun, and what was good.
func testVersionModel(t *testing.T, open opener) {
	f := newFixture(t, open)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		m := &versionModel{registry: f.registry(workload.Kind(fmt.Sprint("v", run))), apps: map[string]*modelApp{}, last: map[string]int64{}}
		rt.Repeat(map[string]func(*rapid.T){
			"create": m.create, "update": m.update, "env": m.env, "rollback": m.rollback, "delete": m.delete,
			"advance": m.advance, "fail": m.fail, "promote": m.promote, "prune": m.prune, "look": m.look, "": m.check,
		})
	})
}

type modelVersion struct {
	state              workload.State
	asked              int64
	built, good, there bool
}

type modelApp struct {
	id              string
	versions        map[int64]*modelVersion
	current, wanted int64
	asked           int64
	revision        int64
}

func (a *modelApp) onItsWay(n int64) bool { return n != a.current && a.versions[n].state.OnItsWay() }

type versionModel struct {
	registry *workload.Registry
	apps     map[string]*modelApp // by tenant
	last     map[string]int64     // by tenant: numbers go on
}

func (m *versionModel) draw(rt *rapid.T) (string, *modelApp, api.Caller) {
	who := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "tenant")
	return who, m.apps[who], tenant(who)
}

// number draws one that may be a version's.
func (m *versionModel) number(rt *rapid.T, who string) int64 {
	return rapid.Int64Range(1, m.last[who]+1).Draw(rt, "number")
}

func (m *versionModel) create(rt *rapid.T) {
	who, app, caller := m.draw(rt)
	w, err := m.registry.Create(context.Background(), caller, managedSpec("hello"))
	if app != nil {
		if !errors.Is(err, workload.ErrExists) {
			rt.Fatalf("creating what exists: %v", err)
		}
		return
	}
	if err != nil {
		rt.Fatal(err)
	}
	m.apps[who] = &modelApp{id: w.ID, versions: map[int64]*modelVersion{}, revision: 1}
	m.ask(who)
}

// ask adds a pending version.
func (m *versionModel) ask(who string) {
	app := m.apps[who]
	m.last[who]++
	for _, v := range app.versions {
		if v.state == workload.Pending {
			v.state = workload.Stopped
		}
	}
	app.asked++
	app.versions[m.last[who]] = &modelVersion{state: workload.Pending, asked: app.asked, there: true}
	app.wanted = m.last[who]
}

func (m *versionModel) update(rt *rapid.T) {
	who, app, caller := m.draw(rt)
	err := m.registry.Update(context.Background(), caller, "hello", workload.Update{Redeploy: true})
	if app == nil {
		if !errors.Is(err, workload.ErrNotFound) {
			rt.Fatalf("updating what is not there: %v", err)
		}
		return
	}
	if err != nil {
		rt.Fatal(err)
	}
	m.ask(who)
}

func (m *versionModel) env(rt *rapid.T) {
	_, app, caller := m.draw(rt)
	err := m.registry.Update(context.Background(), caller, "hello", workload.Update{Env: map[string]string{"A": "1"}})
	if app == nil {
		return
	}
	if err != nil {
		rt.Fatal(err)
	}
	app.revision++
	if v := app.versions[app.wanted]; app.current == 0 && v.state == workload.Failed && v.built && v.there {
		app.asked++
		v.state, v.asked = workload.Starting, app.asked
	}
}

func (m *versionModel) rollback(rt *rapid.T) {
	who, app, caller := m.draw(rt)
	n := m.number(rt, who)
	_, err := m.registry.Rollback(context.Background(), caller, "hello", n)
	if app == nil {
		return
	}
	v := app.versions[n]
	others := false
	for k := range app.versions {
		others = others || k != n && app.onItsWay(k)
	}
	var want error
	switch {
	case v == nil:
		want = workload.ErrNoVersion
	case !v.there:
		want = workload.ErrPruned
	case !v.built:
		want = workload.ErrNeverBuilt
	case n == app.current && !others && app.wanted == n:
		want = workload.ErrIsCurrent
	}
	if !errors.Is(err, want) {
		rt.Fatalf("rolling back to %d: %v, want %v", n, err, want)
	}
	if want != nil {
		return
	}
	for k, o := range app.versions {
		if k != n && app.onItsWay(k) {
			o.state = workload.Stopped
		}
	}
	app.asked++
	v.asked, app.wanted = app.asked, n
	if n != app.current {
		v.state = workload.Starting
	}
}

func (m *versionModel) delete(rt *rapid.T) {
	who, app, caller := m.draw(rt)
	if err := m.registry.Delete(context.Background(), caller, "hello"); (err == nil) != (app != nil) {
		rt.Fatalf("deleting, when its being there is %v: %v", app != nil, err)
	}
	delete(m.apps, who)
}

// refusal is what the model expects of a step of the deploy of a version.
func (a *modelApp) refusal(n int64) error {
	switch {
	case a.versions[n] == nil:
		return workload.ErrNotFound
	case n != a.current && !a.onItsWay(n):
		return workload.ErrSuperseded
	}
	return nil
}

func (m *versionModel) advance(rt *rapid.T) { m.step(rt, true) }
func (m *versionModel) fail(rt *rapid.T)    { m.step(rt, false) }

func (m *versionModel) step(rt *rapid.T, well bool) {
	who, app, _ := m.draw(rt)
	n := m.number(rt, who)
	if app == nil || n == app.current {
		return
	}
	to := workload.Failed
	if v := app.versions[n]; well && v != nil && v.state == workload.Pending {
		to = workload.Building
	} else if well {
		to = workload.Starting
	}
	err := m.registry.Advance(context.Background(), app.id, n, to, "", func(v *workload.Version) {
		if to == workload.Starting {
			v.Artifact.Site = "."
		}
	})
	if want := app.refusal(n); !errors.Is(err, want) {
		rt.Fatalf("advancing %d to %s: %v, want %v", n, to, err, want)
	}
	if err == nil {
		v := app.versions[n]
		v.state, v.built = to, v.built || to == workload.Starting
	}
}

func (m *versionModel) promote(rt *rapid.T) {
	who, app, _ := m.draw(rt)
	n := m.number(rt, who)
	if app == nil || app.versions[n] != nil && n != app.current && app.versions[n].state != workload.Starting && app.onItsWay(n) {
		return
	}
	err := m.registry.Promoted(context.Background(), app.id, n, app.revision)
	want := app.refusal(n)
	if want == nil && app.current != 0 && app.versions[app.current].asked > app.versions[n].asked {
		want = workload.ErrSuperseded
	}
	if !errors.Is(err, want) {
		rt.Fatalf("promoting %d: %v, want %v", n, err, want)
	}
	if err != nil {
		return
	}
	v := app.versions[n]
	if n != app.current {
		for k, o := range app.versions {
			if k != n && app.onItsWay(k) && o.asked < v.asked {
				o.state = workload.Stopped
			}
		}
		if app.current != 0 {
			app.versions[app.current].state = workload.Draining
		}
	}
	v.state, v.good, app.current = workload.Ready, true, n
}

func (m *versionModel) prune(rt *rapid.T) {
	_, app, _ := m.draw(rt)
	if app == nil {
		return
	}
	gone, err := m.registry.Prune(context.Background(), app.id, 2)
	if err != nil {
		rt.Fatal(err)
	}
	for _, n := range gone {
		v := app.versions[n]
		if !v.there || n == app.current || n == app.wanted || app.onItsWay(n) {
			rt.Fatalf("%d was pruned: %+v", n, v)
		}
		v.there = false
	}
}

// check compares what a tenant sees with the model.
func (m *versionModel) check(rt *rapid.T) {
	for who, app := range m.apps {
		w, err := m.registry.Get(context.Background(), tenant(who), "hello")
		if err != nil || w.Current != app.current || w.Newest.Number != app.wanted || w.Revision != app.revision || w.ID != app.id {
			rt.Fatalf("%s has %+v, %v; want %+v", who, w, err, app)
		}
		if w.Updating() != (app.current != 0 && app.onItsWay(app.wanted)) {
			rt.Fatalf("updating is %v with %+v", w.Updating(), app)
		}
		list, _, err := m.registry.Versions(context.Background(), tenant(who), "hello")
		if err != nil || len(list) != len(app.versions) {
			rt.Fatalf("%d versions are listed, %v; want %d", len(list), err, len(app.versions))
		}
		for _, v := range list {
			if want := app.versions[v.Number]; v.State != want.state || v.Available != want.there || v.Built() != want.built {
				rt.Fatalf("version %d is %+v, want %+v", v.Number, v, want)
			}
		}
	}
}

// look compares what a deploy and an activator are told with the model.
func (m *versionModel) look(rt *rapid.T) {
	var coming int
	for _, app := range m.apps {
		for n := range app.versions {
			if app.onItsWay(n) {
				coming++
			}
		}
		r, err := m.registry.Current(context.Background(), app.id)
		if (err == nil) != (app.current != 0) || r.Version != app.current {
			rt.Fatalf("current is %d, %v; want %d", r.Version, err, app.current)
		}
	}
	jobs, err := m.registry.Work(context.Background())
	if err != nil {
		rt.Fatal(err)
	}
	for _, j := range jobs {
		if !j.Restart {
			coming--
		}
	}
	if coming != 0 {
		rt.Fatalf("%d versions on their way are missing among the jobs %v", coming, jobs)
	}
}
