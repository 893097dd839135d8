package api_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/api/apitest"
	apppb "github.com/m3o/ingress/proto/app"
	"google.golang.org/protobuf/proto"
)

type uploadFunc = func(context.Context, api.Caller, io.Reader) (*apppb.UploadResponse, error)

// store is an upload method that reads everything and says how much it was.
func store(_ context.Context, caller api.Caller, body io.Reader) (*apppb.UploadResponse, error) {
	n, err := io.Copy(io.Discard, body)
	if err != nil {
		return nil, fmt.Errorf("store an upload: %w", err)
	}
	return &apppb.UploadResponse{Upload: caller.Tenant, Size: n}, nil
}

// appsWith is the app service with an upload method of the test's own; nobody
// calls the others.
func appsWith(upload uploadFunc) api.Service {
	return api.Service{
		Descriptor: apppb.File_app_app_proto.Services().ByName("App"),
		Methods: []api.Method{
			api.Upload("Upload", upload),
			unused[*apppb.ReserveRequest, *apppb.ReserveResponse]("Reserve"),
			unused[*apppb.RegionsRequest, *apppb.RegionsResponse]("Regions"),
			unused[*apppb.RunRequest, *apppb.RunResponse]("Run"),
			unused[*apppb.GetRequest, *apppb.GetResponse]("Get"),
			unused[*apppb.UpdateRequest, *apppb.UpdateResponse]("Update"),
			unused[*apppb.DeleteRequest, *apppb.DeleteResponse]("Delete"),
			unused[*apppb.StatusRequest, *apppb.StatusResponse]("Status"),
			unused[*apppb.ListRequest, *apppb.ListResponse]("List"),
			unused[*apppb.ResolveRequest, *apppb.ResolveResponse]("Resolve"),
			unused[*apppb.LogsRequest, *apppb.LogsResponse]("Logs"),
			unused[*apppb.VersionsRequest, *apppb.VersionsResponse]("Versions"),
			unused[*apppb.RollbackRequest, *apppb.RollbackResponse]("Rollback"),
			unused[*apppb.SetCredentialRequest, *apppb.SetCredentialResponse]("SetCredential"),
			unused[*apppb.ListCredentialsRequest, *apppb.ListCredentialsResponse]("ListCredentials"),
			unused[*apppb.DeleteCredentialRequest, *apppb.DeleteCredentialResponse]("DeleteCredential"),
			unused[*apppb.AddDomainRequest, *apppb.AddDomainResponse]("AddDomain"),
			unused[*apppb.RemoveDomainRequest, *apppb.RemoveDomainResponse]("RemoveDomain"),
		},
	}
}

func unused[Req, Res proto.Message](name string) api.Method {
	return api.Unary(name, func(context.Context, api.Caller, Req) (res Res, err error) {
		return res, errors.New("not called in this test")
	})
}

// sendUpload sends a body of some type and length; the length is not declared
// when it is negative.
func sendUpload(t *testing.T, s *apitest.Server, method, key, path, contentType string, body io.Reader) apitest.Reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	return s.Send(t, req)
}

