package mail

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/m3o/ingress/internal/porttest"
)

// server is a mail server on a loopback port. It takes every message unless
// told otherwise.
type server struct {
	address string
	roots   *x509.CertPool

	mu       sync.Mutex
	received []string
	logins   []string
	secure   []bool // for each message, whether it came over TLS
	refuse   map[string]error
}

// protocol is how a server speaks.
type protocol struct {
	starttls, implicit, auth bool
}

func startServer(t *testing.T, p protocol) *server {
	t.Helper()
	s := &server{refuse: map[string]error{}}
	certificate, roots := newCertificate(t)
	s.roots = roots
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	if p.implicit {
		listener = tls.NewListener(listener, config)
	}
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		if p.auth {
			return &authSession{plainSession{s, c}}, nil
		}
		return &plainSession{s, c}, nil
	}))
	server.Domain, server.AllowInsecureAuth = "mail.test", true
	server.ErrorLog = quiet{}
	if p.starttls {
		server.TLSConfig = config
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		closeErr := server.Close()
		// A server closed before it began to serve knows nothing of its listener.
		listener.Close()
		if err := <-done; err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if closeErr != nil {
			t.Error(closeErr)
		}
	})
	return s
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

type plainSession struct {
	server *server
	conn   *smtp.Conn
}

func (s *plainSession) verdict(command string) error {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	return s.server.refuse[command]
}

func (s *plainSession) Reset()                               {}
func (s *plainSession) Logout() error                        { return nil }
func (s *plainSession) Mail(string, *smtp.MailOptions) error { return s.verdict("MAIL") }
func (s *plainSession) Rcpt(string, *smtp.RcptOptions) error { return s.verdict("RCPT") }
func (s *plainSession) Data(r io.Reader) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := s.verdict("DATA"); err != nil {
		return err
	}
	_, secure := s.conn.TLSConnectionState()
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.received = append(s.server.received, string(content))
	s.server.secure = append(s.server.secure, secure)
	return nil
}

type authSession struct{ plainSession }

func (s *authSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *authSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		s.server.mu.Lock()
		defer s.server.mu.Unlock()
		s.server.logins = append(s.server.logins, user)
		if user != "anna" || password != "p@ss word" {
			return smtp.ErrAuthFailed
		}
		return nil
	}), nil
}

func newCertificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

