package token_test

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
)

// The answer that docker login gets (PROTOCOLS.md 1.1, 1.6, 2.1).
func TestAnswer(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		a := f.do(get("account=alice&client_id=docker&offline_token=true&service="+service+"&scope=repository:team-a/app:pull", "alice:"+password("alice")))
		if a.status != http.StatusOK || a.Token == "" || a.Token != a.AccessToken || a.ExpiresIn != 300 || a.TokenType != "Bearer" ||
			a.Scope != "repository:team-a/app:pull" || a.IssuedAt != "2026-05-04T03:02:01Z" || !access.RefreshSecret.Valid(a.RefreshToken) {
			t.Errorf("answer %d %s", a.status, a.raw)
		}
		for name, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "Pragma": "no-cache"} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		c := claims(t, a.Token)
		uid, sid, jti := c["uid"], c["sid"], c["jti"]
		now := float64(f.clock().Unix())
		want := map[string]any{
			"iss": issuer, "aud": service, "sub": "user:alice", "iat": now, "nbf": now, "exp": now + 300, "jti": jti,
			"access": []any{map[string]any{"type": "repository", "name": "team-a/app", "actions": []any{"pull"}}},
			"uid":    uid, "sid": sid, "method": "password",
		}
		if diff := cmp.Diff(want, c); diff != "" {
			t.Error(diff)
		}
		header, err := base64.RawURLEncoding.DecodeString(strings.Split(a.Token, ".")[0])
		_, kid := f.signingKey()
		if err != nil || string(header) != `{"alg":"ES256","kid":"`+kid+`","typ":"JWT"}` {
			t.Errorf("header %s", header)
		}
		au := f.alive("the token", a.Token)
		if au.Ping() != nil || au.Check(access.Pull, "team-a/app") != nil || au.Identity.Principal.UID != uid {
			t.Errorf("authority %+v", au)
		}
		// Without offline_token there is no identity token, and an empty access
		// claim is a list.
		a = f.do(get("service="+service, "alice:"+password("alice")))
		if a.RefreshToken != "" || !cmp.Equal(claims(t, a.Token)["access"], []any{}) || claims(t, a.Token)["sid"] != nil {
			t.Errorf("answer %s", a.raw)
		}
	})
}

