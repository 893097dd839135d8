package edge

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// A backend that is slow to ask for the body gets it without having asked (RFC 9110
// 10.1.1). When it asks then, the visitor has long been asked.
func TestALateContinueIsNotPassedOn(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return // the test has ended
		}
		defer conn.Close()
		in := bufio.NewReader(conn)
		r, err := http.ReadRequest(in)
		if err != nil {
			t.Error(err)
			return
		}
		if body, err := io.ReadAll(r.Body); err != nil || string(body) != "abc" {
			t.Errorf("the backend got %q, %v", body, err)
		}
		fmt.Fprint(conn, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}()
	r := newRig(t, nil)
	r.backends["late"] = Backend{Key: "late", URL: url.URL{Scheme: "http", Host: l.Addr().String()}, Origin: Remote}
	got := r.raw("POST / HTTP/1.1\r\nHost: late.app.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc")
	if strings.Count(got, "100 Continue") != 1 || !strings.Contains(got, "200 OK") {
		t.Errorf("the visitor got %q", got)
	}
}

// A backend that hints while the body is asked for: the visitor gets whole answers
// of both kinds, from two goroutines.
func TestHintsAndAContinueDoNotMix(t *testing.T) {
	address := rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		const hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5\r\n\r\n"
		fmt.Fprint(c, "HTTP/1.1 100 Continue\r\n\r\n"+hint+hint)
		if body, err := io.ReadAll(r.Body); err != nil || string(body) != "abc" {
			t.Errorf("the backend got %q, %v", body, err)
		}
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
	})
	r := newRig(t, nil)
	r.backends["hints"] = Backend{Key: "hints", URL: url.URL{Scheme: "http", Host: address}, Origin: Remote}
	for range 100 {
		got := r.raw("POST / HTTP/1.1\r\nHost: hints.app.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc")
		answers := bufio.NewReader(strings.NewReader(got))
		var statuses []int
		for status := 0; status < 200; {
			res, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatalf("the visitor got %q: %v", got, err)
			}
			status = res.StatusCode
			statuses = append(statuses, status)
			if status == http.StatusEarlyHints && (res.Header.Get("Link") != "</a>" || res.Header.Get("Content-Length") != "") {
				t.Errorf("a hint has the header %v", res.Header)
			}
		}
		if slices.Sort(statuses); !slices.Equal(statuses, []int{100, 103, 103, 200}) {
			t.Fatalf("the visitor got %v", statuses)
		}
	}
}
