package adapter_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// tried is the same function in each language. It holds a request at /hold, and
// the middle of its answer at /stream, until there is a file "release".
var tried = map[string]map[string]string{
	"nodejs": {"index.js": `
const fs = require('fs');
const released = async () => { while (!fs.existsSync('release')) await new Promise((r) => setTimeout(r, 2)); };
exports.tried = async (req, res) => {
  switch (req.path) {
    case '/fail': throw new Error('on purpose');
    case '/length': return res.send(String(req.rawBody ? req.rawBody.length : 0));
    case '/hold':
      fs.writeFileSync('held', '');
      await released();
      return res.send('let go');
    case '/stream':
      res.set('Content-Type', 'text/plain');
      res.write('one\n');
      await released();
      return res.end('two\n');
    case '/print': console.log('printed'); return res.send('');
    case '/environment': return res.send(process.env.COLOR);
  }
  res.set('X-Made-By', 'hand').status(201).send(req.method + ' ' + req.originalUrl);
};`},
	"python": {"main.py": `
import os, time
def released():
    while not os.path.exists('release'):
        time.sleep(0.002)
def stream():
    yield 'one\n'
    released()
    yield 'two\n'
def tried(request):
    if request.path == '/fail':
        raise ValueError('on purpose')
    if request.path == '/length':
        return str(len(request.get_data()))
    if request.path == '/hold':
        open('held', 'w').close()
        released()
        return 'let go'
    if request.path == '/stream':
        return stream(), {'Content-Type': 'text/plain'}
    if request.path == '/print':
        print('printed')
        return ''
    if request.path == '/environment':
        return os.environ['COLOR']
    query = request.query_string.decode()
    return request.method + ' ' + request.path + ('?' + query if query else ''), 201, {'X-Made-By': 'hand'}
`},
	"go": {"main.go": `package tried

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

func released() {
	for {
		if _, err := os.Stat("release"); err == nil {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func Tried(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/fail":
		panic("on purpose")
	case "/length":
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	case "/hold":
		os.WriteFile("held", nil, 0o600)
		released()
		fmt.Fprint(w, "let go")
	case "/stream":
		fmt.Fprintln(w, "one")
		w.(http.Flusher).Flush()
		released()
		fmt.Fprintln(w, "two")
	case "/print":
		fmt.Println("printed")
	case "/environment":
		fmt.Fprint(w, os.Getenv("COLOR"))
	default:
		w.Header().Set("X-Made-By", "hand")
		w.WriteHeader(201)
		fmt.Fprint(w, r.Method, " ", r.URL.RequestURI())
	}
}
`},
}

// forEveryone runs a test against the function in each language.
func forEveryone(t *testing.T, test func(t *testing.T, p *process)) {
	for _, tool := range everyone {
		t.Run(tool.name, func(t *testing.T) {
			test(t, start(t, tool, tried[tool.runtime], entrypointOf(tool)))
		})
	}
}

func TestAnyRequestGoesToTheFunction(t *testing.T) {
	forEveryone(t, func(t *testing.T, p *process) {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"} {
			for _, path := range []string{"/", "/robots.txt", "/favicon.ico", "/a/b//c?d=e&f", "/%7Euser/"} {
				got := p.send(t, method, path, nil, nil)
				want := method + " " + path
				if strings.HasPrefix(p.addr, "127") && got.body != want && got.body != strings.ReplaceAll(want, "%7E", "~") {
					t.Errorf("%s: %q", want, got.body)
				}
				if got.status != 201 || got.header.Get("X-Made-By") != "hand" {
					t.Errorf("%s: status %d, header %v", want, got.status, got.header)
				}
			}
		}
	})
}

func TestHeadHasTheHeaderAndNoBody(t *testing.T) {
	forEveryone(t, func(t *testing.T, p *process) {
		got := p.send(t, "HEAD", "/x", nil, nil)
		if got.status != 201 || got.body != "" || got.header.Get("X-Made-By") != "hand" {
			t.Errorf("%+v", got)
		}
		if got := p.get(t, "/x"); got.body != "GET /x" { // on the same connection
			t.Errorf("then %+v", got)
		}
	})
}

func TestAFunctionThatFailsIsAnAnswerAndALogLineAndLivesOn(t *testing.T) {
	forEveryone(t, func(t *testing.T, p *process) {
		for range 3 {
			if got := p.get(t, "/fail"); got.status != 500 || strings.Contains(got.body, "on purpose") {
				t.Errorf("%+v", got)
			}
		}
		if got := p.get(t, "/x"); got.body != "GET /x" {
			t.Errorf("then %+v", got)
		}
		eventually(t, "the log says what failed, each time", func() bool { return strings.Count(p.out.String(), "on purpose") >= 3 })
		eventually(t, "the log says where", func() bool {
			log := p.out.String()
			return strings.Contains(log, "main.py") || strings.Contains(log, "index.js") || strings.Contains(log, "main.go")
		})
	})
}

func TestWhatAFunctionPrintsIsOutAtOnce(t *testing.T) {
	forEveryone(t, func(t *testing.T, p *process) {
		p.get(t, "/print")
		p.says(t, "printed\n")
	})
}