// Each way to a token that clients use, and who comes out of it.
func TestCredentials(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		const scope = "repository:team-a/app:pull,push"
		identity := f.login("alice").RefreshToken
		_, key := f.key(account.Name{Kind: access.Robot, Name: "ci"}, account.NewKey{})
		alice := password("alice")
		q := func(pairs ...string) string {
			return form(append(pairs, "service", service, "scope", scope)...).Encode()
		}
		for _, tt := range []struct {
			name    string
			request *http.Request
			sub     string
			offline string // "", "new" or "same"
		}{
			{"GET anonymous", get(q(), ""), "", ""},
			{"1.8 GET Basic Og==", get(q(), ":"), "", ""},
			{"GET anonymous, offline", get(q("offline_token", "true"), ""), "", ""},
			{"GET password", get(q("account", "alice"), "alice:"+alice), "user:alice", ""},
			{"GET password, offline", get(q("offline_token", "true"), "alice:"+alice), "user:alice", "new"},
			{"GET another account named", get(q("account", "bob"), "alice:"+alice), "user:alice", ""},
			{"GET key, own name", get(q(), "ci:"+key), "robot:ci", ""},
			{"GET key, any name", get(q(), "<token>:"+key), "robot:ci", ""},
			{"GET key, no name", get(q(), ":"+key), "robot:ci", ""},
			{"GET key, offline", get(q("offline_token", "true"), "ci:"+key), "robot:ci", "new"},
			{"1.8 GET :identity token", get(q(), ":"+identity), "user:alice", ""},
			{"1.8 GET <token>:identity token", get(q(), "<token>:"+identity), "user:alice", ""},
			{"1.8 GET oauth2accesstoken", get(q(), "oauth2accesstoken:"+identity), "user:alice", ""},
			{"GET identity token beside another's name", get(q(), "bob:"+identity), "user:alice", ""},
			{"GET identity token, offline", get(q("offline_token", "true"), ":"+identity), "user:alice", "same"},
			{"POST refresh_token", post(refreshForm(identity, "scope", scope)), "user:alice", ""},
			{"POST refresh_token, offline", post(refreshForm(identity, "scope", scope, "access_type", "offline")), "user:alice", "same"},
			{"POST refresh_token, online", post(refreshForm(identity, "scope", scope, "access_type", "online")), "user:alice", ""},
			{"POST refresh_token, no service", post(form("grant_type", "refresh_token", "refresh_token", identity, "scope", scope)), "user:alice", ""},
			{"POST password", post(form("grant_type", "password", "username", "alice", "password", alice, "service", service, "scope", scope)), "user:alice", ""},
			{"POST password, offline", post(form("grant_type", "password", "username", "alice", "password", alice, "access_type", "offline", "scope", scope)), "user:alice", "new"},
			{"POST password = key", post(form("grant_type", "password", "username", "ci", "password", key, "scope", scope)), "robot:ci", ""},
			{"POST password = key, no name", post(form("grant_type", "password", "password", key, "scope", scope)), "robot:ci", ""},
			{"POST password = identity token", post(form("grant_type", "password", "username", "<token>", "password", identity, "scope", scope)), "user:alice", ""},
		} {
			t.Run(tt.name, func(t *testing.T) {
				a := f.do(tt.request)
				if a.status != http.StatusOK {
					t.Fatalf("%d %s", a.status, a.raw)
				}
				if got := claims(t, a.Token)["sub"]; got != tt.sub {
					t.Errorf("sub %q, want %q", got, tt.sub)
				}
				want := map[bool]string{true: "", false: scope}[tt.sub == ""]
				if a.Scope != want {
					t.Errorf("scope %q, want %q", a.Scope, want)
				}
				got := map[bool]string{true: "", false: "new"}[a.RefreshToken == ""]
				if a.RefreshToken == identity {
					got = "same"
				}
				if got != tt.offline {
					t.Errorf("identity token %q, want %q", got, tt.offline)
				}
				f.alive("its token", a.Token)
			})
		}
	})
}

// The forms that POST comes in (PROTOCOLS.md 1.5).
func TestPostForms(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		identity := f.login("alice").RefreshToken
		literal := "client_id=docker&grant_type=refresh_token&refresh_token=" + identity + "&scope=repository%3Ateam-a%2Fdk%3Apush%2Cpull&service=" + service
		a := f.do(postRaw(literal))
		if a.status != http.StatusOK || a.Scope != "repository:team-a/dk:pull,push" || a.AccessToken == "" {
			t.Errorf("docker push: %d %s", a.status, a.raw)
		}
		r := postRaw(literal)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
		if a := f.do(r); a.status != http.StatusOK {
			t.Errorf("with charset: %d %s", a.status, a.raw)
		}
		a = f.do(postRaw(literal + "&scope=repository:team-a/b:pull&scope=repository:team-a/b:pull%20repository:team-b/c:pull"))
		if a.Scope != "repository:team-a/b:pull repository:team-a/dk:pull,push" {
			t.Errorf("scope repeated: %q", a.Scope)
		}
		// Chunked, as c/image sends it, through a real server.
		server := httptest.NewServer(f.s.Endpoint())
		defer server.Close()
		res, err := http.Post(server.URL+"/token", "application/x-www-form-urlencoded", io.MultiReader(strings.NewReader(literal)))
		f.ok(err)
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("chunked: %s", res.Status)
		}
		server.Client().CloseIdleConnections()
		http.DefaultClient.CloseIdleConnections()
	})
}

