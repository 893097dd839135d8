package edge

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// uploads takes /v1/app/upload for an upload, and bounds it by 64 KiB.
func uploads(c *Config) {
	c.TakesUpload = func(path string) bool { return path == "/v1/app/upload" }
	c.Limits = Limits{BodyBytes: 1 << 10, UploadBytes: 64 << 10}
}

// received is a platform that refuses strangers before it reads anything, and
// otherwise says what it got.
func received(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer k" {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	n, err := io.Copy(io.Discard, r.Body)
	fmt.Fprintf(w, "%s %s?%s %d bytes of %s, error %v", r.Method, r.URL.Path, r.URL.RawQuery, n, r.Header.Get("Content-Type"), err)
}

func (r *rig) upload(method, path, contentType string, header http.Header, body io.Reader) (int, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://own.test"+path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	for name := range header {
		req.Header.Set(name, header.Get(name))
	}
	res, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func TestUploadsPassWhereOtherBodiesAreTooLarge(t *testing.T) {
	remote := httptest.NewServer(http.HandlerFunc(received))
	defer remote.Close()
	base, err := url.Parse(remote.URL)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := func(c *Config) { c.Platform, c.PlatformURL = nil, base }
	for name, r := range map[string]*rig{"embedded": newRig(t, received, uploads), "remote": newRig(t, received, uploads, elsewhere)} {
		t.Run(name, func(t *testing.T) {
			body := func(n int) io.Reader { return strings.NewReader(strings.Repeat("x", n)) }
			key := http.Header{"Authorization": {"Bearer k"}}
			for _, row := range []struct {
				method, path, contentType string
				header                    http.Header
				body                      io.Reader
				status                    int
				want                      string
			}{
				{"POST", "/v1/app/upload", "application/gzip", key, body(64 << 10), 200, "POST /v1/app/upload? 65536 bytes of application/gzip, error <nil>"},
				{"PUT", "/v1/app/upload", "application/gzip", key, body(10), 200, "PUT /v1/app/upload? 10 bytes"},
				{"POST", "/api/app/upload?api_key=k", "application/gzip", nil, body(10), 200, "POST /v1/app/upload? 10 bytes of application/gzip"},
				{"POST", "/api/app/upload?api_key=k&a=b", "application/x-tar", nil, io.MultiReader(body(2 << 10)), 200, "?a=b 2048 bytes of application/x-tar"},
				{"POST", "/api/app/upload?api_key=k", "application/x-www-form-urlencoded", nil, body(10), 200, "10 bytes of application/x-www-form-urlencoded"},
				{"POST", "/v1/app/upload", "application/gzip", nil, body(10), 401, "who are you?"},
				{"POST", "/v1/app/upload", "application/gzip", key, body(64<<10 + 1), 413, "larger than the 65536 bytes allowed"},
				{"POST", "/v1/app/run", "application/gzip", key, body(2 << 10), 413, "larger than the 1024 bytes allowed"},
			} {
				status, text := r.upload(row.method, row.path, row.contentType, row.header, row.body)
				if status != row.status || !strings.Contains(text, row.want) || strings.Contains(text, "api_key") {
					t.Errorf("%s %s: got %d %q, want %d %q", row.method, row.path, status, text, row.status, row.want)
				}
			}
		})
	}
}

// The first part of an upload reaches the platform while the rest is still being
// made: nothing waits for the whole of it.
func TestUploadsAreNotBuffered(t *testing.T) {
	arrived := make(chan string, 1)
	hear := func(_ http.ResponseWriter, r *http.Request) {
		first := make([]byte, 5)
		if _, err := io.ReadFull(r.Body, first); err != nil {
			t.Error(err)
		}
		arrived <- string(first)
		_, _ = io.Copy(io.Discard, r.Body) // so that the sender can end
	}
	remote := httptest.NewServer(http.HandlerFunc(hear))
	defer remote.Close()
	base, err := url.Parse(remote.URL)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*rig{
		"embedded": newRig(t, hear, uploads),
		"remote":   newRig(t, hear, uploads, func(c *Config) { c.Platform, c.PlatformURL = nil, base }),
	} {
		from, to := io.Pipe()
		go func() {
			_, _ = io.WriteString(to, "first") // the pipe's other end says what went wrong
			select {
			case got := <-arrived:
				if got != "first" {
					t.Errorf("%s: %q arrived", name, got)
				}
			case <-time.After(patience):
				t.Errorf("%s: nothing arrived", name)
			}
			to.Close()
		}()
		if status, text := r.upload("POST", "/api/app/upload", "application/gzip", nil, from); status != 200 {
			t.Errorf("%s: got %d %s", name, status, text)
		}
	}
}

// Who waits for "100 Continue" is told of a refusal in its place.
func TestRefusedUploadsNeedNotBeSent(t *testing.T) {
	remote := httptest.NewServer(http.HandlerFunc(received))
	t.Cleanup(remote.Close) // after the connections below, for whose requests it waits
	base, err := url.Parse(remote.URL)
	if err != nil {
		t.Fatal(err)
	}
	patient := &http.Transport{ExpectContinueTimeout: time.Minute}
	defer patient.CloseIdleConnections()
	for name, r := range map[string]*rig{
		"embedded": newRig(t, received, uploads),
		"remote": newRig(t, received, uploads, func(c *Config) {
			c.Platform, c.PlatformURL, c.Transport = nil, base, patient
		}),
	} {
		for query, want := range map[string]string{"?api_key=k": "HTTP/1.1 100 Continue", "": "HTTP/1.1 401 "} {
			for _, framing := range []string{"Content-Length: 5", "Transfer-Encoding: chunked"} {
				conn := dial(t, r.addr)
				fmt.Fprintf(conn, "POST /api/app/upload%s HTTP/1.1\r\nHost: own.test\r\n%s\r\nExpect: 100-continue\r\n\r\n", query, framing)
				line, err := bufio.NewReader(conn).ReadString('\n')
				if err != nil || !strings.HasPrefix(line, want) {
					t.Errorf("%s %q %s: got %q, %v; want %s", name, query, framing, line, err, want)
				}
			}
		}
	}
}

func TestUploadsMustKeepComing(t *testing.T) {
	failed := make(chan error, 1)
	r := newRig(t, func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		failed <- err
	}, uploads, func(c *Config) { c.Limits.ReadBody, c.Limits.UploadBytes = 50*time.Millisecond, 8<<20 })
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// 2 MiB at once would buy a body that is read whole two more minutes.
	fmt.Fprintf(conn, "POST /v1/app/upload HTTP/1.1\r\nHost: own.test\r\nContent-Length: %d\r\n\r\n%s", 4<<20, strings.Repeat("x", 2<<20))
	began := time.Now()
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > patience {
		t.Errorf("it was waited for %s", took)
	}
}

// A platform elsewhere makes no difference: who is too slow is told so.
func TestUploadsToARemotePlatformMustKeepComing(t *testing.T) {
	remote := httptest.NewServer(http.HandlerFunc(received))
	defer remote.Close()
	r := newRig(t, nil, uploads, func(c *Config) {
		c.Platform, c.PlatformURL, c.Limits.ReadBody = nil, urlOf(t, remote.URL), 50*time.Millisecond
	})
	conn := dial(t, r.addr)
	fmt.Fprint(conn, "POST /v1/app/upload HTTP/1.1\r\nHost: own.test\r\nAuthorization: Bearer k\r\nContent-Length: 65536\r\n\r\nabc")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.StatusCode != 408 || res.Header.Get(errorHeader) != string(ReasonBodyTooSlow) {
		t.Fatalf("got %v, %v", res, err)
	}
}
