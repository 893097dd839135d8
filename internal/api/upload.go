package api

import (
	"context"
	"io"
	"mime"
	"net/http"
	"strings"

	"google.golang.org/protobuf/proto"
)

// uploadFunc answers a body of any length.
type uploadFunc = func(ctx context.Context, caller Caller, body io.Reader) (proto.Message, error)

// Upload makes a method whose request is the body of an HTTP POST or PUT, as it
// is and of any length, for a method of the contract that takes a stream. The
// function reads body as it comes, at the caller's pace and within the limits of
// whoever serves the handler; it need not read all of it. Once it has failed to
// read the body it should return an error: what the caller did wrong is then
// answered by the handler, whatever that error is. The rules of Unary hold as well.
func Upload[Res proto.Message](name string, call func(ctx context.Context, caller Caller, body io.Reader) (Res, error)) Method {
	return Method{
		Name: name,
		upload: func(ctx context.Context, caller Caller, body io.Reader) (proto.Message, error) {
			res, err := call(ctx, caller, body)
			if err != nil {
				return nil, err
			}
			return res, nil
		},
	}
}

// Uploads reports whether the method's request is a body of any length.
func (m Method) Uploads() bool { return m.upload != nil }

// Uploads returns a function that reports whether an escaped path, such as
// /v1/app/Upload in any case, is that of a method of the contract whose request is
// a body of any length, to which other limits apply. It may be called concurrently.
func Uploads() (func(escapedPath string) bool, error) {
	services, err := Contract()
	if err != nil {
		return nil, err
	}
	paths := map[string]bool{}
	for _, service := range services {
		for i := range service.Methods().Len() {
			if method := service.Methods().Get(i); method.IsStreamingClient() {
				paths[serviceAddress(service)+"/"+strings.ToLower(string(method.Name()))] = true
			}
		}
	}
	return func(escapedPath string) bool {
		pkg, service, method, ok := splitPath(escapedPath)
		return ok && paths[strings.ToLower(pkg+"/"+service+"/"+method)]
	}, nil
}

// uploadTypes are the content types the contract names for uploads. Others are
// taken as well, as long as they do not say that the body is something else.
func uploadTypes() []string {
	return []string{"application/gzip", "application/octet-stream", "application/x-tar"}
}

// serveUpload answers an upload. The caller is known by now, so that nothing is
// read from a stranger, and one who waits for "100 Continue" is spared sending
// what would be refused.
func (h *Handler) serveUpload(w http.ResponseWriter, r *http.Request, c call) {
	if failed := takeUpload(w.Header(), r); failed != nil {
		h.fail(w, c, failed)
		return
	}
	body := &received{from: r.Body}
	reply, failed := h.invoke(r.Context(), c, func(ctx context.Context) (proto.Message, error) {
		res, err := c.endpoint.method.upload(ctx, c.caller, body)
		if err != nil && body.failed != nil {
			return nil, unreadable(body.failed)
		}
		return res, err
	})
	if failed != nil {
		h.fail(w, c, failed)
		return
	}
	h.deliver(w, reply)
}

// checkUpload refuses what says of itself that it is no upload.
func takeUpload(header http.Header, r *http.Request) *Error {
	if r.Method != http.MethodPost && r.Method != http.MethodPut {
		header.Set("Allow", "POST, PUT, OPTIONS")
		return newError("v1", http.StatusMethodNotAllowed, "Method %s is not allowed, use POST", r.Method)
	}
	contentType := r.Header.Get("Content-Type")
	if media, _, _ := mime.ParseMediaType(contentType); isForm(media) || contentType != "" && isJSON(contentType) {
		return newError("v1", http.StatusUnsupportedMediaType,
			"Content-Type must be that of an archive, such as %s, and the body the archive itself", uploadTypes()[0])
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return newError("v1", http.StatusUnsupportedMediaType,
			"Content-Encoding is not understood; send an archive compressed with gzip as Content-Type %s", uploadTypes()[0])
	}
	return nil
}

func isForm(media string) bool {
	return media == "application/x-www-form-urlencoded" || strings.HasPrefix(media, "multipart/")
}

// received is a body that remembers what went wrong with it. A method may wrap
// that in an error of its own, which would put the blame on us.
type received struct {
	from   io.Reader
	failed error
}

// Read implements io.Reader.
func (b *received) Read(p []byte) (int, error) {
	if b.from == nil { // a request made in this process rather than received
		return 0, io.EOF
	}
	n, err := b.from.Read(p)
	if err != nil && err != io.EOF {
		b.failed = err
	}
	return n, err
}
