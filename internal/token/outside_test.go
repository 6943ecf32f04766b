package token_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/token"
)

const (
	idp       = "https://idp.test"
	job       = "repo:org/app:ref:refs/heads/main"
	trust     = "ci@0123456789abcdef01234567"
	exchange  = "urn:ietf:params:oauth:grant-type:token-exchange"
	tokenType = "urn:ietf:params:oauth:token-type:"
)

// jobPolicy lets jobs of one repository push, by what their issuer says.
const jobPolicy = `version: 2
rules:
  - {name: administrators, subjects: ["group:admins"], repositories: ["**"], actions: [pull, push, delete, admin]}
  - {name: team-a, subjects: ["user:alice"], repositories: ["team-a/**"], actions: [pull, push]}
  - name: jobs
    subjects: [{issuer: "https://idp.test", claims: {repository: "org/app"}}]
    repositories: ["team-a/**"]
    actions: [pull, push]
  - {name: public, subjects: [anyone], repositories: ["public/**"], actions: [pull]}
`

var jobClaims = map[string]string{"repository": "org/app", "ref": "refs/heads/main", "note": "a <b> & \"c\" é"}

// An idProvider stands for the trusted issuers: what their tokens prove is written
// down, and the trust in them can end.
type idProvider struct {
	now func() time.Time

	mu      sync.Mutex
	proves  map[string]access.Identity // by token
	trusted map[string]bool            // "NAME@REVISION"
	asked   int
}

func newIDProvider(f *fixture) *idProvider {
	return &idProvider{now: f.clock, proves: map[string]access.Identity{}, trusted: map[string]bool{trust: true}}
}

// Authenticate implements token.Outsiders.
func (p *idProvider) Authenticate(_ context.Context, c access.Credential) (access.Identity, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	id, ok := p.proves[c.(access.IDToken).Secret.Reveal()]
	why := fmt.Errorf("%w: its audience is another one", access.ErrBadCredential)
	switch {
	case !ok:
	case !p.now().Before(id.Expires):
		why = fmt.Errorf("%w at noon", access.ErrExpired)
	case id.Principal.Claims["event_name"] == "pull_request_target":
		why = fmt.Errorf("%w: no tokens of forks", access.ErrBadCredential)
	default:
		return id, nil
	}
	return access.Identity{}, &access.Refused{Why: why, Proof: access.Proof{Method: access.MethodIDToken, Trust: id.Proof.Trust}, Claims: id.Principal.Claims}
}

// Resolve implements token.Outsiders.
func (p *idProvider) Resolve(_ context.Context, id access.ID, proof access.Proof) (access.Identity, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.trusted[proof.Trust] || proof.Method != access.MethodIDToken || id.Issuer != idp {
		return access.Identity{}, access.ErrBadCredential
	}
	return access.Identity{Principal: access.ExternalPrincipal(id.Issuer, id.Name, nil), Proof: proof}, nil
}

func (p *idProvider) trust(trusted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trusted[trust] = trusted
}

// token returns a new token that proves name for life; change is made to what it
// proves.
func (p *idProvider) token(name string, life time.Duration, claims map[string]string, change ...func(*access.Identity)) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := access.Identity{
		Principal: access.ExternalPrincipal(idp, name, claims), Proof: access.Proof{Method: access.MethodIDToken, Trust: trust},
		Expires: p.now().Add(life), SessionLife: 2 * time.Hour,
	}
	for _, c := range change {
		c(&id)
	}
	text := jwtOf(fmt.Sprintf(`{"iss":%q,"jti":"%d"}`, idp, len(p.proves)))
	p.proves[text] = id
	return text
}

// jwtOf is a token in form.
func jwtOf(payload string) string {
	b64 := base64.RawURLEncoding
	return b64.EncodeToString([]byte(`{"alg":"RS256","kid":"k"}`)) + "." + b64.EncodeToString([]byte(payload)) + "." + b64.EncodeToString([]byte("signed"))
}

