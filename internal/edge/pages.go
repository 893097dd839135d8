package edge

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
)

//go:embed templates
var templates embed.FS

const htmlType = "text/html; charset=utf-8"

// pages are the few pages the ingress itself shows. They are self-contained: one
// style sheet inside, no script, nothing loaded from elsewhere.
type pages struct {
	parsed *template.Template
	style  template.CSS
	// policy is the Content-Security-Policy of every page. It allows that one style
	// sheet by its hash, the empty icon that keeps browsers from asking for
	// another, and nothing else.
	policy string
}

// page is what the templates show.
type page struct {
	Style   template.CSS
	Title   string
	Status  string // of a failure: its code and name, or empty
	Message string // one sentence, or empty
	Hint    string // another one, or empty
	Reason  Reason // of a failure, or empty
	Request string // the id of the request that failed, or empty
	Reload  int    // seconds after which the page loads itself again, or 0
	Link    string // the destination, on the preview page
	Routes  []routeInfo
}

// routeInfo is one row of the index page.
type routeInfo struct {
	Name, URL, About string
	Link             bool // the URL is one to follow as it is
}

func newPages() (*pages, error) {
	parsed, err := template.ParseFS(templates, "templates/*.html")
	if err != nil {
		return nil, err
	}
	style, err := templates.ReadFile("templates/style.css")
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(style)
	return &pages{
		parsed: parsed,
		style:  template.CSS(style),
		policy: fmt.Sprintf("default-src 'none'; style-src 'sha256-%s'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
			base64.StdEncoding.EncodeToString(sum[:])),
	}, nil
}

// failure renders a failure's page; plain text if even that fails. What happened
// is its heading: the name of the status means nothing to most visitors.
func (p *pages) failure(f *failure, request string) []byte {
	body, err := p.render(page{
		Title:  strings.TrimSuffix(f.message, "."),
		Status: strconv.Itoa(f.status) + " " + http.StatusText(f.status),
		Hint:   f.hint, Reason: f.reason, Request: request, Reload: int(f.reload.Seconds()),
	})
	if err != nil {
		return []byte(template.HTMLEscapeString(f.message) + "\n")
	}
	return body
}

func (p *pages) render(content page) ([]byte, error) {
	content.Style = p.style
	var buf bytes.Buffer
	err := p.parsed.ExecuteTemplate(&buf, "page.html", content)
	return buf.Bytes(), err
}

// servePage answers 200 with a page that must not be kept or indexed.
func (e *Edge) servePage(w http.ResponseWriter, r *http.Request, content page) *failure {
	body, err := e.pages.render(content)
	if err != nil {
		f := fail(http.StatusInternalServerError, ReasonInternal, "Something went wrong on our side.")
		f.cause = err
		return f
	}
	h := w.Header()
	h.Set("Content-Type", htmlType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Content-Security-Policy", e.pages.policy)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Robots-Tag", "noindex")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that has gone is nobody to tell
	}
	return nil
}
