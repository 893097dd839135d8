// Command greeter is a function to put behind the ingress: it takes a JSON
// object and answers with one.
//
//	go run ./examples/greeter &
//	go run ./cmd/ingress function deploy greeter --backend http://127.0.0.1:9001
//	go run ./cmd/ingress function call greeter '{"name":"Jane"}'
package main

import (
	"cmp"
	"encoding/json"
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:"+cmp.Or(os.Getenv("PORT"), "9001"))
	if err != nil {
		log.Fatal(err)
	}
	log.Println("greeter listens on", listener.Addr())
	server := &http.Server{Handler: http.HandlerFunc(greet), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.Serve(listener))
}

func greet(w http.ResponseWriter, r *http.Request) {
	var request struct {
		Name string `json:"name"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&request); err != nil {
		http.Error(w, "send a JSON object such as {\"name\":\"Jane\"}", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	answer := map[string]string{"message": "Hello " + cmp.Or(request.Name, "stranger")}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		log.Println("answer:", err)
	}
}
