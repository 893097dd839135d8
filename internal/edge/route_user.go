package edge

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/m3o/ingress/internal/api"
)

// serveUser is route 5: it checks the token of a verification link and sends the
// visitor to the success or the failure address (WIRE.md 6).
func (e *Edge) serveUser(w http.ResponseWriter, r *http.Request) *failure {
	if f := onlyReads(r); f != nil {
		return f
	}
	token := verificationToken(r)
	if token == "" {
		return e.withoutToken(w, r)
	}
	h := w.Header()
	h.Set("Referrer-Policy", "no-referrer") // the address carries the token
	h.Set("Cache-Control", "no-store")
	if r.Method == http.MethodHead {
		// Mail scanners look with HEAD; it must not verify anything.
		w.WriteHeader(http.StatusOK)
		return nil
	}
	stored, err := e.verify(r.Context(), token)
	switch {
	case err == nil:
		return e.verified(w, r, stored)
	case r.Context().Err() != nil:
		return clientGone(err)
	case isRefusal(err):
		return e.notVerified(w, r, stored, err)
	}
	return platformDown(err)
}

// verificationToken is the query's token; without one, the part behind /user/.
func verificationToken(r *http.Request) string {
	if token := r.URL.Query().Get("token"); token != "" {
		return token
	}
	if id := recordOf(r).match.id; !strings.Contains(id, "/") {
		return id
	}
	return ""
}

// withoutToken shows the index on a host that is ours besides being the user
// host, which would have no index otherwise.
func (e *Edge) withoutToken(w http.ResponseWriter, r *http.Request) *failure {
	hosts := e.hosts.Load()
	name, err := normaliseHost(r.Host)
	if err == nil && hosts.own[name] && hosts.ownRoute(r.URL.Path).kind == routeIndex {
		return e.serveIndex(w, r)
	}
	if r.URL.RawQuery == "" && (r.URL.Path == "/" || r.URL.Path == "") {
		return e.servePage(w, r, page{
			Title: "E-mail addresses are confirmed here", Message: "Links in e-mails lead to this host. Each has a token, and confirms one address.",
		})
	}
	f := fail(http.StatusBadRequest, ReasonBadRequest, "This address confirms e-mail addresses, and its token is missing.")
	f.hint = "Open the link exactly as it is in the e-mail."
	return f
}

func (e *Edge) verify(ctx context.Context, token string) (Redirects, error) {
	if e.config.Verifier == nil {
		return Redirects{}, errNoPlatform
	}
	ctx, cancel := context.WithTimeout(ctx, e.config.Limits.Resolve)
	defer cancel()
	return e.config.Verifier.VerifyEmail(ctx, token)
}

// isRefusal reports whether the error says that the token is not good. Being
// throttled says nothing about the token.
func isRefusal(err error) bool {
	var known *api.Error
	return errors.As(err, &known) && known.Code >= 400 && known.Code < 500 && known.Code != http.StatusTooManyRequests
}

func (e *Edge) verified(w http.ResponseWriter, r *http.Request, stored Redirects) *failure {
	if e.redirected(w, r, firstOf(r.URL.Query().Get("redirectUrl"), stored.Success), stored) {
		return nil
	}
	return e.servePage(w, r, page{
		Title: "E-mail address confirmed", Message: "Thank you. Your e-mail address is confirmed; you can close this page.",
	})
}

func (e *Edge) notVerified(w http.ResponseWriter, r *http.Request, stored Redirects, cause error) *failure {
	rec := recordOf(r)
	rec.reason, rec.cause = ReasonVerifyFailed, cause
	if e.redirected(w, r, firstOf(r.URL.Query().Get("failureRedirectUrl"), stored.Failure), stored) {
		return nil
	}
	f := fail(http.StatusBadRequest, ReasonVerifyFailed, "This link is not valid, or not any more.")
	f.hint = "Ask for a new e-mail and open the link in it."
	f.cause = cause
	return f
}

// redirected follows an address that is allowed. One that is not is noted in the
// log, and the visitor gets a plain page about the result instead.
func (e *Edge) redirected(w http.ResponseWriter, r *http.Request, address string, stored Redirects) bool {
	if address == "" {
		return false
	}
	location, err := e.redirects.check(address, stored)
	if err != nil {
		rec := recordOf(r)
		e.logger.Warn("a verification link's redirect was not followed",
			"reason", ReasonRedirectForbidden, "error", err, "client", rec.visitor.addr)
		if rec.reason == "" {
			rec.reason, rec.cause = ReasonRedirectForbidden, err
		}
		return false
	}
	http.Redirect(w, r, location, http.StatusFound)
	return true
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
