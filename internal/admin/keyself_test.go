package admin_test

import (
	"encoding/json"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/client"
)

// narrowings are what a key of an administrator may be narrowed to, up to one
// that keeps the right to manage keys.
var narrowings = map[string]access.Narrowing{
	"nothing":            {},
	"pull":               {Actions: []access.Action{access.Pull}},
	"a repository":       {Repositories: []string{"team-a/app"}},
	"networks":           {Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, // where httptest comes from
	"managing keys":      {Actions: []access.Action{access.ManageKeys}},
	"managing keys of a": {Actions: []access.Action{access.ManageKeys}, Repositories: []string{"team-a/**"}},
}

// TestKeyCannotWidenItself: S-36, I-19 whatever a key is narrowed to, neither it
// nor a session begun with it gets its owner a wider key, or one that outlives
// it. It may rotate itself, to a key that is no wider, again and again.
func TestKeyCannotWidenItself(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		root := account.Name{Kind: access.User, Name: "admin"}
		sibling, _, err := f.accounts.CreateKey(t.Context(), root, account.NewKey{})
		f.ok(err)
		for name, n := range narrowings {
			t.Run(name, func(t *testing.T) {
				k, secret, err := f.accounts.CreateKey(t.Context(), root, account.NewKey{Life: 48 * time.Hour, Narrowing: n})
				f.ok(err)
				id := "/keys/" + k.ID
				bare, session := f.bare(secret.Reveal()), f.refresh(f.login("any", secret.Reveal(), apiScope))
				for what, b := range map[string]bearer{"itself": bare, "its session": session} {
					for _, q := range []req{
						{method: "POST", path: "/keys", body: `{}`},
						{method: "POST", path: "/keys", body: `{"owner":"user:admin","expiresIn":31536000}`},
						{method: "POST", path: "/keys/" + sibling.ID + "/rotate", body: `{}`},
						{method: "PUT", path: "/users/admin/password", body: `{"password":"another long word 7301"}`},
					} {
						if w := f.do(b, q); w.Code < 400 {
							t.Errorf("I-19 %s: %s %s: %d %s", what, q, q.body, w.Code, w.Body)
						}
					}
					for _, change := range []string{`{"actions":["pull","push","delete","admin"]}`, `{"repositories":["**"]}`, `{"networks":["0.0.0.0/0"]}`} {
						w := f.do(b, req{method: "PATCH", path: id, body: change})
						now, err := f.accounts.Key(t.Context(), k.ID)
						f.ok(err)
						if _, wider := n.Narrow(now.Narrowing); wider != nil {
							t.Errorf("S-36 %s: narrowed to %s: %d, and %v", what, change, w.Code, wider)
						}
					}
				}
				if w := f.do(session, req{method: "POST", path: id + "/rotate", body: `{}`}); w.Code < 400 {
					t.Errorf("I-19 a session rotates its key: %d %s", w.Code, w.Body)
				}
				f.rotateItself(bare, k)
			})
		}
	})
}

// refresh returns an access token that came of the identity token alone.
func (f *fixture) refresh(b bearer) bearer {
	f.t.Helper()
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {b.identity}, "client_id": {"test"}, "service": {service}, "scope": {apiScope}}
	r := httptest.NewRequestWithContext(f.t.Context(), "POST", "/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	f.tokens.Endpoint().ServeHTTP(w, r)
	var answer struct {
		Access string `json:"access_token"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.Access == "" {
		f.t.Fatalf("refresh: %d %s", w.Code, w.Body)
	}
	return bearer{answer.Access, b.identity}
}

// rotateItself does so twice, and looks at what came of it.
func (f *fixture) rotateItself(b bearer, k account.Key) {
	f.t.Helper()
	kept, err := f.accounts.Key(f.t.Context(), k.ID) // it may have been narrowed
	f.ok(err)
	for range 2 {
		next := read[client.CreatedKey](f, b, 201, req{method: "POST", path: "/keys/" + kept.ID + "/rotate", body: `{"overlap":60}`})
		made, err := f.accounts.Key(f.t.Context(), next.ID)
		f.ok(err)
		if !made.Narrowing.Equal(kept.Narrowing) || made.Life > k.Life || made.CreatorKey != kept.ID {
			f.t.Errorf("S-36 the successor %+v of %+v", made, kept)
		}
		if p := f.refused(b, 409, req{method: "POST", path: "/keys/" + kept.ID + "/rotate", body: `{}`}); !strings.HasSuffix(p.Type, ":rotated") {
			f.t.Errorf("a third key: %+v", p)
		}
		f.pass(time.Minute)
		kept, b = made, f.bare(next.Secret.Reveal())
	}
	f.ok(f.accounts.RevokeKey(f.t.Context(), k.ID))
	f.refused(b, 401, req{method: "GET", path: "/whoami"})
}

// TestKeyWarnings: the list says of a key that it ends soon, or that nobody uses
// it, and stops when that is seen to.
func TestKeyWarnings(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		day := 24 * time.Hour
		k, secret, err := f.accounts.CreateKey(t.Context(), robot("ci"), account.NewKey{Life: 130 * day})
		f.ok(err)
		warned := func(want ...string) {
			t.Helper()
			list := read[client.Page[client.Key]](f, f.as("admin"), 200, req{method: "GET", path: "/keys?owner=robot:ci"})
			i := slices.IndexFunc(list.Items, func(v client.Key) bool { return v.ID == k.ID })
			if i < 0 || !slices.Equal(list.Items[i].Warnings, want) {
				t.Errorf("after %s the list is %+v, want warnings %q", f.clock().Sub(k.Created), list.Items, want)
			}
		}
		warned()
		f.pass(90 * day)
		warned()
		f.pass(time.Second)
		warned("not used for 90 days")
		f.bare(secret.Reveal())
		warned()
		f.pass(26 * day)
		warned("expires within 14 days")
		f.want(f.as("admin"), 201, req{method: "POST", path: "/keys/" + k.ID + "/rotate", body: `{}`})
		warned()
		f.pass(14 * day)
		warned()
	})
}
