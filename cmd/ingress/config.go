package main

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// config is every setting of ingress serve. Each is a flag, an environment
// variable and a key of the YAML file with the flag's name; the precedence is
// flag, environment, file, stored (for the few that can be), default.
type config struct {
	Listen      []string `default:"localhost:8080" env:"INGRESS_LISTEN" placeholder:"ADDR" help:"Public address, ${default} unless set; repeatable. localhost means both 127.0.0.1 and ::1."`
	AdminListen string   `default:"127.0.0.1:8081" env:"INGRESS_ADMIN_LISTEN" placeholder:"ADDR" help:"Address of /healthz, /readyz and /metrics, ${default} unless set; empty for none."`
	AdminSocket string   `env:"INGRESS_ADMIN_SOCKET" type:"path" placeholder:"FILE" help:"Unix socket for pprof and settings. DATA/admin.sock unless set; in remote mode none unless set."`

	Host             []string `env:"INGRESS_HOST" placeholder:"HOST" help:"Host that serves the index, /api, /v1, /u, /url and /user, besides those of the public URL and the URL prefix; repeatable. localhost and IP addresses unless set."`
	PublicURL        string   `env:"INGRESS_PUBLIC_URL" placeholder:"URL" help:"Scheme, host and port that people see, behind a balancer. From the listener unless set."`
	AppsDomain       string   `default:"app.localhost" env:"INGRESS_APPS_DOMAIN" placeholder:"DOMAIN" help:"Apps are {id}. this, ${default} unless set."`
	FunctionsDomain  string   `default:"fn.localhost" env:"INGRESS_FUNCTIONS_DOMAIN" placeholder:"DOMAIN" help:"Functions are {id}. this, ${default} unless set."`
	URLPrefix        string   `env:"INGRESS_URL_PREFIX" placeholder:"URL" help:"What short URLs begin with. {public-url}/u/ unless set."`
	UserHost         string   `default:"user.localhost" env:"INGRESS_USER_HOST" placeholder:"HOST" help:"Host that serves e-mail verification, ${default} unless set."`
	VerifyEmailURL   string   `env:"INGRESS_VERIFY_EMAIL_URL" placeholder:"URL" help:"What mailed verification links begin with. The user host unless set."`
	VerifyRedirectTo []string `name:"verify-redirect-hosts" env:"INGRESS_VERIFY_REDIRECT_HOSTS" placeholder:"HOST" help:"Further hosts verification may redirect to; * for any."`
	PublicResolve    bool     `env:"INGRESS_PUBLIC_RESOLVE" help:"Serve /url/resolve, /app/resolve and /function/proxy without /v1, as the original platform did for its ingress."`

	APIAddress          string        `env:"INGRESS_API_ADDRESS" placeholder:"URL" help:"Use the M3O-compatible platform at this address instead of the one built in (token in M3O_API_TOKEN)."`
	APITokenFile        string        `env:"INGRESS_API_TOKEN_FILE" type:"path" placeholder:"FILE" help:"File with the token for --api-address, instead of M3O_API_TOKEN."`
	Database            databaseURL   `env:"INGRESS_DATABASE" placeholder:"URL" help:"Keep everything in PostgreSQL, such as postgres://ingress@db.example.com/ingress, for any number of ingresses (password in INGRESS_DATABASE_PASSWORD). In a file in DATA unless set."`
	DatabaseConnections int           `default:"16" env:"INGRESS_DATABASE_CONNECTIONS" help:"Connections to --database that this process opens, and one more to hear of changes."`
	AuthMaxStale        time.Duration `default:"5m" env:"INGRESS_AUTH_MAX_STALE" help:"How long keys and sessions that were good stay so while --database cannot be reached."`
	BootstrapKeyFile    string        `env:"INGRESS_BOOTSTRAP_KEY_FILE" type:"path" placeholder:"FILE" help:"File with a key that must exist with all scopes, instead of INGRESS_BOOTSTRAP_KEY."`

	SMTPURL  string `name:"smtp-url" env:"INGRESS_SMTP_URL" placeholder:"URL" help:"Mail server, such as smtp://user@mail.example.com:587 (password in INGRESS_SMTP_PASSWORD). Without one, mail is written to DATA/outbox."`
	MailFrom string `env:"INGRESS_MAIL_FROM" placeholder:"ADDR" help:"Sender of mail, such as noreply@example.com. Needed with --smtp-url."`

	OTLPEndpoint         string   `name:"otlp-endpoint" env:"INGRESS_OTLP_ENDPOINT,OTEL_EXPORTER_OTLP_ENDPOINT" placeholder:"URL" help:"Where traces of requests are sent, by OTLP over HTTP, such as http://localhost:4318. Nowhere unless given; OTEL_EXPORTER_OTLP_HEADERS is heeded."`
	TraceRatio           float64  `default:"1" env:"INGRESS_TRACE_RATIO" help:"Part of the requests to trace, from 0 to 1, besides those that a trusted proxy has sampled."`
	DNSServers           []string `name:"dns-server" env:"INGRESS_DNS_SERVER" placeholder:"HOST:PORT" help:"DNS server that is asked whose a domain is when it is added to an app, instead of the system's; repeatable."`
	Regions              []string `name:"region" default:"local" env:"INGRESS_REGION" placeholder:"NAME" help:"Regions that apps and functions may name; the first is the default. ${default} unless set; repeatable."`
	TrustedProxies       []string `env:"INGRESS_TRUSTED_PROXIES" placeholder:"CIDR" help:"Networks whose X-Forwarded-* and Forwarded headers are believed."`
	AllowPrivateBackends *bool    `env:"INGRESS_ALLOW_PRIVATE_BACKENDS" negatable:"" help:"Let registered backends be on private and loopback addresses. On only if every listener is loopback, unless set."`
	UpstreamTransport    string   `default:"own" enum:"std,own" env:"INGRESS_UPSTREAM_TRANSPORT" help:"What carries plain HTTP/1.1 to backends: own (no goroutines for each connection) or std (net/http)."`

	SessionLife    time.Duration `default:"168h" env:"INGRESS_SESSION_LIFE" help:"How long a login of the user service lasts."`
	VerifyLinkLife time.Duration `default:"24h" env:"INGRESS_VERIFY_LINK_LIFE" help:"How long a mailed verification link works."`
	MagicLinkLife  time.Duration `default:"10m" env:"INGRESS_MAGIC_LINK_LIFE" help:"How long a mailed magic link works (60 s on the original platform)."`

	LogFormat string `default:"auto" enum:"auto,text,json" env:"INGRESS_LOG_FORMAT" help:"auto (text on a terminal, JSON otherwise), text or json."`
	LogLevel  string `default:"info" enum:"debug,info,warn,error" env:"INGRESS_LOG_LEVEL" help:"debug, info, warn or error."`

	AccessLog         string   `default:"stderr" env:"INGRESS_ACCESS_LOG" help:"Where a line for each request goes: stderr (with everything else), stdout, none, or a file."`
	AccessLogEvery    uint64   `default:"1" env:"INGRESS_ACCESS_LOG_EVERY" help:"Log one of so many requests; those answered with 500 or more always are."`
	AccessLogMaxBytes byteSize `default:"100MiB" env:"INGRESS_ACCESS_LOG_MAX_BYTES" help:"Size at which an access log in a file is renamed and another begun."`
	AccessLogKeep     int      `default:"5" env:"INGRESS_ACCESS_LOG_KEEP" help:"How many renamed access logs are kept."`
	AnonymiseClients  bool     `env:"INGRESS_ANONYMISE_CLIENTS" help:"Log of a visitor's address only the network: 24 bits of IPv4, 48 of IPv6."`

	TLS     tlsSettings `embed:"" group:"TLS:"`
	Running running     `embed:"" group:"Apps and functions:"`
	Limits  limits      `embed:"" group:"Limits:"`

	// DataDir is a flag of every command.
	DataDir string `kong:"-"`
}

