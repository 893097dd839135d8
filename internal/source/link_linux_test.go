package source_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/m3o/ingress/internal/confine"
	"github.com/m3o/ingress/internal/source"
	"github.com/m3o/ingress/internal/workload"
)

// noTasks runs nothing.
type noTasks struct{}

func (noTasks) Run(context.Context, workload.Task) (confine.Exit, error) {
	return confine.Exit{}, errors.New("nothing is run")
}

// TestNothingIsWrittenThroughALink: the folder for the code belongs to the app's
// user, whose programs may put a link in the place of what is made in it. They are
// quick enough once in some fifty times.
func TestNothingIsWrittenThroughALink(t *testing.T) {
	f := source.New(source.Options{Tasks: noTasks{}, Executable: "/nowhere", Lookup: func(context.Context, string, uint16) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
	}})
	outside := t.TempDir()
	for n := range 400 {
		dest := t.TempDir()
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			putLinks(t, dest, outside, stop)
		}()
		_, err := f.Fetch(t.Context(), source.Request{
			Source: workload.Source{Repo: "https://git.example/owner/repo"}, Dest: dest, Name: "app-hello-1-fetch",
		})
		close(stop)
		<-stopped
		if err == nil {
			t.Fatal("fetched with nothing")
		}
		written, err := os.ReadDir(outside)
		if err != nil || len(written) > 0 {
			t.Fatalf("at try %d outside are %v, %v", n+1, written, err)
		}
	}
}

// putLinks puts a link to target in the place of the folder that is made in dir.
func putLinks(t *testing.T, dir, target string, stop <-chan struct{}) {
	link := filepath.Join(t.TempDir(), "link") // for what is fetched the folder must be empty
	if err := os.Symlink(target, link); err != nil {
		t.Error(err)
		return
	}
	d, err := os.Open(dir)
	if err != nil {
		t.Error(err)
		return
	}
	defer d.Close()
	for {
		select {
		case <-stop:
			return
		default:
		}
		if _, err := d.Seek(0, 0); err != nil {
			t.Error(err)
			return
		}
		names, _ := d.Readdirnames(-1) // what goes meanwhile is no concern
		for _, name := range names {
			if strings.HasPrefix(name, ".fetch-") {
				// It may be gone by now, or not be known to the file system.
				_ = unix.Renameat2(unix.AT_FDCWD, link, unix.AT_FDCWD, filepath.Join(dir, name), unix.RENAME_EXCHANGE)
				return
			}
		}
	}
}
