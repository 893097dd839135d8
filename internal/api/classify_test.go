package api

import (
	"encoding/json"
	"net/http"
	"testing"
)

func FuzzClassify(f *testing.F) {
	f.Add(200, []byte(`{"url":"x"}`))
	f.Add(200, []byte(``))
	f.Add(404, []byte(`{"id":"x","code":404,"detail":"not found","status":"Not Found"}`))
	f.Add(404, []byte(`{"detail":"Not Found"}`))
	f.Add(500, []byte(`{"ID":"x","CODE":500,"Detail":"not found","STATUS":""}`))
	f.Add(302, []byte(`[]`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		err := classify(&http.Response{StatusCode: status}, body)
		if err == nil && (status != http.StatusOK || !json.Valid(body)) {
			t.Errorf("%d %q counts as an answer", status, body)
		}
		if !IsNotFound(err) {
			return
		}
		var said map[string]any
		if json.Unmarshal(body, &said) != nil || len(said) < 4 {
			t.Errorf("%d %q counts as not found", status, body)
		}
	})
}