// A federated fixture trusts an issuer.
type federated struct {
	*fixture
	idp *idProvider
}

func newFederated(f *fixture, o ...token.Options) federated {
	f.t.Helper()
	admin, err := f.accounts.Find(f.ctx(), user("admin"))
	f.ok(err)
	_, err = f.accounts.ApplyPolicy(f.ctx(), account.PolicyChange{Document: jobPolicy, Base: 2}, access.Authority{Identity: access.Identity{Principal: admin.Principal()}})
	f.ok(err)
	ff := federated{f, newIDProvider(f)}
	f.s = ff.replica(append(o, token.Options{})[0])
	return ff
}

// replica returns another process that trusts the same issuer.
func (f federated) replica(o token.Options) *token.Service {
	f.t.Helper()
	o.Issuer, o.Service, o.Now, o.Logger = issuer, service, f.clock, f.logger()
	s, err := token.New(f.ctx(), token.Deps{
		Store: f.db.Tokens(), Accounts: f.accounts, Policies: f.accounts, Changes: f.db,
		Passwords: f.accounts.Passwords(), Keys: f.accounts.Keys(), IDTokens: f.idp, Sealer: f.sealer,
	}, o)
	f.ok(err)
	f.t.Cleanup(func() { s.Close() })
	return s
}

// exchangeForm asks for our token for one of the issuer's.
func exchangeForm(subject string, pairs ...string) *http.Request {
	v := form(append([]string{"grant_type", exchange, "subject_token_type", tokenType + "jwt"}, pairs...)...)
	v.Set("subject_token", subject)
	return post(v)
}

const pushScope = "repository:team-a/app:pull,push"

// waysIn are the requests that show a token of an issuer.
var waysIn = map[string]func(outside string, more ...string) *http.Request{
	"Basic": func(outside string, more ...string) *http.Request {
		return get(form(append(more, "scope", pushScope)...).Encode(), "github:"+outside)
	},
	"Basic without a name": func(outside string, more ...string) *http.Request {
		return get(form(append(more, "scope", pushScope)...).Encode(), ":"+outside)
	},
	"password": func(outside string, more ...string) *http.Request {
		return post(form(append(more, "scope", pushScope, "grant_type", "password", "username", "alice", "password", outside)...))
	},
	"exchange": func(outside string, more ...string) *http.Request {
		return exchangeForm(outside, append(more, "scope", pushScope)...)
	},
}

// Two ways in, one pipeline: what comes of the issuer's token is ours, holds what
// the policy gives by the claims, and ends with its source (F-29).
func TestOutsideToken(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		ff := newFederated(f)
		for name, ask := range waysIn {
			a := f.do(ask(ff.idp.token(job, 10*time.Minute, jobClaims)))
			if a.status != 200 || a.Scope != pushScope || a.RefreshToken != "" || a.ExpiresIn != 300 || a.TokenType != "Bearer" || a.AccessToken != a.Token {
				t.Errorf("%s: %d %s", name, a.status, a.raw)
				continue
			}
			if got, want := a.IssuedTokenType, map[bool]string{true: tokenType + "access_token"}[name == "exchange"]; got != want {
				t.Errorf("%s: issued_token_type %q", name, got)
			}
			au := f.alive(name, a.Token)
			p := au.Identity.Principal
			if p.Kind != access.External || p.Issuer != idp || p.Name != job || !maps.Equal(p.Claims, jobClaims) || len(p.Groups) != 0 || au.Identity.Proof.Method != access.MethodIDToken {
				t.Errorf("%s: %+v", name, au.Identity)
			}
			if err := au.Check(access.Push, "team-a/app"); err != nil {
				t.Errorf("%s: the policy does not see the claims: %v", name, err)
			}
			other := f.do(ask(ff.idp.token(job, 10*time.Minute, map[string]string{"repository": "org/other"})))
			if other.status != 200 || other.Scope != "" {
				t.Errorf("%s of another repository: %d %s", name, other.status, other.raw)
			}
			for left, want := range map[time.Duration]int{200 * time.Second: 200, 20 * time.Second: 20} {
				text := ff.idp.token(job, left, jobClaims)
				a := f.do(ask(text))
				if a.ExpiresIn != want || claims(t, a.Token)["exp"] != float64(f.clock().Add(left).Unix()) {
					t.Errorf("%s with %s left: %s", name, left, a.raw)
				}
				f.pass(left - time.Second)
				f.alive("before the end of its source", a.Token)
				f.pass(time.Second)
				f.dead("at the end of its source: no grace for a push", a.Token)
				if a := f.do(ask(text)); a.status == 200 {
					t.Errorf("%s: an ended token was taken", name)
				}
			}
		}
	})
}