func TestUploads(t *testing.T) {
	s := apitest.NewServer(t, appsWith(store))
	s.Grant("links", api.Caller{Tenant: "alice", KeyID: "links", Scopes: []string{"url"}})
	const gzip = "application/gzip"
	big := strings.Repeat("x", 5<<20) // more than other methods take
	wrongType := `{"id":"v1","code":415,"detail":"Content-Type must be that of an archive, such as application/gzip, and the body the archive itself","status":"Unsupported Media Type"}`
	for _, row := range []struct {
		name, method, key, path, contentType string
		body                                 io.Reader
		status                               int
		want                                 string
	}{
		{"a POST", "POST", apitest.Alice, "/v1/app/Upload", gzip, strings.NewReader("12345"), 200, `{"upload":"alice","size":"5"}`},
		{"a PUT, as from curl -T", "PUT", apitest.Bob, "/v1/APP/upload", "", strings.NewReader("12345"), 200, `{"upload":"bob","size":"5"}`},
		{"three segments", "POST", apitest.Alice, "/v1/app/App/Upload", "application/x-tar", strings.NewReader("1"), 200, `{"upload":"alice","size":"1"}`},
		{"octets", "POST", apitest.Alice, "/v1/app/upload", "application/octet-stream", strings.NewReader("1"), 200, `"size":"1"`},
		{"a type of its own", "POST", apitest.Alice, "/v1/app/upload", "application/x-gtar-compressed", strings.NewReader("1"), 200, `"size":"1"`},
		{"parameters, which it has none of", "POST", apitest.Alice, "/v1/app/upload?size=7", gzip, strings.NewReader("1"), 200, `"size":"1"`},
		{"nothing", "POST", apitest.Alice, "/v1/app/upload", gzip, http.NoBody, 200, `"size":"0"`},
		{"a long one", "POST", apitest.Alice, "/v1/app/upload", gzip, strings.NewReader(big), 200, `"size":"5242880"`},
		{"one of unknown length", "POST", apitest.Alice, "/v1/app/upload", gzip, io.MultiReader(strings.NewReader(big)), 200, `"size":"5242880"`},
		{"too long", "POST", apitest.Alice, "/v1/app/upload", gzip, io.LimitReader(zeros{}, apitest.MaxUpload+1), 413,
			`{"id":"v1","code":413,"detail":"Request body is larger than the limit of 16777216 bytes","status":"Request Entity Too Large"}`},
		{"JSON", "POST", apitest.Alice, "/v1/app/upload", "application/json", strings.NewReader("{}"), 415, wrongType},
		{"a form", "POST", apitest.Alice, "/v1/app/upload", "application/x-www-form-urlencoded", strings.NewReader("a=b"), 415, wrongType},
		{"a form with a file", "POST", apitest.Alice, "/v1/app/upload", "multipart/form-data; boundary=x", strings.NewReader("--x--"), 415, wrongType},
		{"a GET", "GET", apitest.Alice, "/v1/app/upload", "", http.NoBody, 405, `"detail":"Method GET is not allowed, use POST"`},
		{"a DELETE", "DELETE", apitest.Alice, "/v1/app/upload", gzip, strings.NewReader("1"), 405, `"code":405`},
		{"no key", "POST", "", "/v1/app/upload", gzip, strings.NewReader("1"), 401, unauthorized},
		{"a bad key", "POST", "nonsense", "/v1/app/upload", gzip, strings.NewReader("1"), 401, unauthorized},
		{"a key for other services", "POST", "links", "/v1/app/upload", gzip, strings.NewReader("1"), 403, blocked},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := sendUpload(t, s, row.method, row.key, row.path, row.contentType, row.body)
			if got.Status != row.status || !strings.Contains(got.Body, row.want) {
				t.Errorf("got %d %s\nwant %d %s", got.Status, got.Body, row.status, row.want)
			}
			if row.status == 405 && got.Header.Get("Allow") != "POST, PUT, OPTIONS" {
				t.Errorf("Allow is %q", got.Header.Get("Allow"))
			}
			if row.status == 200 && got.Header.Get("RateLimit-Limit") == "" {
				t.Error("the upload was not counted against the key")
			}
		})
	}
}

// zeros is a body that does not end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestUploadsOverTheRateLimitAreNotRead(t *testing.T) {
	handler := newHandler(t, anyKey{spent: true}, func(context.Context, api.Caller, io.Reader) (*apppb.UploadResponse, error) {
		t.Error("the upload was admitted")
		return &apppb.UploadResponse{}, nil
	})
	server := httptest.NewServer(handler)
	defer server.Close()
	if answer := rawUpload(t, server.Listener.Addr().String(), "Authorization: Bearer k\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 429") {
		t.Errorf("got %s", answer)
	}
}

// Who waits for "100 Continue" gets it when the upload is admitted, and a refusal
// in its place when it is not.
func TestRefusedUploadsAreNotSent(t *testing.T) {
	s := apitest.NewServer(t, appsWith(store))
	at, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct{ headers, want string }{
		"no key":     {"", "HTTP/1.1 401"},
		"wrong type": {"Authorization: Bearer " + apitest.Alice + "\r\nContent-Type: application/json\r\n", "HTTP/1.1 415"},
		"admitted":   {"Authorization: Bearer " + apitest.Alice + "\r\n", "HTTP/1.1 100 Continue\r\n\r\n"},
	} {
		if answer := rawUpload(t, at.Host, row.headers); !strings.HasPrefix(answer, row.want) {
			t.Errorf("%s: got %q, want %s", name, answer, row.want)
		}
	}
}

// rawUpload sends the header of an upload and returns what comes before any body
// is sent: the interim answer, or the final one's header.
func rawUpload(t *testing.T, address, headers string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /v1/app/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n%s\r\n", headers)
	var answer strings.Builder
	for lines := bufio.NewReader(conn); !strings.HasSuffix(answer.String(), "\r\n\r\n"); {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("after %q: %v", answer.String(), err)
		}
		answer.WriteString(line)
	}
	return answer.String()
}

