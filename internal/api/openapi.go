package api

import (
	"encoding/json"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// The parts of an OpenAPI 3.0 document that ours has. 3.0 rather than 3.1,
// because more generators read it.
type (
	openAPI struct {
		OpenAPI    string               `json:"openapi"`
		Info       apiInfo              `json:"info"`
		Servers    []apiServer          `json:"servers"`
		Tags       []apiTag             `json:"tags"`
		Security   []map[string][]any   `json:"security"`
		Paths      map[string]*pathItem `json:"paths"`
		Components components           `json:"components"`
	}
	apiInfo struct {
		Title       string `json:"title"`
		Version     string `json:"version"`
		Description string `json:"description"`
	}
	apiServer struct {
		URL string `json:"url"`
	}
	apiTag struct {
		Name        string `json:"name"`
		Description string `json:"description,omitempty"`
	}
	components struct {
		Schemas         map[string]*schema        `json:"schemas"`
		Responses       map[string]*apiResponse   `json:"responses"`
		Headers         map[string]apiHeader      `json:"headers"`
		SecuritySchemes map[string]securityScheme `json:"securitySchemes"`
	}
	securityScheme struct {
		Type        string `json:"type"`
		Scheme      string `json:"scheme"`
		Description string `json:"description"`
	}
	pathItem struct {
		Get  *operation `json:"get,omitempty"`
		Post *operation `json:"post"`
		Put  *operation `json:"put,omitempty"`
	}
	operation struct {
		OperationID string                  `json:"operationId"`
		Tags        []string                `json:"tags"`
		Summary     string                  `json:"summary,omitempty"`
		Description string                  `json:"description,omitempty"`
		Parameters  []parameter             `json:"parameters,omitempty"`
		RequestBody *requestBody            `json:"requestBody,omitempty"`
		Responses   map[string]*apiResponse `json:"responses"`
		Streaming   bool                    `json:"x-streaming,omitempty"`
	}
	parameter struct {
		Name        string  `json:"name"`
		In          string  `json:"in"`
		Description string  `json:"description,omitempty"`
		Schema      *schema `json:"schema"`
	}
	requestBody struct {
		Content map[string]mediaType `json:"content"`
	}
	mediaType struct {
		Schema *schema `json:"schema"`
	}
	apiResponse struct {
		Ref         string               `json:"$ref,omitempty"`
		Description string               `json:"description,omitempty"`
		Headers     map[string]apiHeader `json:"headers,omitempty"`
		Content     map[string]mediaType `json:"content,omitempty"`
	}
	apiHeader struct {
		Ref         string  `json:"$ref,omitempty"`
		Description string  `json:"description,omitempty"`
		Schema      *schema `json:"schema,omitempty"`
	}
)

const (
	mediaJSON = "application/json"

	apiDescription = "Every method is a POST with a JSON object, or a GET with parameters; PUT and DELETE behave as POST. " +
		"Paths and names of methods may be written in any case, field names as here or in lowerCamelCase; unknown fields are ignored. " +
		"64-bit integers are strings in replies, and strings or numbers in requests."

	uploadNote = "An upload: the body is the archive itself. It may be as long as the ingress allows, " +
		"which is more than for other requests; a client that sends Expect: 100-continue learns of a refusal before it sends the body."

	streamNote = "Streams: over HTTP the reply is any number of JSON objects, one a line, of which the last may be an error; " +
		"over a WebSocket the request is one text frame and each object of the reply another."
)

// OpenAPI returns an OpenAPI 3.0 document of the services as JSON. It is made
// from their descriptors, so it cannot differ from what the codec does. The same
// services give the same bytes.
func OpenAPI(services ...protoreflect.ServiceDescriptor) ([]byte, error) {
	document := openAPI{
		OpenAPI:  "3.0.3",
		Info:     apiInfo{Title: "M3O Ingress", Version: "v1", Description: apiDescription},
		Servers:  []apiServer{{URL: "/"}},
		Tags:     []apiTag{},
		Security: []map[string][]any{{"bearer": {}}, {"basic": {}}},
		Paths:    map[string]*pathItem{},
		Components: components{
			Schemas:         schemas(services),
			Responses:       errorResponses(),
			Headers:         headers(),
			SecuritySchemes: securitySchemes(),
		},
	}
	inputs := inputNames(services)
	for _, service := range services {
		tag := string(service.FullName())
		document.Tags = append(document.Tags, apiTag{Name: tag, Description: comment(service)})
		for i := range service.Methods().Len() {
			method := service.Methods().Get(i)
			document.Paths[methodPath(method)] = describe(method, tag, inputs)
		}
	}
	return json.Marshal(document)
}

// methodPath returns the path of a method as the clients' documentation spells
// it: /v1/url/Create, or /v1/api/keys/Generate when the package has services of
// other names than its own.
func methodPath(method protoreflect.MethodDescriptor) string {
	service := method.Parent()
	pkg := string(service.ParentFile().Package())
	name := strings.ToLower(string(service.Name()))
	if name == pkg {
		return pathPrefix + pkg + "/" + string(method.Name())
	}
	return pathPrefix + pkg + "/" + name + "/" + string(method.Name())
}

func describe(method protoreflect.MethodDescriptor, tag string, inputs map[protoreflect.FullName]string) *pathItem {
	post := operation{
		OperationID: string(method.FullName()),
		Tags:        []string{tag},
		Summary:     firstSentence(comment(method)),
		Description: comment(method),
		Responses:   responses(method),
		Streaming:   method.IsStreamingServer(),
	}
	if method.IsStreamingClient() {
		return describeUpload(post)
	}
	if post.Streaming {
		post.Description += "\n\n" + streamNote
	}
	get := post
	get.OperationID += ".get"
	get.Parameters = queryParameters(method.Input())
	post.RequestBody = &requestBody{Content: map[string]mediaType{
		mediaJSON: {Schema: refersTo(inputs[method.Input().FullName()])},
	}}
	return &pathItem{Get: &get, Post: &post}
}

// describeUpload turns the description of a method into that of an upload, which
// has no parameters and hence no GET.
func describeUpload(post operation) *pathItem {
	post.Description += "\n\n" + uploadNote
	post.RequestBody = &requestBody{Content: map[string]mediaType{}}
	for _, kind := range uploadTypes() {
		post.RequestBody.Content[kind] = mediaType{Schema: &schema{Type: "string", Format: "binary"}}
	}
	put := post
	put.OperationID += ".put"
	return &pathItem{Post: &post, Put: &put}
}

// queryParameters lists a request's fields as a GET may give them.
func queryParameters(md protoreflect.MessageDescriptor) []parameter {
	var list []parameter
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		text := comment(fd)
		if fd.IsList() || fd.IsMap() || fd.Message() != nil {
			text = strings.TrimSpace(text + " Given as JSON text.")
		}
		list = append(list, parameter{Name: string(fd.Name()), In: "query", Description: text, Schema: &schema{Type: "string"}})
	}
	return list
}

