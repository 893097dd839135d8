package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	apipb "github.com/m3o/ingress/proto/api"
	functionpb "github.com/m3o/ingress/proto/function"
	"google.golang.org/protobuf/proto"
)

func TestTooManyValues(t *testing.T) {
	for _, test := range []struct {
		name, document string
		want           bool
	}{
		{"nothing", ``, false},
		{"a list that is just short enough", `[` + strings.Repeat("1,", MaxValues-1) + `1]`, false},
		{"one more", `[` + strings.Repeat("1,", MaxValues) + `1]`, true},
		{"empty objects", `[` + strings.Repeat("{},", MaxValues/2) + `{}]`, true},
		{"empty lists inside each other", strings.Repeat("[", MaxValues+1), true},
		{"a long text", `{"a":"` + strings.Repeat("{,[", MaxValues) + `"}`, false},
		{"a long text with quotes in it", `{"a":"` + strings.Repeat(`\",`, MaxValues) + `"}`, false},
		{"values after an escaped backslash", `{"a":"\\",` + strings.Repeat("1,", MaxValues) + `}`, true},
		{"a text that does not end", `"\`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := TooManyValues([]byte(test.document)); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestARequestWithTooManyValuesIsNotDecoded(t *testing.T) {
	e := &endpoint{}
	body := bytes.Repeat([]byte("1,"), MaxValues+1)
	if _, failed := e.parse(body); failed == nil || failed.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("got %v", failed)
	}
}

// A parameter is a text, whatever it becomes.
func TestAParameterWithTooManyValuesIsNotDecoded(t *testing.T) {
	for _, field := range []struct {
		name, text string
		into       proto.Message
	}{
		{"request", `{"a":[` + strings.Repeat("1,", MaxValues) + `1]}`, &functionpb.CallRequest{}},
		{"env_vars", `{` + strings.Repeat(`"":"",`, MaxValues) + `"":""}`, &functionpb.DeployRequest{}},
		{"scopes", `[` + strings.Repeat(`"",`, MaxValues) + `""]`, &apipb.GenerateRequest{}},
	} {
		t.Run(field.name, func(t *testing.T) {
			e := &endpoint{lenient: true, method: Method{request: func() proto.Message { return field.into }}}
			body, err := json.Marshal(map[string]string{field.name: field.text})
			if err != nil {
				t.Fatal(err)
			}
			if _, failed := e.parse(body); failed == nil || failed.Code != http.StatusRequestEntityTooLarge {
				t.Errorf("got %v", failed)
			}
		})
	}
}

func BenchmarkTooManyValues(b *testing.B) {
	document := []byte(`{"request":{"text":"` + strings.Repeat("a, b", 1<<20) + `"}}`)
	b.SetBytes(int64(len(document)))
	b.ReportAllocs()
	for b.Loop() {
		TooManyValues(document)
	}
}
