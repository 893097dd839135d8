package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestErrorsShowOnlyTheirPublicHalf(t *testing.T) {
	e := Internal("url.create", errors.New("password is hunter2"))
	public, err := json.Marshal(e)
	if want := `{"id":"url.create","code":500,"detail":"internal error","status":"Internal Server Error"}`; err != nil || string(public) != want {
		t.Errorf("got %s, %v", public, err)
	}
	if !strings.Contains(e.Error(), "hunter2") {
		t.Errorf("the log would not say why: %v", e)
	}
}

// down is how the store says that it cannot work now.
type down struct{}

func (down) Error() string       { return "database is locked" }
func (down) Unavailable() string { return "the database is busy" }

func TestAsError(t *testing.T) {
	known := BadRequest("url.create", "invalid id")
	tests := []struct {
		name string
		err  error
		code int
		want string
	}{
		{"an Error", known, 400, "invalid id"},
		{"a wrapped Error", fmt.Errorf("create: %w", known), 400, "invalid id"},
		{"a store that is busy", fmt.Errorf("create: %w", down{}), 503, "the database is busy"},
		{"anything else", errors.New("disk on fire"), 500, "internal error"},
	}
	for _, test := range tests {
		if got := AsError("x", test.err); got.Code != test.code || got.Detail != test.want {
			t.Errorf("%s: got %v", test.name, got)
		}
	}
}

func TestIsNotFound(t *testing.T) {
	tests := []struct {
		err  error
		want bool
	}{
		{NotFound("url.resolve"), true},
		{fmt.Errorf("wrapped: %w", NotFound("url.resolve")), true},
		{newError("url.resolve", 500, "Not Found "), true},
		{BadRequest("app.resolve", "invalid id"), true},
		{BadRequest("app.resolve", "missing id"), false},
		{unknownService("App.Resolve"), false},
		{Unauthorized("v1", "not found"), false},
		{Forbidden("v1.blocked", "not found"), false},
		{TooManyRequests("v1.blocked", time.Second, "not found"), false},
		{Unavailable("x", "not found", nil), false},
		{badReply("not found", nil), false},
		{errors.New("not found"), false},
		{nil, false},
	}
	for _, test := range tests {
		if got := IsNotFound(test.err); got != test.want {
			t.Errorf("IsNotFound(%v) = %v", test.err, got)
		}
	}
}