func responses(method protoreflect.MethodDescriptor) map[string]*apiResponse {
	ok := &apiResponse{
		Description: "The reply.",
		Headers:     rateHeaders(),
		Content:     map[string]mediaType{mediaJSON: {Schema: refersTo(string(method.Output().FullName()))}},
	}
	if method.IsStreamingServer() {
		ok.Description = "Any number of these objects, one a line."
	}
	all := map[string]*apiResponse{"200": ok}
	for _, status := range []string{"400", "401", "403", "404", "413", "415", "429", "default"} {
		all[status] = &apiResponse{Ref: "#/components/responses/" + status}
	}
	return all
}

func errorResponses() map[string]*apiResponse {
	all := map[string]*apiResponse{}
	for status, description := range map[string]string{
		"400":     "The request is not as it should be; the detail says why.",
		"401":     "The key is missing or not good.",
		"403":     "The key may not do this.",
		"404":     "What was asked for does not exist.",
		"413":     "The request is too large.",
		"415":     "The body is not JSON.",
		"429":     "Too many requests; Retry-After says when to come back.",
		"default": "Another failure, in the same shape.",
	} {
		all[status] = &apiResponse{
			Description: description,
			Headers:     rateHeaders(),
			Content:     map[string]mediaType{mediaJSON: {Schema: refersTo(errorSchema)}},
		}
	}
	all["429"].Headers["Retry-After"] = apiHeader{Ref: "#/components/headers/Retry-After"}
	return all
}

func headers() map[string]apiHeader {
	number := &schema{Type: "integer"}
	return map[string]apiHeader{
		"RateLimit-Limit":     {Description: "Requests allowed at once.", Schema: number},
		"RateLimit-Remaining": {Description: "Requests left.", Schema: number},
		"RateLimit-Reset":     {Description: "Seconds until all are allowed again.", Schema: number},
		"Retry-After":         {Description: "Seconds to wait.", Schema: number},
	}
}

// rateHeaders are on every reply to an authenticated caller with a limit.
func rateHeaders() map[string]apiHeader {
	refer := map[string]apiHeader{}
	for _, name := range []string{"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"} {
		refer[name] = apiHeader{Ref: "#/components/headers/" + name}
	}
	return refer
}

func securitySchemes() map[string]securityScheme {
	return map[string]securityScheme{
		"bearer": {"http", "bearer", "The API key. On a WebSocket the key may be given as the subprotocol instead, since browsers cannot set headers there."},
		"basic":  {"http", "basic", "Any user name, with the API key as the password."},
	}
}

// comment returns what the .proto file says about something, as one paragraph
// for each of its own.
func comment(d protoreflect.Descriptor) string {
	text := d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments
	var paragraphs []string
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		if joined := strings.Join(strings.Fields(paragraph), " "); joined != "" {
			paragraphs = append(paragraphs, joined)
		}
	}
	return strings.Join(paragraphs, "\n\n")
}

func firstSentence(text string) string {
	first, _, _ := strings.Cut(text, ". ")
	return strings.TrimSuffix(first, ".")
}
