package token_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	ft "github.com/sallyport/sallyport/internal/federation/federationtest"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/token"
)

// grantRules are one of each kind of rule and protection, with what comes of it for
// alice, for a job and for the workload of a certificate.
var grantRules = []struct {
	name, policy            string
	alice, job, certificate string
}{
	{"none", ``, "", "", ""},
	{"account", `{name: r, subjects: ["user:alice"], repositories: ["team-a/**"], actions: [pull, push]}`, "pull push", "", ""},
	{"group", `{name: r, subjects: ["group:dev"], repositories: ["team-a/app"], actions: [pull]}`, "pull", "", ""},
	{"claims", `{name: r, subjects: [{issuer: "https://idp.test", claims: {repository: org/app, ref: refs/heads/main}}], repositories: ["team-a/**"], actions: [pull, push]}`, "", "pull push", ""},
	{"other claims", `{name: r, subjects: [{issuer: "https://idp.test", claims: {repository: org/app, ref: refs/heads/dev}}], repositories: ["**"], actions: [pull]}`, "", "", ""},
	{"issuer and name", `{name: r, subjects: [{issuer: "x509:build", name: "spiffe://prod.test/ci"}], repositories: ["team-a/**"], actions: [pull, delete]}`, "", "", "pull delete"},
	{"anyone", `{name: r, subjects: [anyone], repositories: ["team-a/*"], actions: [pull]}`, "pull", "pull", "pull"},
	{"everyone", `{name: r, subjects: [everyone], repositories: ["team-a/*"], actions: [pull]}`, "pull", "pull", "pull"},
	{"except", `{name: r, subjects: [anyone], repositories: ["**"], except: ["team-a/**"], actions: [pull]}`, "", "", ""},
	{"elsewhere", `{name: r, subjects: [everyone], repositories: ["team-b/**"], actions: [pull, push, delete]}`, "", "", ""},
	{"condition that holds", `{name: r, subjects: [everyone], repositories: ["team-a/**"], actions: [pull], when: 'now > timestamp("2026-01-01T00:00:00Z")'}`, "pull", "pull", "pull"},
	{"condition that does not", `{name: r, subjects: [everyone], repositories: ["team-a/**"], actions: [pull], when: 'now < timestamp("2026-01-01T00:00:00Z")'}`, "", "", ""},
	{"protection", `{name: r, subjects: [everyone], repositories: ["team-a/**"], actions: [pull, push, delete]}
protections:
  - {name: p, repositories: ["team-a/**"], actions: [delete]}`, "pull push", "pull push", "pull push"},
}

// TestEveryGrantAsksThePolicy: whatever door somebody comes in by, the token gives
// what the policy does, in what it says and at gate two, and no more once the
// policy gives nothing.
func TestEveryGrantAsksThePolicy(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		c := newCertified(f, func(o *token.Options) { o.JobSession = 24 * time.Hour })
		f.ok(f.accounts.AddMember(f.ctx(), "dev", user("alice")))
		base := int64(2)
		apply := func(rules string) {
			t.Helper()
			document := "version: 2\nrules:\n  - {name: administrators, subjects: [\"group:admins\"], repositories: [\"**\"], actions: [pull, push, delete, admin]}\n"
			if rules != "" {
				document += "  - " + rules + "\n"
			}
			admin, err := f.accounts.Find(f.ctx(), user("admin"))
			f.ok(err)
			_, err = f.accounts.ApplyPolicy(f.ctx(), account.PolicyChange{Document: document, Base: base}, access.Authority{Identity: access.Identity{Principal: admin.Principal()}})
			f.ok(err)
			base++
		}
		ways := c.waysToTokens()
		for _, r := range grantRules {
			apply(r.policy)
			issued := map[string]string{}
			for way, ask := range ways {
				want := map[string]string{"alice": r.alice, "job": r.job, "certificate": r.certificate}[way[:strings.Index(way, ",")]]
				f.pass(time.Second) // a device asks no faster
				a := f.do(ask())
				if a.status != http.StatusOK {
					t.Fatalf("%s, rule %q: %d %s", way, r.name, a.status, a.raw)
				}
				says := ""
				if want != "" {
					actions := strings.Fields(want)
					slices.Sort(actions)
					says = "repository:team-a/app:" + strings.Join(actions, ",")
				}
				if a.Scope != says || may(f, a.Token) != want {
					t.Errorf("%s, rule %q: the token says %q and gives %q, want %q", way, r.name, a.Scope, may(f, a.Token), want)
				}
				issued[way] = a.Token
			}
			apply("")
			for way, bearer := range issued {
				if got := may(f, bearer); got != "" {
					t.Errorf("%s: after the rule %q is gone its token gives %q", way, r.name, got)
				}
			}
		}
	})
}