func TestRefusals(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		identity := f.login("alice").RefreshToken
		alice := "alice:" + password("alice")
		bearer := f.access(alice, "repository:team-a/app:pull")
		unknownKey, err := access.KeySecret.New(strings.NewReader(strings.Repeat("abcdefgh", 9)))
		f.ok(err)
		unknownIdentity, err := access.RefreshSecret.New(strings.NewReader(strings.Repeat("abcdefgh", 9)))
		f.ok(err)
		raw := func(header ...string) *http.Request {
			r := get("service="+service, "")
			r.Header["Authorization"] = header
			return r
		}
		basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(alice))
		typed := func(kind string) *http.Request {
			r := post(refreshForm(identity))
			r.Header.Set("Content-Type", kind)
			return r
		}
		headerAndForm := post(refreshForm(identity))
		headerAndForm.Header.Set("Authorization", basic)
		inQuery := post(refreshForm(identity))
		inQuery.URL.RawQuery = "refresh_token=" + identity
		method := func(m string) *http.Request { return httptest.NewRequest(m, "/token", nil) }
		for _, tt := range []struct {
			name    string
			request *http.Request
			status  int
			code    string
			says    string
		}{
			{"I-04 wrong password", get("", "alice:wrong"), 401, "invalid_grant", "user name or password is wrong"},
			{"I-04 unknown user", get("", "nobody:wrong"), 401, "invalid_grant", "user name or password is wrong"},
			{"I-04 no password", get("", "alice:"), 401, "invalid_grant", "user name or password is wrong"},
			{"1.4 no name", get("", ":"+password("alice")), 401, "invalid_grant", "user name or password is wrong"},
			{"I-04 unknown key", get("", "ci:"+unknownKey.Reveal()), 401, "invalid_grant", "access key"},
			{"I-18 mistyped key", get("", "ci:"+unknownKey.Reveal()+"x"), 401, "invalid_grant", "access key"},
			{"2.4 unknown identity token", get("", ":"+unknownIdentity.Reveal()), 401, "invalid_grant", "run docker login " + service + " again"},
			{"I-18 mistyped identity token", post(refreshForm(identity[:len(identity)-1])), 401, "invalid_grant", "run docker login " + service + " again"},
			{"2.4 unknown identity token, POST", post(refreshForm(unknownIdentity.Reveal())), 401, "invalid_grant", "run docker login"},
			{"POST wrong password", post(form("grant_type", "password", "username", "alice", "password", "wrong")), 401, "invalid_grant", "password is wrong"},
			{"POST empty password", post(form("grant_type", "password", "username", "alice", "password", "")), 401, "invalid_grant", "password is wrong"},
			{"POST password, all empty", post(form("grant_type", "password", "username", "", "password", "")), 401, "invalid_grant", "password is wrong"},
			{"T-14 a token as password", get("", "alice:"+bearer), 401, "invalid_grant", "issuer"},
			{"T-15 a token as refresh_token", post(refreshForm(bearer)), 400, "invalid_grant", "refresh_token"},
			{"T-14 a key as refresh_token", post(refreshForm(unknownKey.Reveal())), 400, "invalid_grant", "refresh_token"},
			{"T-14 a password as refresh_token", post(refreshForm(password("alice"))), 400, "invalid_grant", "refresh_token"},
			{"T-14 Bearer of a token", raw("Bearer " + bearer), 401, "invalid_client", "Basic"},
			{"T-14 Bearer of an identity token", raw("Bearer " + identity), 401, "invalid_client", "Basic"},

			{"T-31 two headers", raw(basic, basic), 400, "invalid_request", "more than one Authorization"},
			{"T-31 two headers, two schemes", raw(basic, "Bearer "+bearer), 400, "invalid_request", "more than one Authorization"},
			{"T-31 two schemes in one", raw(basic + ", Bearer " + bearer), 400, "invalid_request", "not well-formed Basic"},
			{"T-31 header and form", headerAndForm, 400, "invalid_request", "Authorization header or in the form"},
			{"T-31 ?access_token", get("access_token="+bearer, ""), 400, "invalid_request", "access_token in the query"},
			{"T-31 ?token", get("token="+bearer, ""), 400, "invalid_request", "token in the query"},
			{"T-31 ?password", get("password=x", alice), 400, "invalid_request", "password in the query"},
			{"T-31 ?refresh_token beside a form", inQuery, 400, "invalid_request", "refresh_token in the query"},
			{"T-31 both grants", post(refreshForm(identity, "password", "x")), 400, "invalid_request", "both"},
			{"T-33 no Basic value", raw("Basic"), 400, "invalid_request", "Basic"},
			{"T-33 Basic, not base64", raw("Basic !!!"), 400, "invalid_request", "Basic"},
			{"T-33 Basic, no colon", raw("Basic " + base64.StdEncoding.EncodeToString([]byte("alice"))), 400, "invalid_request", "Basic"},
			{"T-33 Basic, two spaces", raw("Basic  " + strings.TrimPrefix(basic, "Basic ")), 400, "invalid_request", "Basic"},
			{"T-33 Digest", raw("Digest x"), 401, "invalid_client", "Basic"},
			{"T-33 a tab", raw("Basic\t" + basic), 401, "invalid_client", "Basic"},

			{"O-18 no grant_type", post(form("username", "alice")), 400, "invalid_request", "grant_type"},
			{"O-18 implicit", post(form("grant_type", "implicit")), 400, "unsupported_grant_type", "implicit"},
			{"O-18 client_credentials", post(form("grant_type", "client_credentials")), 400, "unsupported_grant_type", "client_credentials"},
			{"O-18 authorization_code", post(form("grant_type", "authorization_code")), 400, "invalid_request", "client_id"},
			{"O-18 PASSWORD", post(form("grant_type", "PASSWORD", "username", "alice", "password", password("alice"))), 400, "unsupported_grant_type", "PASSWORD"},
			{"no password", post(form("grant_type", "password", "username", "alice")), 400, "invalid_request", "password is missing"},
			{"no refresh_token", post(form("grant_type", "refresh_token")), 400, "invalid_request", "refresh_token is missing"},
			{"T-13 another service", get("service=other", alice), 400, "invalid_request", `service "other"`},
			{"T-13 another service, POST", post(form("grant_type", "refresh_token", "refresh_token", identity, "service", "other")), 400, "invalid_request", "service"},
			{"T-13 service twice", get("service="+service+"&service="+service, alice), 400, "invalid_request", `"service" comes more than once`},
			{"a field twice", postRaw(refreshForm(identity).Encode() + "&refresh_token=x"), 400, "invalid_request", "refresh_token"},
			{"grant_type twice", postRaw(refreshForm(identity).Encode() + "&grant_type=password"), 400, "invalid_request", "grant_type"},
			{"T-30 1,000 scopes", get(strings.Repeat("scope=repository:team-a/x:pull&", 1000), alice), 400, "invalid_request", "scope"},
			{"T-30 51 scopes", post(manyScopes(51)), 400, "invalid_request", "scope"},
			{"T-30 a scope of 1 MB", post(refreshForm(identity, "scope", strings.Repeat("x", 1<<20))), 400, "invalid_request", "larger than"},
			{"S-05 a line feed in a scope", get("scope=repository:team-a/a%0a:pull", alice), 400, "invalid_request", "scope"},
			{"a broken query", get("scope=%zz", alice), 400, "invalid_request", "query"},
			{"a broken form", postRaw("grant_type=%zz"), 400, "invalid_request", "form"},
			{"JSON", typed("application/json"), 400, "invalid_request", "x-www-form-urlencoded"},
			{"no type", typed(""), 400, "invalid_request", "x-www-form-urlencoded"},
			{"multipart", typed("multipart/form-data; boundary=x"), 400, "invalid_request", "x-www-form-urlencoded"},
			{"PUT", method("PUT"), 405, "invalid_request", "GET or POST"},
			{"HEAD", method("HEAD"), 405, "invalid_request", "GET or POST"},
			{"O-19 OPTIONS", method("OPTIONS"), 405, "invalid_request", "GET or POST"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				tt.request.Header.Set("Origin", "https://evil.test")
				a := f.do(tt.request)
				if a.status != tt.status || a.Error != tt.code || !strings.Contains(a.Description, tt.says) {
					t.Errorf("%d %s", a.status, a.raw)
				}
				if len(a.Errors) != 1 || a.Errors[0].Message != a.Description || a.Errors[0].Code == "" || !strings.HasSuffix(a.Description, "(request req-1)") {
					t.Errorf("not both styles with the request id: %s", a.raw)
				}
				if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Content-Type") != "application/json" {
					t.Errorf("headers %v", a.header)
				}
				for name := range a.header {
					if strings.HasPrefix(name, "Access-Control-") {
						t.Errorf("O-19: %s", name)
					}
				}
				if got, want := a.header.Values("WWW-Authenticate"), []string{`Basic realm="sallyport"`}; a.status == 401 != cmp.Equal(got, want) {
					t.Errorf("WWW-Authenticate: %q", got)
				}
				if (a.status == 405) != (a.header.Get("Allow") == "GET, POST") {
					t.Errorf("Allow: %q", a.header.Get("Allow"))
				}
				for _, s := range []string{password("alice"), identity, bearer, unknownKey.Reveal(), "wrong!"} {
					if strings.Contains(a.raw, s) {
						t.Errorf("L-01: a secret is in the answer: %s", a.raw)
					}
				}
			})
		}
		for _, s := range []string{password("alice"), identity, bearer, unknownKey.Reveal(), unknownIdentity.Reveal()} {
			if strings.Contains(f.log.String(), s) {
				t.Errorf("L-01: a secret is in the log: %s", f.log)
			}
		}
	})
}

