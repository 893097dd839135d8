package adapter_test

import (
	"strings"
	"testing"
)

const pythonRequests = `
import datetime, json, sys

class Response:
    status_code = 202
    headers = {'X-A': 'b', 'Content-Type': 'text/plain'}
    def get_data(self):
        return b'like one'

class Duck:
    status_code = 203
    headers = {}
    text = 'x'
    content = 'duck'

def wsgi(environ, start_response):
    start_response('418 I am a teapot', [('Content-Type', 'text/plain'), ('X-A', 'b')])
    return [b'short ', b'and stout']

def lines():
    yield 'a'
    yield ''
    yield b'b'

def fails():
    yield 'begun'
    raise ValueError('half-way')

def leave():
    sys.exit(3)

async def later(request):
    return 'later'

routes = {
    '/args': lambda r: [r.args.get('a'), r.args.getlist('b'), r.args.get('n', 7, int), r.args.get('x', 7, type=int), 'c' in r.args, r.args.to_dict()],
    '/json': lambda r: {'json': r.get_json()},
    '/silent': lambda r: {'json': r.get_json(silent=True)},
    '/force': lambda r: {'json': r.get_json(force=True)},
    '/property': lambda r: {'json': r.json},
    '/form': lambda r: [r.form['a'], r.form.getlist('b'), r.values.get('q'), r.data.decode()],
    '/data': lambda r: [r.data.decode(), r.get_data(as_text=True), r.is_json, r.mimetype, r.content_length],
    '/files': lambda r: [r.form['a'], r.files['f'].filename, r.files['f'].read().decode(), r.files['f'].content_type],
    '/visitor': lambda r: [r.remote_addr, r.headers.get('x-a'), r.headers['X-A'], 'x-a' in r.headers, r.headers.get('none', 'd')],
    '/where': lambda r: [r.path, r.full_path, r.query_string.decode(), r.url, r.base_url, r.host],
    '/cookies': lambda r: r.cookies.get('a') + r.cookies.get('c'),
    '/text': lambda r: 'häh',
    '/bytes': lambda r: b'raw',
    '/dict': lambda r: {'b': 1, 'a': [None, 'ä']},
    '/list': lambda r: [1],
    '/status': lambda r: ('made', 201),
    '/words': lambda r: ('gone', '410 Gone For Good'),
    '/headers': lambda r: ('x', {'X-A': 'b', 'Content-Type': 'text/css'}),
    '/all': lambda r: ({'a': 1}, 202, {'X-A': ['b', 'c']}),
    '/pairs': lambda r: ('x', [('X-A', 'b'), ('X-A', 'c')]),
    '/like': lambda r: Response(),
    '/wsgi': lambda r: wsgi,
    '/stream': lambda r: lines(),
    '/empty': lambda r: ('', 204),
    '/none': lambda r: None,
    '/number': lambda r: 5,
    '/four': lambda r: (1, 2, 3, 4),
    '/injected': lambda r: ('x', {'X-A': 'b\r\nX-B: c'}),
    '/fails': lambda r: fails(),
    '/exit': lambda r: leave(),
    '/date': lambda r: {'d': datetime.datetime(2026, 1, 2, 3, 4, 5)},
    '/passed-on': lambda r: ('x', {'Transfer-Encoding': 'chunked', 'Connection': 'close'}),
    '/duck': lambda r: Duck(),
    '/later': later,
}

def requests(request):
    return routes['/' + request.path.split('/')[1]](request)
`

const failed500 = "Internal Server Error\n"