func TestAFunctionHasItsEnvironment(t *testing.T) {
	forEveryone(t, func(t *testing.T, p *process) {
		if got := p.get(t, "/environment"); got.body != "blue" {
			t.Errorf("%+v", got)
		}
	})
}

func TestLargeBodiesArriveWhole(t *testing.T) {
	forEveryone(t, func(t *testing.T, p *process) {
		const size = 8 << 20
		whole := strings.Repeat("x", size)
		for name, body := range map[string]*strings.Reader{"with a length": strings.NewReader(whole), "empty": strings.NewReader("")} {
			want := fmt.Sprint(body.Len())
			if got := p.send(t, "POST", "/length", []string{"Content-Type: application/octet-stream"}, body); got.body != want {
				t.Errorf("%s: %+v", name, got)
			}
		}
		chunks := struct{ *strings.Reader }{strings.NewReader(whole)} // of no known length
		if got := p.send(t, "POST", "/length", []string{"Content-Type: application/octet-stream"}, bufio.NewReader(chunks)); got.body != fmt.Sprint(size) {
			t.Errorf("in chunks: %+v", got)
		}
		if got := p.send(t, "POST", "/x", nil, strings.NewReader(whole)); got.body != "POST /x" { // unread
			t.Errorf("unread: %+v", got)
		}
	})
}

func TestAnAnswerIsSentAsItComes(t *testing.T) {
	forEveryone(t, func(t *testing.T, p *process) {
		res, err := http.Get("http://" + p.addr + "/stream")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		lines := bufio.NewReader(res.Body)
		if line, err := lines.ReadString('\n'); line != "one\n" || err != nil {
			t.Fatalf("%q, %v", line, err)
		}
		if got := p.get(t, "/x"); got.body != "GET /x" { // while the other is not done
			t.Errorf("%+v", got)
		}
		p.release(t)
		if line, err := lines.ReadString('\n'); line != "two\n" || err != nil {
			t.Fatalf("%q, %v", line, err)
		}
	})
}

func TestRequestsAreServedAtTheSameTime(t *testing.T) {
	forEveryone(t, func(t *testing.T, p *process) {
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if got := p.get(t, "/hold"); got.body != "let go" {
					t.Errorf("%+v", got)
				}
			})
		}
		p.held(t)
		if got := p.get(t, "/x"); got.body != "GET /x" {
			t.Errorf("%+v", got)
		}
		p.release(t)
		all.Wait()
	})
}

func TestASignalLetsRequestsFinish(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			forEveryone(t, func(t *testing.T, p *process) {
				p.get(t, "/x") // leaves a connection that waits
				answer := make(chan reply, 1)
				go func() { answer <- p.get(t, "/hold") }()
				p.held(t)
				p.signal(t, signal)
				eventually(t, "nobody is let in any more", func() bool { return !p.listens() })
				p.release(t)
				if got := <-answer; got.status != 200 || got.body != "let go" {
					t.Errorf("%+v", got)
				}
				if code := p.exit(t); code != 0 {
					t.Errorf("it exited with code %d", code)
				}
			})
		})
	}
}

func TestItListensOnTheLoopbackInterfaceOnly(t *testing.T) {
	forEveryone(t, func(t *testing.T, p *process) {
		_, port, _ := strings.Cut(p.addr, ":")
		other := &process{addr: "127.0.0.2:" + port}
		if other.listens() {
			t.Error("it listens on another address, too")
		}
	})
}

func entrypointOf(tool toolchain) string {
	if tool.runtime == "go" {
		return "Tried"
	}
	return "tried"
}

// held waits until the function holds a request, which release lets go.
func (p *process) held(t testing.TB) {
	t.Helper()
	eventually(t, "the function has the request", func() bool {
		_, err := os.Stat(filepath.Join(p.dir, "held"))
		return err == nil
	})
}

func (p *process) release(t testing.TB) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, "release"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestABodyThatIsTooLongIsRefused(t *testing.T) {
	const size = 33 << 20
	for _, tool := range []toolchain{node, python, flask} {
		t.Run(tool.name, func(t *testing.T) {
			p := start(t, tool, tried[tool.runtime], entrypointOf(tool))
			// A reader each: the answer may come while the request is still being sent.
			whole := strings.Repeat("x", size)
			if got := p.send(t, "POST", "/length", nil, strings.NewReader(whole)); got.status != 413 {
				t.Errorf("with a length: %+v", got)
			}
			if got := p.send(t, "POST", "/length", nil, bufio.NewReader(strings.NewReader(whole))); got.status != 413 {
				t.Errorf("in chunks: %+v", got)
			}
			if got := p.get(t, "/x"); got.body != "GET /x" {
				t.Errorf("then %+v", got)
			}
		})
	}
}

func TestAPackedBodyIsUnpackedForNodeWithinBounds(t *testing.T) {
	p := start(t, node, tried["nodejs"], "tried")
	for size, status := range map[int]int{1 << 20: 200, 33 << 20: 413} {
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		if _, err := w.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got := p.send(t, "POST", "/length", []string{"Content-Encoding: gzip"}, &packed)
		if got.status != status || status == 200 && got.body != fmt.Sprint(size) {
			t.Errorf("%d bytes: %+v", size, got)
		}
	}
}
