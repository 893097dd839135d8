package user

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/m3o/ingress/internal/api"
	"github.com/m3o/ingress/internal/mail"
)

// What texts of mail hold in place of the secret (WIRE.md 6).
const (
	linkPlaceholder = "$micro_verification_link"
	codePlaceholder = "$code"
)

// maxURLBytes bounds addresses that are stored or mailed.
const maxURLBytes = 2048

// letter is a message that a caller wrote, with a placeholder in its text.
type letter struct {
	message     mail.Message
	placeholder string
}

// newLetter checks what the caller wrote. The text must hold the placeholder:
// mail without its link or code is of no use to whoever gets it.
func newLetter(id, email, fromName, subject, text, placeholder string) (letter, error) {
	address, err := requireEmail(id, email)
	switch {
	case err != nil:
		return letter{}, err
	case subject == "":
		return letter{}, api.BadRequest(id, "missing subject")
	case text == "":
		return letter{}, api.BadRequest(id, "missing textContent")
	case !strings.Contains(text, placeholder):
		return letter{}, api.BadRequest(id, "text_content must contain %s", placeholder)
	}
	m := mail.Message{FromName: fromName, To: address, Subject: subject, Text: text}
	if err := m.Validate(); err != nil {
		return letter{}, invalidMail(id, err)
	}
	return letter{m, placeholder}, nil
}

func invalidMail(id string, err error) error {
	bad := api.BadRequest(id, "%s", err.Error())
	bad.Cause = err
	return bad
}

// fill returns the message with the secret in its place. Nothing else in the
// text changes, and what is put in is not searched again.
func (l letter) fill(secret string) mail.Message {
	m := l.message
	m.Text = strings.ReplaceAll(m.Text, l.placeholder, secret)
	return m
}

// mailError is what the caller is told when a message was not sent.
func mailError(id string, err error) error {
	var field *mail.FieldError
	if errors.As(err, &field) {
		return invalidMail(id, err)
	}
	var refused *mail.RefusedError
	if errors.As(err, &refused) {
		return &api.Error{ID: id, Code: http.StatusBadGateway, Detail: "the mail server refused the message; nothing was sent", Cause: err}
	}
	return api.Unavailable(id, "the message could not be sent; try again later", err)
}

// verificationLink puts a token and the addresses it leads to behind the
// configured URL, which may be a bare host and may have a query already.
func verificationLink(base, token, success, failure string) (string, error) {
	if !strings.Contains(base, "://") {
		base = "https://" + base
	}
	query := "token=" + url.QueryEscape(token)
	if success != "" {
		query += "&redirectUrl=" + url.QueryEscape(success)
	}
	if failure != "" {
		query += "&failureRedirectUrl=" + url.QueryEscape(failure)
	}
	return withQuery(base, query)
}

// magicLink puts a token behind the path of the caller's product that takes it.
// The slash between the two keeps an endpoint such as "@example.org" or
// ".example.org" from becoming part of the host.
func magicLink(address, endpoint, token string) (string, error) {
	link := address
	if endpoint != "" {
		link = strings.TrimRight(address, "/") + "/" + strings.TrimLeft(endpoint, "/")
	}
	return withQuery(link, "token="+url.QueryEscape(token))
}

// withQuery adds to the query of an absolute http or https URL.
func withQuery(link, query string) (string, error) {
	u, err := webURL(link)
	if err != nil {
		return "", err
	}
	if u.RawQuery != "" {
		query = u.RawQuery + "&" + query
	}
	u.RawQuery = strings.ReplaceAll(query, " ", "%20") // at which a mail program would end the link
	return u.String(), nil
}

// webURL parses an absolute http or https URL that a browser may be sent to.
func webURL(link string) (*url.URL, error) {
	if len(link) > maxURLBytes {
		return nil, errors.New("is too long")
	}
	u, err := url.Parse(link)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, errors.New("is not an absolute http or https URL")
	}
	if u.User != nil {
		return nil, errors.New("must not hold a user or password")
	}
	return u, nil
}

// optionalURL returns the API error for a redirect address that is given and
// cannot be followed.
func optionalURL(id, field, link string) error {
	if link == "" {
		return nil
	}
	if _, err := webURL(link); err != nil {
		return api.BadRequest(id, "%s %s", field, err.Error())
	}
	return nil
}
