package client

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
)

const (
	// metadataPath is where a server says how people log in (RFC 8414, 3).
	metadataPath = "/.well-known/oauth-authorization-server"
	maxMetadata  = 64 << 10 // bytes
	maxCode      = 512      // bytes of a code that a server gives
)

// ErrNoSignIn says that a server lets nobody log in with a browser.
var ErrNoSignIn = errors.New("the server has no sign-in with a browser")

// ErrNotSignedIn says that a sign-in came to nothing: somebody refused, or let the
// time go by.
var ErrNotSignedIn = errors.New("not signed in")

// metadata is what a server says of itself; every URL in it is its own.
type metadata struct {
	Issuer     string   `json:"issuer"`
	Authorize  string   `json:"authorization_endpoint"`
	Token      string   `json:"token_endpoint"`
	Device     string   `json:"device_authorization_endpoint"`
	Revoke     string   `json:"revocation_endpoint"`
	Challenges []string `json:"code_challenge_methods_supported"`
	SaysIssuer bool     `json:"authorization_response_iss_parameter_supported"`
}

// metadata asks a server for that. Errors: ErrNoSignIn, ErrForeignRealm.
func (w wire) metadata(ctx context.Context, server Address) (metadata, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, string(server)+metadataPath, http.NoBody)
	if err != nil {
		return metadata{}, fmt.Errorf("ask %s: %w", server, err)
	}
	resp, err := w.send(req)
	if err != nil {
		return metadata{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxMetadata+1))
	var m metadata
	switch {
	case err != nil:
		return metadata{}, fmt.Errorf("read answer: %w", err)
	case resp.StatusCode == http.StatusNotFound:
		return metadata{}, ErrNoSignIn
	case resp.StatusCode != http.StatusOK:
		return metadata{}, fmt.Errorf("%s answers %d to the question how people log in", server, resp.StatusCode)
	case len(b) > maxMetadata || json.Unmarshal(b, &m) != nil:
		return metadata{}, fmt.Errorf("%s says how people log in, but not as RFC 8414 has it", server)
	}
	for _, url := range []*string{&m.Authorize, &m.Token, &m.Device, &m.Revoke} {
		if *url == "" {
			continue
		}
		if *url, err = server.pin(*url); err != nil {
			return metadata{}, err
		}
	}
	return m, nil
}

// A SignIn is how people log in to a server with a browser.
type SignIn struct {
	login   Login // without a token
	says    metadata
	wire    wire
	options Options
}

// NewSignIn asks a server how. Nothing secret is sent. Errors: ErrNoSignIn,
// ErrForeignRealm.
func NewSignIn(ctx context.Context, server Address, ca string, o Options) (*SignIn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	w, err := newWire(ca, o.UserAgent)
	if err != nil {
		return nil, err
	}
	m, err := w.metadata(ctx, server)
	if err != nil {
		return nil, err
	}
	l, err := Introduce(ctx, server, ca, o)
	if err != nil {
		return nil, err
	}
	switch {
	case m.Issuer != string(server):
		return nil, fmt.Errorf("the server at %s calls itself %s: if that is the same one, log in with that address", server, Printable(m.Issuer))
	case m.Token != l.Realm:
		return nil, fmt.Errorf("%s names two token services, %s and %s", server, l.Realm, m.Token)
	}
	return &SignIn{l, m, w, o}, nil
}

// An Attempt is one sign-in with a browser on this machine: an authorization code
// with PKCE, which the browser brings to loopback (RFC 8252, 7.3).
type Attempt struct {
	in              *SignIn
	redirect, state string
	verifier        access.Secret
}

// Begin begins one. The browser is to bring the answer to redirect. Errors:
// ErrNoSignIn.
func (s *SignIn) Begin(redirect string) (*Attempt, error) {
	if s.says.Authorize == "" || !slices.Contains(s.says.Challenges, "S256") {
		return nil, ErrNoSignIn
	}
	// 130 bits, and 260: letters and digits alone (RFC 7636, 4.1).
	return &Attempt{s, redirect, rand.Text(), access.NewSecret(rand.Text() + rand.Text())}, nil
}

