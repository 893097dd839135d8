package storetest

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// Replica starts a server that follows this one, from a copy of its files, for which this
// one is started again.
func (s *Server) Replica(t testing.TB) *Server {
	t.Helper()
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	replica := &Server{bin: s.bin, settings: slices.Concat(s.settings, []string{"primary_conninfo=host=127.0.0.1 user=tests port=" + strconv.Itoa(s.port)})}
	err := replica.begin(t.Context(), func() error {
		if err := os.CopyFS(replica.data(), os.DirFS(s.data())); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(replica.data(), "standby.signal"), nil, 0o600); err != nil {
			return err
		}
		if err := s.Start(t.Context()); err != nil {
			return err
		}
		return replica.own()
	})
	if err != nil {
		t.Fatalf("start a replica: %v", err)
	}
	return replica.until(t)
}

// own gives the server's files to who runs it, and to nobody else.
func (s *Server) own() error {
	return filepath.WalkDir(s.data(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o600)
		if entry.IsDir() {
			mode = 0o700
		}
		if err := os.Chmod(path, mode); err != nil || s.owner == nil {
			return err
		}
		return os.Chown(path, int(s.owner.Uid), int(s.owner.Gid))
	})
}

// Promote has a replica take the place of the server that it follows.
func (s *Server) Promote() error {
	return s.exec("DO $$ BEGIN ASSERT pg_promote(), 'it is not promoted'; END $$")
}
