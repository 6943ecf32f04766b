package token_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/token"
)

// RFC 8693 §2.1, §2.2.2: what an exchange takes, and with which error it refuses
// the rest.
func TestExchangeForms(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		ff := newFederated(f, token.Options{Services: []string{other}})
		own := f.login("alice")
		_, key := f.key(user("alice"), account.NewKey{})
		selfSigned := jwtOf(`{"iss":"` + issuer + `"}`)
		jwt := ff.idp.token(job, time.Hour, jobClaims)
		raw := func(more string) *http.Request {
			return postRaw(form("grant_type", exchange, "subject_token_type", tokenType+"jwt", "subject_token", jwt).Encode() + more)
		}
		typed := func(kind string) *http.Request {
			return post(form("grant_type", exchange, "subject_token_type", kind, "subject_token", jwt))
		}
		header := exchangeForm(jwt)
		header.SetBasicAuth("alice", password("alice"))
		inQuery := exchangeForm(jwt)
		inQuery.URL.RawQuery = "subject_token=" + jwt
		byGet := get(form("grant_type", exchange, "subject_token_type", tokenType+"jwt").Encode(), "")
		for _, tt := range []struct {
			name    string
			request *http.Request
			code    string // "" is an answer
			says    string // of a refusal, or the audience
		}{
			{"jwt", exchangeForm(jwt), "", service},
			{"id_token", typed(tokenType + "id_token"), "", service},
			{"the same again: replay (F-29)", exchangeForm(jwt), "", service},
			{"access_token is wanted", exchangeForm(jwt, "requested_token_type", tokenType+"access_token"), "", service},
			{"audience", exchangeForm(jwt, "audience", service), "", service},
			{"audience of another", exchangeForm(jwt, "audience", other), "", other},
			{"service of another", exchangeForm(jwt, "service", other), "", other},
			{"audience and service", exchangeForm(jwt, "audience", service, "service", service), "", service},
			{"what nobody knows", exchangeForm(jwt, "client_id", "x", "x", "y"), "", service},

			{"audience and another service", exchangeForm(jwt, "audience", service, "service", other), "invalid_target", "two registries"},
			{"an audience that is not here", exchangeForm(jwt, "audience", "https://aws.test"), "invalid_target", "not served here"},
			{"two audiences", raw("&audience=" + service + "&audience=" + other), "invalid_target", "audience"},
			{"resource", exchangeForm(jwt, "resource", issuer), "invalid_target", "resource"},
			{"two resources", raw("&resource=a&resource=b"), "invalid_target", "resource"},
			{"actor_token", exchangeForm(jwt, "actor_token", jwt, "actor_token_type", tokenType+"jwt"), "invalid_request", "actor_token"},
			{"actor_token_type", exchangeForm(jwt, "actor_token_type", tokenType+"jwt"), "invalid_request", "actor_token_type"},
			{"no subject_token", exchangeForm(""), "invalid_request", "subject_token is missing"},
			{"no subject_token_type", typed(""), "invalid_request", "subject_token_type is missing"},
			{"access_token", typed(tokenType + "access_token"), "invalid_request", "is not exchanged here"},
			{"refresh_token", typed(tokenType + "refresh_token"), "invalid_request", "is not exchanged here"},
			{"saml2", typed(tokenType + "saml2"), "invalid_request", "is not exchanged here"},
			{"jwt alone", typed("jwt"), "invalid_request", "is not exchanged here"},
			{"refresh_token is wanted", exchangeForm(jwt, "requested_token_type", tokenType+"refresh_token"), "invalid_request", "access_type=offline"},
			{"two subjects", raw("&subject_token=x"), "invalid_request", "more than once"},
			{"T-31 a password beside", exchangeForm(jwt, "username", "alice", "password", password("alice")), "invalid_request", "both a subject_token and a password"},
			{"T-31 a refresh_token beside", exchangeForm(jwt, "refresh_token", own.RefreshToken), "invalid_request", "both"},
			{"T-31 beside a password", post(form("grant_type", "password", "username", "alice", "password", password("alice"), "subject_token", jwt)), "invalid_request", "both"},
			{"T-31 beside a refresh_token", post(refreshForm(own.RefreshToken, "subject_token", jwt)), "invalid_request", "both"},
			{"T-31 header and form", header, "invalid_request", "Authorization header or in the form"},
			{"T-31 ?subject_token", inQuery, "invalid_request", "subject_token in the query"},

			{"not a JWT", exchangeForm("x"), "invalid_request", "not accepted"},
			{"unsigned", exchangeForm("eyJhbGciOiJub25lIn0.e30."), "invalid_request", "not accepted"},
			{"a JWE", exchangeForm("eyJ.a.b.c.d"), "invalid_request", "not accepted"},
			{"F-09 a token for another", exchangeForm(jwtOf(`{"aud":"sts.amazonaws.com"}`)), "invalid_request", "not accepted"},
			{"F-29 expired between", exchangeForm(ff.idp.token(job, 0, jobClaims)), "invalid_request", "not accepted"},
			{"F-29 our access token", exchangeForm(own.Token), "invalid_request", "not accepted"},
			{"F-29 one that says it is ours", exchangeForm(selfSigned), "invalid_request", "not accepted"},
			{"F-29 our identity token", exchangeForm(own.RefreshToken), "invalid_request", "not exchanged"},
			{"F-29 our key", exchangeForm(key), "invalid_request", "not exchanged"},
			{"F-29 a password", exchangeForm(password("alice")), "invalid_request", "not accepted"},
		} {
			a := f.do(tt.request)
			if tt.code == "" {
				if a.status != 200 || claims(t, a.Token)["aud"] != tt.says || a.IssuedTokenType != tokenType+"access_token" {
					t.Errorf("%s: %d %s", tt.name, a.status, a.raw)
				}
				continue
			}
			if a.status != 400 || a.Error != tt.code || !strings.Contains(a.Description, tt.says) || len(a.Errors) != 1 || a.Errors[0].Message != a.Description {
				t.Errorf("%s: %d %s", tt.name, a.status, a.raw)
			}
		}
		if a := f.do(byGet); a.status != 200 || claims(t, a.Token)["sub"] != "" {
			t.Errorf("a GET that speaks of an exchange: %d %s", a.status, a.raw)
		}
		// Nobody asks an issuer about our own, even one that would vouch for them.
		asked := ff.idp.asked
		for _, mine := range []string{own.Token, selfSigned, key} {
			ff.idp.proves[mine] = access.Identity{Principal: access.ExternalPrincipal(issuer, "x", nil), Proof: access.Proof{Method: access.MethodIDToken, Trust: trust}, Expires: f.clock().Add(time.Hour)}
			for _, r := range []*http.Request{exchangeForm(mine), get("", "x:"+mine), post(refreshForm(mine)), post(form("grant_type", "password", "password", mine))} {
				if a := f.do(r); a.status == 200 && mine != key {
					t.Errorf("F-29: %s", a.raw)
				}
			}
		}
		if ff.idp.asked != asked {
			t.Error("F-29: an issuer was asked about a token of ours")
		}
	})
}

