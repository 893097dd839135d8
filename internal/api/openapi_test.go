package api_test

import (
	"bytes"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/m3o/ingress/internal/api"
)

func wholeDocument(t *testing.T) []byte {
	t.Helper()
	services, err := api.Contract()
	if err != nil {
		t.Fatal(err)
	}
	data, err := api.OpenAPI(services...)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestTheDocumentIsValidOpenAPI(t *testing.T) {
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData(wholeDocument(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(loader.Context); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v1/helloworld/Call", "/v1/url/Create", "/v1/user/SendVerificationEmail", "/v1/app/Run", "/v1/function/Call", "/v1/api/keys/Generate", "/v1/api/tenants/SetQuotas"} {
		if doc.Paths.Value(path) == nil {
			t.Errorf("path %s is missing", path)
		}
	}
}

func TestTheDocumentIsTheSameEveryTime(t *testing.T) {
	if !bytes.Equal(wholeDocument(t), wholeDocument(t)) {
		t.Error("two documents of the same services differ")
	}
}
