package token_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
)

func fuzzFixture(f *testing.F) *fixture {
	return newFixture(f, metadatatest.Open(f, metadatatest.SQLite(f), metadata.Options{}))
}

// Law: a form gets a token only if its one grant_type is known, its one service
// ours or absent, and the one credential of that grant good; every answer is
// 200, 400 or 401, and JSON.
func FuzzForm(f *testing.F) {
	ff := newFederated(fuzzFixture(f))
	fx := ff.fixture
	identity, outside := fx.login("alice").RefreshToken, ff.idp.token(job, time.Hour, jobClaims)
	alice := password("alice")
	for _, form := range []url.Values{
		refreshForm(identity), refreshForm(identity, "scope", "repository:team-a/app:pull", "access_type", "offline"), refreshForm("x"),
		form("grant_type", "password", "username", "alice", "password", alice), form("grant_type", "password", "password", identity), form("grant_type", "x"), {},
		form("grant_type", exchange, "subject_token", outside, "subject_token_type", tokenType+"jwt", "audience", service, "scope", pushScope, "access_type", "offline"),
		form("grant_type", exchange, "subject_token", identity, "subject_token_type", tokenType+"id_token", "requested_token_type", tokenType+"access_token"),
		form("grant_type", "password", "username", "x", "password", outside),
	} {
		f.Add(form.Encode())
	}
	f.Add(refreshForm(identity).Encode() + "&refresh_token=x")
	f.Add("%zz")
	f.Fuzz(func(t *testing.T, body string) {
		w := httptest.NewRecorder()
		fx.s.Endpoint().ServeHTTP(w, postRaw(body).WithContext(t.Context()))
		switch w.Code {
		case http.StatusBadRequest, http.StatusUnauthorized:
			return
		case http.StatusOK:
		default:
			t.Fatalf("%q: %d %s", body, w.Code, w.Body)
		}
		v, err := url.ParseQuery(body)
		one := func(name string) string {
			if len(v[name]) > 1 {
				t.Errorf("%q: %s comes more than once", body, name)
			}
			return v.Get(name)
		}
		good := one("grant_type") == "refresh_token" && one("refresh_token") == identity ||
			one("grant_type") == "password" && (one("password") == identity || one("password") == outside || one("username") == "alice" && one("password") == alice) ||
			one("grant_type") == exchange && one("subject_token") == outside && strings.HasPrefix(one("subject_token_type"), tokenType) &&
				!v.Has("actor_token") && !v.Has("resource") && (!v.Has("audience") || v.Get("audience") == "" || one("audience") == service)
		if s := one("service"); err != nil || !good || s != "" && s != service {
			t.Errorf("%q got a token", body)
		}
	})
}

// Law: an Authorization header gets a principal only with a good secret.
func FuzzBasic(f *testing.F) {
	fx := fuzzFixture(f)
	identity := fx.login("alice").RefreshToken
	for _, h := range []string{"Basic Og==", "Basic " + identity, "Bearer x", "basic YTpi", "Basic YTpi, Basic YTpi", "", get("", "alice:"+password("alice")).Header.Get("Authorization")} {
		f.Add(h)
	}
	f.Fuzz(func(t *testing.T, header string) {
		r := get("service="+service, "")
		r.Header.Set("Authorization", header)
		w := httptest.NewRecorder()
		fx.s.Endpoint().ServeHTTP(w, r.WithContext(t.Context()))
		var a answer
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
			t.Fatalf("%q: %v", header, err)
		}
		if w.Code != http.StatusOK {
			return
		}
		sub := claims(t, a.Token)["sub"]
		name, secret, ok := r.BasicAuth()
		good := ok && (secret == identity || name == "alice" && secret == password("alice"))
		nobody := header == "" || ok && name == "" && secret == ""
		if good && sub != "user:alice" || nobody && sub != "" || !good && !nobody {
			t.Errorf("%q got a token for %q", header, sub)
		}
	})
}
