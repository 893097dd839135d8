package edge

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// maxLinkID bounds link ids; those the platform makes have 9 characters.
const maxLinkID = 256

// serveLink is route 4: a redirect to where the short link leads, or, with a "+"
// behind the id, a page that says where that is.
func (e *Edge) serveLink(w http.ResponseWriter, r *http.Request) *failure {
	if f := onlyReads(r); f != nil {
		return f
	}
	rec := recordOf(r)
	if rec.match.id == "" {
		return e.servePage(w, r, page{
			Title: "Short links live here", Message: "Each is an id at the end of this address, and leads somewhere else. With a + behind it, it says where.",
		})
	}
	id, preview := strings.CutSuffix(rec.match.id, "+")
	if !isLinkID(id) {
		return unknownLink()
	}
	rec.id = id
	destination, err := resolve(e, r, e.links, id)
	if err != nil {
		return resolveFailure(r.Context(), err, unknownLink)
	}
	location, err := linkLocation(destination)
	if err != nil {
		f := fail(http.StatusBadGateway, ReasonBadDestination, "This link leads to something that is not a web address.")
		f.cause = err
		return f
	}
	if preview {
		return e.servePage(w, r, page{Title: "Where this link leads", Message: "You have not been taken there. It leads to:", Link: location})
	}
	if e.config.Hits != nil && isPerson(r) {
		e.config.Hits.Hit(id)
		e.metrics.hits.Inc()
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, location, http.StatusFound)
	return nil
}

func unknownLink() *failure {
	return unknownID(ReasonUnknownLink, "There is no link at this address.")
}

// isLinkID reports whether s may be a link's id (WIRE.md 5). "resolve" is the
// platform's own (WIRE.md 1).
func isLinkID(s string) bool {
	if s == "" || len(s) > maxLinkID || strings.EqualFold(s, "resolve") {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

var errNotWebAddress = errors.New("the destination is not an absolute http or https URL")

// linkLocation returns a destination as it may stand in a Location header. A
// remote platform's destinations are checked by nobody else.
func linkLocation(destination string) (string, error) {
	u, err := url.Parse(destination)
	if err != nil {
		return "", errNotWebAddress // the parse error would repeat the destination
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", errNotWebAddress
	}
	return escapeLocation(destination), nil
}

// escapeLocation percent-encodes the bytes that RFC 3986 does not allow in a URL,
// line breaks among them, and leaves the others alone, so that a URL that is
// right stays the same, byte for byte.
func escapeLocation(address string) string {
	const unsafe = "\"<>\\^`{|}"
	var b strings.Builder
	for i := range len(address) {
		c := address[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(unsafe, c) >= 0 {
			const digits = "0123456789ABCDEF"
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}
