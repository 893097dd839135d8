package main

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
)

type callCmd struct {
	Service  string   `arg:"" help:"The service, such as url."`
	Endpoint string   `arg:"" help:"The method, such as resolve, or service and method, such as keys/list."`
	Request  []string `arg:"" optional:"" help:"The request: a JSON object, key=value…, or - for JSON on stdin."`
}

// parameterHelp explains the ways to give a request.
const parameterHelp = "A value given as key=value is sent as a string, which the API also takes for numbers and booleans. " +
	"With key:=value it is sent as the JSON it is."

func (callCmd) Help() string {
	return "The reply is printed as JSON; that of a stream, message by message as it comes. " + parameterHelp + "\n\n" + examples(
		"ingress call helloworld call name=Jane",
		"ingress call url create destinationURL=https://example.com/ id=docs",
		`ingress call app run '{"name": "shop", "backend": "http://127.0.0.1:3000"}'`,
		`ingress call user update id=jane 'profile:={"team": "blue"}'`,
		"ingress call api keys/list",
		"ingress call user login - < login.json",
	)
}

// segment is what one part of a method's address may consist of. It keeps a
// mistyped one from reaching some other path of the host.
var segment = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func (cmd *callCmd) Run(ctx context.Context, c *client) error {
	service, endpoint, err := methodAddress(cmd.Service, cmd.Endpoint)
	if err != nil {
		return err
	}
	body, err := c.document(ctx, cmd.Request)
	if err != nil {
		return err
	}
	return c.stream(ctx, service, endpoint, body, func(message json.RawMessage) error { return c.printJSON(message) })
}

// methodAddress checks the address of a method, of two segments or of three, and
// returns it as the API's client wants it: all but the last, and the last.
func methodAddress(service, endpoint string) (string, string, error) {
	segments := strings.Split(service+"/"+endpoint, "/")
	if len(segments) > 3 {
		return "", "", usagef("%s %s: a method has a service and a name, or a package, a service and a name", service, endpoint)
	}
	for _, s := range segments {
		if !segment.MatchString(s) {
			return "", "", usagef("%s %s: not the name of a method; names consist of letters, digits, _ and -", service, endpoint)
		}
	}
	last := len(segments) - 1
	return strings.Join(segments[:last], "/"), segments[last], nil
}

// document returns the request that arguments stand for: parameters, one JSON
// document, or the one on stdin. It is a JSON object, {} when nothing is given.
func (c *client) document(ctx context.Context, arguments []string) (json.RawMessage, error) {
	switch {
	case len(arguments) == 1 && arguments[0] == "-":
		content, err := c.read(ctx, "-")
		if err != nil {
			return nil, err
		}
		return checkedObject(string(content), "what stdin gives")
	case isDocument(arguments):
		return checkedObject(arguments[0], "the request")
	}
	return objectOf(arguments)
}

// checkedObject refuses what is no JSON object, and says where it stops being
// one; it repeats nothing of it, as it may hold secrets.
func checkedObject(text, what string) (json.RawMessage, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &object); err != nil || object == nil {
		if at := syntaxOffset(err); at > 0 {
			return nil, usagef("%s is not a JSON object: it goes wrong at byte %d", what, at)
		}
		return nil, usagef("%s is not a JSON object", what)
	}
	return json.RawMessage(text), nil
}

func syntaxOffset(err error) int64 {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return syntax.Offset
	}
	return 0
}
