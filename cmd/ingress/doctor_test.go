package main_test

import (
	"strings"
	"testing"
)

// What a machine could do is not told as what one of several ingresses does there.
func TestDoctorSaysWhereNothingRuns(t *testing.T) {
	const url = "postgres://ingress:hunter2@localhost/ingress"
	for _, test := range []struct {
		name, database string
		args           []string
		alone          bool
	}{
		{"alone", "", nil, true},
		{"alone, for programs", "", []string{"--json"}, true},
		{"one of several", url, nil, false},
		{"one of several, for programs", url, []string{"--json"}, false},
		{"this time alone", url, []string{"--database", ""}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, stderr, code := runProgram(t, []string{"INGRESS_DATABASE=" + test.database}, append([]string{"doctor"}, test.args...)...)
			if code != 0 || !strings.Contains(strings.ToLower(out), "confinement") || strings.Contains(out, "hunter2") {
				t.Fatalf("%d %s%s", code, stderr, out)
			}
			for _, said := range []string{"one of several", "--backend"} {
				if strings.Contains(out, said) == test.alone {
					t.Errorf("%q in it: %t\n%s", said, !test.alone, out)
				}
			}
		})
	}
}

func TestDoctorFitsATerminal(t *testing.T) {
	out, stderr, code := runProgram(t, nil, "doctor")
	confinement, _, ok := strings.Cut(out, "LANGUAGE")
	if code != 0 || !ok {
		t.Fatalf("%d %s%s", code, stderr, out)
	}
	for line := range strings.Lines(confinement) {
		if columns := len(strings.TrimSuffix(line, "\n")); columns > 80 {
			t.Errorf("%d columns: %s", columns, line)
		}
	}
}
