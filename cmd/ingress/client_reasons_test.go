package main

import (
	"slices"
	"testing"
)

func TestAReasonIsSaidOnceOfAllThatItHoldsFor(t *testing.T) {
	got := reasons(map[string]string{"ruby": "nothing runs here", "go": "too old", "php": "nothing runs here", "java": "java: not supported"})
	want := []string{"go (too old)", "java (java: not supported)", "php, ruby (nothing runs here)"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := reasons(nil); len(got) != 0 {
		t.Errorf("of nothing: %q", got)
	}
}
