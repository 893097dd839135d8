package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// defaultTimeout bounds one message from dialling to the server's last word. A
// caller is waiting for the answer.
const defaultTimeout = 15 * time.Second

// SMTPConfig says how to reach the mail server.
type SMTPConfig struct {
	// URL is smtp://user@host:587, where STARTTLS is required, or
	// smtps://user@host:465, which is TLS from the first byte. The user and the
	// port are optional. TLS is not required of a loopback host, nor with
	// ?tls=none.
	URL string
	// Password belongs to the URL's user. It is kept apart so that the URL can be
	// shown.
	Password string
	// From is who mail comes from, "Name <address>" or an address.
	From string
	// Timeout bounds one message; 15 s when zero.
	Timeout time.Duration
	// TLS is the base of the TLS settings; nil means the system's roots.
	TLS *tls.Config
}

// SMTP sends messages through a mail server, each on a connection of its own. It
// is safe for concurrent use.
type SMTP struct {
	from     sender
	host     string
	port     int
	implicit bool // TLS from the first byte
	policy   gomail.TLSPolicy
	user     string
	password string
	timeout  time.Duration
	tls      *tls.Config
}

// RefusedError says that the mail server understood the message and will not
// take it (RFC 5321 4.2.1: a 5yz reply); sending it again changes nothing. Any
// other error of Send may be gone the next time.
type RefusedError struct {
	// Cause is the server's answer.
	Cause error
}

// Error implements error.
func (e *RefusedError) Error() string { return "the mail server refused it: " + e.Cause.Error() }

// Unwrap returns the server's answer.
func (e *RefusedError) Unwrap() error { return e.Cause }

// NewSMTP checks the settings without connecting. Its errors name the setting
// and what would be right.
func NewSMTP(c SMTPConfig) (*SMTP, error) {
	s := &SMTP{password: c.Password, timeout: c.Timeout, tls: c.TLS}
	if s.timeout <= 0 {
		s.timeout = defaultTimeout
	}
	if err := s.parseURL(c.URL); err != nil {
		return nil, err
	}
	if (s.user == "") != (s.password == "") {
		return nil, errors.New("smtp-url and INGRESS_SMTP_PASSWORD: give both a user in the URL and its password, or neither")
	}
	var err error
	s.from, err = parseSender(c.From)
	return s, err
}

func (s *SMTP) parseURL(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		// The parser's own error repeats the URL, which may hold a password.
		return errors.New("smtp-url is not a URL such as smtp://user@host:587")
	}
	if _, has := u.User.Password(); has {
		return errors.New("smtp-url holds a password; give it in INGRESS_SMTP_PASSWORD instead")
	}
	if u.Hostname() == "" || (u.Path != "" && u.Path != "/") || u.Fragment != "" {
		return fmt.Errorf("smtp-url %q must have the form smtp://user@host:587", text)
	}
	s.host, s.user = u.Hostname(), u.User.Username()
	if err := s.parsePort(u); err != nil {
		return err
	}
	return s.parseTLS(u)
}