// URL is what the browser is to open. It holds nothing with which a code is
// redeemed.
func (a *Attempt) URL() string {
	sum := sha256.Sum256([]byte(a.verifier.Reveal()))
	return a.in.says.Authorize + "?" + url.Values{
		"response_type": {"code"}, "client_id": {clientID}, "redirect_uri": {a.redirect}, "state": {a.state},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}.Encode()
}

// IsAnswer reports whether what a browser brought answers this attempt. Anybody
// can send a browser to loopback; only who saw the request knows its state.
func (a *Attempt) IsAnswer(answer url.Values) bool {
	return len(answer["state"]) == 1 && subtle.ConstantTimeCompare([]byte(answer.Get("state")), []byte(a.state)) == 1
}

// Finish redeems what the browser brought. Errors: ErrNotSignedIn.
func (a *Attempt) Finish(ctx context.Context, answer url.Values) (Login, error) {
	for name, values := range answer {
		if len(values) > 1 {
			return Login{}, fmt.Errorf("%w: the browser brought %s twice", ErrNotSignedIn, Printable(name))
		}
	}
	iss := answer.Get("iss")
	switch {
	case !a.IsAnswer(answer):
		return Login{}, fmt.Errorf("%w: the browser brought the answer to another request", ErrNotSignedIn)
	case iss != "" && iss != a.in.says.Issuer, iss == "" && a.in.says.SaysIssuer:
		// Another server answers a request to this one (RFC 9207).
		return Login{}, fmt.Errorf("%w: the browser brought the answer of another server than %s", ErrNotSignedIn, a.in.login.Server)
	case answer.Has("error"):
		return Login{}, refusedBy(a.in.login.Server, answer.Get("error"), answer.Get("error_description"))
	case answer.Get("code") == "" || len(answer.Get("code")) > maxCode:
		return Login{}, fmt.Errorf("%w: the browser brought no code", ErrNotSignedIn)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return a.in.redeem(ctx, url.Values{
		"grant_type": {"authorization_code"}, "code": {answer.Get("code")},
		"redirect_uri": {a.redirect}, "code_verifier": {a.verifier.Reveal()},
	})
}

func refusedBy(server Address, code, text string) error {
	return fmt.Errorf("%w: %s says %s", ErrNotSignedIn, server, Printable(strings.TrimSuffix(code+": "+text, ": ")))
}

// redeem has the server give an identity token for what a person granted. Errors:
// ErrNotSignedIn, *grantRefused.
func (s *SignIn) redeem(ctx context.Context, form url.Values) (Login, error) {
	answer, err := s.wire.grant(ctx, s.login, form)
	switch {
	case errors.Is(err, errBadCredential):
		return Login{}, fmt.Errorf("%w: %s does not know the code, or no more", ErrNotSignedIn, s.login.Server)
	case err != nil:
		return Login{}, err
	case answer.RefreshToken.IsZero():
		return Login{}, fmt.Errorf("%w: %s gives no identity token: is it a Sallyport?", ErrNotSignedIn, s.login.Server)
	}
	l := s.login
	l.Token = answer.RefreshToken
	return l, nil
}

// EndLogin ends the session of a login at its server (RFC 7009), also of one that a
// client gave the credential helper; one that has ended already is no error. A
// token that is none of ours is sent nowhere: ended is false.
func EndLogin(ctx context.Context, l Login, o Options) (ended bool, err error) {
	if !access.RefreshSecret.Valid(l.Token.Reveal()) {
		return false, nil
	}
	w, err := newWire(l.CA, o.UserAgent)
	if err != nil {
		return false, err
	}
	defer w.http.CloseIdleConnections()
	m, err := w.metadata(ctx, l.Server)
	if err != nil {
		return false, err
	}
	if m.Revoke == "" {
		return false, fmt.Errorf("%s ends no sessions", l.Server)
	}
	form := url.Values{"token": {l.Token.Reveal()}, "token_type_hint": {"refresh_token"}, "client_id": {clientID}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.Revoke, strings.NewReader(form.Encode()))
	if err != nil {
		return false, fmt.Errorf("end session: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	err = w.answer(req, nil)
	return err == nil, err
}
