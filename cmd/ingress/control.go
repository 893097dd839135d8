package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/m3o/ingress/internal/store"
)

// control is a way to the settings: the socket of a running process, or the
// store itself.
type control interface {
	list() ([]setting, error)
	get(name string) (setting, error)
	set(name, value string) (note string, err error)
	unset(name string) (note string, err error)
	Close() error
}

// purpose says whether a command means to change settings.
type purpose bool

// The purposes of a command.
const (
	toRead   purpose = false
	toChange purpose = true
)

// openControl finds the running process by its socket; when none answers it
// opens the store, under the lock that keeps a process from starting meanwhile.
// Looking makes no store where there is none yet.
func (p *program) openControl(c *config, why purpose) (control, error) {
	c.DataDir = p.cli.DataDir
	if err := c.validate(p.env); err != nil {
		return nil, err
	}
	if c.AdminSocket == "" {
		return nil, errors.New("with --api-address there are no stored settings; give --admin-socket to ask a running process")
	}
	conn, err := net.Dial("unix", c.AdminSocket)
	if err == nil {
		conn.Close()
		return newSocketControl(c.AdminSocket), nil
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("ask the running process through %s: %w", c.AdminSocket, err)
	}
	if c.remote() {
		return nil, fmt.Errorf("no process answers on %s", c.AdminSocket)
	}
	_, err = os.Stat(filepath.Join(c.DataDir, databaseFile))
	if why == toRead && errors.Is(err, fs.ErrNotExist) && !c.shared() {
		return p.newStoreControl(c, why, nil, func() error { return nil })
	}
	return p.openStoreControl(c, why)
}

// openRunning finds the running process, for commands that only it can do.
func (p *program) openRunning(c *config) (*socketControl, error) {
	found, err := p.openControl(c, toRead)
	if err != nil {
		return nil, err
	}
	running, ok := found.(*socketControl)
	if !ok {
		return nil, joinErrors(errors.New("no ingress is running here; start it with: ingress serve"), found.Close())
	}
	return running, nil
}

// socketControl asks a running process.
type socketControl struct{ client *http.Client }

// controlTimeout bounds one command to the running process.
const controlTimeout = 30 * time.Second

func newSocketControl(path string) *socketControl {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	return &socketControl{&http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: controlTimeout}}
}

// Close ends the connections.
func (s *socketControl) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

func (s *socketControl) list() (list []setting, err error) {
	err = s.do(http.MethodGet, "/settings", nil, &list)
	return list, err
}

func (s *socketControl) get(name string) (found setting, err error) {
	err = s.doNamed(http.MethodGet, name, nil, &found)
	return found, err
}

func (s *socketControl) set(name, value string) (string, error) {
	var note controlNote
	err := s.doNamed(http.MethodPut, name, map[string]string{"value": value}, &note)
	return note.Note, err
}

func (s *socketControl) unset(name string) (string, error) {
	var note controlNote
	err := s.doNamed(http.MethodDelete, name, nil, &note)
	return note.Note, err
}

// doNamed asks about one setting. A name of dots alone, or none, would make the
// path another one.
func (s *socketControl) doNamed(method, name string, in, out any) error {
	if strings.Trim(name, ".") == "" {
		return fmt.Errorf("%q is not a setting; ingress config list shows them all", name)
	}
	return s.do(method, "/settings/"+url.PathEscape(name), in, out)
}

func (s *socketControl) do(method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(encoded)
	}
	req, err := http.NewRequest(method, "http://ingress"+path, body)
	if err != nil {
		return err
	}
	res, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("ask the running process: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusOK {
		return json.NewDecoder(res.Body).Decode(out)
	}
	var failed controlError
	if err := json.NewDecoder(res.Body).Decode(&failed); err != nil || failed.Error == "" {
		return fmt.Errorf("the running process answered %s", res.Status)
	}
	return errors.New(failed.Error)
}

// storeControl works on the store while no process runs.
type storeControl struct {
	*settings
	place string // the database, which the settings name
	close func() error
}

