package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
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
	if err := checkTyped(l.Username, l.Password); err != nil {
		return Login{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	w, err := newWire(l.CA, o.UserAgent)
	if err != nil {
		return Login{}, err
	}
	ch, err := w.challenge(ctx, l.Server)
	if err != nil {
		return Login{}, err
	}
	realm, err := l.Server.pin(ch.Realm)
	if err != nil {
		return Login{}, err
	}
	query := url.Values{
		"service": {ch.Service}, "account": {l.Username}, "client_id": {clientID},
		"offline_token": {"true"}, "scope": {apiScope},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, realm+"?"+query.Encode(), http.NoBody)
	if err != nil {
		return Login{}, fmt.Errorf("log in: %w", err)
	}
	req.SetBasicAuth(l.Username, l.Password.Reveal())
	answer, err := w.token(req)
	if errors.Is(err, errBadCredential) {
		return Login{}, ErrBadLogin
	}
	if err != nil {
		return Login{}, err
	}
	if answer.RefreshToken.IsZero() {
		return Login{}, fmt.Errorf("%s gives no identity token: is it a Sallyport?", l.Server)
	}
	return Login{
		Server: l.Server, Username: l.Username, Realm: realm, Service: ch.Service,
		Token: answer.RefreshToken, CA: l.CA,
	}, nil
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
	Errors       []struct {
		Message string `json:"message"`
	} `json:"errors"`
}

// token sends a request for a token. Errors: errBadCredential.
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
	return tokenAnswer{}, p
}
