package workload_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/m3o/ingress/internal/workload"
)

// env returns the environment of an app as it was before it was sealed.
func (f *fixture) env(t *testing.T, id string) map[string]string {
	t.Helper()
	var text string
	if err := f.db.QueryRowContext(t.Context(), "SELECT env FROM workloads WHERE id = $1", id).Scan(&text); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	if err := json.Unmarshal([]byte(text), &env); err != nil {
		t.Fatal(err)
	}
	for name, sealed := range env {
		plain, err := f.sealer.Open("workload-env/app/"+id+"/"+name, sealed)
		if err != nil {
			t.Fatalf("open %s: %v", name, err)
		}
		env[name] = string(plain)
	}
	return env
}

func testEnvSealed(t *testing.T, f *fixture) {
	s := spec("hello")
	s.Env = map[string]string{"TOKEN": "sesame-open-up", "EMPTY": ""}
	w, err := f.Create(t.Context(), tenant("a"), s)
	if err != nil {
		t.Fatal(err)
	}
	if stored := f.stored(t); strings.Contains(stored, "sesame") || !strings.Contains(stored, "TOKEN") {
		t.Errorf("stored is %s", stored)
	}
	if shown := fmt.Sprintf("%+v %v", w, w.HiddenEnv()); strings.Contains(shown, "sesame") || !strings.Contains(shown, "TOKEN:***") {
		t.Errorf("shown is %s", shown)
	}
	if got := f.env(t, "hello"); got["TOKEN"] != "sesame-open-up" || got["EMPTY"] != "" || len(got) != 2 {
		t.Errorf("opened to %v", got)
	}
}

func testEnvHidden(t *testing.T, f *fixture) {
	ctx, a := t.Context(), tenant("a")
	s := spec("hello")
	s.Env = map[string]string{"KEPT": "one", "CHANGED": "two", "DROPPED": "three"}
	w, err := f.Create(ctx, a, s)
	if err != nil {
		t.Fatal(err)
	}
	env := w.HiddenEnv()
	env["CHANGED"] = "new"
	delete(env, "DROPPED")
	if err := f.Update(ctx, a, "hello", workload.Update{Env: env}); err != nil {
		t.Fatal(err)
	}
	if got := f.env(t, "hello"); got["KEPT"] != "one" || got["CHANGED"] != "new" || len(got) != 2 {
		t.Errorf("the environment is now %v", got)
	}
	unknown := map[string]string{"UNKNOWN": workload.Hidden}
	if err := f.Update(ctx, a, "hello", workload.Update{Env: unknown}); !isInvalid("UNKNOWN")(err) {
		t.Errorf("hiding what is not stored: %v", err)
	}
	s.Name, s.Env = "other", unknown
	if _, err := f.Create(ctx, a, s); !isInvalid("UNKNOWN")(err) {
		t.Errorf("creating with a hidden value: %v", err)
	}
	if got := f.env(t, "hello"); len(got) != 2 {
		t.Errorf("a refused update left %v", got)
	}
}

func testEnvBounds(t *testing.T, f *fixture) {
	many := func(n, size int) map[string]string {
		env := map[string]string{}
		for i := range n {
			env[fmt.Sprintf("N%03d", i)] = strings.Repeat("x", size)
		}
		return env
	}
	one := func(name, value string) map[string]string { return map[string]string{name: value} }
	for name, row := range map[string]struct {
		env    map[string]string
		reason string // "" when it is allowed
	}{
		"nothing":           {nil, ""},
		"ordinary":          {one("_Name9", "a b\n\"c\" ü"), ""},
		"most":              {many(256, 10), ""},
		"largest value":     {one("A", strings.Repeat("x", 32<<10)), ""},
		"too many":          {many(257, 1), "257 variables"},
		"huge map":          {many(100_000, 1), "100000 variables"},
		"too much together": {many(250, 300), "bytes together"},
		"too large a value": {one("A", strings.Repeat("x", 32<<10+1)), "value of A has 32769 bytes"},
		"too long a name":   {one(strings.Repeat("A", 129), ""), "129 bytes"},
		"no name":           {one("", "sesame"), `the name ""`},
		"a digit first":     {one("9A", "sesame"), `the name "9A"`},
		"an equals sign":    {one("A=B", "sesame"), `the name "A=B"`},
		"a line break":      {one("A\r\nX-Evil: 1", "sesame"), `the name "A\r\nX-Evil: 1"`},
		"SQL":               {one("'; DROP TABLE workloads; --", "sesame"), "the name"},
		"not UTF-8":         {one("A\xff", "sesame"), `the name "A\xff"`},
		"a zero byte":       {one("A", "sesame\x00"), "value of A must"},
		"a value not UTF-8": {one("A", "sesame\xff"), "value of A must"},
	} {
		t.Run(name, func(t *testing.T) {
			s := spec("hello")
			s.Env = row.env
			w, err := f.Create(t.Context(), tenant("a"), s)
			if row.reason == "" {
				if err != nil || len(w.Env) != len(row.env) || !slices.IsSorted(w.Env) {
					t.Errorf("got %v, %v", w.Env, err)
				}
				f.delete(t, tenant("a"), "hello")
				return
			}
			if !isInvalid(row.reason)(err) || strings.Contains(err.Error(), "sesame") {
				t.Errorf("got %v, want it to say %q and no value", err, row.reason)
			}
		})
	}
}
