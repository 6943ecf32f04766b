package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

// The grant and the type of a token exchange (RFC 8693).
const (
	exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange"
	tokenType     = "urn:ietf:params:oauth:token-type:jwt"
)

// ErrNotTrusted says that the server does not take a token of another issuer.
var ErrNotTrusted = errors.New("the server does not accept this identity")

// ErrOnlyAccess says that the server gives an identity no identity token: its
// issuer's definition allows none, or has a token review.
var ErrOnlyAccess = errors.New("only access tokens, and no identity token, are given to this identity")

// Introduce asks a server for its token service, which must be its own, and for
// the audience of its tokens. Nothing secret is sent. The login it returns has
// no token yet. Errors: ErrForeignRealm.
func Introduce(ctx context.Context, server Address, ca string, o Options) (Login, error) {
	w, err := newWire(ca, o.UserAgent)
	if err != nil {
		return Login{}, err
	}
	defer w.http.CloseIdleConnections()
	ch, err := w.challenge(ctx, server)
	if err != nil {
		return Login{}, err
	}
	realm, err := server.pin(ch.Realm)
	if err != nil {
		return Login{}, err
	}
	return Login{Server: server, Realm: realm, Service: ch.Service, CA: ca}, nil
}

// A Grant is what an exchange gave.
type Grant struct {
	Token Secret
	// Life is how long it lives at least, from when it was asked for.
	Life time.Duration
}

// ExchangeForIdentity has the server of l, from Introduce, answer a token of
// another issuer with an identity token: one that every client can use, that
// ends by itself, and that is not the outside token. Errors: ErrNotTrusted,
// ErrOnlyAccess.
func ExchangeForIdentity(ctx context.Context, l Login, outside Secret, o Options) (Grant, error) {
	answer, err := exchange(ctx, l, outside, url.Values{"access_type": {"offline"}}, o)
	if err == nil && answer.RefreshToken.IsZero() {
		err = fmt.Errorf("%w by %s", ErrOnlyAccess, l.Server)
	}
	return Grant{answer.RefreshToken, answer.life()}, err
}

// ExchangeForAccess is ExchangeForIdentity for an access token with scopes as in
// docker's token spec: "repository:team/app:pull".
func ExchangeForAccess(ctx context.Context, l Login, outside Secret, scopes []string, o Options) (Grant, error) {
	answer, err := exchange(ctx, l, outside, url.Values{"scope": {strings.Join(scopes, " ")}}, o)
	return Grant{answer.AccessToken, answer.life()}, err
}

func (a tokenAnswer) life() time.Duration {
	return time.Duration(min(max(a.ExpiresIn, 0), int64(24*time.Hour/time.Second))) * time.Second
}

func exchange(ctx context.Context, l Login, outside Secret, form url.Values, o Options) (tokenAnswer, error) {
	if err := checkOutside(outside); err != nil {
		return tokenAnswer{}, err
	}
	if _, err := l.Server.pin(l.Realm); err != nil {
		return tokenAnswer{}, err
	}
	w, err := newWire(l.CA, o.UserAgent)
	if err != nil {
		return tokenAnswer{}, err
	}
	defer w.http.CloseIdleConnections()
	form.Set("grant_type", exchangeGrant)
	form.Set("subject_token", outside.Reveal())
	form.Set("subject_token_type", tokenType)
	answer, err := w.grant(ctx, l, form)
	if errors.Is(err, errBadCredential) {
		return tokenAnswer{}, fmt.Errorf("%w at %s", ErrNotTrusted, l.Server)
	}
	return answer, err
}

// checkOutside keeps what is no token at all from being sent as one.
func checkOutside(s Secret) error {
	text := s.Reveal()
	if len(text) > access.MaxIDToken {
		return fmt.Errorf("the identity's token is longer than %d bytes", access.MaxIDToken)
	}
	if parts := strings.Split(text, "."); len(parts) != 3 || strings.Trim(text, "-_.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != "" {
		return errors.New("what was found as the identity's token is no JWT")
	}
	return nil
}

// AccessToken returns an access token for a login. Errors: ErrLoginEnded.
func AccessToken(ctx context.Context, l Login, scopes []string, o Options) (Secret, error) {
	if _, err := l.Server.pin(l.Realm); err != nil {
		return Secret{}, err
	}
	w, err := newWire(l.CA, o.UserAgent)
	if err != nil {
		return Secret{}, err
	}
	defer w.http.CloseIdleConnections()
	answer, err := w.refresh(ctx, l, strings.Join(scopes, " "))
	return answer.AccessToken, err
}

// refresh asks for an access token with the identity token of l. Errors:
// ErrLoginEnded.
func (w wire) refresh(ctx context.Context, l Login, scope string) (tokenAnswer, error) {
	answer, err := w.grant(ctx, l, url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {l.Token.Reveal()}, "scope": {scope},
	})
	if errors.Is(err, errBadCredential) {
		return tokenAnswer{}, fmt.Errorf("%w at %s", ErrLoginEnded, l.Server)
	}
	return answer, err
}

// grant sends a form to the token service of l. Errors: errBadCredential.
func (w wire) grant(ctx context.Context, l Login, form url.Values) (tokenAnswer, error) {
	form.Set("service", l.Service)
	form.Set("client_id", clientID)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.Realm, strings.NewReader(form.Encode()))
	if err != nil {
		return tokenAnswer{}, fmt.Errorf("ask for a token: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return w.token(req)
}