// limits are the bounds on what one request may cost.
type limits struct {
	ReadHeaderTimeout     time.Duration `default:"10s" env:"INGRESS_READ_HEADER_TIMEOUT" help:"For a client to send its request headers."`
	KeepAliveTimeout      time.Duration `default:"120s" env:"INGRESS_KEEP_ALIVE_TIMEOUT" help:"For a keep-alive connection without requests."`
	MaxHeaderBytes        byteSize      `default:"64KiB" env:"INGRESS_MAX_HEADER_BYTES" help:"For all request headers together."`
	MaxHeaders            int           `default:"200" env:"INGRESS_MAX_HEADERS" help:"Request headers, by their number."`
	MaxURLBytes           byteSize      `name:"max-url-bytes" default:"16KiB" env:"INGRESS_MAX_URL_BYTES" help:"For path and query."`
	MaxAPIBodyBytes       byteSize      `name:"max-api-body-bytes" default:"4MiB" env:"INGRESS_MAX_API_BODY_BYTES" help:"For a request body on /api and /v1. Apps and functions have no limit."`
	ReadBodyTimeout       time.Duration `default:"30s" env:"INGRESS_READ_BODY_TIMEOUT" help:"For a request body on /api and /v1, and a second more for each 16 KiB of it."`
	DialTimeout           time.Duration `default:"3s" env:"INGRESS_DIAL_TIMEOUT" help:"For a connection to a backend."`
	ResponseHeaderTimeout time.Duration `default:"60s" env:"INGRESS_RESPONSE_HEADER_TIMEOUT" help:"For a backend to begin its answer."`
	HalfClosedTimeout     time.Duration `default:"30s" env:"INGRESS_HALF_CLOSED_TIMEOUT" help:"For silence on a WebSocket or another upgraded connection of which one side has ended."`
	TunnelIdleTimeout     time.Duration `default:"0s" env:"INGRESS_TUNNEL_IDLE_TIMEOUT" help:"For silence on a WebSocket or another upgraded connection with both sides open; 0 for none."`
	RequestTimeout        time.Duration `default:"0s" env:"INGRESS_REQUEST_TIMEOUT" help:"For a request in all, WebSockets and other upgraded connections left out; 0 for none."`
	BodyStallTimeout      time.Duration `default:"60s" env:"INGRESS_BODY_STALL_TIMEOUT" help:"For a visitor who sends nothing of a request body to an app or a function, until the answer begins."`
	WriteStallTimeout     time.Duration `default:"60s" env:"INGRESS_WRITE_STALL_TIMEOUT" help:"For a visitor who takes nothing of what is sent."`
	MaxConnections        int           `default:"10000" env:"INGRESS_MAX_CONNECTIONS" help:"Connections of visitors at the same time, all together; beyond it the longest idle one makes room."`
	MaxClientConnections  int           `default:"1000" env:"INGRESS_MAX_CLIENT_CONNECTIONS" help:"The same for one address (for IPv6, its /64), but for those of --trusted-proxies."`
	HTTP2MaxStreams       int           `name:"http2-max-streams" default:"250" env:"INGRESS_HTTP2_MAX_STREAMS" help:"Requests at the same time on one HTTP/2 connection."`
	HTTP2MaxResets        int           `name:"http2-max-resets" default:"500" env:"INGRESS_HTTP2_MAX_RESETS" help:"Requests of one HTTP/2 connection that are given up before their answer begins, each answered one making up for another; beyond it the connection is closed."`
	ClientRate            int           `name:"client-requests-per-second" default:"0" env:"INGRESS_CLIENT_REQUESTS_PER_SECOND" help:"Requests of one address (for IPv6, its /64) on all routes; 0 for any number."`
	ClientBurst           int           `default:"100" env:"INGRESS_CLIENT_BURST" help:"How many of them may come at once."`
	BackendMaxRequests    int           `default:"1000" env:"INGRESS_BACKEND_MAX_REQUESTS" help:"Requests that one registered or remote backend answers at the same time; 0 for any number."`
	BackendQueue          int           `default:"100" env:"INGRESS_BACKEND_QUEUE" help:"Requests that wait for that, 3 s at most; beyond it, 503."`
	ResolveTimeout        time.Duration `default:"5s" env:"INGRESS_RESOLVE_TIMEOUT" help:"For the platform to resolve an id."`
	ShutdownDelay         time.Duration `default:"0s" env:"INGRESS_SHUTDOWN_DELAY" help:"For balancers to notice that /readyz is 503 when the program is told to end; all is served meanwhile."`
	ShutdownTimeout       time.Duration `default:"30s" env:"INGRESS_SHUTDOWN_TIMEOUT" help:"For requests in flight when the program ends."`
}

