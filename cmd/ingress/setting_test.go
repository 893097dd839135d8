package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/store/storetest"
)

// newSettings returns settings on a real store, as a start without flags finds
// them; overrides are settings given as flags.
func newSettings(t *testing.T, overrides map[string]string) *settings {
	t.Helper()
	s := &settings{
		given:  config{Listen: []string{"localhost:8080"}, AppsDomain: "app.localhost", FunctionsDomain: "fn.localhost", UserHost: "user.localhost"},
		listen: plannedAddr("127.0.0.1:8080"), store: storetest.Open(t), apply: checkAddresses, check: checkAddresses,
	}
	for _, each := range storables() {
		l := setting{Name: each.name, Value: *each.field(&s.given), Source: fromDefault}
		if value, ok := overrides[each.name]; ok {
			*each.field(&s.given) = value
			l.Value, l.Source = value, fromFlag
		}
		s.listed = append(s.listed, l)
	}
	if err := s.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStoredSettings(t *testing.T) {
	for _, test := range []struct {
		name, setting, value string
		overrides            map[string]string
		refused              string // what the error says, or empty
		note                 string // what the note says, or empty
		app                  string // where the app x is afterwards
	}{
		{name: "in force at once", setting: "micro.app.domain", value: "m3o.app", app: "http://x.m3o.app:8080"},
		{name: "by the flag's name", setting: "apps-domain", value: "m3o.app", app: "http://x.m3o.app:8080"},
		{name: "equal domains", setting: "apps-domain", value: "fn.localhost", refused: "must differ", app: "http://x.app.localhost:8080"},
		{name: "no domain", setting: "apps-domain", value: "no domain", refused: "no domain", app: "http://x.app.localhost:8080"},
		{name: "nothing", setting: "apps-domain", value: "", refused: "config unset", app: "http://x.app.localhost:8080"},
		{name: "not to be stored", setting: "listen", value: ":80", refused: "flags, variables", app: "http://x.app.localhost:8080"},
		{
			name: "overridden", setting: "apps-domain", value: "m3o.app", overrides: map[string]string{"apps-domain": "flag.example"},
			note: "--apps-domain", app: "http://x.flag.example:8080",
		},
		{
			name: "overridden and wrong", setting: "apps-domain", value: "no domain", overrides: map[string]string{"apps-domain": "flag.example"},
			refused: "no domain", app: "http://x.flag.example:8080",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSettings(t, test.overrides)
			note, err := s.set(t.Context(), test.setting, test.value)
			stored, storeErr := s.store.Settings(t.Context())
			if storeErr != nil {
				t.Fatal(storeErr)
			}
			if test.refused != "" {
				if err == nil || !strings.Contains(err.Error(), test.refused) {
					t.Errorf("got %v, want it to say %q", err, test.refused)
				}
				if len(stored) != 0 {
					t.Errorf("the refused value is stored: %v", stored)
				}
			} else if err != nil || len(stored) != 1 {
				t.Errorf("got %v; stored %v", err, stored)
			}
			if !strings.Contains(note, test.note) || (note == "") != (test.note == "") {
				t.Errorf("the note is %q, want %q in it", note, test.note)
			}
			if got := s.addresses().appURL("x"); got != test.app {
				t.Errorf("the app is at %s, want %s", got, test.app)
			}
		})
	}
}

func TestUnsettingWhileOverriddenSaysSo(t *testing.T) {
	s := newSettings(t, map[string]string{"apps-domain": "flag.example"})
	note, err := s.unset(t.Context(), "apps-domain")
	if err != nil || !strings.Contains(note, "removed") || !strings.Contains(note, "--apps-domain") {
		t.Errorf("got %q, %v", note, err)
	}
}

// TestTwoSettingsThatClashAreNotBothStored sets, from two sides at once, domains
// that work alone and not together. Both stored would stop the next start.
func TestTwoSettingsThatClashAreNotBothStored(t *testing.T) {
	s := newSettings(t, nil)
	for round := range 20 {
		domain := fmt.Sprintf("d%d.example", round)
		errs := make([]error, 2)
		var both sync.WaitGroup
		for i, name := range []string{"apps-domain", "functions-domain"} {
			both.Go(func() { _, errs[i] = s.set(t.Context(), name, domain) })
		}
		both.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("one of the two must be refused: %v, %v", errs[0], errs[1])
		}
		if err := s.reload(t.Context()); err != nil {
			t.Fatalf("the next start: %v", err)
		}
	}
}