// A steady request with a job's token asks nothing, and knows at once, on every
// process, when the issuer is not trusted any more.
func TestOutsideTokenEnds(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		ff := newFederated(f)
		direct := f.do(waysIn["exchange"](ff.idp.token(job, time.Hour, jobClaims)))
		login := f.do(waysIn["Basic"](ff.idp.token(job, time.Hour, jobClaims), "offline_token", "true"))
		later := f.do(post(refreshForm(login.RefreshToken, "scope", pushScope)))
		bearers := map[string]string{"direct": direct.Token, "of a login": login.Token, "of a session": later.Token}
		for name, bearer := range bearers {
			f.alive(name, bearer)
			before, asked := f.db.Queries(), ff.idp.asked
			for range 20 {
				f.alive(name, bearer)
			}
			if n := f.db.Queries() - before; n != 0 || ff.idp.asked != asked {
				t.Errorf("%s: %d queries for 20 requests, %d times asked who it is", name, n, ff.idp.asked-asked)
			}
		}
		ff.idp.trust(false)
		for name, bearer := range bearers {
			f.dead(name+", issuer removed", bearer)
		}
		if a := f.do(post(refreshForm(login.RefreshToken))); a.status != 401 {
			t.Errorf("the session of a removed issuer: %d %s", a.status, a.raw)
		}
		ff.idp.trust(true)
		f.s = f.service(token.Options{}) // a process that trusts none
		for name, bearer := range bearers {
			f.dead(name+", none trusted", bearer)
		}
		if a := f.do(waysIn["exchange"](ff.idp.token(job, time.Hour, jobClaims))); a.status != 400 || a.Error != "invalid_request" {
			t.Errorf("none trusted: %d %s", a.status, a.raw)
		}
	})
}

