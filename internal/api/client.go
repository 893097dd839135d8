package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// remoteID is the id of errors that the client makes itself, as opposed to those
// the platform answered.
const remoteID = "ingress.remote"

// Client calls an M3O-compatible platform over HTTP. Its fields must not change
// once it is in use; it may be used concurrently.
type Client struct {
	// Address is the platform: scheme, host and an optional base path that goes
	// in front of every call's.
	Address *url.URL
	// Token is the key sent with every call, to this address only. Without one
	// the calls use the form of paths that needs none (WIRE.md 1).
	Token string
	// HTTP makes the requests; http.DefaultClient when nil. Redirects are never
	// followed, whatever it says: they would take the token elsewhere.
	HTTP *http.Client
	// Timeout bounds one call, reading the reply included; 30 s when zero. For a
	// stream it bounds only the wait for its beginning, and for an upload the time
	// without progress and the wait for the reply.
	Timeout time.Duration
	// MaxReply bounds the reply, or one message of a stream, in bytes; 16 MiB
	// when zero.
	MaxReply int64
}

// Call calls a method. The service is a name such as "url", or two such as
// "api/keys" when the package has several. A failure the platform answered is an
// *Error as the platform gave it; anything else, down to a 200 that is not JSON,
// is an *Error with code 502, 503 or 504, for which IsNotFound never holds
// (WIRE.md 7).
func (c *Client) Call(ctx context.Context, service, endpoint string, req, res proto.Message) error {
	body, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(req)
	if err != nil {
		return fmt.Errorf("%s/%s: encode the request: %w", service, endpoint, err)
	}
	reply, err := c.CallJSON(ctx, service, endpoint, body)
	if err != nil {
		return err
	}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(reply, res); err != nil {
		return badReply("the platform's reply does not fit the contract", err)
	}
	return nil
}

// CallJSON calls a method with a request that is JSON already and returns the
// reply as the platform wrote it, known to be JSON. Its errors are those of Call.
func (c *Client) CallJSON(ctx context.Context, service, endpoint string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(c.Timeout, 30*time.Second))
	defer cancel()
	res, err := c.send(ctx, service, endpoint, body)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	reply, err := c.read(res.Body)
	if err != nil {
		return nil, err
	}
	return reply, classify(res, reply)
}

// Stream calls a method that answers many times and hands each message to each,
// in order, until the stream or each ends it. An error object in the stream is
// the error of the call. Its errors are those of Call, and those of each.
func (c *Client) Stream(ctx context.Context, service, endpoint string, body []byte, each func(json.RawMessage) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(cmp.Or(c.Timeout, 30*time.Second), func() { cancel(context.DeadlineExceeded) })
	res, err := c.send(ctx, service, endpoint, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if !late.Stop() {
		return unreachable(context.DeadlineExceeded)
	}
	if res.StatusCode != http.StatusOK {
		reply, err := c.read(res.Body)
		if err != nil {
			return err
		}
		return classify(res, reply)
	}
	return c.messages(res.Body, each)
}

// messages reads JSON values one after another.
func (c *Client) messages(body io.Reader, each func(json.RawMessage) error) error {
	bounded := &allowance{from: body}
	decoder := json.NewDecoder(bounded)
	for {
		bounded.left = c.maxReply()
		var message json.RawMessage
		err := decoder.Decode(&message)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return badReply("the platform's stream broke off", err)
		}
		if failed := platformError(message); failed != nil {
			return failed
		}
		if err := each(message); err != nil {
			return err
		}
	}
}

// send posts a request. A caller that gets no error must close the body.
func (c *Client) send(ctx context.Context, service, endpoint string, body []byte) (*http.Response, error) {
	req, err := c.post(ctx, service, endpoint, mediaJSON, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	res, err := c.direct().Do(req)
	if err != nil {
		return nil, unreachable(err)
	}
	return res, nil
}

// post makes a request with a body of some type.
func (c *Client) post(ctx context.Context, service, endpoint, contentType string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.target(service, endpoint).String(), body)
	if err != nil {
		return nil, fmt.Errorf("%s/%s: %w", service, endpoint, err)
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Accept", mediaJSON)
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	return req, nil
}

// target returns the address of a method. In the form without a key the
// original spells endpoints with a small first letter.
func (c *Client) target(service, endpoint string) *url.URL {
	if c.Token != "" {
		return c.Address.JoinPath("v1", service, endpoint)
	}
	return c.Address.JoinPath(service, strings.ToLower(endpoint[:min(1, len(endpoint))])+endpoint[min(1, len(endpoint)):])
}

// direct returns the HTTP client with redirects off.
func (c *Client) direct() *http.Client {
	direct := *cmp.Or(c.HTTP, http.DefaultClient)
	direct.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &direct
}

func (c *Client) maxReply() int64 { return cmp.Or(c.MaxReply, 16<<20) }

// read reads a whole reply within its bound.
func (c *Client) read(body io.Reader) ([]byte, error) {
	reply, err := io.ReadAll(&allowance{from: body, left: c.maxReply()})
	switch {
	case errors.Is(err, errTooLarge):
		return nil, badReply("the platform's reply is too large", err)
	case err != nil:
		return nil, unreachable(err)
	}
	return reply, nil
}

var errTooLarge = errors.New("larger than the limit")

// allowance reads no more than left bytes and then fails, unlike io.LimitReader,
// whose end looks like the reply's.
type allowance struct {
	from io.Reader
	left int64
}

func (a *allowance) Read(p []byte) (int, error) {
	if a.left < 0 {
		return 0, errTooLarge
	}
	n, err := a.from.Read(p[:min(int64(len(p)), a.left+1)])
	if a.left -= int64(n); a.left < 0 {
		return n, errTooLarge
	}
	return n, err
}
