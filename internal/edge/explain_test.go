package edge

import (
	"net/url"
	"testing"
)

func TestExplainTellsWithoutAsking(t *testing.T) {
	r := newRig(t, nil)
	r.links["short"] = "https://shop.test/"
	explain := func(address string) Explanation {
		t.Helper()
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		return r.edge.Explain(u)
	}
	for _, test := range []struct {
		address string
		want    Explanation
	}{
		{"http://OWN.test.:80/api/a/b", Explanation{Host: "own.test", Route: "api"}},
		{"http://nobody.test/", Explanation{Host: "nobody.test", Route: "unknown_host"}},
		{"http://own.test/u/short", Explanation{Host: "own.test", Route: "link", ID: "short", Known: "no"}},
		{"http://a b/", Explanation{}},
	} {
		u, err := url.Parse(test.address)
		if err != nil { // what no URL can say
			u = &url.URL{Host: "a b", Path: "/"}
			test.want.Route = "bad_host"
		}
		if got := r.edge.Explain(u); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.address, got, test.want)
		}
	}
	r.get("own.test/u/short")
	if got := explain("http://own.test/u/short"); got.Known != "fresh" || got.Leads != "https://shop.test/" {
		t.Errorf("after a visit: %+v", got)
	}
	r.get("own.test/u/missing")
	if got := explain("http://own.test/u/missing"); got.Known != "unknown" || got.Leads != "" {
		t.Errorf("after a visit to nothing: %+v", got)
	}
}
