package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/api/apitest"
	apipb "github.com/m3o/ingress/proto/api"
	helloworldpb "github.com/m3o/ingress/proto/helloworld"
)

type listFunc = func(context.Context, api.Caller, *apipb.ListRequest, func(*apipb.ListResponse) error) error

// keysWith is the service Keys, whose method List is the test's own.
func keysWith(list listFunc) api.Service {
	return api.Service{
		Descriptor: apipb.File_api_api_proto.Services().ByName("Keys"),
		Methods: []api.Method{
			api.Unary("Generate", func(context.Context, api.Caller, *apipb.GenerateRequest) (*apipb.GenerateResponse, error) {
				return &apipb.GenerateResponse{}, nil
			}),
			api.Unary("Revoke", func(context.Context, api.Caller, *apipb.RevokeRequest) (*apipb.RevokeResponse, error) {
				return &apipb.RevokeResponse{}, nil
			}),
			api.Listing("List", list),
		},
	}
}

// pieceOf has keys with these ids.
func pieceOf(ids ...int) *apipb.ListResponse {
	piece := &apipb.ListResponse{}
	for _, id := range ids {
		piece.ApiKeys = append(piece.ApiKeys, &apipb.APIKey{Id: fmt.Sprint(id), Description: `]}[{"`})
	}
	return piece
}

// idsIn reads a reply.
func idsIn(t *testing.T, body string) string {
	t.Helper()
	var reply struct {
		Keys []struct{ ID, Description string } `json:"api_keys"`
	}
	if err := json.Unmarshal([]byte(body), &reply); err != nil || reply.Keys == nil {
		t.Fatalf("%q: %v", body, err)
	}
	var ids []string
	for _, key := range reply.Keys {
		if key.Description != `]}[{"` {
			t.Errorf("description %q", key.Description)
		}
		ids = append(ids, key.ID)
	}
	return strings.Join(ids, " ")
}

func TestPiecesBecomeOneList(t *testing.T) {
	for _, test := range []struct {
		name   string
		pieces []*apipb.ListResponse
		want   string
		whole  bool // sent at once, with its length
	}{
		{"none", nil, "", true},
		{"an empty one", []*apipb.ListResponse{pieceOf()}, "", true},
		{"only empty ones", []*apipb.ListResponse{pieceOf(), pieceOf(), pieceOf()}, "", true},
		{"one", []*apipb.ListResponse{pieceOf(1, 2)}, "1 2", true},
		{"two", []*apipb.ListResponse{pieceOf(1), pieceOf(2, 3)}, "1 2 3", false},
		{"empty ones between", []*apipb.ListResponse{pieceOf(), pieceOf(1), pieceOf(), pieceOf(2), pieceOf()}, "1 2", false},
		{"many", []*apipb.ListResponse{pieceOf(1, 2), pieceOf(3), pieceOf(4, 5, 6), pieceOf(7)}, "1 2 3 4 5 6 7", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			platform := apitest.NewServer(t, keysWith(func(_ context.Context, _ api.Caller, _ *apipb.ListRequest, send func(*apipb.ListResponse) error) error {
				for _, piece := range test.pieces {
					if err := send(piece); err != nil {
						return err
					}
				}
				return nil
			}))
			reply := platform.Post(t, apitest.Alice, "/v1/api/keys/list", "{}")
			if got := idsIn(t, reply.Body); reply.Status != 200 || got != test.want {
				t.Errorf("got %d %q, want %q", reply.Status, got, test.want)
			}
			if whole := reply.Header.Get("Content-Length") != ""; whole != test.whole {
				t.Errorf("with its length: %v", whole)
			}
			conn, _ := dial(t, platform.URL, "/v1/api/keys/list", "Authorization", "Bearer "+apitest.Alice)
			say(t, conn, "{}")
			got, status := frames(t, conn)
			if len(got) != 1 || status != websocket.StatusNormalClosure || idsIn(t, got[0]) != test.want {
				t.Errorf("over a WebSocket: %q and %v", got, status)
			}
		})
	}
}

// failsAfter lists so many pieces and fails.
func failsAfter(pieces int) listFunc {
	return func(_ context.Context, _ api.Caller, _ *apipb.ListRequest, send func(*apipb.ListResponse) error) error {
		for i := range pieces {
			if err := send(pieceOf(i)); err != nil {
				return err
			}
		}
		return api.Unavailable("keys.list", "not now", errors.New("private"))
	}
}

