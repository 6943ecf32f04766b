package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/access"
)

// clientID is our name in requests for tokens.
const clientID = "sallyport"

// Limits on what is typed at login, in bytes.
const (
	maxUsername = 255
	maxPassword = 4096
)

// A LoginRequest is what LogIn needs.
type LoginRequest struct {
	Server   Address
	Username string
	Password access.Secret // or an access key
	CA       string        // PEM, beside the system's CAs; or ""
}

// ErrBadLogin says that the server does not take name and password.
var ErrBadLogin = errors.New("the server does not accept this user name and password")

var errBadCredential = errors.New("bad credential")

// LogIn proves a name and a password to a server and returns the login to
// store. The password is sent to the server's own token service and nowhere
// else, and not kept. Errors: ErrBadLogin, ErrForeignRealm.
func LogIn(ctx context.Context, l LoginRequest, o Options) (Login, error) {
	login, answer, err := present(ctx, l, o, url.Values{"offline_token": {"true"}})
	if err != nil {
		return Login{}, err
	}
	if answer.RefreshToken.IsZero() {
		return Login{}, fmt.Errorf("%s gives no identity token: is it a Sallyport?", l.Server)
	}
	login.Token = answer.RefreshToken
	return login, nil
}

// Redeem sets the password of the person whose one-time code it is, without a
// login, and says who that is. Errors: *Problem.
func Redeem(ctx context.Context, server Address, ca string, r Redemption, o Options) (Redeemed, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	w, err := newWire(ca, o.UserAgent)
	if err != nil {
		return Redeemed{}, err
	}
	body, err := json.Marshal(r)
	if err != nil {
		return Redeemed{}, fmt.Errorf("write request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, string(server)+APIPath+"/password-resets", bytes.NewReader(body))
	if err != nil {
		return Redeemed{}, fmt.Errorf("write request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	var out Redeemed
	return out, w.answer(req, &out)
}

// Enter is LogIn without a login to store: the client it returns speaks to the
// server with the access token it was given, until that ends. Errors: as LogIn.
func Enter(ctx context.Context, l LoginRequest, o Options) (*Client, error) {
	login, answer, err := present(ctx, l, o, url.Values{})
	if err != nil {
		return nil, err
	}
	c, err := New(login, o)
	if err != nil {
		return nil, err
	}
	c.token = answer.AccessToken.Secret
	c.expires = c.now().Add(time.Duration(answer.ExpiresIn) * time.Second)
	return c, nil
}

// present asks for a token for the admin API with a name and a password.
func present(ctx context.Context, l LoginRequest, o Options, query url.Values) (Login, tokenAnswer, error) {
	fail := func(err error) (Login, tokenAnswer, error) { return Login{}, tokenAnswer{}, err }
	if err := checkTyped(l.Username, l.Password); err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	w, err := newWire(l.CA, o.UserAgent)
	if err != nil {
		return fail(err)
	}
	ch, err := w.challenge(ctx, l.Server)
	if err != nil {
		return fail(err)
	}
	realm, err := l.Server.pin(ch.Realm)
	if err != nil {
		return fail(err)
	}
	query.Set("service", ch.Service)
	query.Set("account", l.Username)
	query.Set("client_id", clientID)
	query.Set("scope", apiScope)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, realm+"?"+query.Encode(), http.NoBody)
	if err != nil {
		return fail(fmt.Errorf("log in: %w", err))
	}
	req.SetBasicAuth(l.Username, l.Password.Reveal())
	answer, err := w.token(req)
	if errors.Is(err, errBadCredential) {
		err = ErrBadLogin
	}
	if err != nil {
		return fail(err)
	}
	return Login{Server: l.Server, Username: l.Username, Realm: realm, Service: ch.Service, CA: l.CA}, answer, nil
}

// checkTyped refuses what Basic authentication cannot carry.
func checkTyped(username string, password access.Secret) error {
	if len(username) > maxUsername {
		return fmt.Errorf("the user name is longer than %d bytes", maxUsername)
	}
	for i, r := range username {
		if r <= ' ' || r == 0x7f || r == ':' || r == utf8.RuneError || i == 0 && r == '-' {
			return fmt.Errorf("the user name %q holds %q", Printable(username), string(r))
		}
	}
	p := password.Reveal()
	switch {
	case username == "":
		return errors.New("the user name is empty")
	case p == "":
		return errors.New("the password is empty")
	case len(p) > maxPassword:
		return fmt.Errorf("the password is longer than %d bytes", maxPassword)
	}
	for _, c := range []byte(p) {
		if c < ' ' || c == 0x7f {
			return errors.New("the password holds a control character")
		}
	}
	return nil
}

// challenge asks a server what it wants to see. Nothing secret is sent.
func (w wire) challenge(ctx context.Context, a Address) (Challenge, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, string(a)+"/v2/", http.NoBody)
	if err != nil {
		return Challenge{}, fmt.Errorf("ask %s: %w", a, err)
	}
	resp, err := w.send(req)
	if err != nil {
		return Challenge{}, err
	}
	defer resp.Body.Close()
	return challengeOf(resp)
}

func challengeOf(resp *http.Response) (Challenge, error) {
	values := resp.Header.Values("WWW-Authenticate")
	if resp.StatusCode != http.StatusUnauthorized || len(values) != 1 {
		return Challenge{}, errNoChallenge
	}
	return ParseChallenge(values[0])
}

// A tokenAnswer is the answer of the token service, good or bad.
type tokenAnswer struct {
	AccessToken  Secret `json:"access_token"`
	RefreshToken Secret `json:"refresh_token"`
	ExpiresIn    int64  `json:"expires_in"` // seconds
	Error        string `json:"error"`      // RFC 6749, 5.2
	Errors       []struct {
		Message string `json:"message"`
	} `json:"errors"`
}

// A grantRefused says why there is no token, with the code for programs.
type grantRefused struct {
	*Problem
	code string
}

func (e *grantRefused) Unwrap() error { return e.Problem }

// token sends a request for a token. Errors: errBadCredential, *grantRefused.
func (w wire) token(req *http.Request) (tokenAnswer, error) {
	resp, err := w.send(req)
	if err != nil {
		return tokenAnswer{}, err
	}
	defer resp.Body.Close()
	b, err := readAnswer(resp)
	if err != nil {
		return tokenAnswer{}, err
	}
	var answer tokenAnswer
	decoded := json.Unmarshal(b, &answer)
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return tokenAnswer{}, errBadCredential
	case resp.StatusCode == http.StatusOK && decoded == nil && !answer.AccessToken.IsZero():
		return answer, nil
	}
	p := &Problem{Status: resp.StatusCode, Title: "no token", RequestID: resp.Header.Get("X-Request-Id")}
	if len(answer.Errors) > 0 {
		p.Detail = answer.Errors[0].Message
	} else {
		p.Detail = fmt.Sprintf("the token service answered %d", resp.StatusCode)
	}
	return tokenAnswer{}, &grantRefused{p, answer.Error}
}