// secrets come from the environment alone, because process lists show flags.
type secrets struct {
	apiToken     string // M3O_API_TOKEN or --api-token-file
	bootstrapKey string // INGRESS_BOOTSTRAP_KEY or --bootstrap-key-file
	// bootstrapFrom names where the bootstrap key comes from, for errors.
	bootstrapFrom string
	smtpPassword  string // INGRESS_SMTP_PASSWORD
	secretKey     string // INGRESS_SECRET_KEY
	database      string // INGRESS_DATABASE_PASSWORD
}

// remote reports whether the platform is somebody else's.
func (c *config) remote() bool { return c.APIAddress != "" }

// validate checks every value that a parser of flags cannot, and fills in the
// defaults that depend on the machine. The error names the field and the value.
func (c *config) validate(env func(string) string) error {
	if err := c.fillPaths(env); err != nil {
		return err
	}
	return joinErrors(
		c.validateListeners(),
		c.validateHosts(),
		c.validateTracing(),
		c.validateRemote(),
		c.validateDatabase(env),
		c.validateMail(),
		checkPositive([]namedDuration{
			{"--session-life", c.SessionLife}, {"--verify-link-life", c.VerifyLinkLife}, {"--magic-link-life", c.MagicLinkLife},
		}),
		c.validateAccessLog(),
		c.TLS.validate(c),
		c.Running.validate(),
		c.Limits.validate(),
	)
}

