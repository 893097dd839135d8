package api

import "testing"

func TestScopes(t *testing.T) {
	tests := []struct {
		scopes []string
		wanted string
		has    bool
	}{
		{[]string{"url"}, "url", true},
		{[]string{"url"}, "app", false},
		{[]string{"*"}, "app", true},
		{[]string{"*"}, ScopeOperator, false},
		{[]string{"*"}, ScopeBackend, false},
		{[]string{"*"}, ScopeResolve, false},
		{[]string{"*"}, ScopeAll, true},
		{[]string{"operator"}, ScopeOperator, true},
		{[]string{"operator"}, ScopeAll, false},
		{nil, "url", false},
		{[]string{"url"}, "", false},
	}
	for _, test := range tests {
		if got := (Caller{Scopes: test.scopes}).Has(test.wanted); got != test.has {
			t.Errorf("a key for %v has %q: %v", test.scopes, test.wanted, got)
		}
	}
}
