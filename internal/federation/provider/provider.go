package provider

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/outbound"
)

// CallbackPath is where providers send people back to, with the provider's name
// behind it: an answer that comes elsewhere is another's (O-07).
const CallbackPath = "/oauth/callback/"

const (
	// discoveryLife is how long what a provider says of itself is used.
	discoveryLife = time.Hour
	// discoveryPause is how long a provider that did not answer is left alone.
	discoveryPause = 10 * time.Second
)

// algorithms are those of ID tokens: public keys alone.
var algorithms = []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA"}

// A Definition is one provider as it is configured.
type Definition struct {
	Name, Issuer, ClientID string
	ClientSecret           access.Secret // zero: a public client
	Scopes                 []string      // beside openid
	NameClaim, GroupsClaim string        // "" for groups: none
	// AllowedGroups and AllowedDomains say who may sign in: who is in one of these
	// groups, as the provider calls them, and has a verified e-mail address in one
	// of these domains. None: everybody whom the provider lets in.
	AllowedGroups, AllowedDomains []string
	CA                            []byte   // PEM, of the provider's servers; or the machine's
	PrivateHosts                  []string // of the provider, that may be inside our network
}

// Options of a Provider.
type Options struct {
	Base string           // our URL, without a slash at its end
	Now  func() time.Time // nil: time.Now
}

// A Provider signs people in. It is safe for concurrent use, and asks for what
// the provider says of itself when it is first needed.
type Provider struct {
	d    Definition
	o    Options
	http *http.Client

	mu     sync.Mutex
	known  *discovered
	asking chan struct{} // closed when the provider has been asked; nil while it is not
	failed time.Time
	why    error // of the last time, or nil
}

// discovered is what a provider says of itself.
type discovered struct {
	at       time.Time
	provider *oidc.Provider
	verifier *oidc.IDTokenVerifier
	oauth    oauth2.Config
	issParam bool // it names itself in its answers (RFC 9207)
	userinfo bool
}

// New returns a provider. Errors carry a Hint.
func New(d Definition, o Options) (*Provider, error) {
	if _, err := outbound.ParseURL(d.Issuer); err != nil {
		return nil, err
	}
	c, err := outbound.New(outbound.Options{CA: d.CA, Allow: d.PrivateHosts})
	if err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	d.NameClaim = cmp.Or(d.NameClaim, "preferred_username")
	return &Provider{d: d, o: o, http: c.HTTPClient()}, nil
}

// Name returns what the provider is configured as.
func (p *Provider) Name() string { return p.d.Name }

// with returns ctx with our way to the provider.
func (p *Provider) with(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, p.http)
}

// discover returns what the provider says of itself. Once it is known nobody waits:
// it is asked again beside, and what was known before counts until it answers.
func (p *Provider) discover(ctx context.Context) (*discovered, error) {
	p.mu.Lock()
	now := p.o.Now()
	if p.known != nil && now.Sub(p.known.at) < discoveryLife {
		defer p.mu.Unlock()
		return p.known, nil
	}
	if p.asking == nil && (p.why == nil || now.Sub(p.failed) >= discoveryPause) {
		p.asking = make(chan struct{})
		go p.ask(p.asking)
	}
	known, asking, why := p.known, p.asking, p.why
	p.mu.Unlock()
	switch {
	case known != nil:
		return known, nil
	case asking == nil:
		return nil, why
	}
	select {
	case <-asking:
	case <-ctx.Done():
		return nil, fmt.Errorf("ask provider %s about itself: %w", p.d.Name, ctx.Err())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		return nil, p.why
	}
	return p.known, nil
}

// ask asks the provider about itself, for as long as a request of ours may take, and
// closes done.
func (p *Provider) ask(done chan struct{}) {
	known, err := p.document()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.why = err; err != nil {
		p.failed = p.o.Now()
	} else {
		p.known = known
	}
	p.asking = nil
	close(done)
}

func (p *Provider) document() (*discovered, error) {
	// Keys are fetched later, under the context that the provider is made with.
	provider, err := oidc.NewProvider(p.with(context.Background()), p.d.Issuer)
	if err != nil {
		return nil, fmt.Errorf("ask provider %s about itself: %w", p.d.Name, err)
	}
	var more struct {
		IssParam bool     `json:"authorization_response_iss_parameter_supported"`
		Methods  []string `json:"token_endpoint_auth_methods_supported"`
	}
	if err := provider.Claims(&more); err != nil {
		return nil, fmt.Errorf("ask provider %s about itself: %w", p.d.Name, err)
	}
	endpoint := provider.Endpoint()
	for _, u := range []string{endpoint.AuthURL, endpoint.TokenURL} {
		if _, err := outbound.ParseURL(u); err != nil {
			return nil, fmt.Errorf("ask provider %s about itself: %w", p.d.Name, err)
		}
	}
	endpoint.AuthStyle = p.authStyle(more.Methods)
	return &discovered{
		at: p.o.Now(), provider: provider, issParam: more.IssParam, userinfo: provider.UserInfoEndpoint() != "",
		verifier: provider.Verifier(&oidc.Config{ClientID: p.d.ClientID, SupportedSigningAlgs: algorithms, Now: p.o.Now}),
		oauth: oauth2.Config{
			ClientID: p.d.ClientID, ClientSecret: p.d.ClientSecret.Reveal(), Endpoint: endpoint,
			RedirectURL: p.o.Base + CallbackPath + p.d.Name,
			Scopes:      append([]string{oidc.ScopeOpenID}, p.d.Scopes...),
		},
	}, nil
}

