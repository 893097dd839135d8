package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// storable is a setting that can be changed while the program runs.
type storable struct {
	name     string                // the flag's name
	platform string                // the original platform's name
	field    func(*config) *string // where it is kept
}

// storables lists the settings that can be stored: those the original platform
// kept in its own store.
func storables() []storable {
	return []storable{
		{"apps-domain", "micro.app.domain", func(c *config) *string { return &c.AppsDomain }},
		{"functions-domain", "micro.function.domain", func(c *config) *string { return &c.FunctionsDomain }},
		{"url-prefix", "micro.url.host_prefix", func(c *config) *string { return &c.URLPrefix }},
		{"verify-email-url", "micro.user.verify_email_url", func(c *config) *string { return &c.VerifyEmailURL }},
	}
}

// findStorable accepts either name.
func findStorable(name string) (storable, error) {
	all := storables()
	at := slices.IndexFunc(all, func(s storable) bool { return s.name == name || s.platform == name })
	if at >= 0 {
		return all[at], nil
	}
	var names []string
	for _, s := range all {
		names = append(names, s.platform+" ("+s.name+")")
	}
	return storable{}, fmt.Errorf("%q is not a setting that can be stored; those are %s. The others are flags, variables or keys of the file: ingress serve --help", name, strings.Join(names, ", "))
}

// settingStore keeps settings; *store.DB does.
type settingStore interface {
	Settings(ctx context.Context) (map[string]string, error)
	SetSetting(ctx context.Context, name, value string) error
	UnsetSetting(ctx context.Context, name string) error
}

// settings are the values in force: those given at start, with the stored ones
// where nothing overrides them. It is safe for concurrent use.
type settings struct {
	given  config    // flags, environment, file and defaults
	listed []setting // the same, with their sources
	listen net.Addr
	store  settingStore // nil in remote mode

	// apply puts addresses in force; check says whether that would work.
	apply, check func(*addresses) error

	change  sync.Mutex // held while a value is checked, stored and put in force
	mu      sync.Mutex // guards stored
	stored  map[string]string
	current atomic.Pointer[addresses]
}

// addresses returns those in force. What it points to never changes.
func (s *settings) addresses() *addresses { return s.current.Load() }

// reload reads the stored settings and puts the result in force.
func (s *settings) reload(ctx context.Context) error {
	stored := map[string]string{}
	if s.store != nil {
		var err error
		if stored, err = s.store.Settings(ctx); err != nil {
			return err
		}
	}
	// Kept whether they work or not, so that list shows what is to be removed.
	s.mu.Lock()
	s.stored = stored
	s.mu.Unlock()
	next, err := s.derive(stored, "")
	if err == nil {
		err = s.apply(next)
	}
	if err != nil {
		return s.blameStored(stored, err)
	}
	s.current.Store(next)
	return nil
}

// follow puts in force what is stored on the database, by other nodes as well.
func (s *settings) follow(ctx context.Context) error {
	s.change.Lock()
	defer s.change.Unlock()
	return s.reload(ctx)
}

// blameStored says which stored settings take part in a failure and how to be
// rid of them: nothing in the flags, the variables or the file shows them.
func (s *settings) blameStored(stored map[string]string, err error) error {
	var names []string
	for _, each := range storables() {
		if _, ok := stored[each.name]; ok && s.sourceOf(each.name) == fromDefault {
			names = append(names, each.name)
		}
	}
	if len(names) == 0 {
		return err
	}
	return fmt.Errorf("%w (stored: %s; to remove one use: ingress config unset NAME)", err, strings.Join(names, ", "))
}

// derive returns the addresses that result from the stored settings; forced is
// the name of one to which nothing else is preferred.
func (s *settings) derive(stored map[string]string, forced string) (*addresses, error) {
	c := s.given
	for _, each := range storables() {
		if value, ok := stored[each.name]; ok && (each.name == forced || s.sourceOf(each.name) == fromDefault) {
			*each.field(&c) = value
		}
	}
	return newAddresses(&c, s.listen)
}

// sourceOf returns where a value given at start comes from.
func (s *settings) sourceOf(name string) origin {
	for _, each := range s.listed {
		if each.Name == name {
			return each.Source
		}
	}
	return fromDefault
}

// set stores a value, in force when it returns unless something overrides it;
// then the note says what.
func (s *settings) set(ctx context.Context, name, value string) (note string, err error) {
	target, err := s.storable(name)
	if err != nil {
		return "", err
	}
	// One at a time: of two that work alone both may not work together.
	s.change.Lock()
	defer s.change.Unlock()
	if err := s.try(target.name, value); err != nil {
		return "", err
	}
	if err := s.store.SetSetting(ctx, target.name, value); err != nil {
		return "", err
	}
	// What is stored must come into force even if whoever asked has gone.
	if err := s.reload(context.WithoutCancel(ctx)); err != nil {
		return "", fmt.Errorf("%s is stored, but not in force: %w", name, err)
	}
	return s.overrideNote(target, "stored, but it takes no effect while %s overrides it"), nil
}

