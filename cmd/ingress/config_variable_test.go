package main

import (
	"slices"
	"testing"
)

func TestMistakenVariables(t *testing.T) {
	p := &program{}
	if _, err := p.parser(); err != nil {
		t.Fatal(err)
	}
	for pair, want := range map[string]mistakenVariable{
		"INGRESS_DATABSE=x":            {"INGRESS_DATABSE", "INGRESS_DATABASE"},
		"INGRESS_DATABASE_PASWORD=x":   {"INGRESS_DATABASE_PASWORD", "INGRESS_DATABASE_PASSWORD"},
		"INGRESS_APP_DOMAIN=x":         {"INGRESS_APP_DOMAIN", "INGRESS_APPS_DOMAIN"},
		"INGRESS_SOMETHING_ELSE=x":     {"INGRESS_SOMETHING_ELSE", ""},
		"INGRESS_PORTS=1":              {"INGRESS_PORTS", ""},
		"INGRESS_DATABASE=x":           {},
		"INGRESS_DATABASE=":            {},
		"INGRESS_DATABSE=":             {},
		"INGRESS_SECRET_KEY=x":         {},
		"INGRESS_BOOTSTRAP_KEY=x":      {},
		"INGRESS_SMTP_PASSWORD=x":      {},
		"INGRESS_HANDOVER=3":           {},
		"INGRESS_TLS_CERT=x":           {},
		"INGRESSES=1":                  {},
		"M3O_API_TOKEN=x":              {},
		"INGRESS_TEST_NO_SKIP=1":       {},
		"INGRESS_SERVICE_HOST=x":       {},
		"INGRESS_SERVICE_PORT=1":       {},
		"INGRESS_SERVICE_PORT_HTTP=1":  {},
		"INGRESS_PORT=tcp://x":         {},
		"INGRESS_PORT_80_TCP=tcp://x":  {},
		"INGRESS_PORT_80_TCP_ADDR=x":   {},
		"INGRESS_ADMIN_SERVICE_HOST=x": {},
		"INGRESS_LISTEN_PORT=8080":     {"INGRESS_LISTEN_PORT", ""},
	} {
		got := mistakenVariables(p.variables, []string{"HOME=/", pair})
		if want.name == "" && len(got) > 0 || want.name != "" && !slices.Equal(got, []mistakenVariable{want}) {
			t.Errorf("%s: got %v, want %v", pair, got, want)
		}
	}
}

// Of a variable that is set, kong knows; of an empty one as well.
func TestVariablesOfFlagsThatAreEmpty(t *testing.T) {
	t.Setenv("INGRESS_DATABASE", "")
	p := &program{}
	if _, err := p.parser(); err != nil {
		t.Fatal(err)
	}
	if !p.variables["INGRESS_DATABASE"] {
		t.Error("an empty variable is no flag's any more")
	}
}