// F-30: every grant with every kind of credential, where each alone is good: only
// what a grant is for gets in, and what is switched off is so in every grant.
func TestGrantMatrix(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		const day = 24 * time.Hour
		ff := newFederated(f, token.Options{JobSession: day})
		outside := func() string {
			return ff.idp.token(job, day, jobClaims, func(id *access.Identity) { id.SessionLife = day })
		}
		_, key := f.key(user("alice"), account.NewKey{})
		_, code, err := f.accounts.ResetPassword(f.ctx(), "bob")
		f.ok(err)
		jobs := f.do(exchangeForm(outside(), "access_type", "offline"))
		kinds := map[string]string{
			"password": password("alice"), "key": key, "identity token": f.login("alice").RefreshToken, "job's identity token": jobs.RefreshToken,
			"access token": f.access("alice:"+password("alice"), ""), "job's access token": jobs.Token, "outside token": outside(), "one-time code": code.Reveal(),
		}
		grants := map[string]func(secret string, offline bool) *http.Request{
			"Basic": func(s string, offline bool) *http.Request {
				q := url.Values{}
				if offline {
					q.Set("offline_token", "true")
				}
				return get(q.Encode(), "alice:"+s)
			},
		}
		for name, fields := range map[string][]string{
			"password": {"password", "username", "alice"}, "refresh_token": {"refresh_token"}, exchange: {"subject_token", "subject_token_type", tokenType + "jwt"},
			"authorization_code": {"code"}, "client_credentials": {"client_secret"}, "urn:ietf:params:oauth:grant-type:jwt-bearer": {"assertion"},
			"urn:ietf:params:oauth:grant-type:device_code": {"device_code"}, "implicit": {"token"},
		} {
			grants[name] = func(s string, offline bool) *http.Request {
				v := form(append(fields[1:len(fields):len(fields)], "grant_type", name)...)
				v.Set(fields[0], s)
				if offline {
					v.Set("access_type", "offline")
				}
				return post(v)
			}
		}
		typed := []string{"password", "key", "identity token", "job's identity token", "outside token"}
		gets := map[string][]string{"Basic": typed, "password": typed, "refresh_token": {"identity token", "job's identity token"}, exchange: {"outside token"}}
		for setting, tt := range map[string]struct {
			s     *token.Service
			takes func(kind string, offline bool) bool
		}{
			"all":              {f.s, func(string, bool) bool { return true }},
			"no issuers":       {f.service(token.Options{}), func(kind string, _ bool) bool { return kind != "outside token" && kind != "job's identity token" }},
			"passwords log in": {ff.replica(token.Options{PasswordUse: token.PasswordsLogIn}), func(kind string, offline bool) bool { return kind != "password" || offline }},
		} {
			for grant, ask := range grants {
				for kind, secret := range kinds {
					for _, offline := range []bool{false, true} {
						f.pass(10 * time.Second) // so that wrong passwords are not slowed down
						a := f.doOn(tt.s, ask(secret, offline))
						want := slices.Contains(gets[grant], kind) && tt.takes(kind, offline)
						if (a.status == 200) != want {
							t.Errorf("F-30 %s, grant %s with %s, offline %t: %d %s", setting, grant, kind, offline, a.status, a.raw)
						}
						if a.status == 200 && (a.RefreshToken != "") != offline {
							t.Errorf("F-30 %s, grant %s with %s, offline %t: identity token %q", setting, grant, kind, offline, a.RefreshToken)
						}
					}
				}
			}
		}
	})
}
