package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/m3o/ingress/internal/api"
)

// problem is a failure in words for the person at the command line. Other errors
// are shown as they are.
type problem struct {
	// text says what happened, without a full stop.
	text string
	// hint says what to do about it, as whole sentences, or is empty.
	hint string
	// cause is the error behind it, or nil. It is not shown.
	cause error
}

func (p *problem) Error() string { return p.text }

func (p *problem) Unwrap() error { return p.cause }

// badUsage is a command line that says something impossible.
type badUsage struct{ text string }

func (b *badUsage) Error() string { return b.text }

func usagef(format string, args ...any) error { return &badUsage{fmt.Sprintf(format, args...)} }

// reportError writes an error of parsing the command line or of running a
// command: one sentence, then a hint on a line of its own where we know one. The
// command is commandName's and may be empty.
func reportError(w io.Writer, command string, err error) {
	var parse *kong.ParseError
	if errors.As(err, &parse) && command == "" {
		command = commandName(parse.Context)
	}
	if name, ok := mistyped(parse); ok {
		command, err = "", usagef("there is no command %s", name)
	}
	sentence, hint := "ingress: ", hintFor(command, err)
	if command != "" {
		sentence += command + ": "
	}
	// There is nobody left to tell when even this cannot be written.
	_, _ = fmt.Fprintln(w, printable(sentence+withoutEOL(err.Error())))
	if hint != "" {
		_, _ = fmt.Fprintln(w, printable(hint))
	}
}

// withoutEOL says in words what the parser says of a flag at the end of the line.
func withoutEOL(text string) string {
	if rest, ok := strings.CutSuffix(text, ` but got "EOL" (<EOL>)`); ok {
		flag, _, _ := strings.Cut(rest, ": expected ")
		return flag + ": its value is missing"
	}
	return text
}

// mistyped returns what stands where a command should and is none, so that the
// parser took it for an argument of the default one, which takes none.
func mistyped(parse *kong.ParseError) (name string, ok bool) {
	if parse == nil || commandName(parse.Context) != "serve" || slices.Contains(parse.Context.Args, "serve") {
		return "", false
	}
	rest, ok := strings.CutPrefix(parse.Error(), "unexpected argument ")
	name, _, _ = strings.Cut(rest, ",") // a suggestion may follow
	return name, ok
}

func hintFor(command string, err error) string {
	var known *problem
	if errors.As(err, &known) {
		return known.hint
	}
	var parse *kong.ParseError
	var usage *badUsage
	if errors.As(err, &parse) || errors.As(err, &usage) {
		return "See: " + strings.Join(strings.Fields("ingress "+command+" --help"), " ")
	}
	return ""
}

// commandName returns the name of the command chosen, such as "url create", or
// "" when none was. It may be given nil.
func commandName(parsed *kong.Context) string {
	if parsed == nil {
		return ""
	}
	var names []string
	for _, step := range parsed.Path {
		if step.Command != nil {
			names = append(names, step.Command.Name)
		}
	}
	return strings.Join(names, " ")
}

// explain turns the error of a call into a problem.
func (c *client) explain(ctx context.Context, err error) error {
	at := c.platform.Address.Redacted()
	var dns *net.DNSError
	var known *api.Error
	var shown *problem
	switch {
	case errors.As(err, &shown):
		return err
	case errors.Is(ctx.Err(), context.Canceled):
		return &problem{text: "interrupted", cause: err}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &problem{text: at + " refused the connection", hint: "Is it running? Start it with: ingress serve. If it listens elsewhere, say where with --address.", cause: err}
	case errors.As(err, &dns):
		return &problem{text: "no such host as " + dns.Name, hint: "Check --address and INGRESS_ADDRESS.", cause: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &problem{
			text:  fmt.Sprintf("no reply from %s within %s", at, c.platform.Timeout),
			hint:  "The call may still take effect. Give it longer with --timeout.",
			cause: err,
		}
	case errors.As(err, &known):
		return &problem{text: answer(at, known), hint: c.advice(known), cause: err}
	}
	return err
}

// answer puts an error of the API into a sentence. One that the API did not
// answer, because it could not be reached or understood, also says why.
func answer(at string, e *api.Error) string {
	text := fmt.Sprintf("%s (%d %s)", e.Detail, e.Code, e.ID)
	var tried *url.Error
	switch {
	case errors.As(e.Cause, &tried):
		return at + ": " + tried.Err.Error()
	case e.Cause != nil:
		return text + ": " + e.Cause.Error()
	}
	return text
}

// terse has what to do about answers whose words are the original platform's, for
// clients that compare them, and do not say it. All others do.
func terse() map[string]string {
	return map[string]string{
		"invalidate name format": "A name has 3 to 54 characters, lower-case letters and digits alone.",
		"invalid id":             "A link's id has 1 to 128 letters, digits, _ and -, and is not \"resolve\". An app's or function's is in its host name.",
		"id already exists":      "Choose another, or let it lead somewhere else with: ingress url update ID URL",
		"name already reserved":  "Somebody else has it, or the platform itself. Choose another.",
		"invalid git repo": "An address is such as github.com/owner/repository, https://… or git@host:path, without a password in it. " +
			"A folder of this machine goes with --dir.",
		"invalid runtime": "Name its language with --runtime; those there are: ingress function runtimes",
	}
}

// whereToLook has, for the service or the method that knows nothing of a name or an id,
// what shows those that there are. Other methods of keys may not know the tenant.
func whereToLook() map[string]string {
	return map[string]string{
		"app":         "Your apps are shown by: ingress app list",
		"function":    "Your functions are shown by: ingress function list",
		"url":         "Your links are shown by: ingress url list",
		"user":        "Accounts go by their ids, which are shown by: ingress user list",
		"keys.revoke": "Keys go by their ids, which are shown by: ingress key list",
		"tenants":     "The tenants are shown by: ingress tenant list",
	}
}

// advice says what to do about an error of the API, when we know.
func (c *client) advice(e *api.Error) string {
	if e.ID == "go.micro.client" && e.Code == http.StatusNotFound {
		return "What can be called is shown at " + c.platform.Address.JoinPath("v1", "docs").Redacted()
	}
	if e.ID != "v1" && e.ID != "v1.blocked" {
		// The method's own answer; the key was good.
		if service, _, _ := strings.Cut(e.ID, "."); e.Detail == "not found" && !strings.Contains(strings.ToLower(e.ID), "session") {
			return cmp.Or(whereToLook()[service], whereToLook()[e.ID])
		}
		return terse()[e.Detail]
	}
	switch e.Code {
	case http.StatusUnauthorized:
		return "The key is not one of " + c.platform.Address.Redacted() + ". Set " + tokenVariable + " to one that is; make one with: ingress key create --scope '*'"
	case http.StatusForbidden:
		return "The key may not do this. One that may is made with: ingress key create --scope SERVICE (with --backend: SERVICE,backend)"
	case http.StatusTooManyRequests:
		return "The key is over its rate limit. Wait a few seconds and try again."
	}
	return ""
}
