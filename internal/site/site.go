// Package site serves a folder of files over HTTP: what an app is when it has an
// index.html and nothing to run.
package site

import (
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path"
	"regexp"
	"strings"
)

// Caching. A name without a fingerprint may mean something else after the next
// deploy, so it is kept but asked for again each time, which its ETag makes cheap
// (RFC 9111 5.2.2.2). A name with one never changes its content (RFC 8246).
const (
	revalidate = "public, max-age=0, must-revalidate"
	immutable  = "public, max-age=31536000, immutable"
)

// fingerprinted are names such as app.3f9a02bc.js and index-B4x9Qw2c.css, as
// build tools make them: the last part before the extension has eight or more
// letters and digits, and at least one digit.
var fingerprinted = regexp.MustCompile(`[.-]([A-Za-z0-9_]{8,})\.(?:js|mjs|css|map|woff2?|png|jpe?g|gif|svg|webp|avif|ico|wasm)$`)

// types are content types that a system without a table of its own would not
// know (mime.TypeByExtension).
var types = map[string]string{
	".html": "text/html; charset=utf-8", ".htm": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
	".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8", ".json": "application/json",
	".map": "application/json", ".txt": "text/plain; charset=utf-8", ".md": "text/markdown; charset=utf-8",
	".xml": "text/xml; charset=utf-8", ".svg": "image/svg+xml", ".ico": "image/x-icon", ".webp": "image/webp",
	".avif": "image/avif", ".woff": "font/woff", ".woff2": "font/woff2", ".ttf": "font/ttf",
	".webmanifest": "application/manifest+json", ".wasm": "application/wasm", ".mp4": "video/mp4",
	".webm": "video/webm", ".mp3": "audio/mpeg", ".pdf": "application/pdf",
}

// Site serves the files of a folder. It is safe for concurrent use, holds no file
// open between requests, and never leads out of the folder: not by a path, nor by
// a symbolic link.
type Site struct{ code, folder string }

// New returns a handler for a folder beneath the directory code, "." for that
// itself; either may come to exist later. Whoever may write to code can make the
// folder a link, and one that leads out of code is not followed.
func New(code, folder string) *Site { return &Site{code, folder} }

// ServeHTTP implements http.Handler.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := s.TryServe(w, r); err != nil {
		http.Error(w, "the site's folder cannot be read", http.StatusInternalServerError)
	}
}

// TryServe is ServeHTTP for callers with an error page of their own: an error means
// that the folder cannot be read and that nothing was written.
//
// A folder is its index.html, /about may be about.html, and 404.html is shown for
// what does not exist. Names that begin with a dot are not served, but for
// .well-known (RFC 8615).
func (s *Site) TryServe(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "this is a folder of files: only GET and HEAD are possible", http.StatusMethodNotAllowed)
		return nil
	}
	root, err := s.open()
	if err != nil {
		return fmt.Errorf("open the site's folder: %w", err)
	}
	defer root.Close()
	name := path.Clean("/" + r.URL.Path)[1:]
	if hidden(name) {
		s.notFound(w, r, root)
	} else {
		s.serve(w, r, root, name)
	}
	return nil
}

// open opens the folder.
func (s *Site) open() (*os.Root, error) {
	code, err := os.OpenRoot(s.code)
	if err != nil {
		return nil, err
	}
	defer code.Close()
	return code.OpenRoot(s.folder)
}

// serve answers with the file that a name stands for.
func (s *Site) serve(w http.ResponseWriter, r *http.Request, root *os.Root, name string) {
	slash := strings.HasSuffix(r.URL.Path, "/") || name == ""
	info, err := root.Stat(orTop(name))
	switch {
	case err == nil && info.IsDir() && !slash:
		redirect(w, r, "/"+name+"/")
	case err == nil && info.IsDir():
		s.serveFile(w, r, root, path.Join(name, "index.html"))
	case err == nil && slash:
		redirect(w, r, "/"+name) // a file has nothing beneath it
	case err == nil:
		s.serveFile(w, r, root, name)
	case errors.Is(err, fs.ErrNotExist) && !slash && path.Ext(name) == "":
		s.serveFile(w, r, root, name+".html")
	default:
		s.notFound(w, r, root)
	}
}

func orTop(name string) string {
	if name == "" {
		return "."
	}
	return name
}

// hidden reports whether a part of a name begins with a dot.
func hidden(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, ".") && part != ".well-known" {
			return true
		}
	}
	return false
}

// redirect keeps the query. The location is a path only, with one slash in
// front: two would name another host.
func redirect(w http.ResponseWriter, r *http.Request, to string) {
	location := (&url.URL{Path: to, RawQuery: r.URL.RawQuery}).String()
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusMovedPermanently)
}

// serveFile answers with a regular file, or as if there were none.
func (s *Site) serveFile(w http.ResponseWriter, r *http.Request, root *os.Root, name string) {
	file, info, err := open(root, name)
	if err != nil {
		s.notFound(w, r, root)
		return
	}
	defer file.Close()
	h := w.Header()
	h.Set("Cache-Control", caching(name))
	h.Set("ETag", fmt.Sprintf(`"%x-%x"`, info.ModTime().UnixNano(), info.Size()))
	setType(h, name)
	http.ServeContent(w, r, name, info.ModTime(), file)
}

// open opens a regular file; anything else does not exist for visitors. It does
// not wait for the other end of a pipe.
func open(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	info, err := root.Stat(name)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fs.ErrNotExist
	}
	file, err := root.Open(name)
	if err != nil {
		return nil, nil, err
	}
	info, err = file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		_ = file.Close() // it was only read
		return nil, nil, err
	}
	return file, info, nil
}

// notFound answers with the site's own page, if it has one.
func (s *Site) notFound(w http.ResponseWriter, r *http.Request, root *os.Root) {
	file, info, err := open(root, "404.html")
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer file.Close()
	w.Header().Set("Cache-Control", revalidate)
	setType(w.Header(), "404.html")
	w.Header().Set("Content-Length", fmt.Sprint(info.Size()))
	w.WriteHeader(http.StatusNotFound)
	if r.Method != http.MethodHead {
		_, _ = file.WriteTo(w) // a client that has gone is nobody to tell
	}
}

func setType(h http.Header, name string) {
	ext := strings.ToLower(path.Ext(name))
	kind, ok := types[ext]
	if !ok {
		kind = mime.TypeByExtension(ext)
	}
	if kind != "" { // otherwise ServeContent looks at the content
		h.Set("Content-Type", kind)
	}
}

func caching(name string) string {
	if m := fingerprinted.FindStringSubmatch(name); m != nil && strings.ContainsAny(m[1], "0123456789") {
		return immutable
	}
	return revalidate
}