// pythonTable is what holds with Flask and without.
var pythonTable = []exchange{
	{name: "args", request: "GET /args?a=1&a=2&b=x+y&b=%C3%A4&c&x=no", answer: `["1",["x y","\u00e4"],7,7,true,{"a":"1","b":"x y","c":"","x":"no"}]` + "\n", header: []string{"Content-Type: application/json"}},
	{name: "JSON", request: "POST /json", headers: []string{asJSON}, body: `{"a": 1}`, answer: `{"json":{"a":1}}` + "\n"},
	{name: "JSON of a vendor", request: "POST /property", headers: []string{"Content-Type: application/vnd.a+json; v=1"}, body: `[1]`, answer: `{"json":[1]}` + "\n"},
	{name: "JSON, silently", request: "POST /silent", headers: []string{asJSON}, body: `{`, answer: `{"json":null}` + "\n"},
	{name: "other, silently", request: "POST /silent", headers: []string{asText}, body: `{}`, answer: `{"json":null}` + "\n"},
	{name: "JSON, by force", request: "POST /force", headers: []string{asText}, body: `{}`, answer: `{"json":{}}` + "\n"},
	{name: "form", request: "POST /form?q=2", headers: []string{asForm}, body: "a=1&b=2&b=%26", answer: `["1",["2","&"],"2",""]` + "\n"},
	{name: "data", request: "POST /data", headers: []string{"Content-Type: Text/Plain; charset=utf-8"}, body: "häh", answer: `["h\u00e4h","h\u00e4h",false,"text/plain",4]` + "\n"},
	{name: "files", request: "POST /files", headers: []string{`Content-Type: multipart/form-data; boundary="b b"`},
		body:   "--b b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b b\r\nContent-Disposition: form-data; name=f; filename=\"x y.txt\"\r\nContent-Type: text/plain\r\n\r\none\r\n\ntwo\r\n--b b--\r\n",
		answer: `["1","x y.txt","one\r\n\ntwo","text/plain"]` + "\n"},
	{name: "visitor", request: "GET /visitor", headers: []string{"X-A: b", "X-Forwarded-For: 192.0.2.1, 10.0.0.1", "X_A: forged"}, answer: `["192.0.2.1","b","b",true,"d"]` + "\n"},
	{name: "address", request: "GET /where/x%20y/%C3%A4?a=b%20c", headers: []string{"Host: shop.example", "X-Forwarded-Proto: https"},
		answer: `["/where/x y/\u00e4","/where/x y/\u00e4?a=b%20c","a=b%20c","https://shop.example/where/x%20y/\u00e4?a=b%20c","https://shop.example/where/x%20y/\u00e4","shop.example"]` + "\n"},
	{name: "cookies", request: "GET /cookies", headers: []string{`Cookie: a=b; c="d e"`}, answer: "bd e"},
	{name: "text", request: "GET /text", answer: "häh", header: []string{"Content-Type: text/html; charset=utf-8", "Content-Length: 4"}},
	{name: "bytes", request: "GET /bytes", answer: "raw", header: []string{"Content-Type: text/html; charset=utf-8"}},
	{name: "dict", request: "GET /dict", answer: `{"a":[null,"\u00e4"],"b":1}` + "\n", header: []string{"Content-Type: application/json"}},
	{name: "list", request: "GET /list", answer: "[1]\n"},
	{name: "with a status", request: "GET /status", status: 201, answer: "made"},
	{name: "with a status in words", request: "GET /words", status: 410, answer: "gone"},
	{name: "with headers", request: "GET /headers", answer: "x", header: []string{"X-A: b", "Content-Type: text/css"}},
	{name: "with both", request: "GET /all", status: 202, answer: `{"a":1}` + "\n", header: []string{"X-A: b | c", "Content-Type: application/json"}},
	{name: "with pairs", request: "GET /pairs", answer: "x", header: []string{"X-A: b | c"}},
	{name: "WSGI", request: "GET /wsgi", status: 418, answer: "short and stout", header: []string{"X-A: b", "Content-Type: text/plain"}},
	{name: "stream", request: "GET /stream", answer: "ab", header: []string{"Content-Type: text/html; charset=utf-8", "Content-Length:"}},
	{name: "no content", request: "GET /empty", status: 204, header: []string{"Content-Length:"}},
	{name: "a header from elsewhere", request: "GET /passed-on", answer: "x", header: []string{"Content-Length: 1"}},
	{name: "a date", request: "GET /date", answer: `{"d":"Fri, 02 Jan 2026 03:04:05 GMT"}` + "\n"},
}