// fillPaths sets the data directory and the admin socket when they were not.
func (c *config) fillPaths(env func(string) string) error {
	if c.remote() {
		return nil
	}
	if c.DataDir == "" {
		dir, err := defaultDataDir(env)
		if err != nil {
			return err
		}
		c.DataDir = dir
	}
	if c.AdminSocket == "" {
		c.AdminSocket = filepath.Join(c.DataDir, "admin.sock")
	}
	return nil
}

// defaultDataDir follows the XDG base directory specification: an empty or
// relative XDG_DATA_HOME counts as not set.
func defaultDataDir(env func(string) string) (string, error) {
	if dir := env("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "m3o-ingress"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("--data-dir is not set and there is no home directory to put it in: %w", err)
	}
	return filepath.Join(home, ".local", "share", "m3o-ingress"), nil
}

func (c *config) validateListeners() error {
	if len(c.Listen) == 0 {
		return errors.New("--listen: give at least one address, such as localhost:8080")
	}
	for _, addr := range c.Listen {
		if err := checkListenAddress("--listen", addr); err != nil {
			return err
		}
	}
	if c.AdminListen == "" {
		return nil
	}
	return checkListenAddress("--admin-listen", c.AdminListen)
}

func (c *config) validateHosts() error {
	for _, cidr := range c.TrustedProxies {
		if _, err := parsePrefix(cidr); err != nil {
			return fmt.Errorf("--trusted-proxies: %q is neither a network such as 10.0.0.0/8 nor an address", cidr)
		}
	}
	if len(c.Regions) == 0 {
		return errors.New("--region: give at least one, such as local")
	}
	for _, region := range c.Regions {
		if strings.TrimSpace(region) == "" {
			return fmt.Errorf("--region: %q is not a name", region)
		}
	}
	return nil
}

