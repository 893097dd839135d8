package api

import (
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apipb "github.com/m3o/ingress/proto/api"
	functionpb "github.com/m3o/ingress/proto/function"
	urlpb "github.com/m3o/ingress/proto/url"
	userpb "github.com/m3o/ingress/proto/user"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"
)

// reads decodes as the handler does for a method with requests of m's type.
func reads(data []byte, m proto.Message) error {
	e := &endpoint{lenient: needsCoercion(m.ProtoReflect().Descriptor())}
	return e.decode(data, m)
}

func object(t *testing.T, fields map[string]any) *structpb.Struct {
	t.Helper()
	s, err := structpb.NewStruct(fields)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDecodeAccepts(t *testing.T) {
	tests := []struct {
		name, body string
		want       proto.Message
	}{
		{"nothing", "", &urlpb.CreateRequest{}},
		{"blanks", " \r\n\t", &urlpb.CreateRequest{}},
		{"an empty object", "{}", &urlpb.CreateRequest{}},
		{"names of the contract", `{"old_password":"a"}`, &userpb.UpdatePasswordRequest{OldPassword: "a"}},
		{"lowerCamelCase names", `{"oldPassword":"a"}`, &userpb.UpdatePasswordRequest{OldPassword: "a"}},
		{"unknown fields", `{"id":"x","nosuch":{"deep":[1,2]}}`, &urlpb.ResolveRequest{Id: "x"}},
		{"null", `{"id":null}`, &urlpb.ResolveRequest{}},
		{"a 64-bit integer as a number", `{"expiration":9007199254740993}`, &userpb.SendPasswordResetEmailRequest{Expiration: 9007199254740993}},
		{"a 64-bit integer as a string", `{"expiration":"9007199254740993"}`, &userpb.SendPasswordResetEmailRequest{Expiration: 9007199254740993}},
		{"a 32-bit integer as a string", `{"limit":"20","offset":"3"}`, &userpb.ListRequest{Limit: 20, Offset: 3}},
		{"a boolean", `{"verified":true}`, &userpb.Account{Verified: true}},
		{"a boolean as a word", `{"verified":"true"}`, &userpb.Account{Verified: true}},
		{"a boolean as a digit in a string", `{"verified":"1"}`, &userpb.Account{Verified: true}},
		{"a false one", `{"verified":"false"}`, &userpb.Account{}},
		{"a false one as a digit in a string", `{"verified":"0"}`, &userpb.Account{}},
		{"a boolean as a word two levels down", `{"users":[{"verified":"true","created":9007199254740993}]}`,
			&userpb.ListResponse{Users: []*userpb.Account{{Verified: true, Created: 9007199254740993}}}},
		{"a map", `{"env_vars":{"A":"1"}}`, &functionpb.DeployRequest{EnvVars: map[string]string{"A": "1"}}},
		{"a map as text", `{"envVars":"{\"A\":\"{}\"}"}`, &functionpb.DeployRequest{EnvVars: map[string]string{"A": "{}"}}},
		{"a list as text", `{"scopes":"[\"url\",\"app\"]"}`, &apipb.GenerateRequest{Scopes: []string{"url", "app"}}},
		{"a message as text", `{"tenant":"x","quotas":"{\"apps\":\"3\"}"}`, &apipb.SetQuotasRequest{Tenant: "x", Quotas: &apipb.Quotas{Apps: 3}}},
		{"an object", `{"request":{"a":[1,"1",true,"true",null]}}`, &functionpb.CallRequest{
			Request: object(t, map[string]any{"a": []any{1, "1", true, "true", nil}})}},
		{"an object as text", `{"request":"{\"a\":\"true\"}"}`, &functionpb.CallRequest{Request: object(t, map[string]any{"a": "true"})}},
		{"text that looks like JSON in a string field", `{"source":"{\"a\":1}","env_vars":"{}"}`, &functionpb.DeployRequest{Source: `{"a":1}`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := test.want.ProtoReflect().New().Interface()
			if err := reads([]byte(test.body), got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	deep := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)
	tests := []struct {
		name, body string
		into       proto.Message
	}{
		{"what is no JSON", `nonsense`, &urlpb.ResolveRequest{}},
		{"truncated JSON", `{"id":"x"`, &urlpb.ResolveRequest{}},
		{"two values", `{"id":"x"}{"id":"y"}`, &urlpb.ResolveRequest{}},
		{"two values, one of them lenient", `{"verified":"true"}{"id":"y"}`, &userpb.Account{}},
		{"rubbish after a lenient one", `{"verified":"true"}]`, &userpb.Account{}},
		{"a list", `[]`, &urlpb.ResolveRequest{}},
		{"null", `null`, &urlpb.ResolveRequest{}},
		{"a string", `"{}"`, &urlpb.ResolveRequest{}},
		{"a number for text", `{"id":1}`, &urlpb.ResolveRequest{}},
		{"an object for text", `{"id":{}}`, &urlpb.ResolveRequest{}},
		{"text for a number", `{"limit":"many"}`, &userpb.ListRequest{}},
		{"an empty text for a number", `{"limit":""}`, &userpb.ListRequest{}},
		{"a number out of range", `{"limit":-1}`, &userpb.ListRequest{}},
		{"text for a boolean", `{"verified":"yes"}`, &userpb.Account{}},
		{"a number for a boolean", `{"verified":1}`, &userpb.Account{}},
		{"text for a map", `{"env_vars":"A=1"}`, &functionpb.DeployRequest{}},
		{"a list for a map", `{"env_vars":"[]"}`, &functionpb.DeployRequest{}},
		{"a text for a list", `{"scopes":"url"}`, &apipb.GenerateRequest{}},
		{"a field twice", `{"id":"x","id":"y"}`, &urlpb.ResolveRequest{}},
		{"a field under both names", `{"old_password":"a","oldPassword":"b"}`, &userpb.UpdatePasswordRequest{}},
		{"a lenient field twice", `{"verified":"true","verified":"false"}`, &userpb.Account{}},
		{"a key of a map twice", `{"env_vars":{"A":"1","A":"2"}}`, &functionpb.DeployRequest{}},
		{"a key of a map in text twice", `{"env_vars":"{\"A\":\"1\",\"A\":\"2\"}"}`, &functionpb.DeployRequest{}},
		{"invalid UTF-8", "{\"id\":\"\xff\"}", &urlpb.ResolveRequest{}},
		{"invalid UTF-8 in an unknown field", "{\"nosuch\":\"\xff\"}", &urlpb.ResolveRequest{}},
		{"a lone surrogate", `{"id":"\ud800"}`, &urlpb.ResolveRequest{}},
		{"10,000 levels", deep, &urlpb.ResolveRequest{}},
		{"10,000 levels in an unknown field", `{"nosuch":` + deep + `}`, &urlpb.ResolveRequest{}},
		{"10,000 levels in an object", `{"request":{"a":` + deep + `}}`, &functionpb.CallRequest{}},
		{"10,000 levels in an object as text", `{"request":` + strconv.Quote(`{"a":`+deep+`}`) + `}`, &functionpb.CallRequest{}},
		{"10,000 levels in a list of messages", `{"users":` + deep + `}`, &userpb.ListResponse{}},
		{"10,000 open levels", strings.Repeat(`{"users":[`, 10_000), &userpb.ListResponse{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := reads([]byte(test.body), test.into); err == nil {
				t.Errorf("accepted as %v", test.into)
			}
		})
	}
}

func TestEncode(t *testing.T) {
	tests := []struct {
		name string
		m    proto.Message
		want string
	}{
		{"every field is there", &urlpb.URLPair{Id: "x"}, `{"id":"x","destinationURL":"","shortURL":"","created":"","hitCount":"0"}`},
		{"lists are never null", &urlpb.ListResponse{}, `{"urlPairs":[]}`},
		{"maps are never null", &userpb.Account{}, `{"id":"","username":"","email":"","created":"0","updated":"0","verified":false,"verification_date":"0","profile":{}}`},
		{"an absent message is", &urlpb.CreateResponse{}, `{"url":null}`},
		{"an empty message", &urlpb.DeleteResponse{}, `{}`},
		{"maps are sorted", &functionpb.DeployRequest{EnvVars: map[string]string{"b": "2", "a": "1", "c": "< > \""}},
			`{"name":"","source":"","repo":"","branch":"","subfolder":"","entrypoint":"","runtime":"","region":"","env_vars":{"a":"1","b":"2","c":"< > \""},"backend":"","upload":"","files":{},"idle_timeout":"","concurrency":0}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := encode(test.m)
			if err != nil || string(got) != test.want {
				t.Errorf("got %s, %v; want %s", got, err, test.want)
			}
		})
	}
}

// What strings-only callers can say is all there is to say: an account written
// with every scalar as a string reads as the account.
func TestStringsSayAsMuchAsTypes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := &userpb.Account{
			Id:       rapid.String().Draw(t, "id"),
			Created:  rapid.Int64().Draw(t, "created"),
			Verified: rapid.Bool().Draw(t, "verified"),
			Profile:  rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "profile"),
		}
		profile, err := encode(&userpb.Account{Profile: want.Profile})
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ := strings.Cut(string(profile), `"profile":`)
		data := `{"id":` + quote(t, want.Id) + `,"created":"` + strconv.FormatInt(want.Created, 10) +
			`","verified":"` + strconv.FormatBool(want.Verified) + `","profile":` + quote(t, strings.TrimSuffix(text, "}")) + `}`
		got := &userpb.Account{}
		if err := reads([]byte(data), got); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
	})
}

// quote writes a string as JSON the way the codec does.
func quote(t *rapid.T, text string) string {
	data, err := encode(&urlpb.ShortenResponse{ShortURL: text})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(strings.TrimPrefix(string(data), `{"shortURL":`), "}")
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `{"verified":"true"}`, `{"id":"x","nosuch":[1]}`, `{"profile":"{\"a\":\"b\"}"}`, `{"created":"1"}`,
		`{"users":[{"verified":"0"}]}`, `{"users":"[{}]"}`, `{"id":"\ud800"}`, "{\"id\":\"\xff\"}", `[[[[`, `{"a":1,"a":2}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, m := range []proto.Message{&userpb.Account{}, &userpb.ListResponse{}, &functionpb.CallRequest{}, &apipb.SetQuotasRequest{}} {
			if reads(data, m) != nil {
				continue
			}
			written, err := encode(m)
			if err != nil {
				t.Fatalf("%q was read as %v, which cannot be written: %v", data, m, err)
			}
			again := m.ProtoReflect().New().Interface()
			if err := reads(written, again); err != nil {
				t.Fatalf("%q was written as %s, which cannot be read: %v", data, written, err)
			}
			rewritten, err := encode(again)
			if err != nil || string(rewritten) != string(written) {
				t.Errorf("%q became %s, then %s, %v", data, written, rewritten, err)
			}
		}
	})
}

func FuzzParameters(f *testing.F) {
	for _, seed := range []string{"", "id=x", "id=x&id=y", "id=%ff", "a;b", "id=%zz", "id=<b>\"&verified=true", "=&="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		data, err := parameters(query)
		if err != nil {
			return
		}
		if err := reads(data, &urlpb.ResolveRequest{}); err != nil {
			t.Errorf("the parameters %q became %s, which text fields refuse: %v", query, data, err)
		}
	})
}
