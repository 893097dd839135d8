package adapter_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const nodeRequests = `
const show = (body) => Buffer.isBuffer(body) ? 'Buffer:' + body : typeof body + ':' + JSON.stringify(body);
const routes = {
  '/body': (req, res) => res.type('txt').send(show(req.body) + ' ' + (req.rawBody ? req.rawBody.length : req.rawBody)),
  '/query': (req, res) => res.json(req.query),
  '/visitor': (req, res) => res.json([req.ip, req.protocol, req.secure, req.hostname, req.get('HOST'), req.header('x-a')]),
  '/where': (req, res) => res.json([req.path, req.url, req.originalUrl, req.params]),
  '/cookies': (req, res) => res.json(req.cookies),
  '/is': (req, res) => res.json([req.is('json'), req.is('text/*'), req.is('html')]),
  '/text': (req, res) => { res.send('häh'); },
  '/object': (req, res) => { res.send({ a: [1, null] }); },
  '/buffer': (req, res) => { res.send(Buffer.from('raw')); },
  '/nothing': (req, res) => { res.send(); },
  '/number': (req, res) => { res.send(5); },
  '/typed': (req, res) => { res.set('Content-Type', 'text/css').send('a{}'); },
  '/type': (req, res) => { res.type('.svg').send('<svg/>'); },
  '/status': (req, res) => { res.sendStatus(404); },
  '/created': (req, res) => { res.status(201).set({ 'X-A': 'one', 'X-B': 2 }).json(null); },
  '/append': (req, res) => { res.append('X-A', 'one').append('X-A', 'two').send(res.get('X-A').join()); },
  '/empty': (req, res) => { res.status(204).send('not sent'); },
  '/redirect': (req, res) => { res.redirect('/elsewhere?ä=1'); },
  '/moved': (req, res) => { res.redirect(301, 'https://example.com/'); },
  '/cookie': (req, res) => { res.cookie('a', 'b c', { maxAge: 60000, httpOnly: true, secure: true, sameSite: 'lax', expires: new Date(0) }).clearCookie('d').end('x'); },
  '/late': async (req, res) => { await null; throw new Error('late'); },
  '/object-thrown': () => { throw { not: 'an error' }; },
  '/begun': async (req, res) => { res.write('begun'); throw new Error('broken off'); },
};
exports.requests = (req, res) => (routes['/' + req.path.split('/')[1]] || (() => { res.sendStatus(404); }))(req, res);
`

