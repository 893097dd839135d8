package edge

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func basic(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }

func TestOurKeysAreWithheldAndTheAppsOwnCredentialsPass(t *testing.T) {
	isKey := func(s string) bool { return s == testKey }
	for name, c := range map[string]struct{ in, want http.Header }{
		"bearer":             {http.Header{"Authorization": {"Bearer " + testKey}}, http.Header{}},
		"bearer, other case": {http.Header{"Authorization": {"bEARER  " + testKey + " "}}, http.Header{}},
		"basic":              {http.Header{"Authorization": {basic("any:" + testKey)}}, http.Header{}},
		"basic, other case":  {http.Header{"Authorization": {strings.Replace(basic("any:"+testKey), "Basic", "BASIC", 1)}}, http.Header{}},
		"basic, unpadded":    {http.Header{"Authorization": {strings.TrimRight(basic("a:"+testKey), "=")}}, http.Header{}},
		"basic, user":        {http.Header{"Authorization": {basic(testKey + ":")}}, http.Header{}},
		"bare":               {http.Header{"Authorization": {testKey}}, http.Header{}},
		"second of two":      {http.Header{"Authorization": {"Bearer own", "Bearer " + testKey}}, http.Header{"Authorization": {"Bearer own"}}},
		"protocol":           {http.Header{"Sec-Websocket-Protocol": {testKey}}, http.Header{}},
		"protocol of two":    {http.Header{"Sec-Websocket-Protocol": {"chat ," + testKey}}, http.Header{"Sec-Websocket-Protocol": {"chat"}}},
		"protocol, two lines": {
			http.Header{"Sec-Websocket-Protocol": {"chat", testKey}}, http.Header{"Sec-Websocket-Protocol": {"chat"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			withholdKeys(c.in, isKey)
			if diff := cmp.Diff(c.want, c.in); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, own := range []http.Header{
		{"Authorization": {"Bearer own"}},
		{"Authorization": {"Bearer " + testKey + "x"}},
		{"Authorization": {basic("user:own")}},
		{"Authorization": {basic("no colon")}},
		{"Authorization": {"Basic %%%"}},
		{"Authorization": {"Digest username=\"a\""}},
		{"Authorization": {""}},
		{"Sec-Websocket-Protocol": {"a,b , c"}},
		{"Cookie": {"k=" + testKey}},
	} {
		have := own.Clone()
		withholdKeys(have, isKey)
		if diff := cmp.Diff(own, have); diff != "" {
			t.Error(diff)
		}
	}
}

// FuzzWithholdKeys checks that no key is left in a place where the platform would
// accept it.
func FuzzWithholdKeys(f *testing.F) {
	f.Add("Bearer "+testKey, "a, "+testKey)
	f.Add(basic("a:"+testKey), ","+testKey+",,b")
	f.Add("bearer\t"+testKey, testKey+";")
	f.Fuzz(func(t *testing.T, authorization, protocols string) {
		isKey := func(s string) bool { return s == testKey }
		h := http.Header{"Authorization": {authorization}, "Sec-Websocket-Protocol": {protocols}}
		withholdKeys(h, isKey)
		r := http.Request{Header: h}
		if user, password, ok := r.BasicAuth(); ok && (isKey(user) || isKey(password)) {
			t.Errorf("%q stayed", authorization)
		}
		if fields := strings.Fields(h.Get("Authorization")); len(fields) == 2 && strings.EqualFold(fields[0], "Bearer") && isKey(fields[1]) {
			t.Errorf("%q stayed", authorization)
		}
		for _, list := range h["Sec-Websocket-Protocol"] {
			for item := range strings.SplitSeq(list, ",") {
				if isKey(strings.TrimSpace(item)) {
					t.Errorf("%q became %q", protocols, list)
				}
			}
		}
	})
}
