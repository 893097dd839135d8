package user_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/m3o/ingress/internal/api/apitest"
	"github.com/m3o/ingress/internal/logtest"
	"github.com/m3o/ingress/internal/mail"
	"github.com/m3o/ingress/internal/store"
	"github.com/m3o/ingress/internal/store/storetest"
	"github.com/m3o/ingress/internal/user"
)

// cheap is a password cost for tests that are not about the cost.
var cheap = user.PasswordCost{Memory: 64, Passes: 1, Threads: 1}

// platform is the user service behind real HTTP, with a clock and a post box the
// test controls.
type platform struct {
	*apitest.Server
	service *user.Service
	db      *store.DB
	mail    *postbox
	clock   *clock
	logs    *logtest.Buffer
}

func newPlatform(t testing.TB, change ...func(*user.Config)) *platform {
	t.Helper()
	p := &platform{db: storetest.Open(t), mail: &postbox{}, clock: newClock(), logs: &logtest.Buffer{}}
	config := user.Config{
		DB:        p.db,
		Mail:      p.mail,
		VerifyURL: func() string { return "https://user.example.com" },
		Log:       slog.New(slog.NewTextHandler(p.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Password:  cheap,
		Now:       p.clock.Now,
	}
	for _, f := range change {
		f(&config)
	}
	p.service = user.New(config)
	p.Server = apitest.NewServer(t, p.service.Service())
	return p
}

// call posts to a method of the service.
func (p *platform) call(t testing.TB, key, method, body string) apitest.Reply {
	t.Helper()
	return p.Post(t, key, "/v1/user/"+method, body)
}

// ok posts and fails the test unless the answer is a 200, which it decodes.
func (p *platform) ok(t testing.TB, key, method, body string) reply {
	t.Helper()
	res := p.call(t, key, method, body)
	if res.Status != http.StatusOK {
		t.Fatalf("%s %s: %d %s", method, body, res.Status, res.Body)
	}
	return decode(t, res.Body)
}

// refused posts and fails the test unless the answer is this error.
func (p *platform) refused(t testing.TB, key, method, body string, status int, id, detail string) {
	t.Helper()
	res := p.call(t, key, method, body)
	got := decode(t, res.Body)
	if res.Status != status || got.ID != id || got.Detail != detail {
		t.Errorf("%s %s: got %d %s, want %d %s %q", method, body, res.Status, res.Body, status, id, detail)
	}
}

// reply has the fields of every answer the tests look at.
type reply struct {
	ID      string `json:"id"`
	Detail  string `json:"detail"`
	Account account
	Session struct {
		ID      string `json:"id"`
		UserID  string `json:"userId"`
		Created int64  `json:"created,string"`
		Expires int64  `json:"expires,string"`
	}
	Users   []account
	IsValid bool `json:"is_valid"`
	Message string
}

type account struct {
	ID               string `json:"id"`
	Username         string
	Email            string
	Created          int64 `json:"created,string"`
	Updated          int64 `json:"updated,string"`
	Verified         bool
	VerificationDate int64 `json:"verification_date,string"`
	Profile          map[string]string
}

func decode(t testing.TB, body string) reply {
	t.Helper()
	var r reply
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return r
}

// object writes a JSON object from alternating names and values.
func object(pairs ...any) string {
	fields := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		fields[pairs[i].(string)] = pairs[i+1]
	}
	text, err := json.Marshal(fields)
	if err != nil {
		panic(err) // the test itself is wrong
	}
	return string(text)
}

func decodeObject(t testing.TB, text string) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		t.Fatal(err)
	}
	return fields
}

func encodeObject(t testing.TB, fields map[string]any) string {
	t.Helper()
	text, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const password = "correct horse"

// anna creates an account and returns its id.
func (p *platform) anna(t testing.TB, key string) string {
	t.Helper()
	return p.ok(t, key, "Create", object("username", "anna", "email", "anna@example.com", "password", password)).Account.ID
}

// login returns a session of anna's.
func (p *platform) login(t testing.TB, key, password string) string {
	t.Helper()
	return p.ok(t, key, "Login", object("username", "anna", "password", password)).Session.ID
}

// token asks for a mail and returns the token in its link.
func (p *platform) token(t testing.TB, key, method, body string) string {
	t.Helper()
	p.ok(t, key, method, body)
	return linkIn(t, p.mail.last(t).Text).Query().Get("token")
}

var linkPattern = regexp.MustCompile(`https?://\S+`)

func linkIn(t testing.TB, text string) *url.URL {
	t.Helper()
	link, err := url.Parse(linkPattern.FindString(text))
	if err != nil || link.Query().Get("token") == "" {
		t.Fatalf("no link with a token in %q (%v)", text, err)
	}
	return link
}

func verificationMail(email string) string {
	return object("email", email, "subject", "Please verify", "text_content", "Hi, click $micro_verification_link now",
		"redirect_url", "https://shop.example.com/ok?a=b", "failure_redirect_url", "https://shop.example.com/no", "from_name", "Shop")
}

func resetMail(email string) string {
	return object("email", email, "subject", "Your code", "text_content", "It is $code", "from_name", "Shop")
}

func magicMail(email string) string {
	return object("email", email, "subject", "Log in", "text_content", "Click $micro_verification_link",
		"from_name", "Shop", "address", "https://shop.example.com/", "endpoint", "/login")
}

// code asks for a reset code and returns it.
func (p *platform) code(t testing.TB, key string) string {
	t.Helper()
	p.ok(t, key, "SendPasswordResetEmail", resetMail("anna@example.com"))
	return strings.TrimPrefix(p.mail.last(t).Text, "It is ")
}

// postbox keeps messages, or fails as a mail server does.
type postbox struct {
	mu   sync.Mutex
	sent []mail.Message
	fail error
}

func (b *postbox) Send(ctx context.Context, m mail.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := m.Validate(); err != nil {
		return err
	}
	b.sent = append(b.sent, m)
	return b.fail
}

func (b *postbox) failWith(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail = err
}

func (b *postbox) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.sent)
}

func (b *postbox) last(t testing.TB) mail.Message {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.sent) == 0 {
		t.Fatal("no mail was sent")
	}
	return b.sent[len(b.sent)-1]
}

// clock stands still until it is told to go on.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(1_795_000_000, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