func TestAListThatFailsIsNeverTakenForAWholeOne(t *testing.T) {
	const said = `{"id":"keys.list","code":503,"detail":"not now","status":"Service Unavailable"}`
	for pieces, broken := range map[int]bool{0: false, 1: false, 2: true, 5: true} {
		platform := apitest.NewServer(t, keysWith(failsAfter(pieces)))
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, platform.URL+"/v1/api/keys/list", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+apitest.Alice)
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if broken != errors.Is(err, io.ErrUnexpectedEOF) || !broken && (res.StatusCode != 503 || string(body) != said) {
			t.Errorf("after %d pieces: %d %q, %v", pieces, res.StatusCode, body, err)
		}
		if !strings.Contains(platform.Logs(), "private") {
			t.Errorf("after %d pieces the cause is not in the log", pieces)
		}

		conn, _ := dial(t, platform.URL, "/v1/api/keys/list", "Authorization", "Bearer "+apitest.Alice)
		say(t, conn, "{}")
		got, status := frames(t, conn)
		if status == websocket.StatusNormalClosure || broken && len(got) != 0 || !broken && (len(got) != 1 || got[0] != said) {
			t.Errorf("after %d pieces over a WebSocket: %q and %v", pieces, got, status)
		}
	}
}

// TestAListWaitsForItsReader: what is made is bounded by what is read, and a
// reader that stops loses the list.
func TestAListWaitsForItsReader(t *testing.T) {
	ended := make(chan error, 2)
	big := &apipb.ListResponse{ApiKeys: []*apipb.APIKey{{Description: strings.Repeat("x", 1<<20)}}}
	endless := keysWith(func(_ context.Context, _ api.Caller, _ *apipb.ListRequest, send func(*apipb.ListResponse) error) error {
		for {
			if err := send(big); err != nil {
				ended <- err
				return err
			}
		}
	})
	_, base := serveSockets(t, endless, func(c *api.HandlerConfig) { c.Patience = impatience })
	conn, _ := dial(t, base, "/v1/api/keys/list", bearer...)
	say(t, conn, `{}`)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/v1/api/keys/list", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(bearer[0], bearer[1])
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for range 2 {
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Fatal("a list still waits for a client that does not read")
		}
	}
}

func TestOnlyAListCanBeSentInPieces(t *testing.T) {
	service := keysWith(failsAfter(0))
	service.Methods[0] = api.Listing("Generate", func(context.Context, api.Caller, *apipb.GenerateRequest, func(*apipb.GenerateResponse) error) error {
		return nil
	})
	_, err := api.NewHandler(api.HandlerConfig{Services: []api.Service{service}, Auth: keys{}, Limiter: keys{}, Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "replies with more than a list") {
		t.Errorf("got %v", err)
	}
}

func TestAReplyWaitsForItsReaderNotForEver(t *testing.T) {
	large := greeterWith(func(context.Context, api.Caller, *helloworldpb.CallRequest) (*helloworldpb.CallResponse, error) {
		return &helloworldpb.CallResponse{Message: strings.Repeat("x", 64<<20)}, nil
	}, nil)
	k := keys{caller: api.Caller{Tenant: "alice", Scopes: []string{"*"}}, rate: api.Rate{Allowed: true}}
	handler, err := api.NewHandler(api.HandlerConfig{
		Services: []api.Service{large}, Auth: k, Limiter: k, Logger: slog.New(slog.DiscardHandler), Patience: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	deadlines := make(chan time.Time, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(&deadlineWriter{w, deadlines}, r)
	}))
	defer server.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/v1/helloworld/call", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(bearer[0], bearer[1])
	before := time.Now()
	res, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if n, err := io.Copy(io.Discard, res.Body); err != nil || n < 64<<20 {
		t.Errorf("a reader that reads got %d bytes, %v", n, err)
	}
	during, after := <-deadlines, <-deadlines
	if allowed := during.Sub(before); allowed < 4096*time.Second || allowed > 8192*time.Second || !after.IsZero() {
		t.Errorf("64 MiB may take %v, what comes afterwards until %v", allowed, after)
	}
}

// deadlineWriter notes the write deadlines it is given.
type deadlineWriter struct {
	http.ResponseWriter
	deadlines chan time.Time
}

func (w *deadlineWriter) SetWriteDeadline(at time.Time) error {
	w.deadlines <- at
	return http.NewResponseController(w.ResponseWriter).SetWriteDeadline(at)
}
