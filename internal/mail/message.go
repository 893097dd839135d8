// Package mail sends plain-text e-mail: over SMTP, or, when no server is
// configured, into a local outbox that a developer can open.
package mail

import (
	"crypto/rand"
	"errors"
	"fmt"
	netmail "net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	gomail "github.com/wneessen/go-mail"
)

// Bounds of a message. They are far above anything a person would read and keep
// one message from filling a disk or a mail server's patience.
const (
	maxNameBytes    = 128
	maxSubjectBytes = 512
	maxTextBytes    = 64 << 10
	maxAddressBytes = 254 // RFC 5321 4.5.3.1.3: a path has 256 octets, brackets included
)

// Message is one e-mail, text/plain in UTF-8. It has one recipient; the sender's
// address belongs to whoever sends it.
type Message struct {
	// FromName is shown in place of the sender's configured name, when set.
	FromName string
	// To is the recipient's address, without a name.
	To string
	// Subject is one line.
	Subject string
	// Text is the body; lines may be of any length.
	Text string
}

// FieldError says which field of a Message cannot be sent, and why. Its text is
// fit for whoever wrote the message.
type FieldError struct {
	// Field is "from name", "address", "subject" or "text".
	Field string
	// Problem says what is wrong with it.
	Problem string
}

// Error implements error.
func (e *FieldError) Error() string { return e.Field + " " + e.Problem }

// Validate returns a *FieldError unless the message can be sent as it is. Line
// breaks and other control characters in the name, the address and the subject
// are refused rather than removed: whoever put them there meant to add headers
// (RFC 5322 2.2).
func (m Message) Validate() error {
	if err := checkName(m.FromName); err != nil {
		return err
	}
	if err := checkLine("subject", m.Subject, maxSubjectBytes); err != nil {
		return err
	}
	if err := checkText(m.Text); err != nil {
		return err
	}
	return checkAddress(m.To)
}

// checkName also refuses the backslash: next to a letter that is not ASCII,
// net/mail writes it into an encoded word, where RFC 2047 5 (3) does not allow
// it and some readers then reject the whole header.
func checkName(name string) error {
	if err := checkLine("from name", name, maxNameBytes); err != nil {
		return err
	}
	if strings.Contains(name, `\`) {
		return &FieldError{"from name", "contains a backslash"}
	}
	return nil
}

func checkLine(field, value string, limit int) error {
	if len(value) > limit {
		return &FieldError{field, fmt.Sprintf("is longer than %d bytes", limit)}
	}
	if !utf8.ValidString(value) {
		return &FieldError{field, "is not valid UTF-8"}
	}
	if strings.ContainsFunc(value, breaksLine) {
		return &FieldError{field, "contains a line break or control character"}
	}
	return nil
}

// breaksLine also holds for the line and paragraph separators, which some mail
// programs treat as line ends.
func breaksLine(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029'
}

func checkText(text string) error {
	if len(text) > maxTextBytes {
		return &FieldError{"text", fmt.Sprintf("is longer than %d bytes", maxTextBytes)}
	}
	if !utf8.ValidString(text) {
		return &FieldError{"text", "is not valid UTF-8"}
	}
	if strings.ContainsRune(text, 0) {
		return &FieldError{"text", "contains a NUL character"}
	}
	return nil
}

func checkAddress(address string) error {
	if err := checkLine("address", address, maxAddressBytes); err != nil {
		return err
	}
	parsed, err := netmail.ParseAddress(address)
	if err != nil || parsed.Address != address {
		return &FieldError{"address", "is not an e-mail address"}
	}
	return nil
}

// sender is the From of every message.
type sender struct {
	name, address string
}

// parseSender reads "Name <address>" or a bare address, as given in --mail-from.
func parseSender(from string) (sender, error) {
	if from == "" {
		return sender{}, errors.New("mail-from is missing; give the address mail is sent from, such as \"Example <no-reply@example.com>\"")
	}
	parsed, err := netmail.ParseAddress(from)
	if err != nil {
		return sender{}, fmt.Errorf("mail-from %q is not an e-mail address such as \"Example <no-reply@example.com>\"", from)
	}
	if err := checkName(parsed.Name); err != nil {
		return sender{}, fmt.Errorf("mail-from %q: %w", from, err)
	}
	if err := checkAddress(parsed.Address); err != nil {
		return sender{}, fmt.Errorf("mail-from %q: %w", from, err)
	}
	return sender{name: parsed.Name, address: parsed.Address}, nil
}

// compose checks the message and puts it into its wire form. The Message-ID
// names the sender's domain, not this machine, whose name is nobody's business.
// How the text is encoded is up to where the message goes.
func (s sender) compose(m Message, text gomail.Encoding) (*gomail.Msg, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	name := m.FromName
	if name == "" {
		name = s.name
	}
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent(), gomail.WithEncoding(text))
	msg.FromMailAddress(&netmail.Address{Name: name, Address: s.address})
	msg.ToMailAddress(&netmail.Address{Address: m.To})
	msg.Subject(m.Subject)
	msg.SetDate()
	msg.SetMessageIDWithValue(rand.Text() + "@" + s.domain())
	// RFC 3834: vacation programs and the like must not answer.
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetBodyString(gomail.TypeTextPlain, oneLineEnd(m.Text))
	return msg, nil
}

func (s sender) domain() string {
	return s.address[strings.LastIndexByte(s.address, '@')+1:]
}

// oneLineEnd lets lines end in one way. mime/quotedprintable loses a line feed that
// follows a lone carriage return, even with other characters between them.
func oneLineEnd(text string) string {
	return strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
}
