package token_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	ft "github.com/sallyport/sallyport/internal/federation/federationtest"
	"github.com/sallyport/sallyport/internal/token"
)

// taken says which credentials each slot takes: an access token where a bearer
// goes, an identity token where a refresh token goes, a trusted issuer's where a
// subject token goes, and all but the first where a password goes, as decided at the
// top of THREATS.md. No slot
// takes anything else; a one-time code sets a password, and is taken nowhere else.
var taken = map[string][]string{
	"bearer":                           {"access token", "access token of a session", "access token of a certificate", "access token of a job", "access token of a job's session"},
	"Basic password":                   {"password", "access key", "successor of a key", "identity token", "identity token of a job", "issuer's token"},
	"Basic password of another":        {"access key", "successor of a key", "identity token", "identity token of a job", "issuer's token"},
	"Basic password of nobody":         {"access key", "successor of a key", "identity token", "identity token of a job", "issuer's token"},
	"Basic password, another registry": {"password", "access key", "successor of a key", "identity token for another registry", "issuer's token"},
	"POST password":                    {"password", "access key", "successor of a key", "identity token", "identity token of a job", "issuer's token"},
	"POST refresh_token":               {"identity token", "identity token of a job"},
	"POST refresh_token, another":      {"identity token for another registry"},
	"POST subject_token":               {"issuer's token"},
	"POST subject_token as id_token":   {"issuer's token"},
	"one-time code":                    {"one-time code"},
	"POST code":                        {"authorization code"},
	"POST device_code":                 {"device code"},
}

// T-14: each credential of ours, live ones and ended ones and what tells about
// them, in each slot.
func TestCredentialMatrix(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		c := newCertified(f, func(o *token.Options) {
			o.Services, o.Lifetime, o.JobSession = []string{other}, 24*time.Hour, 24*time.Hour
		})
		credentials, slots := c.credentials(), f.slots()
		for slot := range taken {
			if slots[slot] == nil {
				t.Errorf("there is no slot %q", slot)
			}
		}
		for _, slot := range slices.Sorted(maps.Keys(slots)) {
			for _, name := range slices.Sorted(maps.Keys(credentials)) {
				f.pass(20 * time.Second) // so that wrong passwords are not slowed down
				want := slices.Contains(taken[slot], name)
				credentials["authorization code"], credentials["device code"] = f.codes()
				if got := slots[slot](credentials[name]); got != want {
					t.Errorf("%s as %s: taken %t, want %t", name, slot, got, want)
				}
			}
		}
	})
}

// credentials are alice's, but for the certificate's and those that have ended.
func (c certified) credentials() map[string]string {
	f := c.fixture
	f.t.Helper()
	loginTo := func(service string) answer {
		return f.do(get("client_id=docker&offline_token=true&service="+service, "alice:"+password("alice")))
	}
	// What has ended: a key after the overlap of its rotation, one that was revoked
	// and a login with it, and the key of an account that was disabled.
	old, oldSecret := f.key(user("alice"), account.NewKey{})
	_, successor, err := f.accounts.RotateKey(f.ctx(), old.ID, time.Minute, account.Creator{})
	f.ok(err)
	f.pass(2 * time.Minute)
	revoked, revokedSecret := f.key(user("alice"), account.NewKey{})
	ended := f.do(get("client_id=x&offline_token=true&service="+service, "any:"+revokedSecret))
	f.ok(f.accounts.RevokeKey(f.ctx(), revoked.ID))
	_, disabled := f.key(user("carol"), account.NewKey{})
	f.ok(f.accounts.Disable(f.ctx(), user("carol")))

	outside := func(life time.Duration) string {
		return c.idp.token(job, life, jobClaims, func(id *access.Identity) { id.SessionLife = 24 * time.Hour })
	}
	toEnd, jobs := outside(time.Minute), f.do(exchangeForm(outside(time.Hour), "access_type", "offline"))
	endedJob := f.do(exchangeForm(outside(time.Hour), "access_type", "offline", "client_id", "ended"))
	f.ok(f.s.RevokeSession(f.ctx(), f.alive("a job", endedJob.Token).Identity.Proof.SessionID))
	f.pass(time.Minute)

	client := c.ca.Client(ft.URI(workload))
	login, foreign := loginTo(service), loginTo(other)
	key, keySecret := f.key(user("alice"), account.NewKey{})
	sessions, err := f.s.Sessions(f.ctx(), key.AccountID, token.Place{}, 1000)
	f.ok(err)
	_, code, err := f.accounts.ResetPassword(f.ctx(), "alice")
	f.ok(err)
	sum := access.NewSecret(keySecret).Sum()
	_, kid := f.signingKey()
	return map[string]string{
		"password": password("alice"), "access key": keySecret, "successor of a key": successor.Reveal(), "one-time code": code.Reveal(),
		"identity token": login.RefreshToken, "identity token for another registry": foreign.RefreshToken,
		"access token":                      f.access("any:"+keySecret, "repository:team-a/app:pull"),
		"access token of a session":         f.do(post(refreshForm(login.RefreshToken))).Token,
		"access token of a certificate":     c.token(client).Token,
		"access token for another registry": foreign.Token,

		"rotated key": oldSecret, "revoked key": revokedSecret, "key of a disabled account": disabled,
		"identity token of a revoked key": ended.RefreshToken, "access token of a revoked key": ended.Token,

		"issuer's token": outside(24 * time.Hour), "issuer's token that has ended": toEnd, "token of an issuer that nobody trusts": jwtOf(`{"iss":"https://evil.test"}`),
		"identity token of a job": jobs.RefreshToken, "access token of a job": f.do(exchangeForm(outside(24 * time.Hour))).Token, "access token of a job's session": f.do(post(refreshForm(jobs.RefreshToken))).Token,
		"identity token of a job that logged out": endedJob.RefreshToken, "access token of a job that logged out": endedJob.Token,

		"client certificate, PEM":  string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: client.Leaf.Raw})),
		"client certificate, DER":  base64.StdEncoding.EncodeToString(client.Leaf.Raw),
		"name in the certificate":  workload,
		"foreign ID token":         "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lkcC50ZXN0In0.c2ln",
		"session id":               sessions[0].ID,
		"key id":                   key.ID,
		"signing key id":           kid,
		"jti":                      claims(f.t, login.Token)["jti"].(string),
		"account id":               key.AccountID,
		"what is kept of a key":    string(sum[:]),
		"what is kept of it, hex":  hex.EncodeToString(sum[:]),
		"nothing but the type":     "sallyport_key_",
		"an access key, truncated": keySecret[:len(keySecret)-1],
	}
}

