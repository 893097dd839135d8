package api

import (
	"strings"
	"testing"

	helloworldpb "github.com/m3o/ingress/proto/helloworld"
	"google.golang.org/protobuf/proto"
)

func TestSplitPath(t *testing.T) {
	tests := []struct {
		path                 string
		pkg, service, method string
		ok                   bool
	}{
		{"/v1/url/resolve", "url", "url", "resolve", true},
		{"/v1/Url/RESOLVE", "Url", "Url", "RESOLVE", true},
		{"/v1/url/Url/List", "url", "Url", "List", true},
		{"/v1/api/keys/generate", "api", "keys", "generate", true},
		{"/v1/url/re%73olve", "url", "url", "resolve", true},
		{"/v1/url%2Fresolve", "", "", "", false}, // one segment, whatever it holds
		{"/v1/url/a%2Fb", "url", "url", "a/b", true},
		{"/v1/url", "", "", "", false},
		{"/v1/url/", "", "", "", false},
		{"/v1//resolve", "", "", "", false},
		{"/v1/url/resolve/", "", "", "", false},
		{"/v1/a/b/c/d", "", "", "", false},
		{"/v1/url/%zz", "", "", "", false},
		{"/v2/url/resolve", "", "", "", false},
		{"", "", "", "", false},
	}
	for _, test := range tests {
		pkg, service, method, ok := splitPath(test.path)
		if pkg != test.pkg || service != test.service || method != test.method || ok != test.ok {
			t.Errorf("splitPath(%q) = %q, %q, %q, %v", test.path, pkg, service, method, ok)
		}
	}
}

func FuzzSplitPath(f *testing.F) {
	for _, seed := range []string{"/v1/url/resolve", "/v1/url/Url/List", "/v1/%2f/%00", "/v1///", "/v1/é/ü", "v1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		pkg, service, method, ok := splitPath(path)
		if !ok {
			return
		}
		if pkg == "" || service == "" || method == "" {
			t.Errorf("%q was accepted with an empty name: %q, %q, %q", path, pkg, service, method)
		}
		if n := strings.Count(path, "/"); n != 3 && n != 4 {
			t.Errorf("%q was accepted with %d slashes", path, n)
		}
	})
}

func FuzzFindNeverNamesMoreThanTheContract(f *testing.F) {
	table := newEndpoints([]Service{{
		Descriptor: helloworldpb.File_helloworld_helloworld_proto.Services().Get(0),
		Methods:    []Method{{Name: "Call", request: newMessage[*helloworldpb.CallRequest]}},
	}})
	for _, seed := range []string{"/v1/helloworld/call", "/v1/HelloWorld/Helloworld/CALL", "/v1/helloworld/nosuch", "/v1/x/call", "/v1/helloworld/call/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		found, failed := table.find(path)
		if (found == nil) == (failed == nil) {
			t.Fatalf("%q: found %v and failed %v", path, found, failed)
		}
		if failed != nil && (failed.Code != 404 || !strings.HasPrefix(failed.Detail, "unknown service ")) {
			t.Errorf("%q: %v", path, failed)
		}
		if failed != nil && !strings.Contains(string(errorJSON(failed)), `"code":404`) {
			t.Errorf("%q: its error cannot be written: %s", path, errorJSON(failed))
		}
	})
}

func TestUnknownNamesAreSpeltAsTheOriginalDoes(t *testing.T) {
	table := newEndpoints([]Service{{
		Descriptor: helloworldpb.File_helloworld_helloworld_proto.Services().Get(0),
		Methods:    []Method{{Name: "Call", request: func() proto.Message { return &helloworldpb.CallRequest{} }}},
	}})
	for path, want := range map[string]string{
		"/v1/helloworld/nosuch":            "unknown service Helloworld.Nosuch",
		"/v1/HELLOWORLD/nosuch":            "unknown service Helloworld.Nosuch",
		"/v1/helloworld/Helloworld/nosuch": "unknown service Helloworld.Nosuch",
		"/v1/nosuch/call":                  "unknown service Nosuch.Call",
		"/v1/helloworld":                   "unknown service helloworld",
		"/v1/%C3%A9t%C3%A9/call":           "unknown service été.Call",
	} {
		if _, failed := table.find(path); failed == nil || failed.Detail != want || failed.ID != "go.micro.client" || failed.Code != 404 {
			t.Errorf("%s: got %v, want %q", path, failed, want)
		}
	}
}
