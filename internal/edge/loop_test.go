package edge

import (
	"net/http"
	"testing"
)

func TestPasses(t *testing.T) {
	for _, c := range []struct {
		values []string
		want   int
	}{
		{nil, 0},
		{[]string{""}, 0},
		{[]string{"m3o-ingress"}, 1},
		{[]string{"other, M3O-Ingress;v=1 ,m3o-ingress"}, 2},
		{[]string{"m3o-ingress", "a.example:80, m3o-ingress"}, 2},
		{[]string{`a; x="m3o-ingress, m3o-ingress"`}, 0},
		{[]string{`a; x="\", m3o-ingress"`}, 0},
		{[]string{`a; x="unterminated, m3o-ingress`}, 0},
		{[]string{"m3o-ingress2, xm3o-ingress, a;m3o-ingress"}, 0},
		{[]string{",,m3o-ingress,,"}, 1},
	} {
		if have := passes(http.Header{"Cdn-Loop": c.values}, defaultNode); have != c.want {
			t.Errorf("%q: %d passes, want %d", c.values, have, c.want)
		}
	}
}

func TestMarkPassKeepsWhatIsThere(t *testing.T) {
	h := http.Header{"Cdn-Loop": {"a, b"}}
	markPass(h, defaultNode)
	if values := h.Values("CDN-Loop"); len(values) != 2 || values[0] != "a, b" || passes(h, defaultNode) != 1 {
		t.Errorf("%q", values)
	}
}

func FuzzListItems(f *testing.F) {
	f.Add(`a, "b,\",c", d`)
	f.Add(`,,"`)
	f.Add(`\,"\`)
	f.Fuzz(func(t *testing.T, value string) {
		length := 0
		for item := range listItems(value, ',') {
			if item == "" {
				t.Errorf("%q has an empty item", value)
			}
			length += len(item)
		}
		if length > len(value) {
			t.Errorf("%q has %d bytes of items", value, length)
		}
	})
}
