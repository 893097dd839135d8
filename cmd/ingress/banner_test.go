package main

import (
	"net"
	"strings"
	"testing"
)

func newBanner(t *testing.T, c config) banner {
	t.Helper()
	c.AppsDomain, c.FunctionsDomain, c.UserHost = "app.localhost", "fn.localhost", "user.localhost"
	c.Listen = []string{"localhost:8080"}
	a, err := newAddresses(&c, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080})
	if err != nil {
		t.Fatal(err)
	}
	return banner{version: "v1.2.3", addresses: a, platform: "built in", admin: "127.0.0.1:8081", home: "/home/jane"}
}

func (b banner) text() string {
	var s strings.Builder
	b.write(&s)
	return s.String()
}

func TestTheBannerFitsATerminal(t *testing.T) {
	b := newBanner(t, config{})
	b.dataDir = "/home/jane/.local/share/m3o-ingress"
	b.platform, b.database = "built in, one of several ingresses on one database", "postgres://ingress:xxxxx@db.example.com/ingress"
	b.held.file, b.key = b.dataDir+"/bootstrap.key", "m3o_"+strings.Repeat("x", 49)
	text := b.text()
	for line := range strings.SplitSeq(text, "\n") {
		if len(line) > 80 || line != strings.TrimRight(line, " ") || strings.ContainsAny(line, "\x1b\t") {
			t.Errorf("%d columns: %q", len(line), line)
		}
	}
	for _, want := range []string{
		"  index      http://localhost:8080/\n",
		"  apps       http://app.localhost:8080/   {id}.app.localhost\n",
		"  verify     http://user.localhost:8080/  ?token={token}\n",
		"  database   postgres://ingress:xxxxx@db.example.com/ingress\n",
		"  data       ~/.local/share/m3o-ingress\n",
		"  API key    " + b.key + "\n             kept in ~/.local/share/m3o-ingress/bootstrap.key\n",
		"  curl 'http://localhost:8080/api/helloworld/Call?name=World' \\\n" +
			"    -H \"Authorization: Bearer $(cat ~/.local/share/m3o-ingress/bootstrap.key)\"\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %q:\n%s", want, text)
		}
	}
}

func TestTheBannerSaysWhereTheKeyIs(t *testing.T) {
	for name, test := range map[string]struct {
		config config
		env    map[string]string
		want   string
		not    string
	}{
		"a variable":                {config{}, map[string]string{"INGRESS_BOOTSTRAP_KEY": "s3cret", "M3O_API_TOKEN": "other"}, "in $INGRESS_BOOTSTRAP_KEY", "M3O_API_TOKEN"},
		"a file":                    {config{BootstrapKeyFile: "/run/secrets/key"}, nil, "in /run/secrets/key", "$INGRESS"},
		"the clients' variable":     {config{}, map[string]string{"M3O_API_TOKEN": "s3cret"}, "in $M3O_API_TOKEN", "BOOTSTRAP"},
		"a remote platform":         {config{APIAddress: "https://api.example.com"}, map[string]string{"M3O_API_TOKEN": "s3cret", "INGRESS_BOOTSTRAP_KEY": "x"}, "in $M3O_API_TOKEN", "BOOTSTRAP"},
		"a remote platform, none":   {config{APIAddress: "https://api.example.com"}, map[string]string{"INGRESS_BOOTSTRAP_KEY": "x"}, "none; callers give their own", "in $M3O_API_TOKEN"},
		"a remote platform, a file": {config{APIAddress: "https://api.example.com", APITokenFile: "/home/jane/it's.token"}, nil, `in ~/'it'\''s.token'`, "$M3O"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBanner(t, test.config)
			b.held = test.config.keyHolder(func(name string) string { return test.env[name] })
			text := b.text()
			if !strings.Contains(text, test.want) || strings.Contains(text, test.not) || strings.Contains(text, "s3cret") {
				t.Errorf("want %q:\n%s", test.want, text)
			}
		})
	}
}

func TestTheBannerShortensOnlyWhatIsAtHome(t *testing.T) {
	for _, test := range []struct{ home, path, want string }{
		{"/home/jane", "/home/jane/x/y", "~/x/y"},
		{"/home/jane", "/home/jane/a b", "~/'a b'"},
		{"/home/jane", "/home/janet/x", "/home/janet/x"},
		{"/home/jane", "/home/jane/../bob/x", "/home/jane/../bob/x"},
		{"", "/var/lib/ingress", "/var/lib/ingress"},
		{".", "/var/lib/ingress", "/var/lib/ingress"},
		{"/home/jane", "relative", "relative"},
	} {
		if got := (banner{home: test.home}).path(test.path); got != test.want {
			t.Errorf("%q in %q: %q, want %q", test.path, test.home, got, test.want)
		}
	}
}
