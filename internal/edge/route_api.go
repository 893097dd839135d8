package edge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
)

// serveAPI is route 1: /api/… becomes /v1/… of the platform. The key moves into
// Authorization, and parameters become the JSON the platform understands
// (WIRE.md 2 and 3).
func (e *Edge) serveAPI(w http.ResponseWriter, r *http.Request) *failure {
	path, ok := platformPath(r.URL.Path)
	if !ok && r.Method == http.MethodOptions {
		// A browser's script gets to read a failure only if the preflight before it
		// succeeded.
		allowAnyOrigin(w.Header())
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if !ok {
		f := fail(http.StatusBadRequest, ReasonBadRequest, "The path is not that of a method.")
		f.hint = "Call /api/{service}/{endpoint}."
		return f
	}
	upload := e.config.TakesUpload(path)
	if f := e.boundBody(w, r, upload); f != nil {
		return f
	}
	out, f := apiRequest(r, path, upload)
	if f != nil {
		return f
	}
	return e.platform(w, out)
}

// servePlatform hands /v1 to the platform as it is.
func (e *Edge) servePlatform(w http.ResponseWriter, r *http.Request) *failure {
	if climbs(r.URL.Path) {
		return fail(http.StatusBadRequest, ReasonBadRequest, "The path leads out of /v1.")
	}
	if f := e.boundBody(w, r, e.config.TakesUpload(r.URL.EscapedPath())); f != nil {
		return f
	}
	return e.platform(w, r)
}

// climbs reports whether a decoded path has segments of dots, which a server
// behind a remote platform's address may follow to somewhere that is not /v1.
// Some take a backslash for a slash.
func climbs(path string) bool {
	for segment := range strings.FieldsFuncSeq(path, func(c rune) bool { return c == '/' || c == '\\' }) {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

type publicResolveKey struct{}

// IsPublicResolve reports whether the request with this context came by the
// resolve methods without /v1, which need no key (Config.PublicResolve).
func IsPublicResolve(ctx context.Context) bool {
	return ctx.Value(publicResolveKey{}) != nil
}

// servePublicResolve serves the resolve methods without /v1 and without a key,
// which other ingresses may use.
func (e *Edge) servePublicResolve(w http.ResponseWriter, r *http.Request) *failure {
	if f := e.boundBody(w, r, false); f != nil {
		return f
	}
	out := r.Clone(context.WithValue(r.Context(), publicResolveKey{}, true))
	setPath(out, "/v1"+r.URL.Path)
	return e.platform(w, out)
}

// boundBody applies the limits on API bodies: the one on the size at once when the
// length is known, and while it is read otherwise.
func (e *Edge) boundBody(w http.ResponseWriter, r *http.Request, upload bool) *failure {
	limit := e.config.Limits.BodyBytes
	if upload {
		limit = e.config.Limits.UploadBytes
	}
	if r.ContentLength > limit {
		return bodyTooLarge(&http.MaxBytesError{Limit: limit})
	}
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &pacedBody{
			ReadCloser: http.MaxBytesReader(w, r.Body, limit), control: http.NewResponseController(w),
			patience: e.config.Limits.ReadBody, now: e.now,
			whole:    e.config.PlatformURL == nil, // the services read it whole
			steadily: upload,
		}
	}
	return nil
}

func bodyTooLarge(err *http.MaxBytesError) *failure {
	f := fail(http.StatusRequestEntityTooLarge, ReasonBodyTooLarge, fmt.Sprintf("The body is larger than the %d bytes allowed.", err.Limit))
	f.cause = err
	return f
}

// platformPath turns /api/{service}/{endpoint}, or the form with three segments,
// into the path under /v1.
func platformPath(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, "/api/")
	if !ok {
		return "", false
	}
	segments := 0
	for segment := range strings.SplitSeq(rest, "/") {
		if segments++; segments > 3 || !isSegment(segment) {
			return "", false
		}
	}
	return "/v1/" + rest, segments >= 2
}

// isSegment reports whether s may name a service or an endpoint. Dots are for
// versions; a segment of dots alone would be a way out of /v1.
func isSegment(s string) bool {
	if s == "" || s[0] == '.' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

// apiRequest returns the request the platform gets. The body of an upload is no set
// of parameters, and there are none beside it.
func apiRequest(r *http.Request, path string, upload bool) (*http.Request, *failure) {
	out := r.Clone(r.Context())
	setPath(out, path)
	query, key := withoutKey(r.URL.RawQuery)
	setQuery(out, query)
	dropReferer(out.Header)
	if upload {
		return out, authorize(out, key)
	}
	form, f := rewriteCall(out)
	if f != nil {
		return nil, f
	}
	return out, authorize(out, firstOf(key, form))
}

// dropReferer removes the address of the page that made the call if it has a key
// in it.
func dropReferer(h http.Header) {
	_, query, _ := strings.Cut(h.Get("Referer"), "?")
	if rest, _ := withoutKey(query); rest != query {
		h.Del("Referer")
	}
}

// rewriteCall turns parameters into JSON where there are any, and returns the key
// that was among those of a form.
func rewriteCall(r *http.Request) (key string, f *failure) {
	switch r.Method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete:
	default:
		return "", nil // OPTIONS is for CORS; what else there is the platform refuses
	}
	kind := bodyKind(r)
	if isUpgrade(r.Header) || kind == opaqueBody {
		return "", nil
	}
	query, err := parseParameters(r.URL.RawQuery)
	if err != nil {
		return "", badRequest("The query", err)
	}
	r.Method = http.MethodPost
	if kind == jsonBody && len(query.names) == 0 {
		return "", nil // byte for byte, as it comes
	}
	if encoding := r.Header.Get("Content-Encoding"); kind != noBody && encoding != "" && !strings.EqualFold(encoding, "identity") {
		return "", fail(http.StatusUnsupportedMediaType, ReasonBadRequest, "An encoded body cannot be combined with parameters.")
	}
	setQuery(r, "")
	return mergeBody(r, kind, query)
}

// mergeBody replaces the body by the JSON object made of it and the query, the
// body winning.
func mergeBody(r *http.Request, kind body, query *parameters) (key string, f *failure) {
	var content []byte
	var err error
	readWhole(r)
	switch kind {
	case formBody, multipartBody:
		var form *parameters
		if form, content, err = readForm(r, kind); err != nil {
			return "", badRequest("The form", err)
		}
		if form != nil {
			key = form.take(keyParameter)
			form.addMissing(query)
			query = form
		}
	case jsonBody:
		if content, err = io.ReadAll(r.Body); err != nil {
			return "", badRequest("The body", err)
		}
	}
	if content, err = mergeJSON(query, content); err != nil {
		return "", badRequest("The body", err)
	}
	setJSON(r, content)
	return key, nil
}

// badRequest names the part of the request that is wrong. The errors of
// parameters.go and merge.go are fit for the public; others only say that
// reading failed.
func badRequest(part string, err error) *failure {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return bodyTooLarge(tooLarge)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return bodyTooSlow(nil)
	}
	message := part + " could not be read."
	var public publicError
	if errors.As(err, &public) {
		message = part + " " + string(public) + "."
	}
	f := fail(http.StatusBadRequest, ReasonBadRequest, message)
	f.cause = err
	return f
}

