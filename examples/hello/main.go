// Command hello is an app to put behind the ingress: a page that says how the
// request reached it, and an event stream that shows each piece arriving.
//
//	go run ./examples/hello &
//	go run ./cmd/ingress app run hello --backend http://127.0.0.1:9000
//	curl --resolve hello.app.localhost:8080:127.0.0.1 http://hello.app.localhost:8080/
//	curl --resolve hello.app.localhost:8080:127.0.0.1 -N http://hello.app.localhost:8080/events
package main

import (
	"cmp"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	// The platform tells its apps where to listen in PORT.
	listener, err := net.Listen("tcp", "127.0.0.1:"+cmp.Or(os.Getenv("PORT"), "9000"))
	if err != nil {
		log.Fatal(err)
	}
	log.Println("hello listens on", listener.Addr())
	server := &http.Server{Handler: routes(), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.Serve(listener))
}

func routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", greet)
	mux.HandleFunc("GET /events", count)
	return mux
}

// greet shows the headers by which an app knows its visitor.
func greet(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "Hello from an app.\n\n%s %s\n", r.Method, r.URL)
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		fmt.Fprintf(w, "%s: %s\n", name, r.Header.Get(name))
	}
}

// count sends an event a second, ten times.
func count(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 1; n <= 10; n++ {
		fmt.Fprintf(w, "data: %d\n\n", n)
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}
