package ui

import (
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/federation/provider"
	"github.com/sallyport/sallyport/internal/inbound"
	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/token"
)

var (
	// A program on the same machine listens on loopback (RFC 8252, 7.3), at an
	// address and not at a name, which may be somebody else's.
	loopback  = regexp.MustCompile(`^http://(127\.0\.0\.1|\[::1\]):[1-9][0-9]{0,4}/callback$`)
	challenge = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
	state     = regexp.MustCompile(`^[A-Za-z0-9_-]{22,128}$`)
)

// authorize begins a sign-in for a program on the same machine. Whatever is wrong
// is said here: nobody is sent to an address that we do not know to be good.
func (s *door) authorize(w http.ResponseWriter, r *http.Request) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	for _, c := range []struct {
		wrong bool
		text  string
	}{
		{err != nil || repeats(q), "the query is not well-formed, or has something twice"},
		{q.Get("client_id") != token.ClientID, "client_id is not " + token.ClientID},
		{!loopback.MatchString(q.Get("redirect_uri")), "redirect_uri is not http://127.0.0.1:PORT/callback or http://[::1]:PORT/callback"},
		{q.Get("response_type") != "code", "response_type is not code"},
		{q.Get("code_challenge_method") != "S256", "code_challenge_method is not S256"},
		{!challenge.MatchString(q.Get("code_challenge")), "code_challenge is not the base64url of a SHA-256"},
		{!state.MatchString(q.Get("state")), "state is not 22 to 128 letters, digits, - and _"},
	} {
		if c.wrong {
			s.fail(w, r, http.StatusBadRequest, "The program asked for the sign-in in a wrong way: "+c.text+".")
			return
		}
	}
	s.offer(w, r, s.begin(w, flow{Redirect: q.Get("redirect_uri"), State: q.Get("state"), Challenge: q.Get("code_challenge")}), token.Grant{}, "")
}

// offer shows the ways to sign in; wrong says why the last one failed.
func (s *door) offer(w http.ResponseWriter, r *http.Request, f flow, g token.Grant, wrong string) {
	var names []string
	for _, p := range s.Providers {
		names = append(names, p.Name())
	}
	status := http.StatusOK
	if wrong != "" {
		status = http.StatusForbidden
	}
	s.show(w, r, status, "signin.html", map[string]any{"Flow": f.ID, "Providers": names, "Directories": s.Directories, "Device": f.Device != nil, "Grant": g, "Wrong": wrong})
}

// toProvider sends the browser to a provider.
func (s *door) toProvider(w http.ResponseWriter, r *http.Request) {
	f, ok := s.of(w, r, r.URL.Query().Get("flow"))
	if !ok {
		return
	}
	p := s.provider(r.PathValue("name"))
	if p == nil {
		s.fail(w, r, http.StatusNotFound, "There is no such provider.")
		return
	}
	// Who approves a program elsewhere must be there, not only their browser.
	to, attempt, err := p.Begin(r.Context(), f.Device != nil)
	if err != nil {
		s.Logger.ErrorContext(r.Context(), "provider does not answer", "provider", p.Name(), "err", err)
		s.fail(w, r, http.StatusBadGateway, "The provider "+p.Name()+" does not answer: try again later. The registry's log says why.")
		return
	}
	f.Attempt = &attempt
	s.keep(w, f)
	http.Redirect(w, r, to, http.StatusSeeOther)
}

func (s *door) provider(name string) *provider.Provider {
	for _, p := range s.Providers {
		if p.Name() == name {
			return p
		}
	}
	return nil
}

// callback is where a provider sends the browser back to.
func (s *door) callback(w http.ResponseWriter, r *http.Request) {
	f, ok := s.flow(r)
	p := s.provider(r.PathValue("name"))
	if !ok || f.Attempt == nil || p == nil || f.Attempt.Provider != p.Name() {
		s.refused(w, r, "sso", "", "This is not the answer to a sign-in that this browser has begun. Begin again where you began it.")
		return
	}
	attempt := *f.Attempt
	f.Attempt = nil // it serves once
	s.keep(w, f)
	o, err := p.Finish(r.Context(), attempt, r.URL.Query())
	if err == nil {
		var id access.Identity
		e := &ledger.Event{Kind: ledger.Login, Action: "sign-in", Decision: ledger.Allowed, Method: "sso"}
		e.From(inbound.Origin(r, w.Header()))
		if id, err = s.Accounts.SignIn(ledger.With(r.Context(), e), o); err == nil {
			s.signedIn(w, r, f, id)
			return
		}
	}
	refused, isRefused := errors.AsType[*provider.Refused](err)
	invalid, isInvalid := errors.AsType[*account.Invalid](err)
	switch {
	case isRefused:
		s.refused(w, r, "sso", "", refused.Text)
	case isInvalid:
		s.refused(w, r, "sso", "", invalid.Error())
	case errors.Is(err, account.ErrNoAccount):
		s.refused(w, r, "sso", "", fmt.Sprintf("You have no account here, and %s may not give you one: ask an administrator to link yours (sallyport user link), with the issuer %s and the subject %s.", p.Name(), o.Issuer, o.Subject))
	case errors.Is(err, access.ErrBadCredential):
		s.refused(w, r, "sso", "", "Your account is disabled: ask an administrator.")
	default:
		s.Logger.ErrorContext(r.Context(), "sign-in failed", "provider", p.Name(), "err", err)
		s.fail(w, r, http.StatusBadGateway, "The sign-in with "+p.Name()+" failed. The registry's log says why.")
	}
}