// What cannot be carried is refused with words, and what no issuer may prove is not
// believed, whoever says it.
func TestOutsideTokenBounds(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		ff := newFederated(f)
		many := map[string]string{}
		for i := range 41 {
			many[fmt.Sprint("claim", i)] = "x"
		}
		full := map[string]string{"a": strings.Repeat("x", 1024), "b": strings.Repeat("x", 1024), "c": strings.Repeat("x", 509)}
		over := maps.Clone(full)
		over["c"] += "x"
		escaped := map[string]string{"a": strings.Repeat("<", 1024), "b": strings.Repeat("&", 1024)}
		for name, tt := range map[string]struct {
			claims map[string]string
			change func(*access.Identity)
			status int
			says   string
		}{
			"full":                   {claims: full, status: 200},
			"none":                   {status: 200},
			"more than fit together": {claims: over, status: 400, says: "claimMappings.extra"},
			"more than fit, escaped": {claims: escaped, status: 400, says: "too much for one token"},
			"too many":               {claims: many, status: 400, says: "at most 40"},
			"a long one":             {claims: map[string]string{"a": strings.Repeat("x", 1025)}, status: 400, says: "1024"},
			"a long name":            {claims: map[string]string{strings.Repeat("x", 129): ""}, status: 400, says: "claims"},
			"no name":                {claims: map[string]string{"": "x"}, status: 400, says: "claims"},
			"NUL":                    {claims: map[string]string{"a": "x\x00"}, status: 400, says: "claims"},
			"not UTF-8":              {claims: map[string]string{"a": "x\xff"}, status: 400, says: "claims"},
			"a user":                 {change: func(id *access.Identity) { id.Principal.Kind = access.User }, status: 500},
			"somebody's UID":         {change: func(id *access.Identity) { id.Principal.UID = "alice" }, status: 500},
			"by password":            {change: func(id *access.Identity) { id.Proof.Method = "password" }, status: 500},
			"with a key":             {change: func(id *access.Identity) { id.Proof.KeyID = "k" }, status: 500},
			"without trust":          {change: func(id *access.Identity) { id.Proof.Trust = "" }, status: 500},
			"without an end":         {change: func(id *access.Identity) { id.Expires = time.Time{} }, status: 400},
		} {
			change := tt.change
			if change == nil {
				change = func(*access.Identity) {}
			}
			a := f.do(exchangeForm(ff.idp.token(job, time.Hour, tt.claims, change), "scope", pushScope))
			if a.status != tt.status || !strings.Contains(a.Description, tt.says) || len(a.Token) > 6<<10 {
				t.Errorf("%s: %d %s", name, a.status, a.raw)
			}
			if a.status == 200 {
				f.alive(name, a.Token)
			}
		}
	})
}

// T-12, T-19: claims of an outsider's token that do not agree.
func TestOutsideClaims(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		ff := newFederated(f)
		login := f.do(waysIn["Basic"](ff.idp.token(job, time.Hour, jobClaims), "offline_token", "true"))
		session := f.do(post(refreshForm(login.RefreshToken)))
		for name, tt := range map[string]struct {
			text    string
			changes [][2]string
		}{
			"id-token": {f.do(exchangeForm(ff.idp.token(job, time.Hour, jobClaims))).Token, [][2]string{
				{`"method":"id-token"`, `"method":"password"`}, {`"method":"id-token"`, `"method":"session"`}, {`"method":"id-token"`, `"method":"certificate"`},
				{`"method":"id-token"`, `"method":"id-token","key":"k"`}, {`"method":"id-token"`, `"method":"id-token","sid":"s"`},
				{`"iss":"` + idp, `"iss":"https://other.test`}, {`"name":"repo:org`, `"name":"repo:other`}, {`"sub":"external:repo`, `"sub":"external:x`}, {`"uid":"x`, `"uid":"y`},
				{`"trust":"ci@`, `"trust":"cj@`}, {`"trust":"` + trust + `"`, `"trust":""`}, {`,"claims":{`, `,"claims":{"a":1,`}, {`"ref":`, `"repository":"x","ref":`},
				{`"claims":`, `"x5t":"00","claims":`}, {`"exp":17`, `"exp":16`},
			}},
			"session": {session.Token, [][2]string{
				{`"method":"session"`, `"method":"id-token"`}, {`"method":"session"`, `"method":"session","key":"k"`}, {`"sid":"`, `"sid":"x`}, {`"trust":"ci@`, `"trust":"cj@`},
				{`"method":"session"`, `"method":"certificate"`}, {`"name":"repo:org`, `"name":"repo:other`},
			}},
		} {
			forge := newForger(f)
			forge.text = tt.text
			f.alive(name, forge.raw(forge.header(""), forge.payload("", "")))
			for _, change := range tt.changes {
				f.dead(name+": "+change[0]+" → "+change[1], forge.raw(forge.header(""), forge.payload(change[0], change[1])))
			}
		}
		local := newForger(f)
		local.dead("an account's token by id-token", local.raw(local.header(""), local.payload(`"method":"password"`, `"method":"id-token"`)))
	})
}