// TestAStoredSettingThatStopsTheStartCanBeFoundAndRemoved stores a value that
// was right, and makes it wrong by a flag.
func TestAStoredSettingThatStopsTheStartCanBeFoundAndRemoved(t *testing.T) {
	s := newSettings(t, nil)
	for name, value := range map[string]string{"apps-domain": "m3o.app", "url-prefix": "https://m3o.one/u/"} {
		if _, err := s.set(t.Context(), name, value); err != nil {
			t.Fatal(err)
		}
	}
	next := newSettings(t, map[string]string{"functions-domain": "m3o.app"})
	next.store = s.store
	err := next.reload(t.Context())
	if err == nil || !strings.Contains(err.Error(), "m3o.app") || !strings.Contains(err.Error(), "config unset") || !strings.Contains(err.Error(), "apps-domain") {
		t.Fatalf("the start says %v", err)
	}
	if found, err := next.get("apps-domain"); err != nil || found.Value != "m3o.app" || found.Source != fromStore {
		t.Errorf("it is shown as %+v, %v", found, err)
	}
	if _, err := next.set(t.Context(), "verify-email-url", "https://user.m3o.example"); err == nil {
		t.Error("another setting is stored although nothing can come into force")
	}
	if _, err := next.unset(t.Context(), "apps-domain"); err != nil {
		t.Errorf("it cannot be removed: %v", err)
	}
	if got := next.addresses().urlPrefix; got != "https://m3o.one/u/" {
		t.Errorf("the others are not in force: %s", got)
	}
}

// impatient ends the caller's context as soon as a setting is stored.
type impatient struct {
	settingStore
	leave context.CancelFunc
}

func (i impatient) SetSetting(ctx context.Context, name, value string) error {
	defer i.leave()
	return i.settingStore.SetSetting(ctx, name, value)
}

func TestWhatIsStoredIsInForceThoughTheCallerHasGone(t *testing.T) {
	s := newSettings(t, nil)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	s.store = impatient{s.store, leave}
	if _, err := s.set(ctx, "apps-domain", "m3o.app"); err != nil {
		t.Error(err)
	}
	if got := s.addresses().appsDomain; got != "m3o.app" {
		t.Errorf("in force is %s", got)
	}
}

// lostStore cannot be read a few times.
type lostStore struct {
	*store.DB
	failures atomic.Int64
}

func (s *lostStore) Settings(ctx context.Context) (map[string]string, error) {
	if s.failures.Add(-1) >= 0 {
		return nil, &store.UnavailableError{Detail: "away", Cause: errors.New("cut")}
	}
	return s.DB.Settings(ctx)
}

// A change is told of once: what cannot be read at that moment must be read later.
func TestASettingThatCannotBeReadAtOnceComesIntoForce(t *testing.T) {
	s := newSettings(t, nil)
	db := s.store.(*store.DB)
	lost := &lostStore{DB: db}
	s.store = lost
	lost.failures.Store(2)
	inForce := make(chan string, 1)
	s.apply = func(a *addresses) error { inForce <- a.appsDomain; return nil }
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	run := db.Reread(s.follow, "setting")
	running.Go(func() { run(ctx) })
	if err := db.SetSetting(t.Context(), "apps-domain", "other.localhost"); err != nil { // as another node
		t.Fatal(err)
	}
	select {
	case domain := <-inForce:
		if domain != "other.localhost" {
			t.Errorf("%s is in force", domain)
		}
	case <-time.After(30 * time.Second):
		t.Error("it did not come into force")
	}
	cancel()
	running.Wait()
}

func TestWithoutAStoreNothingIsStored(t *testing.T) {
	s := newSettings(t, nil)
	s.store = nil
	_, setErr := s.set(t.Context(), "apps-domain", "m3o.app")
	_, unsetErr := s.unset(t.Context(), "apps-domain")
	if err := errors.Join(setErr, unsetErr); err == nil || strings.Count(err.Error(), "--api-address") != 2 {
		t.Errorf("got %v", err)
	}
}

func TestAsteriskForSecrets(t *testing.T) {
	files := []setting{{Name: "api-token-file", Source: fromFlag}, {Name: "bootstrap-key-file", Source: fromDefault}}
	for _, s := range listSecrets(files, secrets{apiToken: "hunter2", bootstrapKey: "hunter2", smtpPassword: "hunter2", secretKey: "hunter2"}) {
		if s.Value != "***" || strings.Contains(fmt.Sprint(s), "hunter2") {
			t.Errorf("%+v", s)
		}
		if want := map[bool]origin{true: fromFlag, false: fromEnvironment}[s.Name == "api-token"]; s.Source != want {
			t.Errorf("%s comes from %s, want %s", s.Name, s.Source, want)
		}
	}
}