// may returns what a token may do at gate two.
func may(f *fixture, bearer string) string {
	au, err := f.s.Authorize(f.ctx(), bearer)
	f.ok(err)
	repo, err := oci.ParseRepoName("team-a/app")
	f.ok(err)
	var out []string
	for _, a := range []access.Action{access.Pull, access.Push, access.Delete} {
		if au.May(a, repo) {
			out = append(out, string(a))
		}
	}
	return strings.Join(out, " ")
}

// waysToTokens are all the ways in which somebody gets an access token, by who it
// is and how.
func (c certified) waysToTokens() map[string]func() *http.Request {
	const scope = "repository:team-a/app:pull,push,delete"
	f := c.fixture
	outside := func() string {
		return c.idp.token(job, 24*time.Hour, jobClaims, func(id *access.Identity) { id.SessionLife = 24 * time.Hour })
	}
	_, key := f.key(user("alice"), account.NewKey{})
	login := f.login("alice")
	jobs := f.do(exchangeForm(outside(), "access_type", "offline", "service", service))
	if jobs.RefreshToken == "" {
		f.t.Fatalf("no identity token for a job: %s", jobs.raw)
	}
	client := c.ca.Client(ft.URI(workload))
	basic := func(pair string) *http.Request {
		return get(form("service", service, "scope", scope).Encode(), pair)
	}
	grant := func(pairs ...string) *http.Request {
		return post(form(append(slices.Clone(pairs), "service", service, "scope", scope)...))
	}
	return map[string]func() *http.Request{
		"alice, Basic with a password": func() *http.Request { return basic("alice:" + password("alice")) },
		"alice, Basic with a key":      func() *http.Request { return basic("alice:" + key) },
		"alice, Basic with <token>":    func() *http.Request { return basic("<token>:" + login.RefreshToken) },
		"alice, password": func() *http.Request {
			return grant("grant_type", "password", "username", "alice", "password", password("alice"))
		},
		"alice, password is a key": func() *http.Request { return grant("grant_type", "password", "username", "alice", "password", key) },
		"alice, refresh_token":     func() *http.Request { return grant("grant_type", "refresh_token", "refresh_token", login.RefreshToken) },
		"alice, authorization_code": func() *http.Request {
			code, _ := f.codes()
			return grant("grant_type", "authorization_code", "client_id", "sallyport", "redirect_uri", redirect, "code_verifier", verifier, "code", code)
		},
		"alice, device_code": func() *http.Request {
			_, code := f.codes()
			return grant("grant_type", "urn:ietf:params:oauth:grant-type:device_code", "client_id", "sallyport", "device_code", code)
		},
		"job, Basic": func() *http.Request { return basic("github:" + outside()) },
		"job, password": func() *http.Request {
			return grant("grant_type", "password", "username", "github", "password", outside())
		},
		"job, token-exchange":          func() *http.Request { return exchangeForm(outside(), "service", service, "scope", scope) },
		"job, refresh_token":           func() *http.Request { return grant("grant_type", "refresh_token", "refresh_token", jobs.RefreshToken) },
		"certificate, on a connection": func() *http.Request { return over(basic(""), client) },
	}
}
