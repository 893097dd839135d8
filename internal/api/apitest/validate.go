// Package apitest helps to test the platform's methods over real HTTP: a server
// with tenants and keys, and a check of every reply against the OpenAPI document.
package apitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/m3o/ingress/internal/api"
)

// document loads the OpenAPI document of the whole contract once. Replies are
// checked more strictly than the document asks clients to: a field it does not
// know is an error.
var document = sync.OnceValues(func() (*openapi3.T, error) {
	services, err := api.Contract()
	if err != nil {
		return nil, err
	}
	data, err := api.OpenAPI(services...)
	if err != nil {
		return nil, err
	}
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		return nil, err
	}
	for _, ref := range doc.Components.Schemas {
		if ref.Value.Properties != nil {
			ref.Value.WithoutAdditionalProperties()
		}
	}
	return doc, nil
})

// Validate fails the test unless the reply to a request with this HTTP method
// and path is one the OpenAPI document allows: its content type, the browser
// headers, and its body, which is checked line by line when it is a stream.
func Validate(t testing.TB, method, path string, status int, header http.Header, body []byte) {
	t.Helper()
	if err := check(method, path, status, header, body); err != nil {
		t.Errorf("%s %s: the reply (status %d) does not fit the OpenAPI document: %v\n%s", method, path, status, err, body)
	}
}

func check(method, path string, status int, header http.Header, body []byte) error {
	if header.Get("Access-Control-Allow-Origin") != "*" {
		return errors.New("browsers may not read it: no Access-Control-Allow-Origin")
	}
	if method == http.MethodOptions {
		return expectEmpty(body)
	}
	if got := header.Get("Content-Type"); got != "application/json" {
		return fmt.Errorf("content type %q", got)
	}
	if method == http.MethodHead {
		return expectEmpty(body)
	}
	doc, err := document()
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return checkError(doc, status, body)
	}
	return checkReply(doc, path, body)
}

func expectEmpty(body []byte) error {
	if len(body) > 0 {
		return errors.New("it has a body")
	}
	return nil
}

func checkReply(doc *openapi3.T, path string, body []byte) error {
	operation := find(doc, path)
	if operation == nil {
		return errors.New("the document has no such path")
	}
	schema := operation.Responses.Status(http.StatusOK).Value.Content.Get("application/json").Schema.Value
	if operation.Extensions["x-streaming"] != true {
		return visit(schema, body)
	}
	return checkStream(doc, schema, body)
}

// checkStream accepts messages, and an error after the last of them.
func checkStream(doc *openapi3.T, schema *openapi3.Schema, body []byte) error {
	lines := bytes.SplitAfter(body, []byte("\n"))
	for i, line := range lines {
		last := i >= len(lines)-2 // what follows the final line break is empty
		if len(line) == 0 && i == len(lines)-1 {
			return nil
		}
		if !bytes.HasSuffix(line, []byte("\n")) {
			return fmt.Errorf("line %d does not end", i+1)
		}
		err := visit(schema, line)
		if err != nil && last && visit(doc.Components.Schemas["Error"].Value, line) == nil {
			continue
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return nil
}

func checkError(doc *openapi3.T, status int, body []byte) error {
	if err := visit(doc.Components.Schemas["Error"].Value, body); err != nil {
		return err
	}
	var e struct {
		Code   int
		Status string
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return err
	}
	if e.Code != status || e.Status != http.StatusText(status) {
		return fmt.Errorf("code %d %q in the body of a %d", e.Code, e.Status, status)
	}
	return nil
}

// find returns the operation at a path in any case and either form, under /v1 or
// on the ingress's /api route.
func find(doc *openapi3.T, path string) *openapi3.Operation {
	path, _, _ = strings.Cut(path, "?")
	segments := strings.Split(strings.ToLower(path), "/")
	if len(segments) > 1 && segments[1] == "api" {
		segments[1] = "v1"
	}
	if len(segments) == 5 && segments[2] == segments[3] { // "", v1, package, service, method
		segments = append(segments[:3], segments[4])
	}
	wanted := strings.Join(segments, "/")
	for known, item := range doc.Paths.Map() {
		if strings.ToLower(known) == wanted {
			return item.Post
		}
	}
	return nil
}

// visit checks one JSON value, numbers with all their digits.
func visit(schema *openapi3.Schema, data []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	err := schema.VisitJSON(value, openapi3.VisitAsResponse())
	if wrong, ok := errors.AsType[*openapi3.SchemaError](err); ok {
		return explain(wrong)
	}
	return err
}

// explain says what is wrong without printing the whole schema, as the error
// itself would: the innermost reason says it best.
func explain(wrong *openapi3.SchemaError) error {
	for {
		inner, ok := errors.AsType[*openapi3.SchemaError](wrong.Origin)
		if !ok {
			return fmt.Errorf("at /%s: %s", strings.Join(wrong.JSONPointer(), "/"), wrong.Reason)
		}
		wrong = inner
	}
}