func TestPythonFunctionsFindWhatTheyKnowFromFlask(t *testing.T) {
	p := start(t, python, map[string]string{"main.py": pythonRequests}, "requests")
	tryAll(t, p, pythonTable)
	tryAll(t, p, []exchange{
		{name: "something like a response", request: "GET /like", status: 202, answer: "like one", header: []string{"X-A: b", "Content-Type: text/plain"}},
		{name: "something else like one", request: "GET /duck", status: 203, answer: "duck", header: []string{"Content-Type: text/html; charset=utf-8"}},
		{name: "a coroutine", request: "GET /later", answer: "later"},
		{name: "JSON that is none", request: "POST /json", headers: []string{asJSON}, body: `{`, status: 400,
			answer: "The body is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1).\n"},
		{name: "JSON of another type", request: "POST /json", headers: []string{asText}, body: `{}`, status: 415, answer: "The body is not JSON: its Content-Type is not application/json.\n"},
		{name: "a form that ends early", request: "POST /files", headers: []string{"Content-Type: multipart/form-data; boundary=b"}, body: "--b\r\n", status: 400, answer: "The form ends early.\n"},
		{name: "a form without boundary", request: "POST /files", headers: []string{"Content-Type: multipart/form-data"}, body: "--b--", status: 400, answer: "The form does not say what separates its parts.\n"},
		{name: "none", request: "GET /none", status: 500, answer: failed500},
		{name: "a number", request: "GET /number", status: 500, answer: failed500},
		{name: "a tuple of four", request: "GET /four", status: 500, answer: failed500},
		{name: "a header in a header", request: "GET /injected", status: 500, answer: failed500, header: []string{"X-B:"}},
		{name: "exit", request: "GET /exit", status: 500, answer: failed500},
		{name: "after all that", request: "GET /text", answer: "häh"},
	})
	if !p.breaksOff("/fails") {
		t.Error("an answer that failed half-way ended as if it were whole")
	}
	for _, said := range []string{"the function returned None", "returned a int", "tuple of 4", "has a line's end", "half-way"} {
		p.says(t, said)
	}
}

func TestPythonFunctionsHaveFlaskWhereItIsInstalled(t *testing.T) {
	p := start(t, flask, map[string]string{"main.py": strings.Replace(pythonRequests, "import datetime", "import flask, datetime", 1) + `
routes['/flask'] = lambda r: flask.jsonify(ours=r is not flask.request and isinstance(r, flask.Request))
routes['/abort'] = lambda r: flask.abort(409)
routes['/redirect'] = lambda r: flask.redirect('/elsewhere')
`}, "requests")
	tryAll(t, p, pythonTable)
	tryAll(t, p, []exchange{
		{name: "a response of Flask", request: "GET /flask", answer: `{"ours":true}` + "\n"},
	})
	for path, status := range map[string]int{"/abort": 409, "/redirect": 302, "/none": 500, "/number": 500, "/exit": 500} {
		if got := p.get(t, path); got.status != status {
			t.Errorf("%s: %+v", path, got)
		}
	}
	if !p.breaksOff("/fails") {
		t.Error("an answer that failed half-way ended as if it were whole")
	}
}

func TestPythonFindsTheFunction(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"beside a module": {"main.py": "import other\nfound = other.found", "other.py": "def found(request): return 'found'"},
		"registered":      {"main.py": "import functions_framework\n@functions_framework.http\ndef found(request): return 'found'"},
		"an object":       {"main.py": "class Found:\n  def __call__(self, request): return 'found'\nfound = Found()"},
		"own framework":   {"main.py": "from functions_framework import mine as found", "functions_framework.py": "def mine(request): return 'found'"},
		"names of ours":   {"main.py": "import server, load\ndef found(request): return server.word + load.word", "server.py": "word = 'fou'", "load.py": "word = 'nd'"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := start(t, python, files, "found").get(t, "/"); got.status != 200 || got.body != "found" {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestPythonSaysWhyAFunctionCannotStart(t *testing.T) {
	for name, c := range map[string]struct {
		source string
		want   []string
	}{
		"wrong entrypoint": {"import os\nfrom json import loads\ndef one(r): pass\ndef two(r): pass\nthree = 3\nclass Four: pass", []string{"no function named 'missing'", "It has: one, two.\n"}},
		"no function":      {"", []string{"It has no function."}},
		"syntax error":     {"def missing(request):\n  return = 3\n", []string{`main.py", line 2`, "SyntaxError"}},
		"throws":           {"\nraise ValueError('on purpose')", []string{`main.py", line 2`, "on purpose"}},
		"missing module":   {"import nowhere.at.all", []string{"No module named 'nowhere'", "requirements.txt"}},
		"exits":            {"import sys\nsys.exit('enough')", []string{"enough"}},
		"events":           {"import functions_framework\n@functions_framework.cloud_event\ndef missing(e): pass", []string{"only HTTP functions"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := launch(t, python, folder(t, map[string]string{"main.py": c.source}), "missing")
			refuses(t, p, c.want)
			if strings.Contains(p.out.String(), "ingress_function") {
				t.Errorf("it shows the adapter's own lines: %s", p.out)
			}
		})
	}
}