// openStoreControl opens the store without serving; to change it, as serve would.
func (p *program) openStoreControl(c *config, why purpose) (control, error) {
	if why == toRead && c.shared() {
		return p.openSharedToRead(c)
	}
	lock, err := store.LockDir(c.DataDir)
	if errors.Is(err, store.ErrDirInUse) {
		return nil, &problem{
			text:  fmt.Sprintf("no process answers on %s, and one uses %s", c.AdminSocket, c.DataDir),
			hint:  "Give the --admin-socket of that one, or the --config that it was started with.",
			cause: err,
		}
	}
	if err != nil {
		return nil, fmt.Errorf("no process answers on %s, and: %w", c.AdminSocket, err)
	}
	if why == toRead {
		db, err := store.OpenToLook(p.ctx, filepath.Join(c.DataDir, databaseFile), slog.New(slog.DiscardHandler))
		if err != nil {
			return nil, joinErrors(err, lock.Close())
		}
		return p.openAsItIs(c, db, func() error { return joinErrors(db.Close(), lock.Close()) })
	}
	given, err := c.readSecrets(p.env)
	if err != nil {
		return nil, joinErrors(err, lock.Close())
	}
	db, err := c.openDatabase(p.ctx, given, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, joinErrors(err, lock.Close())
	}
	return p.newStoreControl(c, why, db, func() error { return joinErrors(db.Close(), lock.Close()) })
}

// openSharedToRead opens a database that others may be using.
func (p *program) openSharedToRead(c *config) (control, error) {
	given, err := c.readSecrets(p.env)
	if err != nil {
		return nil, err
	}
	db, err := store.OpenPostgresToRead(p.ctx, c.postgres(given, slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, fmt.Errorf("--database: %w", err)
	}
	return p.openAsItIs(c, db, db.Close)
}

// openAsItIs shows what is stored in a database: looking does not bring its schema up to
// date, for which an older release would not start again.
func (p *program) openAsItIs(c *config, db *store.DB, closeStore func() error) (control, error) {
	schema, _, err := db.Schema(p.ctx)
	if err != nil {
		return nil, joinErrors(err, closeStore())
	}
	if schema == 0 { // an empty one, with nothing stored
		return p.newStoreControl(c, toRead, nil, closeStore)
	}
	return p.newStoreControl(c, toRead, db, closeStore)
}

// newStoreControl shows the settings as the next start would find them. The
// store is nil where there is none.
func (p *program) newStoreControl(c *config, why purpose, kept settingStore, closeStore func() error) (control, error) {
	given, err := c.readSecrets(p.env)
	if err != nil {
		return nil, joinErrors(err, closeStore())
	}
	s := &storeControl{
		settings: &settings{
			given: *c, listed: listSettings(p, given),
			listen: plannedAddr(c.shownListen()), store: kept,
			apply: checkAddresses, check: checkAddresses,
		},
		place: c.databasePlace(),
		close: closeStore,
	}
	// A stored value that stops the start must still be removable. Who changes one is
	// told of what is left, and not of what it was.
	if err := s.reload(p.ctx); err != nil && why == toRead {
		fmt.Fprintln(p.stderr, "ingress: the settings as they are would not start:", err)
	}
	return s, nil
}

// plannedAddr is where a listener would be, for showing URLs without one.
type plannedAddr string

// Network implements net.Addr.
func (plannedAddr) Network() string { return "tcp" }

// String implements net.Addr.
func (a plannedAddr) String() string { return string(a) }

// Close closes the store and gives up the lock.
func (s *storeControl) Close() error { return s.close() }

func (s *storeControl) list() ([]setting, error) { return s.settings.list(), nil }

func (s *storeControl) get(name string) (setting, error) { return s.settings.get(name) }

// set says where it has stored the value: ingresses that were given another database by
// a flag know nothing of it.
func (s *storeControl) set(name, value string) (string, error) {
	note, err := s.settings.set(context.Background(), name, value)
	if note != "" {
		note += "; "
	}
	return note + "no ingress is running here; it is stored in " + s.place, err
}

func (s *storeControl) unset(name string) (string, error) {
	return s.settings.unset(context.Background(), name)
}