func (c *config) validateRemote() error {
	if !c.remote() {
		if c.APITokenFile != "" {
			return fmt.Errorf("--api-token-file: %q is of use only with --api-address", c.APITokenFile)
		}
		return nil
	}
	u, err := parseWebURL(c.APIAddress)
	if err != nil {
		return fmt.Errorf("--api-address: %q %w", c.APIAddress, err)
	}
	if u.User != nil {
		return fmt.Errorf("--api-address: %q has credentials in it; give the token in M3O_API_TOKEN", u.Redacted())
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("--api-address: %q must end with its path", c.APIAddress)
	}
	return nil
}

func (c *config) validateMail() error {
	if c.SMTPURL == "" {
		return nil
	}
	u, err := url.Parse(c.SMTPURL)
	if err != nil {
		return errors.New("--smtp-url: it is not a URL; give one such as smtp://user@mail.example.com:587")
	}
	if _, has := u.User.Password(); has {
		return fmt.Errorf("--smtp-url: %q has a password in it; give that in INGRESS_SMTP_PASSWORD", u.Redacted())
	}
	if c.MailFrom == "" {
		return errors.New("--mail-from: it is needed with --smtp-url, such as noreply@example.com")
	}
	return nil
}

// namedDuration is a duration and the flag that sets it.
type namedDuration struct {
	flag  string
	value time.Duration
}

func checkPositive(durations []namedDuration) error {
	for _, d := range durations {
		if d.value <= 0 {
			return fmt.Errorf("%s: %v must be more than 0", d.flag, d.value)
		}
	}
	return nil
}

// namedCount is a number, the flag that sets it and the least it can be.
type namedCount struct {
	flag         string
	value, least int
}

func checkCounts(counts []namedCount) error {
	for _, c := range counts {
		if c.value < c.least {
			return fmt.Errorf("%s: %d is too small; give %d or more", c.flag, c.value, c.least)
		}
	}
	return nil
}

func (l *limits) validate() error {
	if err := checkPositive([]namedDuration{
		{"--read-header-timeout", l.ReadHeaderTimeout}, {"--keep-alive-timeout", l.KeepAliveTimeout}, {"--read-body-timeout", l.ReadBodyTimeout},
		{"--dial-timeout", l.DialTimeout}, {"--response-header-timeout", l.ResponseHeaderTimeout}, {"--half-closed-timeout", l.HalfClosedTimeout},
		{"--write-stall-timeout", l.WriteStallTimeout}, {"--body-stall-timeout", l.BodyStallTimeout},
		{"--resolve-timeout", l.ResolveTimeout}, {"--shutdown-timeout", l.ShutdownTimeout},
	}); err != nil {
		return err
	}
	for _, d := range []namedDuration{{"--request-timeout", l.RequestTimeout}, {"--tunnel-idle-timeout", l.TunnelIdleTimeout}, {"--shutdown-delay", l.ShutdownDelay}} {
		if d.value < 0 {
			return fmt.Errorf("%s: %v must not be less than 0", d.flag, d.value)
		}
	}
	if err := checkCounts([]namedCount{
		{"--max-headers", l.MaxHeaders, 10},
		{"--max-connections", l.MaxConnections, 1}, {"--max-client-connections", l.MaxClientConnections, 1},
		{"--http2-max-streams", l.HTTP2MaxStreams, 1}, {"--http2-max-resets", l.HTTP2MaxResets, 1},
		{"--client-requests-per-second", l.ClientRate, 0}, {"--client-burst", l.ClientBurst, 1},
		{"--backend-max-requests", l.BackendMaxRequests, 0}, {"--backend-queue", l.BackendQueue, 0},
	}); err != nil {
		return err
	}
	for _, each := range []struct {
		name  string
		value byteSize
	}{
		{"--max-header-bytes", l.MaxHeaderBytes}, {"--max-url-bytes", l.MaxURLBytes}, {"--max-api-body-bytes", l.MaxAPIBodyBytes},
	} {
		if each.value < 1024 {
			return fmt.Errorf("%s: %v is too small; give 1KiB or more", each.name, each.value)
		}
	}
	return nil
}