func (s *SMTP) parsePort(u *url.URL) error {
	switch u.Scheme {
	case "smtp":
		s.port = 587 // RFC 6409: message submission
	case "smtps":
		s.port, s.implicit = 465, true // RFC 8314 7.3
	default:
		return fmt.Errorf("smtp-url has the scheme %q; use smtp:// or smtps://", u.Scheme)
	}
	if u.Port() == "" {
		return nil
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil || port < 1 || port > 65535 {
		return fmt.Errorf("smtp-url has the port %q; use 1 to 65535", u.Port())
	}
	s.port = port
	return nil
}

func (s *SMTP) parseTLS(u *url.URL) error {
	s.policy = gomail.TLSMandatory
	if loopback(s.host) {
		s.policy = gomail.TLSOpportunistic
	}
	query := u.Query()
	mode := query.Get("tls")
	query.Del("tls")
	if len(query) > 0 || (mode != "" && (mode != "none" || s.implicit)) {
		return errors.New("smtp-url: the only parameter is tls=none, and only with smtp://")
	}
	if mode != "none" {
		return nil
	}
	s.policy = gomail.NoTLS
	if s.user != "" && !loopback(s.host) {
		return errors.New("smtp-url: tls=none would send the password in the clear; leave out the user or tls=none")
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Send hands the message to the server and returns once the server has taken
// responsibility for it. It returns a *FieldError for a message that cannot be
// sent, a *RefusedError when the server will never take it, and other errors,
// ctx's end among them, when trying again may help.
func (s *SMTP) Send(ctx context.Context, m Message) error {
	// Quoted-printable survives every server; 8-bit text only those that say so
	// (RFC 6152).
	msg, err := s.from.compose(m, gomail.EncodingQP)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	conn := &connection{dialer: net.Dialer{}, tls: s.implicitTLS()}
	defer conn.close()
	// The protocol's reads and writes know nothing of ctx: closing ends them.
	stop := context.AfterFunc(ctx, conn.close)
	defer stop()
	client, err := s.client(conn)
	if err != nil {
		return fmt.Errorf("send mail through %s: %w", s.host, err)
	}
	if err := client.DialAndSendWithContext(ctx, msg); err != nil && !msg.IsDelivered() {
		return fmt.Errorf("send mail through %s: %w", s.host, explain(ctx, err))
	}
	return nil
}

// explain turns what the client reports into what Send promises.
func explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	var sent *gomail.SendError
	if errors.As(err, &sent) && sent.ErrorCode() >= 500 {
		return &RefusedError{err}
	}
	return err
}

// client makes a client for one message: its options cannot be changed safely
// while it is used.
func (s *SMTP) client(conn *connection) (*gomail.Client, error) {
	options := []gomail.Option{
		gomail.WithPort(s.port),
		gomail.WithTimeout(s.timeout),
		gomail.WithTLSConfig(s.tlsConfig()),
		gomail.WithTLSPolicy(s.policy),
		gomail.WithDialContextFunc(conn.dial),
		gomail.WithHELO(s.from.domain()),
		gomail.WithoutNoop(),
	}
	if s.implicit {
		options = append(options, gomail.WithSSL())
	}
	if s.user != "" {
		options = append(options, gomail.WithUsername(s.user), gomail.WithPassword(s.password), s.mechanisms())
	}
	return gomail.NewClient(s.host, options...)
}

// mechanisms lists how to log in, the best first. A password crosses the wire
// itself only under TLS or on this machine.
func (s *SMTP) mechanisms() gomail.Option {
	if loopback(s.host) {
		return gomail.WithOpportunisticSMTPAuth(gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthPlainNoEnc, gomail.SMTPAuthLoginNoEnc)
	}
	return gomail.WithOpportunisticSMTPAuth(gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthPlain, gomail.SMTPAuthLogin)
}

func (s *SMTP) tlsConfig() *tls.Config {
	config := s.tls.Clone()
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if config.ServerName == "" {
		config.ServerName = s.host
	}
	return config
}

func (s *SMTP) implicitTLS() *tls.Config {
	if !s.implicit {
		return nil
	}
	return s.tlsConfig()
}

// connection dials and remembers what it dialled, because the client leaves a
// connection open when the greeting, STARTTLS or the login fails.
type connection struct {
	dialer net.Dialer
	tls    *tls.Config // nil for plain TCP

	mu     sync.Mutex
	conn   net.Conn
	closed bool
}

func (c *connection) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.open(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = conn
	if c.closed {
		conn.Close()
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (c *connection) open(ctx context.Context, network, address string) (net.Conn, error) {
	if c.tls == nil {
		return c.dialer.DialContext(ctx, network, address)
	}
	return (&tls.Dialer{NetDialer: &c.dialer, Config: c.tls}).DialContext(ctx, network, address)
}

func (c *connection) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.conn != nil {
		c.conn.Close() // whatever is left to say to the server has been said
	}
}