// authorize moves the key into Authorization, unless the caller sent one of its
// own.
func authorize(r *http.Request, key string) *failure {
	if key == "" || r.Header.Get("Authorization") != "" {
		return nil
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] >= 0x7f {
			return fail(http.StatusBadRequest, ReasonBadRequest, "The api_key contains characters that no key has.")
		}
	}
	r.Header.Set("Authorization", "Bearer "+key)
	return nil
}

// body is how the parameters of a call are written in its body.
type body int

const (
	noBody body = iota
	jsonBody
	formBody
	multipartBody
	opaqueBody // something that is no set of parameters, such as gRPC
)

// bodyKind goes by the content type; a body without one is JSON (WIRE.md 3).
func bodyKind(r *http.Request) body {
	if r.ContentLength == 0 || r.Body == nil {
		return noBody
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // unreadable parameters do not matter here
	switch {
	case kind == "application/x-www-form-urlencoded":
		return formBody
	case kind == "multipart/form-data":
		return multipartBody
	case strings.HasPrefix(kind, "application/grpc"), kind == "application/octet-stream":
		return opaqueBody
	}
	return jsonBody
}

func isUpgrade(h http.Header) bool {
	if h.Get("Upgrade") == "" {
		return false
	}
	for _, value := range h.Values("Connection") {
		for item := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(item), "upgrade") {
				return true
			}
		}
	}
	return false
}

// setPath and setQuery also change RequestURI, which handlers may look at and
// which may have a key in it.
func setPath(r *http.Request, path string) {
	r.URL.Path, r.URL.RawPath = path, ""
	r.RequestURI = r.URL.RequestURI()
}

func setQuery(r *http.Request, query string) {
	r.URL.RawQuery, r.URL.ForceQuery = query, false
	r.RequestURI = r.URL.RequestURI()
}

// setJSON replaces the body and the headers that describe it.
func setJSON(r *http.Request, content []byte) {
	r.Body = io.NopCloser(bytes.NewReader(content))
	r.ContentLength = int64(len(content))
	r.TransferEncoding, r.Trailer = nil, nil
	r.Header.Del("Expect") // the body has been read, or there was none
	r.Header.Del("Content-Encoding")
	r.Header.Del("Transfer-Encoding")
	r.Header.Del("Trailer")
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Content-Length", strconv.Itoa(len(content)))
}
