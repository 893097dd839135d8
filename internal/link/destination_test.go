package link

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// Whatever is accepted as a destination can be sent as a Location header and
// arrives as an address on the web that is not ours.
func FuzzCheckDestination(f *testing.F) {
	f.Add("https://example.com/a?b=c#d")
	f.Add("HTTP://[::1]:80/")
	f.Add("https://user:password@example.com")
	f.Add("javascript:alert(1)")
	f.Add("https://m3o.one/u/x")
	f.Add("https://example.com/\r\nSet-Cookie: a=b")
	f.Add("https://exämple.com/ü %zz")
	f.Add("\x00\xff")
	s := &Service{isOwn: func(u *url.URL) bool { return strings.EqualFold(u.Hostname(), "m3o.one") }}
	f.Fuzz(func(t *testing.T, destination string) {
		if s.checkDestination(destination) != nil {
			return
		}
		recorder := httptest.NewRecorder()
		http.Redirect(recorder, httptest.NewRequest(http.MethodGet, "/u/x", nil), destination, http.StatusFound)
		location, err := url.Parse(recorder.Header().Get("Location"))
		if err != nil {
			t.Fatalf("%q becomes a bad header: %v", destination, err)
		}
		if scheme := location.Scheme; scheme != "http" && scheme != "https" || location.Hostname() == "" || strings.EqualFold(location.Hostname(), "m3o.one") {
			t.Errorf("%q leads to %v", destination, location)
		}
		if strings.ContainsAny(recorder.Header().Get("Location"), "\r\n\x00") {
			t.Errorf("%q injects a header", destination)
		}
	})
}