func TestNodeFunctionsFindWhatTheyKnowFromExpress(t *testing.T) {
	p := start(t, node, map[string]string{"index.js": nodeRequests}, "requests")
	tryAll(t, p, []exchange{
		{name: "JSON", request: "POST /body", headers: []string{asJSON}, body: `{"a":1}`, answer: `object:{"a":1} 7`},
		{name: "JSON of a vendor", request: "POST /body", headers: []string{"Content-Type: application/vnd.a+json"}, body: `[1]`, answer: `object:[1] 3`},
		{name: "JSON that is none", request: "POST /body", headers: []string{asJSON}, body: `{`, status: 400, answer: "Bad Request\n"},
		{name: "JSON that is empty", request: "POST /body", headers: []string{asJSON}, answer: `object:{} undefined`},
		{name: "form", request: "POST /body", headers: []string{asForm}, body: `a=1&b=2&b=3&__proto__=x`, answer: `object:{"a":"1","b":["2","3"],"__proto__":"x"} 23`},
		{name: "text", request: "POST /body", headers: []string{asText}, body: `häh`, answer: `string:"häh" 4`},
		{name: "latin text", request: "POST /body", headers: []string{"Content-Type: text/plain; charset=ISO-8859-1"}, body: "h\xe4h", answer: `string:"häh" 3`},
		{name: "bytes", request: "POST /body", headers: []string{"Content-Type: image/png"}, body: `raw`, answer: `Buffer:raw 3`},
		{name: "no type", request: "POST /body", body: `raw`, answer: `Buffer:raw 3`},
		{name: "no body", request: "GET /body", answer: `object:{} undefined`},
		{name: "an encoding that is not known", request: "POST /body", headers: []string{"Content-Encoding: constructor"}, body: `raw`, status: 415, answer: "Unsupported Media Type\n"},
		{name: "an encoding that it is not", request: "POST /body", headers: []string{"Content-Encoding: gzip"}, body: `raw`, status: 400, answer: "Bad Request\n"},
		{name: "query", request: "GET /query?a=1&b=x%20y&b=%C3%A4&c", answer: `{"a":"1","b":["x y","ä"],"c":""}`, header: []string{"Content-Type: application/json; charset=utf-8"}},
		{name: "visitor", request: "GET /visitor", headers: []string{"Host: shop.example:8080", "X-A: b", "X-Forwarded-For: 192.0.2.1, 10.0.0.1", "X-Forwarded-Proto: https"},
			answer: `["192.0.2.1","https",true,"shop.example","shop.example:8080","b"]`},
		{name: "address", request: "GET /where/x%2Fy?a=b", answer: `["/where/x%2Fy","/where/x%2Fy?a=b","/where/x%2Fy?a=b",{}]`},
		{name: "cookies", request: "GET /cookies", headers: []string{`Cookie: a=b; c="d%20e"; f=%zz; a=other`}, answer: `{"a":"b","c":"d e","f":"%zz"}`},
		{name: "is", request: "POST /is", headers: []string{asJSON}, body: `{}`, answer: `["json",false,false]`},

		{name: "send a text", request: "GET /text", answer: "häh", header: []string{"Content-Type: text/html; charset=utf-8", "Content-Length: 4"}},
		{name: "send an object", request: "GET /object", answer: `{"a":[1,null]}`, header: []string{"Content-Type: application/json; charset=utf-8"}},
		{name: "send a buffer", request: "GET /buffer", answer: "raw", header: []string{"Content-Type: application/octet-stream"}},
		{name: "send nothing", request: "GET /nothing", answer: "", header: []string{"Content-Length: 0"}},
		{name: "send a number", request: "GET /number", answer: "5", header: []string{"Content-Type: application/json; charset=utf-8"}},
		{name: "own type", request: "GET /typed", answer: "a{}", header: []string{"Content-Type: text/css; charset=utf-8"}},
		{name: "type by name", request: "GET /type", answer: "<svg/>", header: []string{"Content-Type: image/svg+xml"}},
		{name: "status", request: "GET /status", status: 404, answer: "Not Found", header: []string{"Content-Type: text/plain; charset=utf-8"}},
		{name: "several headers", request: "GET /created", status: 201, answer: "null", header: []string{"X-A: one", "X-B: 2"}},
		{name: "append", request: "GET /append", answer: "one,two", header: []string{"X-A: one | two"}},
		{name: "no content", request: "GET /empty", status: 204, header: []string{"Content-Type:", "Content-Length:"}},
		{name: "redirect", request: "GET /redirect", status: 302, answer: "Found. Redirecting to /elsewhere?%C3%A4=1", header: []string{"Location: /elsewhere?%C3%A4=1"}},
		{name: "moved", request: "GET /moved", status: 301, answer: "Moved Permanently. Redirecting to https://example.com/", header: []string{"Location: https://example.com/"}},
		{name: "cookie", request: "GET /cookie", answer: "x", header: []string{"Set-Cookie: a=b%20c; Max-Age=60; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; Secure; SameSite=Lax | d=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT"}},
		{name: "a promise that is rejected", request: "GET /late", status: 500, answer: "Internal Server Error\n"},
		{name: "something thrown", request: "GET /object-thrown", status: 500, answer: "Internal Server Error\n"},
		{name: "after all that", request: "GET /text", answer: "häh"},
	})
	if !p.breaksOff("/begun") {
		t.Error("an answer that failed half-way ended as if it were whole")
	}
}

