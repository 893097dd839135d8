package edge

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
)

// hinting is a backend that hints before each answer, and says more of its
// connection than is the visitor's business.
func hinting(t *testing.T) string {
	return rawBackend(t, func(c net.Conn, in *bufio.Reader) {
		for {
			if _, err := http.ReadRequest(in); err != nil {
				return
			}
			fmt.Fprint(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: Keep-Alive, X-Hop\r\nKeep-Alive: timeout=5\r\n"+
				"X-Hop: 1\r\nProxy-Connection: keep-alive\r\nUpgrade: foo\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
}

func TestHintsSayNothingOfTheBackendsConnection(t *testing.T) {
	r := newRig(t, nil)
	r.backends["hints"] = preserving(t, "http://"+hinting(t))
	for _, front := range fronts(t, r) {
		var hint http.Header
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
			hint = http.Header(h)
			return nil
		}})
		req, err := http.NewRequestWithContext(ctx, "GET", front.scheme+"://hints.app.test/", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := front.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if !strings.HasPrefix(front.name, res.Proto) || res.StatusCode != 200 {
			t.Fatalf("%s: got %s %s", front.name, res.Proto, res.Status)
		}
		for field := range hint {
			if field != "Link" && field != requestIDHeader {
				t.Errorf("%s: a hint has %s: %q", front.name, field, hint[field])
			}
		}
		if hint.Get("Link") != "</a>" {
			t.Errorf("%s: the hint is %v", front.name, hint)
		}
		id := res.Header.Get(requestIDHeader)
		if id == "" || id != hint.Get(requestIDHeader) {
			t.Errorf("%s: the answer's id is %q, the hint's %q", front.name, id, hint.Get(requestIDHeader))
		}
	}
}
