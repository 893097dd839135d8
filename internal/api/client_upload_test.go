package api_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/api/apitest"
	apppb "github.com/m3o/ingress/proto/app"
)

// uploader returns a client that waits to be let in before it sends an upload.
func uploader(t *testing.T, address, key string) *api.Client {
	t.Helper()
	at, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{ExpectContinueTimeout: time.Minute}
	t.Cleanup(transport.CloseIdleConnections)
	return &api.Client{Address: at, Token: key, HTTP: &http.Client{Transport: transport}}
}

func TestClientUploadsWhatItReads(t *testing.T) {
	s := apitest.NewServer(t, appsWith(store))
	from, to := io.Pipe()
	go func() { to.CloseWithError(copyTo(to, 9<<20)) }()
	res := &apppb.UploadResponse{}
	if err := uploader(t, s.URL, apitest.Alice).Upload(t.Context(), "app", "Upload", from, res); err != nil {
		t.Fatal(err)
	}
	if res.GetSize() != 9<<20 || res.GetUpload() != "alice" {
		t.Errorf("got %v", res)
	}
}

func copyTo(w io.Writer, n int64) error {
	_, err := io.CopyN(w, zeros{}, n)
	return err
}

// watched is a body that knows what was read of it and whether it was closed.
type watched struct {
	io.Reader
	read, closed atomic.Int64
}

func (b *watched) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.read.Add(int64(n))
	return n, err
}

func (b *watched) Close() error { b.closed.Add(1); return nil }

func TestClientSendsNothingOfARefusedUpload(t *testing.T) {
	s := apitest.NewServer(t, appsWith(store))
	body := &watched{Reader: zeros{}}
	err := uploader(t, s.URL, "nonsense").Upload(t.Context(), "app", "Upload", body, &apppb.UploadResponse{})
	known, ok := errors.AsType[*api.Error](err)
	if !ok || known.Code != http.StatusUnauthorized {
		t.Errorf("got %v", err)
	}
	if body.read.Load() > 0 || body.closed.Load() != 1 {
		t.Errorf("%d bytes were read of it, and it was closed %d times", body.read.Load(), body.closed.Load())
	}
}

func TestClientSaysWhyAnUploadFailed(t *testing.T) {
	s := apitest.NewServer(t, appsWith(store))
	broken := errors.New("cannot read secret.txt")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, row := range map[string]struct {
		ctx  context.Context
		body io.Reader
		want func(error) bool
	}{
		"what is uploaded cannot be read": {t.Context(), io.MultiReader(strings.NewReader("abc"), failing{broken}), func(err error) bool { return errors.Is(err, broken) }},
		"it is too long": {t.Context(), io.LimitReader(zeros{}, apitest.MaxUpload*2), func(err error) bool {
			known, ok := errors.AsType[*api.Error](err)
			return ok && known.Code == http.StatusRequestEntityTooLarge
		}},
		"the caller has gone": {gone, strings.NewReader("abc"), func(err error) bool { return errors.Is(err, context.Canceled) }},
	} {
		if err := uploader(t, s.URL, apitest.Alice).Upload(row.ctx, "app", "Upload", row.body, &apppb.UploadResponse{}); !row.want(err) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// A platform that takes nothing, or answers nothing, is given up on; the time that
// reading what is uploaded takes is not held against it.
func TestClientGivesUpOnAPlatformWithoutProgress(t *testing.T) {
	end := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusContinue)
		<-end
	}))
	defer server.Close()
	defer close(end)
	for name, body := range map[string]io.Reader{"takes nothing": zeros{}, "answers nothing": bytes.NewReader([]byte("abc"))} {
		client := uploader(t, server.URL, apitest.Alice)
		client.Timeout = 100 * time.Millisecond
		err := client.Upload(t.Context(), "app", "Upload", body, &apppb.UploadResponse{})
		known, ok := errors.AsType[*api.Error](err)
		if !ok || known.Code != http.StatusGatewayTimeout {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestClientUploadsToWhatIsNoPlatform(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the answer is what matters
		_, _ = io.WriteString(w, "<html>hello</html>")
	}))
	defer server.Close()
	err := uploader(t, server.URL, apitest.Alice).Upload(t.Context(), "app", "Upload", strings.NewReader("abc"), &apppb.UploadResponse{})
	if known, ok := errors.AsType[*api.Error](err); !ok || known.Code != http.StatusBadGateway {
		t.Errorf("got %v", err)
	}
}
