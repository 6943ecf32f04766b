package provider_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/federation/provider"
	"github.com/sallyport/sallyport/internal/federation/provider/providertest"
)

const base = "https://reg.test"

func newProvider(t *testing.T, op *providertest.Provider, change func(*provider.Definition)) *provider.Provider {
	t.Helper()
	d := provider.Definition{
		Name: "corp", Issuer: op.Issuer(), ClientID: "reg", Scopes: []string{"profile"}, GroupsClaim: "groups",
		CA: op.CA(), PrivateHosts: []string{"127.0.0.1"},
	}
	if change != nil {
		change(&d)
	}
	p, err := provider.New(d, provider.Options{Base: base})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// signIn walks the whole way; change may alter the answer that the browser brings.
func signIn(t *testing.T, op *providertest.Provider, p *provider.Provider, change func(url.Values)) (access.Outside, error) {
	t.Helper()
	to, attempt, err := p.Begin(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	answer := op.Authorize(to)
	if change != nil {
		change(answer)
	}
	return p.Finish(t.Context(), attempt, answer)
}

// wantRefused fails unless err says what to the person.
func wantRefused(t *testing.T, name string, err error, what string) {
	t.Helper()
	if _, ok := errors.AsType[*provider.Refused](err); !ok || !strings.Contains(err.Error(), what) {
		t.Errorf("%s: %v, want a refusal that says %q", name, err, what)
	}
}

func TestBegin(t *testing.T) {
	op := providertest.New(t)
	p := newProvider(t, op, nil)
	seen := map[string]bool{}
	for _, fresh := range []bool{false, true} {
		to, a, err := p.Begin(t.Context(), fresh)
		if err != nil {
			t.Fatal(err)
		}
		u, _ := url.Parse(to)
		q := u.Query()
		if !strings.HasPrefix(to, op.Issuer()+"/authorize?") || q.Get("redirect_uri") != base+"/oauth/callback/corp" ||
			q.Get("code_challenge_method") != "S256" || q.Get("scope") != "openid profile" || (q.Get("prompt") == "login") != fresh {
			t.Errorf("sent to %s", to)
		}
		for _, s := range []string{a.State, a.Nonce, a.Verifier} {
			if len(s) < 43 || seen[s] || strings.Contains(to, a.Verifier) {
				t.Errorf("O-04 %q is short, comes twice, or is the verifier in %s", s, to)
			}
			seen[s] = true
		}
	}
}

func TestFinish(t *testing.T) {
	op := providertest.New(t)
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := newProvider(t, op, nil)
	for _, c := range []struct {
		name    string
		says    func(*providertest.Provider)
		answer  func(url.Values)
		refused string // or "" for an error that is not for the person
	}{
		{"O-04 no state", nil, func(v url.Values) { v.Del("state") }, "has begun"},
		{"O-04 another's state", nil, func(v url.Values) { v.Set("state", strings.Repeat("x", 43)) }, "has begun"},
		{"two states", nil, func(v url.Values) { v.Add("state", "x") }, "twice"},
		{"O-07 another issuer", nil, func(v url.Values) { v.Set("iss", "https://evil.test") }, "does not come from"},
		{"O-16 an error", nil, func(v url.Values) { v.Set("error", "access_denied") }, "access_denied"},
		{"O-16 an error with markup", nil, func(v url.Values) { v.Set("error", "<script>") }, "unknown error"},
		{"no code", nil, func(v url.Values) { v.Del("code") }, "no code"},
		{"a foreign code", nil, func(v url.Values) { v.Set("code", "x") }, ""},
		{"O-04 no nonce", func(op *providertest.Provider) { op.Claims = map[string]any{"nonce": nil} }, nil, "another sign-in"},
		{"O-04 another nonce", func(op *providertest.Provider) { op.Claims = map[string]any{"nonce": "x"} }, nil, "another sign-in"},
		{"another audience", func(op *providertest.Provider) { op.Claims = map[string]any{"aud": "other"} }, nil, ""},
		{"for two, of another", func(op *providertest.Provider) {
			op.Claims = map[string]any{"aud": []string{"reg", "other"}, "azp": "other"}
		}, nil, "another program"},
		{"for two, of nobody", func(op *providertest.Provider) {
			op.Claims = map[string]any{"aud": []string{"reg", "other"}}
		}, nil, "another program"},
		{"for us, of another", func(op *providertest.Provider) { op.Claims = map[string]any{"azp": "other"} }, nil, "another program"},
		{"for us, of what is no name", func(op *providertest.Provider) { op.Claims = map[string]any{"azp": 1} }, nil, "another program"},
		{"another issuer's", func(op *providertest.Provider) { op.Claims = map[string]any{"iss": "https://evil.test"} }, nil, ""},
		{"expired", func(op *providertest.Provider) { op.Claims = map[string]any{"exp": time.Now().Add(-time.Hour).Unix()} }, nil, ""},
		{"another key", func(op *providertest.Provider) { op.Key = stranger }, nil, ""},
		{"no ID token", func(op *providertest.Provider) { op.NoID = true }, nil, ""},
	} {
		op.Do(func(op *providertest.Provider) {
			op.Claims, op.Key, op.NoID = nil, nil, false
			if c.says != nil {
				c.says(op)
			}
		})
		_, err := signIn(t, op, p, c.answer)
		if c.refused != "" {
			wantRefused(t, c.name, err, c.refused)
		} else if _, refused := errors.AsType[*provider.Refused](err); err == nil || refused {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	op.Do(func(op *providertest.Provider) {
		op.Key, op.NoID, op.Refresh = nil, false, "r1"
		op.Claims = map[string]any{"preferred_username": "alice", "groups": []string{"dev", "ops"}}
	})
	o, err := signIn(t, op, p, nil)
	if err != nil || o.Provider != "corp" || o.Issuer != op.Issuer() || o.Subject != "s1" || o.Name != "alice" ||
		strings.Join(o.Groups, " ") != "dev ops" || o.Renewal.Reveal() != "r1" {
		t.Errorf("signed in as %+v (%v)", o, err)
	}
	to, attempt, err := p.Begin(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	other := newProvider(t, op, func(d *provider.Definition) { d.Name = "other" })
	_, err = other.Finish(t.Context(), attempt, op.Authorize(to))
	wantRefused(t, "O-07 back through another", err, "has begun")
	_, err = p.Finish(t.Context(), provider.Attempt{Provider: "corp"}, url.Values{"code": {"x"}})
	wantRefused(t, "O-04 an attempt without a state", err, "has begun")
}

// TestIssParameter: O-07, who says that it names itself must.
func TestIssParameter(t *testing.T) {
	op := providertest.New(t)
	op.Metadata = map[string]any{"authorization_response_iss_parameter_supported": true}
	p := newProvider(t, op, nil)
	_, err := signIn(t, op, p, nil)
	wantRefused(t, "no iss", err, "does not come from")
	if _, err := signIn(t, op, p, func(v url.Values) { v.Set("iss", op.Issuer()) }); err != nil {
		t.Error(err)
	}
}

// TestGroups: F-16 and I-21.
func TestGroups(t *testing.T) {
	op := providertest.New(t)
	p := newProvider(t, op, nil)
	many := make([]string, 10_000)
	for i := range many {
		many[i] = fmt.Sprint("g", i)
	}
	all := func(groups any) map[string]any { return map[string]any{"groups": groups} }
	for _, c := range []struct {
		name    string
		claims  map[string]any
		want    string
		refused string
	}{
		{"a list", all([]string{"a", "b"}), "a b", ""},
		{"one text", all("a"), "a", ""},
		{"missing", nil, "", ""},
		{"null", map[string]any{"groups": json.RawMessage("null")}, "", ""},
		{"none", all([]string{}), "", ""},
		{"a star", all([]string{"*"}), "*", ""}, // no name: nobody is in it
		{"nested", all([]any{"a", []string{"b"}}), "", "not the name of a group"},
		{"numbers", all([]any{1}), "", "not the name of a group"},
		{"an object", all(map[string]any{"a": true}), "", "not a list"},
		{"true", all(true), "", "not a list"},
		{"JSON in text", all(`["a","b"]`), "", "something else"},
		{"10 k", all(many), "", "10000 groups"},
		{"long", all([]string{strings.Repeat("x", 257)}), "", "longer"},
		{"overage", map[string]any{"_claim_names": map[string]any{"groups": "src1"}, "_claim_sources": map[string]any{"src1": map[string]any{"endpoint": "https://graph.test"}}}, "", "assigned to this application"},
		{"overage, implicit", map[string]any{"hasgroups": true}, "", "assigned to this application"},
		{"overage of others", map[string]any{"_claim_names": map[string]any{"x": "src1"}, "_claim_sources": map[string]any{"src1": map[string]any{"endpoint": "https://graph.test"}}}, "", ""},
	} {
		op.Do(func(op *providertest.Provider) { op.Claims = c.claims })
		o, err := signIn(t, op, p, nil)
		if c.refused != "" {
			wantRefused(t, c.name, err, c.refused)
			continue
		}
		if got := strings.Join(o.Groups, " "); err != nil || got != c.want {
			t.Errorf("%s: %q (%v), want %q", c.name, got, err, c.want)
		}
	}
}

// TestAllowed: F-13 and F-14, who may sign in.
func TestAllowed(t *testing.T) {
	op := providertest.New(t)
	domains := newProvider(t, op, func(d *provider.Definition) { d.AllowedDomains = []string{"corp.test"} })
	groups := newProvider(t, op, func(d *provider.Definition) { d.AllowedGroups = []string{"dev"} })
	mail := func(address, verified any) map[string]any {
		return map[string]any{"email": address, "email_verified": verified}
	}
	for _, c := range []struct {
		name   string
		p      *provider.Provider
		claims map[string]any
		ok     bool
	}{
		{"good", domains, mail("a.b+c@corp.test", true), true},
		{"F-13 not verified", domains, mail("a@corp.test", false), false},
		{"F-13 text", domains, mail("a@corp.test", "true"), false},
		{"F-13 one", domains, mail("a@corp.test", 1), false},
		{"F-13 absent", domains, mail("a@corp.test", nil), false},
		{"F-14 two", domains, mail("a@corp.test@evil.test", true), false},
		{"F-14 two, ours last", domains, mail("a@evil.test@corp.test", true), false},
		{"F-14 quoted", domains, mail(`"a@evil.test"@corp.test`, true), false},
		{"F-14 comment", domains, mail("a(x)@corp.test", true), false},
		{"F-14 upper case", domains, mail("a@CORP.test", true), false},
		{"F-14 below", domains, mail("a@x.corp.test", true), false},
		{"F-14 IDN", domains, mail("a@cоrp.test", true), false},
		{"F-14 nobody", domains, mail("@corp.test", true), false},
		{"F-14 a list", domains, mail([]string{"a@corp.test"}, true), false},
		{"no address", domains, nil, false},
		{"in the group", groups, map[string]any{"groups": []string{"x", "dev"}}, true},
		{"in the group, text", groups, map[string]any{"groups": "dev"}, true},
		{"in another", groups, map[string]any{"groups": []string{"Dev", "dev ", "*"}}, false},
		{"in none", groups, nil, false},
	} {
		op.Do(func(op *providertest.Provider) { op.Claims = c.claims })
		_, err := signIn(t, op, c.p, nil)
		if c.ok && err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if !c.ok {
			wantRefused(t, c.name, err, "may sign in here")
		}
	}
}

// TestAddressAsName: an address of the one domain that may sign in is shortened; no
// other is, for it could become somebody else's name.
func TestAddressAsName(t *testing.T) {
	op := providertest.New(t)
	one := newProvider(t, op, func(d *provider.Definition) { d.AllowedDomains = []string{"corp.test"} })
	two := newProvider(t, op, func(d *provider.Definition) { d.AllowedDomains = []string{"corp.test", "other.test"} })
	for _, c := range []struct {
		p          *provider.Provider
		name, want string
	}{
		{one, "alice@corp.test", "alice"},
		{one, "bob@corp.test", "bob@corp.test"},
		{two, "alice@corp.test", "alice@corp.test"},
	} {
		op.Do(func(op *providertest.Provider) {
			op.Claims = map[string]any{"preferred_username": c.name, "email": "alice@corp.test", "email_verified": true}
		})
		if o, err := signIn(t, op, c.p, nil); err != nil || o.Name != c.want {
			t.Errorf("%s is %q (%v), want %q", c.name, o.Name, err, c.want)
		}
	}
}

// TestUserInfo: what the ID token lacks is asked for, about the same person.
func TestUserInfo(t *testing.T) {
	op := providertest.New(t)
	op.UserInfo = map[string]any{"sub": "s1", "preferred_username": "alice", "groups": []string{"dev"}, "email": "a@corp.test", "email_verified": true}
	p := newProvider(t, op, func(d *provider.Definition) { d.AllowedDomains = []string{"corp.test"} })
	if o, err := signIn(t, op, p, nil); err != nil || o.Name != "alice" || strings.Join(o.Groups, " ") != "dev" {
		t.Errorf("%+v (%v)", o, err)
	}
	op.Do(func(op *providertest.Provider) { op.Claims = map[string]any{"email": "b@corp.test"} })
	_, err := signIn(t, op, p, nil)
	wantRefused(t, "F-13 verified of another address", err, "may sign in here")
	op.Do(func(op *providertest.Provider) {
		op.Claims = map[string]any{"email_verified": true}
		delete(op.UserInfo, "email_verified")
	})
	_, err = signIn(t, op, p, nil)
	wantRefused(t, "F-13 verified elsewhere", err, "may sign in here")
	op.Do(func(op *providertest.Provider) { op.Claims, op.UserInfo["sub"] = nil, "s2" })
	_, err = signIn(t, op, p, nil)
	wantRefused(t, "another subject", err, "two people")
}

func TestRenew(t *testing.T) {
	op := providertest.New(t)
	op.UserInfo = map[string]any{"sub": "s1"}
	p := newProvider(t, op, nil)
	o := access.Outside{Provider: "corp", Issuer: op.Issuer(), Subject: "s1", Renewal: access.NewSecret("r1")}
	for _, c := range []struct {
		name string
		says func(*providertest.Provider)
		want error // nil: any that is no refusal, when groups is "-"
		got  string
	}{
		{"with groups", func(op *providertest.Provider) {
			op.Claims, op.Refresh = map[string]any{"groups": []string{"dev"}}, "r2"
		}, nil, "dev r2"},
		{"I-21 without", func(op *providertest.Provider) { op.Claims = nil }, nil, " r2"},
		{"no new token", func(op *providertest.Provider) { op.Refresh = "" }, nil, " r1"},
		{"no ID token", func(op *providertest.Provider) { op.NoID, op.UserInfo["groups"] = true, []string{"ops"} }, nil, "ops r1"},
		{"another person", func(op *providertest.Provider) { op.UserInfo["sub"] = "s2" }, access.ErrBadCredential, ""},
		{"refused", func(op *providertest.Provider) { op.Refuse = "invalid_grant" }, access.ErrBadCredential, ""},
		{"our own fault", func(op *providertest.Provider) { op.Refuse = "invalid_client" }, nil, "-"},
	} {
		op.Do(c.says)
		now, err := p.Renew(t.Context(), o)
		got := strings.Join(now.Groups, " ") + " " + now.Renewal.Reveal()
		switch {
		case c.want != nil && !errors.Is(err, c.want), c.got == "-" && (err == nil || errors.Is(err, access.ErrBadCredential)):
			t.Errorf("%s: %v", c.name, err)
		case c.want == nil && c.got != "-" && (err != nil || got != c.got):
			t.Errorf("%s: %q (%v), want %q", c.name, got, err, c.got)
		}
		if err != nil && (strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "r1")) {
			t.Errorf("%s: the error shows what was sent: %v", c.name, err)
		}
	}
}

// TestSecret: a confidential client shows its secret in one way, and never twice.
func TestSecret(t *testing.T) {
	op := providertest.New(t)
	op.Metadata = map[string]any{"token_endpoint_auth_methods_supported": []string{"client_secret_post"}}
	p := newProvider(t, op, func(d *provider.Definition) { d.ClientSecret = access.NewSecret("geheim") })
	if _, err := signIn(t, op, p, nil); err != nil {
		t.Fatal(err)
	}
	if len(op.Asked) != 1 || op.Asked[0].Get("client_secret") != "geheim" || op.Asked[0].Get("code_verifier") == "" {
		t.Errorf("asked %v", op.Asked)
	}
	op.Do(func(op *providertest.Provider) { op.Refuse = "invalid_client" })
	if _, err := signIn(t, op, p, nil); err == nil || strings.Contains(err.Error(), "geheim") || len(op.Asked) != 2 {
		t.Errorf("asked %d times: %v", len(op.Asked), err)
	}
}

// TestNew: H-12, a provider inside our network is allowed by name.
func TestNew(t *testing.T) {
	op := providertest.New(t)
	for _, issuer := range []string{"", "http://idp.test", "https://user@idp.test", "ftp://x"} {
		if _, err := provider.New(provider.Definition{Name: "corp", Issuer: issuer}, provider.Options{Base: base}); err == nil {
			t.Errorf("%q is taken for an issuer", issuer)
		}
	}
	p := newProvider(t, op, func(d *provider.Definition) { d.PrivateHosts = nil })
	if _, _, err := p.Begin(t.Context(), false); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("H-12: %v", err)
	}
}

// TestHangingDiscovery: those who wait for a provider's discovery wait together, and
// leave when they like; what is known already counts meanwhile.
func TestHangingDiscovery(t *testing.T) {
	op := providertest.New(t)
	hang := make(chan struct{})
	var asked atomic.Int32
	front := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1); <-hang }))
	t.Cleanup(front.Close)
	t.Cleanup(func() { close(hang) })
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw})
	p, err := provider.New(provider.Definition{Name: "corp", Issuer: front.URL, ClientID: "reg", CA: ca, PrivateHosts: []string{"127.0.0.1"}}, provider.Options{Base: base})
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range 5 {
		wait.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			if _, _, err := p.Begin(ctx, false); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("waited for a provider that hangs: %v", err)
			}
		})
	}
	wait.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("the provider was asked %d times at once", n)
	}
	// One that was known, and is asked again beside.
	var passed atomic.Int64
	p, err = provider.New(provider.Definition{Name: "corp", Issuer: op.Issuer(), ClientID: "reg", CA: op.CA(), PrivateHosts: []string{"127.0.0.1"}},
		provider.Options{Base: base, Now: func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signIn(t, op, p, nil); err != nil {
		t.Fatal(err)
	}
	passed.Store(int64(2 * time.Hour))
	op.Do(func(op *providertest.Provider) { op.Metadata = map[string]any{"issuer": "https://elsewhere.test"} })
	for range 3 {
		if _, _, err := p.Begin(t.Context(), false); err != nil {
			t.Errorf("what was known does not count: %v", err)
		}
	}
}

// TestRotatedRenewal: a refresh token that the provider replaced is not lost when the
// rest of its answer is.
func TestRotatedRenewal(t *testing.T) {
	op := providertest.New(t)
	op.UserInfo, op.Refresh, op.NoID = map[string]any{}, "r2", true
	p := newProvider(t, op, nil)
	o, err := p.Renew(t.Context(), access.Outside{Provider: "corp", Issuer: op.Issuer(), Subject: "s1", Renewal: access.NewSecret("r1")})
	if err == nil || errors.Is(err, access.ErrBadCredential) || o.Renewal.Reveal() != "r2" || o.Subject != "s1" {
		t.Errorf("%q for %q (%v)", o.Renewal.Reveal(), o.Subject, err)
	}
}