// unset removes a stored value.
func (s *settings) unset(ctx context.Context, name string) (note string, err error) {
	target, err := s.storable(name)
	if err != nil {
		return "", err
	}
	s.change.Lock()
	defer s.change.Unlock()
	if err := s.store.UnsetSetting(ctx, target.name); err != nil {
		return "", err
	}
	if err := s.reload(context.WithoutCancel(ctx)); err != nil {
		return "", fmt.Errorf("%s is removed, but the rest is not in force: %w", name, err)
	}
	return s.overrideNote(target, "removed; %s stays in force"), nil
}

func (s *settings) storable(name string) (storable, error) {
	if s.store == nil {
		return storable{}, errors.New("with --api-address nothing is stored here; set it as flag, variable or in the file")
	}
	return findStorable(name)
}

// try reports whether the value would work, were nothing overriding it.
func (s *settings) try(name, value string) error {
	if value == "" {
		return fmt.Errorf("%s: the value is empty; to go back to the default use: ingress config unset %s", name, name)
	}
	s.mu.Lock()
	candidate := maps.Clone(s.stored)
	s.mu.Unlock()
	candidate[name] = value
	next, err := s.derive(candidate, name)
	if err != nil {
		return err
	}
	return s.check(next)
}

// overrideNote fills what overrides the setting into the text, or returns
// nothing when nothing does.
func (s *settings) overrideNote(target storable, text string) string {
	from := s.sourceOf(target.name)
	if from == fromDefault {
		return ""
	}
	return fmt.Sprintf(text, "the value from "+describeSource(from, target.name))
}

func describeSource(from origin, name string) string {
	switch from {
	case fromFlag:
		return "the flag --" + name
	case fromEnvironment:
		return "the variable INGRESS_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	case fromFile:
		return "the configuration file"
	}
	return string(from)
}

// activated notes that systemd has opened the listeners of a setting, whatever was
// given. It is called before anything is listed.
func (s *settings) activated(field string, listeners []net.Listener) {
	var addrs []string
	for _, l := range listeners {
		addrs = append(addrs, l.Addr().String())
	}
	for i := range s.listed {
		if "--"+s.listed[i].Name == field {
			s.listed[i].Value, s.listed[i].Source = strings.Join(addrs, ","), fromSystemd
		}
	}
}

// list returns every setting with its value and source.
func (s *settings) list() []setting {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Clone(s.listed)
	for _, each := range storables() {
		at := slices.IndexFunc(list, func(l setting) bool { return l.Name == each.name })
		if at < 0 {
			continue
		}
		list[at].Platform = each.platform
		value, ok := s.stored[each.name]
		switch {
		case ok && list[at].Source == fromDefault:
			list[at].Value, list[at].Source = value, fromStore
		case ok:
			list[at].Stored = value
		}
	}
	if now := s.current.Load(); now != nil {
		fillDerived(list, s.given.DataDir, now)
	}
	return list
}

// fillDerived shows what the settings that are empty by default come to.
func fillDerived(list []setting, dataDir string, now *addresses) {
	derived := map[string]string{
		"data-dir":   dataDir,
		"public-url": now.public.String(), "url-prefix": now.urlPrefix, "verify-email-url": now.verifyEmailURL,
	}
	for i := range list {
		if value, ok := derived[list[i].Name]; ok && list[i].Value == "" {
			list[i].Value = value
		}
	}
}

// get returns one setting by either name.
func (s *settings) get(name string) (setting, error) {
	for _, each := range s.list() {
		if each.Name == name || each.Platform == name && name != "" {
			return each, nil
		}
	}
	return setting{}, fmt.Errorf("%q is not a setting; ingress config list shows them all", name)
}

// listSettings lists what was given at start, the secrets included.
func listSettings(p *program, given secrets) []setting {
	list := readSettings(p.kong, p.file)
	return append(list, listSecrets(list, given)...)
}

// listSecrets shows which secrets are set, without their values. One that is in a
// file comes from where that file is named.
func listSecrets(list []setting, s secrets) []setting {
	sources := map[string]origin{}
	for _, each := range list {
		sources[each.Name] = each.Source
	}
	var secret []setting
	for _, each := range []struct{ name, value string }{
		{"api-token", s.apiToken}, {"bootstrap-key", s.bootstrapKey},
		{"secret-key", s.secretKey}, {"smtp-password", s.smtpPassword}, {"database-password", s.database},
	} {
		if each.value == "" {
			continue
		}
		source := sources[each.name+"-file"]
		if source == "" || source == fromDefault {
			source = fromEnvironment
		}
		secret = append(secret, setting{Name: each.name, Value: "***", Source: source})
	}
	return secret
}