func manyScopes(n int) url.Values {
	v := form("grant_type", "password", "username", "alice", "password", password("alice"))
	for i := range n {
		v.Add("scope", "repository:team-a/r"+strings.Repeat("x", i)+":pull")
	}
	return v
}

// I-04: the classes of failure differ in nothing that the client sees.
func TestFailuresLookAlike(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		k, expired := f.key(user("alice"), account.NewKey{Life: time.Minute})
		_, revoked := f.key(user("alice"), account.NewKey{})
		f.pass(2 * time.Minute)
		keys, err := f.accounts.ListKeys(f.ctx(), "")
		f.ok(err)
		for _, other := range keys {
			if other.ID != k.ID {
				f.ok(f.accounts.RevokeKey(f.ctx(), other.ID))
			}
		}
		f.ok(f.accounts.Disable(f.ctx(), user("carol")))
		_, ofDisabled := f.key(user("carol"), account.NewKey{})
		same := func(pairs ...string) {
			t.Helper()
			first := f.do(get("", pairs[0]))
			for _, pair := range pairs {
				a := f.do(get("", pair))
				if a.status != 401 || a.raw != first.raw || !cmp.Equal(a.header, first.header) {
					t.Errorf("%.20s…: %d %s %v", pair, a.status, a.raw, a.header)
				}
			}
		}
		same("alice:wrong", "nobody:wrong", "carol:wrong", "carol:"+password("carol"), "ci:wrong", "ci:", "Alice:"+password("alice"), "a\nb:x", "\xff:x")
		same("x:sallyport_key_nothing", "x:"+expired, "x:"+revoked, "x:"+ofDisabled)
	})
}

// ErrBusy is 429 with Retry-After.
func TestBusy(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		busy := f.busyService()
		a := f.doOn(busy, get("", "alice:x"))
		if a.status != 429 || a.header.Get("Retry-After") == "" || a.Errors[0].Code != "TOOMANYREQUESTS" {
			t.Errorf("%d %s %v", a.status, a.raw, a.header)
		}
	})
}

// What we could not decide is 500, and says nothing of the cause.
func TestStoreFails(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		broken := f.brokenService()
		a := f.doOn(broken, get("offline_token=true", "alice:"+password("alice")))
		if a.status != 500 || a.Error != "server_error" || strings.Contains(a.raw, "disk") {
			t.Errorf("%d %s", a.status, a.raw)
		}
		if !strings.Contains(f.log.String(), "disk is gone") {
			t.Errorf("the cause is not in the log: %s", f.log)
		}
	})
}