// authStyle says how we prove that we are the client. It is never tried out: a
// code that was shown once may be spent.
func (p *Provider) authStyle(methods []string) oauth2.AuthStyle {
	basic := len(methods) == 0 || slices.Contains(methods, "client_secret_basic")
	if p.d.ClientSecret.IsZero() || !basic {
		return oauth2.AuthStyleInParams
	}
	return oauth2.AuthStyleInHeader
}

// An Attempt is a sign-in that has begun. It must be kept from everybody but the
// browser that began it, and serve once.
type Attempt struct {
	Provider string `json:"p"`
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"`
}

// Begin returns where the person is to be sent. With fresh the provider is to ask
// them anew who they are.
func (p *Provider) Begin(ctx context.Context, fresh bool) (string, Attempt, error) {
	k, err := p.discover(ctx)
	if err != nil {
		return "", Attempt{}, err
	}
	// A verifier is 256 random bits, which serve for the other two as well.
	a := Attempt{p.d.Name, oauth2.GenerateVerifier(), oauth2.GenerateVerifier(), oauth2.GenerateVerifier()}
	options := []oauth2.AuthCodeOption{oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)}
	if fresh {
		options = append(options, oauth2.SetAuthURLParam("prompt", "login"))
	}
	return k.oauth.AuthCodeURL(a.State, options...), a, nil
}

// A Refused says why somebody was not signed in, in words for them.
type Refused struct{ Text string }

func (e *Refused) Error() string { return e.Text }

func refuse(format string, args ...any) error { return &Refused{fmt.Sprintf(format, args...)} }

// Finish returns who the provider's answer to an attempt vouches for. Errors:
// *Refused; others when the provider could not be asked.
func (p *Provider) Finish(ctx context.Context, a Attempt, answer url.Values) (access.Outside, error) {
	for _, name := range []string{"code", "state", "iss", "error"} {
		if len(answer[name]) > 1 {
			return access.Outside{}, refuse("the answer of the provider has %s twice", name)
		}
	}
	k, err := p.discover(ctx)
	if err != nil {
		return access.Outside{}, err
	}
	iss := answer.Get("iss")
	switch {
	case a.Provider != p.d.Name, a.State == "", answer.Get("state") != a.State:
		return access.Outside{}, refuse("this is not the answer to a sign-in that this browser has begun: begin again")
	case iss != "" && iss != p.d.Issuer, iss == "" && k.issParam:
		return access.Outside{}, refuse("the answer does not come from the provider %s", p.d.Name)
	case answer.Get("error") != "":
		return access.Outside{}, refuse("the provider %s did not sign you in: %s", p.d.Name, word(answer.Get("error")))
	case answer.Get("code") == "":
		return access.Outside{}, refuse("the answer of the provider %s has no code", p.d.Name)
	}
	token, err := k.oauth.Exchange(p.with(ctx), answer.Get("code"), oauth2.VerifierOption(a.Verifier))
	if err != nil {
		return access.Outside{}, fmt.Errorf("exchange the code of provider %s: %w", p.d.Name, withoutBody(err))
	}
	return p.vouch(ctx, k, token, func(t *oidc.IDToken) error {
		if t.Nonce == "" || t.Nonce != a.Nonce {
			return refuse("the provider %s answered another sign-in", p.d.Name)
		}
		return nil
	})
}

// word makes an error code of RFC 6749 fit to be shown.
func word(s string) string {
	for _, c := range s {
		if (c < 'a' || c > 'z') && c != '_' {
			return "unknown error"
		}
	}
	return s[:min(len(s), 60)]
}

// withoutBody keeps what a server wrote out of logs: it may hold what it was asked
// with.
func withoutBody(err error) error {
	if r, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return fmt.Errorf("status %d, %s", r.Response.StatusCode, word(r.ErrorCode))
	}
	return err
}

// Renew asks whether the provider still vouches for o. Errors:
// access.ErrBadCredential when it does not. With any other error, what is to be asked
// with from now on is returned if the provider has changed it.
func (p *Provider) Renew(ctx context.Context, o access.Outside) (access.Outside, error) {
	k, err := p.discover(ctx)
	if err != nil {
		return access.Outside{}, err
	}
	old := &oauth2.Token{RefreshToken: o.Renewal.Reveal()}
	token, err := k.oauth.TokenSource(p.with(ctx), old).Token()
	if r, ok := errors.AsType[*oauth2.RetrieveError](err); ok && r.ErrorCode == "invalid_grant" {
		return access.Outside{}, access.ErrBadCredential
	}
	if err != nil {
		return access.Outside{}, fmt.Errorf("ask provider %s again: %w", p.d.Name, withoutBody(err))
	}
	now, err := p.vouch(ctx, k, token, func(t *oidc.IDToken) error { return nil })
	if _, refused := errors.AsType[*Refused](err); refused || err == nil && now.Subject != o.Subject {
		return access.Outside{}, access.ErrBadCredential
	}
	if err != nil { // what it was asked with may be spent
		now = access.Outside{Provider: o.Provider, Issuer: o.Issuer, Subject: o.Subject, Renewal: access.NewSecret(token.RefreshToken)}
	}
	return now, err
}
