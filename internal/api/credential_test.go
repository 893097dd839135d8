package api

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
)

func TestCredential(t *testing.T) {
	basic := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	upgrade := map[string]string{"Connection": "keep-alive, Upgrade", "Upgrade": "websocket"}
	tests := []struct {
		name   string
		header map[string]string
		socket bool
		want   string
	}{
		{"nothing", nil, false, ""},
		{"bearer", map[string]string{"Authorization": "Bearer KEY"}, false, "KEY"},
		{"bearer in capitals", map[string]string{"Authorization": "BEARER KEY"}, false, "KEY"},
		{"bearer with more space", map[string]string{"Authorization": "  bearer   KEY "}, false, "KEY"},
		{"bearer without a key", map[string]string{"Authorization": "Bearer"}, false, ""},
		{"basic", map[string]string{"Authorization": "Basic " + basic("any:KEY")}, false, "KEY"},
		{"basic in small letters", map[string]string{"Authorization": "basic " + basic(":KEY")}, false, "KEY"},
		{"basic with a colon in the key", map[string]string{"Authorization": "Basic " + basic("any:KEY:2")}, false, "KEY:2"},
		{"basic without padding", map[string]string{"Authorization": "Basic " + strings.TrimRight(basic("a:KEY"), "=")}, false, "KEY"},
		{"basic without a colon", map[string]string{"Authorization": "Basic " + basic("KEY")}, false, ""},
		{"basic that is not base64", map[string]string{"Authorization": "Basic KEY!"}, false, ""},
		{"a bare key", map[string]string{"Authorization": "KEY"}, false, ""},
		{"another scheme", map[string]string{"Authorization": "Digest KEY"}, false, ""},
		{"subprotocol", map[string]string{"Sec-WebSocket-Protocol": "KEY"}, true, "KEY"},
		{"several subprotocols", map[string]string{"Sec-WebSocket-Protocol": "KEY, chat"}, true, "KEY"},
		{"header before subprotocol", map[string]string{"Authorization": "Bearer A", "Sec-WebSocket-Protocol": "B"}, true, "A"},
		{"subprotocol without a WebSocket", map[string]string{"Sec-WebSocket-Protocol": "KEY"}, false, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := &http.Request{Method: http.MethodGet, Header: http.Header{}}
			for name, value := range test.header {
				r.Header.Set(name, value)
			}
			if test.socket {
				for name, value := range upgrade {
					r.Header.Set(name, value)
				}
			}
			if got := credential(r); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func FuzzCredential(f *testing.F) {
	for _, seed := range []string{"Bearer KEY", "Basic YTpi", "basic Og==", "Bearer", " ", "Basic \xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		key := authorizationKey(header)
		if key == "" {
			return
		}
		encoded := "Basic " + base64.StdEncoding.EncodeToString([]byte("any:"+key))
		if got := authorizationKey(encoded); got != key {
			t.Errorf("the key %q of %q reads as %q when sent as Basic", key, header, got)
		}
	})
}