func TestNodeFindsTheFunctionInEveryKindOfModule(t *testing.T) {
	const body = `(req, res) => { res.send('found'); }`
	const framework = "@google-cloud/functions-framework"
	for name, files := range map[string]map[string]string{
		"index.js":               {"index.js": `exports.found = ` + body},
		"index.mjs":              {"index.mjs": `export const found = ` + body},
		"default export":         {"index.mjs": `export default ` + body},
		"type module":            {"index.js": `export async function found(req, res) { res.send('found'); }`, "package.json": `{"type":"module"}`},
		"main":                   {"lib/start.js": `exports.found = ` + body, "package.json": `{"main":"./lib/start"}`},
		"main is a folder":       {"lib/index.js": `exports.found = ` + body, "package.json": `{"main":"lib"}`},
		"module.exports":         {"index.js": `module.exports = ` + body},
		"function.js":            {"function.js": `module.exports = { found: ` + body + ` }`},
		"registered":             {"index.js": `const functions = require('` + framework + `'); functions.http('found', ` + body + `)`},
		"registered by a module": {"index.mjs": `import * as functions from '` + framework + `'; functions.http('found', ` + body + `)`},
		"registered by default":  {"index.mjs": `import functions from '` + framework + `'; functions.http('found', ` + body + `)`},
		"named import":           {"index.mjs": `import { http } from '` + framework + `'; http('found', ` + body + `)`},
		"its own framework": {"index.js": `const functions = require('` + framework + `'); functions.http('found', ` + body + `)`,
			"node_modules/" + framework + "/package.json": `{"main":"main.js","exports":{".":"./main.js","./testing":"./testing.js"}}`,
			"node_modules/" + framework + "/main.js":      `exports.all = new Map(); exports.http = (name, f) => exports.all.set(name, f);`,
			"node_modules/" + framework + "/testing.js": `const { all } = require('./main.js');
exports.getFunction = (name) => all.get(name);
exports.getTestServer = (name) => require('http').createServer((req, res) => { req.path = req.url; res.send = (x) => res.end(x); all.get(name)(req, res); });`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := start(t, node, files, "found").get(t, "/"); got.status != 200 || got.body != "found" {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestNodeSaysWhyAFunctionCannotStart(t *testing.T) {
	for name, c := range map[string]struct {
		source string
		want   []string
	}{
		"wrong entrypoint": {"exports.one = () => {}; exports.two = () => {}; exports.three = 3", []string{`no function named "missing"`, "It has: one, two."}},
		"no function":      {"", []string{"It exports no function"}},
		"inherited":        {"exports.x = 1; Object.setPrototypeOf(exports, { missing() {} })", []string{"It exports no function"}},
		"syntax error":     {"exports.missing = () => {\n  const = 3;\n};", []string{"index.js:2", "SyntaxError"}},
		"throws":           {"\nthrow new Error('on purpose')", []string{"index.js:2", "on purpose"}},
		"missing module":   {"require('nowhere')", []string{"Cannot find module 'nowhere'"}},
		"events":           {"require('@google-cloud/functions-framework').cloudEvent('missing', () => {})", []string{"only HTTP functions"}},
	} {
		t.Run(name, func(t *testing.T) {
			refuses(t, launch(t, node, folder(t, map[string]string{"index.js": c.source}), "missing"), c.want)
		})
	}
}

// refuses expects that a process ends with code 1 and says why.
func refuses(t *testing.T, p *process, want []string) {
	t.Helper()
	if code := p.exit(t); code != 1 {
		t.Errorf("it exited with code %d", code)
	}
	for _, text := range want {
		if !strings.Contains(p.out.String(), text) {
			t.Errorf("it does not say %q", text)
		}
	}
}

func TestANodeFunctionThatFailsOutsideOfARequestAnswersAndEnds(t *testing.T) {
	p := start(t, node, map[string]string{"index.js": `exports.later = (req, res) => { setImmediate(() => { throw new Error('later'); }); }`}, "later")
	if got := p.get(t, "/"); got.status != 500 {
		t.Errorf("%+v", got)
	}
	if code := p.exit(t); code != 1 || !strings.Contains(p.out.String(), "index.js:1") {
		t.Errorf("it exited with code %d: %s", code, p.out)
	}
}

func TestTheStandInIsPutWhereNothingIs(t *testing.T) {
	const standIn = "node_modules/@google-cloud/functions-framework"
	elsewhere := t.TempDir()
	for name, c := range map[string]struct {
		link, to string
		files    map[string]string
		written  bool
	}{
		"nothing there":   {written: true},
		"other packages":  {files: map[string]string{"node_modules/@google-cloud/storage/index.js": ""}, written: true},
		"theirs":          {files: map[string]string{standIn + "/mine.js": ""}},
		"a file":          {files: map[string]string{"node_modules": ""}},
		"a link":          {link: "node_modules", to: elsewhere},
		"a link to files": {link: "node_modules", to: "."},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, c.files)
			if c.link != "" {
				if err := os.Symlink(c.to, filepath.Join(dir, c.link)); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(dir, "index.js"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			prepare(t, "nodejs", dir)
			_, err := os.Stat(filepath.Join(dir, standIn, "package.json"))
			if written := err == nil; written != c.written {
				t.Errorf("written: %v", written)
			}
		})
	}
	if left, err := os.ReadDir(elsewhere); err != nil || len(left) != 0 {
		t.Errorf("written outside of the source: %v, %v", left, err)
	}
}