func TestUploadsThatBreakOffAreTheSendersFault(t *testing.T) {
	done := make(chan error, 1)
	s := apitest.NewServer(t, appsWith(func(ctx context.Context, caller api.Caller, body io.Reader) (*apppb.UploadResponse, error) {
		res, err := store(ctx, caller, body)
		done <- err
		return res, err
	}))
	at, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", at.Host)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /v1/app/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\nAuthorization: Bearer %s\r\n\r\nabc", apitest.Alice)
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !bytes.Contains(answer, []byte(`"code":400,"detail":"Request body could not be read to its end"`)) {
		t.Errorf("got %s, %v", answer, err)
	}
	if err := <-done; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the method got %v", err)
	}
	conn.Close()
}

func TestUploadsThatAreTooSlowAreAnswered408(t *testing.T) {
	handler := newHandler(t, anyKey{}, store)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).SetReadDeadline(time.Now()); err != nil {
			t.Error(err)
		}
		handler.ServeHTTP(w, r)
	}))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /v1/app/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\nAuthorization: Bearer k\r\n\r\nabc")
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.HasPrefix(answer, "HTTP/1.1 408") {
		t.Errorf("got %q, %v", answer, err)
	}
}

func TestUploadMethodsThatFail(t *testing.T) {
	for want, upload := range map[string]uploadFunc{
		`"code":400,"detail":"not an archive"`: func(context.Context, api.Caller, io.Reader) (*apppb.UploadResponse, error) {
			return nil, api.BadRequest("app.upload", "not an archive")
		},
		`"id":"app.upload","code":500,"detail":"internal error"`: func(context.Context, api.Caller, io.Reader) (*apppb.UploadResponse, error) {
			return nil, errors.New("the disk is broken")
		},
		`"code":500`: func(context.Context, api.Caller, io.Reader) (*apppb.UploadResponse, error) { panic("defect") },
	} {
		s := apitest.NewServer(t, appsWith(upload))
		if got := sendUpload(t, s, "POST", apitest.Alice, "/v1/app/Upload", "", strings.NewReader("12345")); !strings.Contains(got.Body, want) {
			t.Errorf("got %d %s, want %s", got.Status, got.Body, want)
		}
	}
}

func TestUploadsAreNoWebSockets(t *testing.T) {
	s := apitest.NewServer(t, appsWith(store))
	conn, _, err := websocket.Dial(t.Context(), s.URL+"/v1/app/Upload", &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"Bearer " + apitest.Alice}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	_, message, err := conn.Read(t.Context())
	if err != nil || !strings.Contains(string(message), "An upload is the body of a POST") {
		t.Errorf("got %s, %v", message, err)
	}
}

func TestUploadPathsAreThoseOfTheContract(t *testing.T) {
	uploads, err := api.Uploads()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		"/v1/app/Upload": true, "/v1/APP/upload": true, "/v1/app/App/Upload": true, "/v1/function/upload": true, "/v1/app/%75pload": true,
		"/v1/app/run": false, "/v1/url/upload": false, "/api/app/upload": false, "/v1/app/upload/": false, "": false,
	} {
		if uploads(path) != want {
			t.Errorf("%q: got %v", path, !want)
		}
	}
}

func TestATableMustAgreeWithTheContractOnUploads(t *testing.T) {
	service := appsWith(store)
	if err := service.Check(); err != nil {
		t.Fatal(err)
	}
	service.Methods[0] = unused[*apppb.UploadRequest, *apppb.UploadResponse]("Upload")
	if err := service.Check(); err == nil || !strings.Contains(err.Error(), "upload in only one") {
		t.Errorf("got %v", err)
	}
}

// anyKey knows every key, and counts nothing unless it is spent.
type anyKey struct{ spent bool }

func (anyKey) Authenticate(context.Context, string) (api.Caller, error) {
	return api.Caller{Tenant: "alice", KeyID: "alice-1", Scopes: []string{api.ScopeAll}}, nil
}

func (a anyKey) Take(api.Caller) api.Rate { return api.Rate{Allowed: !a.spent, Limit: 1} }

// newHandler returns a handler that knows every key.
func newHandler(t *testing.T, key anyKey, upload uploadFunc) *api.Handler {
	t.Helper()
	handler, err := api.NewHandler(api.HandlerConfig{
		Services: []api.Service{appsWith(upload)}, Auth: key, Limiter: key, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return handler
}