// refused answers who is not signed in, and records it.
func (s *door) refused(w http.ResponseWriter, r *http.Request, method, who, text string) {
	s.record(r, w, ledger.Event{Kind: ledger.Login, Action: "sign-in", Decision: ledger.Denied, Reason: ledger.BadProof, Method: method, Principal: who})
	s.fail(w, r, http.StatusForbidden, text)
}

// password signs in with a name and a password of this registry, by the same check
// as everywhere.
func (s *door) password(w http.ResponseWriter, r *http.Request) {
	f, ok := s.of(w, r, r.PostForm.Get("flow"))
	if !ok {
		return
	}
	name := r.PostForm.Get("name")
	from := inbound.Origin(r, w.Header())
	e := &ledger.Event{Kind: ledger.Login, Action: "sign-in", Decision: ledger.Allowed, Method: "sso"} // where a directory vouches
	e.From(from)
	id, err := s.Passwords.Authenticate(ledger.With(r.Context(), e), access.Password{
		Name: name, Secret: access.NewSecret(r.PostForm.Get("password")), From: from,
	})
	if err == nil {
		s.signedIn(w, r, f, id)
		return
	}
	wrong, reason := "", ledger.BadProof
	throttled, isThrottled := errors.AsType[*access.Throttled](err)
	outside, isOutside := errors.AsType[*access.NotAdmitted](err)
	switch {
	case errors.Is(err, access.ErrBadCredential):
		wrong = "Name or password is wrong."
	case isThrottled:
		wrong, reason = fmt.Sprintf("Too many wrong passwords: wait %d seconds.", throttled.Seconds()), ledger.TooManyTries
	case errors.Is(err, access.ErrBusy):
		wrong, reason = "Too many logins are being checked: try again.", ledger.TooManyTries
	case isOutside:
		wrong, reason = outside.Text, outside.Text
	case errors.Is(err, access.ErrUnavailable):
		s.record(r, w, ledger.Event{Kind: ledger.Login, Action: "sign-in", Decision: ledger.Denied, Reason: ledger.NotAsked, Method: "password", Principal: "user:" + name})
		s.fail(w, r, http.StatusServiceUnavailable, "The directory that knows this name does not answer: try again later.")
		return
	default:
		s.Logger.ErrorContext(r.Context(), "sign-in failed", "err", err)
		s.fail(w, r, http.StatusInternalServerError, "The registry could not decide. Its log says why.")
		return
	}
	s.record(r, w, ledger.Event{Kind: ledger.Login, Action: "sign-in", Decision: ledger.Denied, Reason: reason, Method: "password", Principal: "user:" + name})
	g, ok := s.waiting(w, r, f)
	if ok {
		s.offer(w, r, f, g, wrong)
	}
}

// signedIn goes on with who has signed in: back to the program on this machine, or
// on to what is to be approved.
func (s *door) signedIn(w http.ResponseWriter, r *http.Request, f flow, id access.Identity) {
	if f.Device != nil {
		if g, ok := s.waiting(w, r, f); ok {
			f = s.begin(w, flow{Device: f.Device, Person: personOf(id)})
			s.show(w, r, http.StatusOK, "confirm.html", map[string]any{"Flow": f.ID, "Grant": g, "Person": f.Person.Name})
		}
		return
	}
	if f.Redirect == "" {
		s.fail(w, r, http.StatusBadRequest, "Nothing asked for this sign-in. Begin again where you began it.")
		return
	}
	s.end(w)
	code, err := s.Tokens.NewCode(r.Context(), id, f.Redirect, f.Challenge)
	if err != nil {
		s.Logger.ErrorContext(r.Context(), "sign-in failed", "err", err)
		s.fail(w, r, http.StatusInternalServerError, "The registry could not sign you in. Its log says why.")
		return
	}
	q := url.Values{"code": {code.Reveal()}, "state": {f.State}, "iss": {s.Issuer}}
	// A redirect would be taken for part of the form, or of the provider's, which
	// may go nowhere else.
	s.show(w, r, http.StatusOK, "done.html", map[string]any{
		"Person": id.Principal.String(), "To": template.URL(strings.TrimSuffix(f.Redirect, "?") + "?" + q.Encode()),
	})
}
