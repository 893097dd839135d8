// An app in Go: a page that counts its visitors.
//
//	ingress app run counter --dir examples/go-app
//
// Nothing in it knows of the ingress, but for the port that it is told.
package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

//go:embed page.html
var source string

var page = template.Must(template.New("page").Parse(source))

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

// run serves until it is asked to end, and then finishes what it has begun.
func run() error {
	visits, err := openCounter()
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", visits.show)
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	server := &http.Server{Addr: net.JoinHostPort("127.0.0.1", port()), Handler: mux}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		<-ctx.Done()
		ended <- server.Shutdown(context.Background())
	}()
	log.Printf("listening on %s", server.Addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-ended
}

// port is what the ingress says, or one to try the app with by itself.
func port() string {
	if port := os.Getenv("PORT"); port != "" {
		return port
	}
	return "9002"
}

// counter counts visits in a file of the home folder, which the versions of an
// app share and which stays when one replaces another.
type counter struct {
	file string

	mu sync.Mutex
	n  int
}

func openCounter() (*counter, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, err
	}
	c := &counter{file: filepath.Join(home, "visits")}
	raw, err := os.ReadFile(c.file)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	c.n, err = strconv.Atoi(strings.TrimSpace(string(raw)))
	return c, err
}

func (c *counter) show(w http.ResponseWriter, r *http.Request) {
	n, err := c.add()
	if err != nil {
		log.Printf("count a visit: %v", err)
		http.Error(w, "the visit could not be counted", http.StatusInternalServerError)
		return
	}
	if err := page.Execute(w, map[string]any{"Visits": n, "Host": r.Host}); err != nil {
		log.Printf("show the page: %v", err)
	}
}

// add counts one more. The file is replaced whole, so that no crash leaves half.
func (c *counter) add() (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.file + ".new"
	if err := os.WriteFile(next, []byte(strconv.Itoa(c.n+1)), 0o600); err != nil {
		return 0, err
	}
	if err := os.Rename(next, c.file); err != nil {
		return 0, err
	}
	c.n++
	return c.n, nil
}