const (
	redirect = "http://127.0.0.1:4321/callback"
	verifier = "a-verifier-of-the-program-that-nobody-else-has-0001"
)

// codes are codes that alice has just given; they end too soon for more.
func (f *fixture) codes() (authorization, device string) {
	f.t.Helper()
	a, err := f.accounts.Find(f.ctx(), user("alice"))
	f.ok(err)
	alice := access.Identity{Principal: a.Principal(), Proof: access.Proof{Method: "password", PasswordSet: a.PasswordSet}}
	challenge := sha256.Sum256([]byte(verifier))
	code, err := f.s.NewCode(f.ctx(), alice, redirect, base64.RawURLEncoding.EncodeToString(challenge[:]))
	f.ok(err)
	d, err := f.s.BeginDevice(f.ctx(), access.Origin{})
	f.ok(err)
	f.ok(f.s.ApproveDevice(f.ctx(), d.Code.Sum(), alice))
	return code.Reveal(), d.Code.Reveal()
}

// slots are all the places where a credential may be tried; each says whether it
// was taken for somebody.
func (f *fixture) slots() map[string]func(secret string) bool {
	issued := func(r *http.Request) bool {
		a := f.do(r)
		if a.status == http.StatusTooManyRequests {
			f.t.Errorf("slowed down: %s", a.raw)
		}
		return a.status == http.StatusOK && claims(f.t, a.Token)["sub"] != ""
	}
	basic := func(query, name string) func(string) bool {
		return func(s string) bool { return issued(get(query, name+":"+s)) }
	}
	formOf := func(field string, pairs ...string) func(string) bool {
		return func(s string) bool {
			v := form(pairs...)
			v.Set(field, s)
			return issued(post(v))
		}
	}
	inHeader := func(name, prefix string) func(string) bool {
		return func(s string) bool {
			r := get("", "")
			r.Header.Set(name, prefix+url.QueryEscape(s))
			return issued(r)
		}
	}
	inQuery := func(name string) func(string) bool {
		return func(s string) bool { return issued(get(url.Values{name: {s}}.Encode(), "")) }
	}
	return map[string]func(secret string) bool{
		"bearer": func(s string) bool {
			_, err := f.s.Authorize(f.ctx(), s)
			if err != nil && !errors.Is(err, access.ErrInvalidToken) {
				f.t.Errorf("Authorize: %v", err)
			}
			return err == nil
		},
		"Basic password":                   basic("", "alice"),
		"Basic password of another":        basic("", "bob"),
		"Basic password of nobody":         basic("", ""),
		"Basic password, another registry": basic("service="+other, "alice"),
		"Basic name":                       func(s string) bool { return issued(get("", s+":")) },
		"POST password":                    formOf("password", "grant_type", "password", "username", "alice"),
		"POST username":                    formOf("username", "grant_type", "password", "password", "x"),
		"POST refresh_token":               formOf("refresh_token", "grant_type", "refresh_token", "service", service),
		"POST refresh_token, another":      formOf("refresh_token", "grant_type", "refresh_token", "service", other),
		"POST subject_token":               formOf("subject_token", "grant_type", exchange, "subject_token_type", tokenType+"jwt"),
		"POST subject_token as id_token":   formOf("subject_token", "grant_type", exchange, "subject_token_type", tokenType+"id_token"),
		"POST subject_token as ours":       formOf("subject_token", "grant_type", exchange, "subject_token_type", tokenType+"access_token"),
		"POST subject_token, refresh":      formOf("subject_token", "grant_type", exchange, "subject_token_type", tokenType+"refresh_token"),
		"POST actor_token":                 formOf("actor_token", "grant_type", exchange, "subject_token_type", tokenType+"jwt", "actor_token_type", tokenType+"jwt"),
		"POST assertion":                   formOf("assertion", "grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
		"POST code":                        formOf("code", "grant_type", "authorization_code", "client_id", "sallyport", "redirect_uri", redirect, "code_verifier", verifier),
		"POST device_code":                 formOf("device_code", "grant_type", "urn:ietf:params:oauth:grant-type:device_code", "client_id", "sallyport"),
		"POST client_secret":               formOf("client_secret", "grant_type", "client_credentials", "client_id", "alice"),
		"Bearer at /token":                 inHeader("Authorization", "Bearer "),
		"cookie":                           inHeader("Cookie", "token="),
		// Nothing comes of what is taken: the new password is too weak.
		"one-time code": func(s string) bool {
			_, err := f.accounts.Redeem(f.ctx(), access.ResetCode{Secret: access.NewSecret(s)}, access.NewSecret("weak"))
			_, taken := errors.AsType[*account.Invalid](err)
			return taken
		},
		"?access_token":  inQuery("access_token"),
		"?subject_token": inQuery("subject_token"),
		"?token":         inQuery("token"),
		"?account":       inQuery("account"),
	}
}
