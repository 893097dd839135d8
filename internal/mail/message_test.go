package mail

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	netmail "net/mail"
	"strings"
	"testing"

	gomail "github.com/wneessen/go-mail"
)

func TestValidateRefuses(t *testing.T) {
	good := Message{FromName: "Shop", To: "anna@example.com", Subject: "Hello", Text: "Hi\r\nthere"}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		field  string
		change func(*Message)
	}{
		{"subject", func(m *Message) { m.Subject = "a\r\nBcc: b@example.com" }},
		{"subject", func(m *Message) { m.Subject = "a\nb" }},
		{"subject", func(m *Message) { m.Subject = "a\rb" }},
		{"subject", func(m *Message) { m.Subject = "a\x00b" }},
		{"subject", func(m *Message) { m.Subject = "a\u0085b" }},
		{"subject", func(m *Message) { m.Subject = "a\u2029b" }},
		{"subject", func(m *Message) { m.Subject = "\xff" }},
		{"subject", func(m *Message) { m.Subject = strings.Repeat("x", 513) }},
		{"from name", func(m *Message) { m.FromName = "a\r\nTo: b@example.com" }},
		{"from name", func(m *Message) { m.FromName = strings.Repeat("x", 129) }},
		{"from name", func(m *Message) { m.FromName = `a\b` }},
		{"address", func(m *Message) { m.To = "" }},
		{"address", func(m *Message) { m.To = "anna@example.com\r\nRCPT TO:<b@example.com>" }},
		{"address", func(m *Message) { m.To = "Anna <anna@example.com>" }},
		{"address", func(m *Message) { m.To = "a@example.com, b@example.com" }},
		{"address", func(m *Message) { m.To = strings.Repeat("x", 251) + "@b.c" }},
		{"text", func(m *Message) { m.Text = "\xff" }},
		{"text", func(m *Message) { m.Text = "a\x00" }},
		{"text", func(m *Message) { m.Text = strings.Repeat("x", 64<<10+1) }},
	} {
		m := good
		test.change(&m)
		var field *FieldError
		if err := m.Validate(); !errors.As(err, &field) || field.Field != test.field {
			t.Errorf("%.60q: got %v, want an error about the %s", m, err, test.field)
		}
	}
}

func TestParseSender(t *testing.T) {
	for from, want := range map[string]sender{
		"no-reply@example.com":               {"", "no-reply@example.com"},
		"Example <no-reply@example.com>":     {"Example", "no-reply@example.com"},
		`"Ex, ample" <a@example.com>`:        {"Ex, ample", "a@example.com"},
		"=?utf-8?q?=C3=84?= <a@example.com>": {"Ä", "a@example.com"},
	} {
		if got, err := parseSender(from); err != nil || got != want {
			t.Errorf("%q: %+v, %v", from, got, err)
		}
	}
	for _, from := range []string{"", "Example", "a@b, c@d", "=?utf-8?q?a=0D=0Ab?= <a@example.com>", "a@example.com\r\nBcc: b@c"} {
		if got, err := parseSender(from); err == nil || !strings.Contains(err.Error(), "mail-from") {
			t.Errorf("%q: %+v, %v", from, got, err)
		}
	}
}

// FuzzCompose checks that whatever Validate lets through arrives as one message
// with the headers we set and no others.
func FuzzCompose(f *testing.F) {
	f.Add("Shop", "Hello", "Hi there")
	f.Add("Shöp \"x\" <y@z>", "=?utf-8?q?a=0D=0ABcc:_b?=", ".\r\n.\r\nFrom me\r\n\r\nx")
	f.Add("", strings.Repeat("ü ", 200), strings.Repeat("long ", 2000))
	f.Fuzz(func(t *testing.T, name, subject, text string) {
		msg, err := sender{"Default", "no-reply@example.com"}.compose(Message{FromName: name, To: "anna@example.com", Subject: subject, Text: text}, gomail.EncodingQP)
		if err != nil {
			return
		}
		var wire bytes.Buffer
		if _, err := msg.WriteTo(&wire); err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(wire.String(), "\r\n") {
			if len(line) > 998 || strings.ContainsAny(line, "\r\n") { // RFC 5322 2.1.1
				t.Fatalf("a line of %d bytes", len(line))
			}
		}
		read, err := netmail.ReadMessage(bytes.NewReader(wire.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		for header, values := range read.Header {
			if !strings.Contains(" Auto-Submitted Content-Transfer-Encoding Content-Type Date From Message-Id Mime-Version Subject To ", " "+header+" ") || len(values) != 1 {
				t.Errorf("header %s: %q", header, values)
			}
		}
		to, err := read.Header.AddressList("To")
		if err != nil || len(to) != 1 || to[0].Address != "anna@example.com" {
			t.Errorf("To is %v, %v", to, err)
		}
		from, err := read.Header.AddressList("From")
		if err != nil || len(from) != 1 || from[0].Address != "no-reply@example.com" {
			t.Errorf("From is %v, %v", from, err)
		}
		body, err := io.ReadAll(quotedprintable.NewReader(read.Body))
		if err != nil || normalLines(string(body)) != normalLines(text) {
			t.Errorf("sent %q, arrived %q, %v", text, body, err)
		}
	})
}

// normalLines ignores how lines end and whether the last one does.
func normalLines(text string) string {
	return strings.TrimRight(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text), "\n")
}

func decodeHeader(t *testing.T, value string) string {
	t.Helper()
	text, err := new(mime.WordDecoder).DecodeHeader(value)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