func (s *server) sender(t *testing.T, scheme, user, suffix string) *SMTP {
	t.Helper()
	config := SMTPConfig{URL: scheme + "://" + s.address + suffix, From: "Example <no-reply@example.com>", TLS: &tls.Config{RootCAs: s.roots}}
	if user != "" {
		config.URL = scheme + "://" + user + "@" + s.address + suffix
		config.Password = "p@ss word"
	}
	client, err := NewSMTP(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

var hello = Message{FromName: "Shöp", To: "anna@example.net", Subject: "Grüße", Text: "Hi\n.\nthere"}

func TestAMessageArrives(t *testing.T) {
	for _, test := range []struct {
		name         string
		protocol     protocol
		scheme, user string
		suffix       string
		secure       bool
	}{
		{"plain, loopback", protocol{}, "smtp", "", "", false},
		{"STARTTLS", protocol{starttls: true}, "smtp", "", "", true},
		{"STARTTLS offered, not wanted", protocol{starttls: true}, "smtp", "", "?tls=none", false},
		{"implicit TLS", protocol{implicit: true}, "smtps", "", "/", true},
		{"login in plain, loopback", protocol{auth: true}, "smtp", "anna", "", false},
		{"login after STARTTLS", protocol{starttls: true, auth: true}, "smtp", "anna", "", true},
		{"login under TLS", protocol{implicit: true, auth: true}, "smtps", "anna", "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := startServer(t, test.protocol)
			client := s.sender(t, test.scheme, test.user, test.suffix)
			var all sync.WaitGroup
			for range 5 {
				all.Go(func() {
					if err := client.Send(t.Context(), hello); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.received) != 5 || s.secure[0] != test.secure {
				t.Fatalf("received %d, over TLS %v", len(s.received), s.secure)
			}
			if got := s.received[0]; !strings.Contains(got, "To: <anna@example.net>") || !strings.Contains(got, "Hi\r\n.\r\nthere") {
				t.Errorf("received %s", got)
			}
			if (test.user != "") != (len(s.logins) == 5) {
				t.Errorf("logins %v", s.logins)
			}
		})
	}
}

func TestASecureServerIsNotSpokenToInTheClear(t *testing.T) {
	// A host that is not loopback must offer STARTTLS; the client is pointed at
	// one by name only, the connection stays on this machine.
	s := startServer(t, protocol{})
	client := s.sender(t, "smtp", "", "")
	remote, err := NewSMTP(SMTPConfig{URL: "smtp://mail.example.com", From: "a@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	client.policy = remote.policy
	if err := client.Send(t.Context(), hello); err == nil || !strings.Contains(err.Error(), "STARTTLS") {
		t.Errorf("got %v", err)
	}
	// A certificate nobody vouches for is no better.
	untrusted := startServer(t, protocol{starttls: true})
	other := untrusted.sender(t, "smtp", "", "")
	other.tls = &tls.Config{RootCAs: x509.NewCertPool()}
	var unknown x509.UnknownAuthorityError
	if err := other.Send(t.Context(), hello); !errors.As(err, &unknown) {
		t.Errorf("got %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.received)+len(untrusted.received) != 0 {
		t.Error("a message was sent all the same")
	}
}

func TestARefusalIsToldFromAnOutage(t *testing.T) {
	for _, command := range []string{"MAIL", "RCPT", "DATA"} {
		for code, forGood := range map[int]bool{450: false, 550: true} {
			t.Run(fmt.Sprint(command, code), func(t *testing.T) {
				s := startServer(t, protocol{})
				s.refuse[command] = &smtp.SMTPError{Code: code, Message: "not today"}
				err := s.sender(t, "smtp", "", "").Send(t.Context(), hello)
				var refused *RefusedError
				if err == nil || errors.As(err, &refused) != forGood || !strings.Contains(err.Error(), "not today") {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}

func TestAWrongPasswordIsSaidWithoutIt(t *testing.T) {
	s := startServer(t, protocol{auth: true})
	client := s.sender(t, "smtp", "bert", "")
	err := client.Send(t.Context(), hello)
	var refused *RefusedError
	if err == nil || errors.As(err, &refused) || !strings.Contains(err.Error(), "535") {
		t.Fatalf("got %v", err)
	}
	if strings.Contains(err.Error(), client.password) {
		t.Errorf("the error holds the password: %v", err)
	}
}

// silentServer accepts connections and says nothing; connections tells of each.
func silentServer(t *testing.T) (address string, connections <-chan net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn, 10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	return listener.Addr().String(), accepted
}

func TestASilentServerIsGivenUpOn(t *testing.T) {
	for _, scheme := range []string{"smtp", "smtps"} {
		address, accepted := silentServer(t)
		client, err := NewSMTP(SMTPConfig{URL: scheme + "://" + address, From: "a@example.com", Timeout: time.Second}) // enough to connect, which the server waits for
		if err != nil {
			t.Fatal(err)
		}
		var refused *RefusedError
		if err := client.Send(t.Context(), hello); err == nil || errors.As(err, &refused) {
			t.Errorf("got %v", err)
		}
		expectClosed(t, <-accepted)

		client.timeout = time.Hour
		ctx, cancel := context.WithCancel(t.Context())
		sent := make(chan error)
		go func() { sent <- client.Send(ctx, hello) }()
		conn := <-accepted
		cancel()
		if err := <-sent; !errors.Is(err, context.Canceled) {
			t.Errorf("a caller that left gets %v", err)
		}
		expectClosed(t, conn)
	}
}

// expectClosed fails the test unless the client has closed its end.
func expectClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, err := io.Copy(io.Discard, conn)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("the connection was left open")
	}
}

func TestAPortWithoutAServer(t *testing.T) {
	address := porttest.Closed(t)
	client, err := NewSMTP(SMTPConfig{URL: "smtp://" + address, From: "a@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	var refused *RefusedError
	if err := client.Send(t.Context(), hello); err == nil || errors.As(err, &refused) || !strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("got %v", err)
	}
}

func TestABadMessageIsNotSent(t *testing.T) {
	s := startServer(t, protocol{})
	var field *FieldError
	for _, m := range []Message{{}, {To: "anna@example.com", Subject: "a\r\nBcc: b@example.com"}, {To: "a@b.c>\r\nRCPT TO:<d@e.f"}} {
		if err := s.sender(t, "smtp", "", "").Send(t.Context(), m); !errors.As(err, &field) {
			t.Errorf("%+v: %v", m, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.received) != 0 {
		t.Errorf("received %v", s.received)
	}
}

func TestNewSMTPNamesTheSetting(t *testing.T) {
	for _, test := range []struct {
		config SMTPConfig
		says   string
	}{
		{SMTPConfig{URL: "http://mail.example.com"}, `smtp-url has the scheme "http"`},
		{SMTPConfig{URL: "mail.example.com:587"}, "smtp-url"},
		{SMTPConfig{URL: ""}, "smtp-url"},
		{SMTPConfig{URL: "smtp://"}, "smtp-url"},
		{SMTPConfig{URL: "smtp://:587"}, "smtp-url"},
		{SMTPConfig{URL: "smtp://mail.example.com:0"}, "port"},
		{SMTPConfig{URL: "smtp://mail.example.com:99999"}, "port"},
		{SMTPConfig{URL: "smtp://mail.example.com:port"}, "smtp-url"},
		{SMTPConfig{URL: "smtp://mail.example.com/inbox"}, "smtp-url"},
		{SMTPConfig{URL: "smtp://mail.example.com?tls=maybe"}, "tls=none"},
		{SMTPConfig{URL: "smtp://mail.example.com?starttls=no"}, "tls=none"},
		{SMTPConfig{URL: "smtps://mail.example.com?tls=none"}, "tls=none"},
		{SMTPConfig{URL: "smtp://anna@mail.example.com?tls=none", Password: "s3cret"}, "in the clear"},
		{SMTPConfig{URL: "smtp://anna:s3cret@mail.example.com", Password: "s3cret"}, "INGRESS_SMTP_PASSWORD"},
		{SMTPConfig{URL: "smtp://anna:s3cret@mail.example.com:x%"}, "smtp-url"},
		{SMTPConfig{URL: "smtp://anna@mail.example.com"}, "INGRESS_SMTP_PASSWORD"},
		{SMTPConfig{URL: "smtp://mail.example.com", Password: "s3cret"}, "INGRESS_SMTP_PASSWORD"},
		{SMTPConfig{URL: "smtp://mail.example.com"}, "mail-from is missing"},
		{SMTPConfig{URL: "smtp://mail.example.com", From: "nobody"}, `mail-from "nobody"`},
	} {
		_, err := NewSMTP(test.config)
		if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: got %v, want it to say %q", test.config.URL, err, test.says)
		}
	}
	for url, port := range map[string]int{"smtp://mail.example.com": 587, "smtps://mail.example.com": 465, "smtp://[::1]:25": 25} {
		if s, err := NewSMTP(SMTPConfig{URL: url, From: "a@example.com"}); err != nil || s.port != port {
			t.Errorf("%s: %v", url, err)
		}
	}
}
