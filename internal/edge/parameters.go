package edge

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// keyParameter carries the key of callers that cannot set headers (WIRE.md 2).
const keyParameter = "api_key"

// isKeyParameter also takes other cases of the name, so that a key which is
// written oddly is used and goes nowhere else.
func isKeyParameter(name string) bool { return strings.EqualFold(name, keyParameter) }

// maxParameters bounds how many a call may have; no method comes near it.
const maxParameters = 1000

// publicError is what is wrong with a request, fit to be shown to the caller: a
// predicate that continues "The query" or "The body", without anything of the
// request in it.
type publicError string

// Error implements error.
func (e publicError) Error() string { return string(e) }

// What can be wrong with parameters.
const (
	errEscape       publicError = "has a % that is not followed by two hexadecimal digits"
	errNotUTF8      publicError = "is not valid UTF-8"
	errTooMany      publicError = "has too many parameters"
	errNotMultipart publicError = "is not a well-formed multipart form"
)

// parameters are those of a query or a form, in their order. Of one that is given
// twice the first counts (WIRE.md 3).
type parameters struct {
	names  []string
	values map[string]string
}

func newParameters() *parameters { return &parameters{values: make(map[string]string)} }

func (p *parameters) add(name, value string) error {
	if isKeyParameter(name) {
		name = keyParameter
	}
	if !utf8.ValidString(name) || !utf8.ValidString(value) {
		return errNotUTF8
	}
	if _, twice := p.values[name]; twice {
		return nil
	}
	if len(p.names) == maxParameters {
		return errTooMany
	}
	p.names = append(p.names, name)
	p.values[name] = value
	return nil
}

// addMissing adds those of other that p does not have.
func (p *parameters) addMissing(other *parameters) {
	for _, name := range other.names {
		if _, ok := p.values[name]; !ok {
			p.names = append(p.names, name)
			p.values[name] = other.values[name]
		}
	}
}

// take removes a parameter and returns its value, or "".
func (p *parameters) take(name string) string {
	value, ok := p.values[name]
	if !ok {
		return ""
	}
	delete(p.values, name)
	for i, n := range p.names {
		if n == name {
			p.names = append(p.names[:i], p.names[i+1:]...)
			break
		}
	}
	return value
}

// parseParameters reads the encoding that queries and forms share (the URL
// standard, section 5.1). A semicolon is a character like others there.
func parseParameters(encoded string) (*parameters, error) {
	p := newParameters()
	for piece := range strings.SplitSeq(encoded, "&") {
		if piece == "" {
			continue
		}
		name, value, _ := strings.Cut(piece, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return nil, errEscape
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return nil, errEscape
		}
		if err := p.add(name, value); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// withoutKey takes every api_key out of a raw query and returns the first. The
// rest stays as it is, byte for byte.
func withoutKey(query string) (rest, key string) {
	var kept []string
	found := false
	for piece := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(piece, "=")
		if unescaped, err := url.QueryUnescape(name); err != nil || !isKeyParameter(unescaped) {
			kept = append(kept, piece)
			continue
		}
		if value, err := url.QueryUnescape(value); err == nil && !found {
			found, key = true, value
		}
	}
	return strings.Join(kept, "&"), key
}

// readForm reads the body of a form. What curl -d sends is labelled a form
// whatever it is; if it is a JSON object, which no form begins like, it comes
// back as content instead.
func readForm(r *http.Request, kind body) (form *parameters, content []byte, err error) {
	if kind == multipartBody {
		form, err = readMultipart(r)
		return form, nil, err
	}
	encoded, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, nil, err
	}
	if bytes.HasPrefix(bytes.TrimLeft(encoded, " \t\r\n"), []byte("{")) {
		return nil, encoded, nil
	}
	form, err = parseParameters(string(encoded))
	return form, nil, err
}

// readMultipart reads a multipart form in memory, where the limit on bodies
// bounds it. The content of a file is a value like any other, so that source
// code can be sent as one.
func readMultipart(r *http.Request) (*parameters, error) {
	_, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	boundary := parameters["boundary"]
	if err != nil || boundary == "" {
		return nil, errNotMultipart
	}
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	// The reader takes some forms that were cut off for whole ones.
	if !bytes.Contains(content, []byte("--"+boundary+"--")) {
		return nil, errNotMultipart
	}
	reader := multipart.NewReader(bytes.NewReader(content), boundary)
	p := newParameters()
	for parts := 0; ; parts++ {
		part, err := reader.NextRawPart()
		switch {
		case err == io.EOF:
			return p, nil
		case err != nil:
			return nil, errNotMultipart
		case parts == maxParameters:
			return nil, errTooMany
		}
		if err := p.addPart(part); err != nil {
			return nil, err
		}
	}
}

func (p *parameters) addPart(part *multipart.Part) error {
	value, err := io.ReadAll(part)
	if err != nil {
		return errNotMultipart
	}
	if part.FormName() == "" {
		return nil
	}
	return p.add(part.FormName(), string(value))
}
