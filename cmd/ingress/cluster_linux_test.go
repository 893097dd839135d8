package main_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/m3o/ingress/internal/skiptest"
	"github.com/m3o/ingress/internal/store/storetest"
)

// A database whose disk is full takes no writes and says so; all else goes on, and so do
// writes once there is room.
func TestTheDiskOfTheDatabaseIsFull(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		skiptest.Skip(t, "only root can make a small disk")
	}
	disk, err := os.MkdirTemp("", "disk") // which others may enter, once it is one
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=128m,mode=0755"); err != nil {
		skiptest.Skip(t, fmt.Sprint("a small disk cannot be made here: ", err))
	}
	t.Cleanup(func() {
		if err := errors.Join(syscall.Unmount(disk, syscall.MNT_DETACH), os.Remove(disk)); err != nil {
			t.Error(err)
		}
	})
	server, err := storetest.NewServerIn(t.Context(), disk, "max_wal_size=48MB", "min_wal_size=32MB")
	if errors.Is(err, storetest.ErrNotInstalled) {
		skiptest.Skip(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &cluster{t: t, server: server, url: server.CreateDatabase(t)}
	n := c.node()
	before := n.shortened("https://example.com/before")
	n.awaitStatus("http://localhost/u/"+before, http.StatusFound)

	ballast := filepath.Join(disk, "ballast")
	fill(t, ballast, 64<<10) // PostgreSQL may need some this moment
	long := "https://example.com/" + strings.Repeat("a", 1900)
	var made []string
	for refused := false; !refused; { // what is set aside already is used up first
		status, answer := n.call(bootstrapKey, "url/Shorten", fmt.Sprintf(`{"destinationURL":%q}`, long))
		detail, _ := answer["detail"].(string)
		switch refused = status != http.StatusOK; {
		case refused && (status != http.StatusServiceUnavailable || !strings.Contains(detail, "disk is full; nothing was written")):
			t.Fatalf("a write to a full disk: %d %v", status, answer)
		case !refused:
			link, _ := answer["shortURL"].(string)
			made = append(made, link[strings.LastIndex(link, "/")+1:])
		case len(made) > 100_000:
			t.Fatal("the disk is never full")
		}
	}
	n.awaitStatus("http://localhost/u/"+before, http.StatusFound)
	n.mustCall("url/List", fmt.Sprintf(`{"shortURL":%q}`, before))

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	n.await("writes to be taken again", func() bool {
		status, _ := n.call(bootstrapKey, "url/Shorten", `{"destinationURL":"https://example.com/after"}`)
		return status == http.StatusOK
	})
	for _, id := range append(made, before) {
		if a := n.get("http://localhost/u/" + id); a.status != http.StatusFound {
			t.Errorf("a link that was acknowledged: %d", a.status)
		}
	}
}
