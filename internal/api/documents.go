package api

import (
	"net/http"
	"strconv"
)

// document is one of the two pages that describe the contract. Both need no key:
// the contract is the same for everybody.
type document struct {
	contentType string
	policy      string // its Content-Security-Policy
	body        []byte
}

// strictPolicy lets a document load and do nothing.
const strictPolicy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// newDocuments renders the documents for the services, by their paths.
func newDocuments(services []Service) (map[string]document, error) {
	descriptors, err := withComments(services)
	if err != nil {
		return nil, err
	}
	spec, err := OpenAPI(descriptors...)
	if err != nil {
		return nil, err
	}
	page, err := reference(descriptors)
	if err != nil {
		return nil, err
	}
	html := document{"text/html; charset=utf-8", referencePolicy(), page}
	return map[string]document{
		"/v1/openapi.json": {mediaJSON, strictPolicy, spec},
		"/v1":              html,
		"/v1/":             html,
		"/v1/docs":         html,
	}, nil
}

func (d document) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		writeError(w, newError("v1", http.StatusMethodNotAllowed, "Method %s is not allowed, use GET", r.Method))
		return
	}
	header := w.Header()
	header.Set("Content-Type", d.contentType)
	header.Set("Content-Length", strconv.Itoa(len(d.body)))
	header.Set("Content-Security-Policy", d.policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(d.body)
}