// readSecrets takes the secrets from the environment and the files named.
func (c *config) readSecrets(env func(string) string) (secrets, error) {
	s := secrets{smtpPassword: env("INGRESS_SMTP_PASSWORD"), secretKey: env("INGRESS_SECRET_KEY"), database: env("INGRESS_DATABASE_PASSWORD")}
	token, tokenFrom, err := secretFrom(env, "M3O_API_TOKEN", "--api-token-file", c.APITokenFile)
	if err != nil {
		return secrets{}, err
	}
	s.bootstrapKey, s.bootstrapFrom, err = secretFrom(env, "INGRESS_BOOTSTRAP_KEY", "--bootstrap-key-file", c.BootstrapKeyFile)
	if err != nil {
		return secrets{}, err
	}
	switch {
	case c.remote():
		s.apiToken = token
	case s.bootstrapKey == "" && token != "":
		// Clients that know M3O_API_TOKEN then need nothing else (issue 2, 1).
		s.bootstrapKey, s.bootstrapFrom = token, tokenFrom+", which is the bootstrap key unless INGRESS_BOOTSTRAP_KEY is set"
	case s.bootstrapKey == "":
		s.bootstrapFrom = "the bootstrap key"
	}
	return s, nil
}

// keyHolder says where the key is that readSecrets found, or where the caller of
// a remote platform may have one.
func (c *config) keyHolder(env func(string) string) keyHolder {
	switch {
	case !c.remote() && c.BootstrapKeyFile != "":
		return keyHolder{file: c.BootstrapKeyFile}
	case !c.remote() && strings.TrimSpace(env("INGRESS_BOOTSTRAP_KEY")) != "":
		return keyHolder{variable: "INGRESS_BOOTSTRAP_KEY"}
	case c.APITokenFile != "":
		return keyHolder{file: c.APITokenFile}
	}
	if c.remote() && strings.TrimSpace(env("M3O_API_TOKEN")) == "" {
		return keyHolder{variable: "M3O_API_TOKEN", note: "none; callers give their own"}
	}
	return keyHolder{variable: "M3O_API_TOKEN"}
}

// secretFrom returns a secret and the name of where it comes from: the file at
// path or, without one, the variable.
func secretFrom(env func(string) string, variable, flag, path string) (secret, from string, err error) {
	secret, from = strings.TrimSpace(env(variable)), variable
	if path != "" {
		content, err := os.ReadFile(path)
		if err != nil {
			return "", "", fmt.Errorf("%s: %w", flag, err)
		}
		if secret, from = strings.TrimSpace(string(content)), flag; secret == "" {
			return "", "", fmt.Errorf("%s: the file %s is empty", flag, path)
		}
	}
	if strings.ContainsFunc(secret, unicode.IsControl) {
		return "", "", fmt.Errorf("%s: it must be one line of text", from)
	}
	return secret, from, nil
}

// trustedPrefixes returns --trusted-proxies parsed; validate has checked them.
func (c *config) trustedPrefixes() []netip.Prefix {
	var prefixes []netip.Prefix
	for _, cidr := range c.TrustedProxies {
		if p, err := parsePrefix(cidr); err == nil {
			prefixes = append(prefixes, p)
		}
	}
	return prefixes
}

func parsePrefix(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	return netip.ParsePrefix(s)
}

// byteSize is a number of bytes, written plainly or with a unit: 65536, 64KiB,
// 4MiB, 1GiB.
type byteSize int64

// UnmarshalText reads a size; it implements encoding.TextUnmarshaler.
func (b *byteSize) UnmarshalText(text []byte) error {
	number, shift := string(text), 0
	for unit, bits := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30} {
		if rest, ok := strings.CutSuffix(number, unit); ok {
			number, shift = rest, bits
			break
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || n < 0 || n > (1<<62)>>shift {
		return fmt.Errorf("%q is not a size such as 65536, 64KiB or 4MiB", text)
	}
	*b = byteSize(n << shift)
	return nil
}

// String writes the size with the largest unit that fits exactly.
func (b byteSize) String() string {
	for _, unit := range []struct {
		name string
		size byteSize
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if b >= unit.size && b%unit.size == 0 {
			return strconv.FormatInt(int64(b/unit.size), 10) + unit.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}
