package adapter_test

import (
	"strings"
	"testing"
)

// exchange is one request to a function and the exact answer.
type exchange struct {
	name    string
	request string // "METHOD path"
	headers []string
	body    string

	status int // 200 unless set
	answer string
	header []string // "Name: value"; "Name:" must be absent
}

func (e exchange) try(t *testing.T, p *process) {
	t.Helper()
	method, path, _ := strings.Cut(e.request, " ")
	got := p.send(t, method, path, e.headers, strings.NewReader(e.body))
	if e.status == 0 {
		e.status = 200
	}
	if got.status != e.status || got.body != e.answer {
		t.Errorf("status %d, body %q; want %d, %q", got.status, got.body, e.status, e.answer)
	}
	for _, line := range e.header {
		name, want, _ := strings.Cut(line, ":")
		if have := strings.Join(got.header.Values(name), " | "); have != strings.TrimSpace(want) {
			t.Errorf("%s is %q, want %q", name, have, strings.TrimSpace(want))
		}
	}
}

func tryAll(t *testing.T, p *process, table []exchange) {
	t.Helper()
	for _, e := range table {
		t.Run(e.name, func(t *testing.T) { e.try(t, p) })
	}
}

const (
	asJSON = "Content-Type: application/json"
	asForm = "Content-Type: application/x-www-form-urlencoded"
	asText = "Content-Type: text/plain; charset=utf-8"
)
