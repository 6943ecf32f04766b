package admin_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/client"
)

func TestKeys(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		root, alice := f.as("admin"), f.as("alice")
		create := func(text string) req { return req{method: "POST", path: "/keys", body: text} }

		w := f.want(root, 201, create(`{"owner":"robot:ci","name":"pipeline","expiresIn":3600,"repositories":["team-a/**"],"actions":["pull","push"]}`))
		if w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("the answer with the secret may be stored: %q", w.Header())
		}
		k := read[client.CreatedKey](f, root, 201, create(`{"owner":"robot:ci","name":"deploy","expiresIn":3600,"repositories":["team-a/**"],"actions":["pull","push"]}`))
		if !access.KeySecret.Valid(k.Secret.Reveal()) || k.Owner != "robot:ci" || k.Name != "deploy" || k.Expires.Sub(k.Created) != time.Hour {
			t.Errorf("created %+v", k)
		}
		if me := read[client.Whoami](f, f.login("ci", k.Secret.Reveal(), apiScope), 200, req{method: "GET", path: "/whoami"}); me.Principal != "robot:ci" || !me.Narrowed || me.KeyID != k.ID || me.Admin {
			t.Errorf("the key proves %+v", me)
		}
		own := read[client.CreatedKey](f, alice, 201, create(`{}`))
		if own.Owner != "user:alice" || own.Expires.Sub(own.Created) != account.DefaultKeyLife {
			t.Errorf("alice's own: %+v", own)
		}

		f.refuseKeys(own.ID, k.ID)
		t.Run("W-10 lists have no secrets", func(t *testing.T) {
			for path, count := range map[string]int{"/keys?owner=all": 3, "/keys?owner=robot:ci": 2, "/keys": 0} {
				w := f.want(root, 200, req{method: "GET", path: path})
				if strings.Contains(w.Body.String(), "sallyport_key_") || strings.Contains(w.Body.String(), "secret") {
					t.Errorf("%s shows %s", path, w.Body)
				}
				if got := strings.Count(w.Body.String(), `"id"`); got != count {
					t.Errorf("%s has %d keys, want %d", path, got, count)
				}
			}
			mine := read[client.Page[client.Key]](f, alice, 200, req{method: "GET", path: "/keys"})
			if len(mine.Items) != 1 || mine.Items[0].ID != own.ID {
				t.Errorf("alice's own list: %+v", mine)
			}
			f.want(alice, 200, req{method: "GET", path: "/keys?owner=user:alice"})
		})
		t.Run("revoking", func(t *testing.T) {
			b := f.login("any", own.Secret.Reveal(), apiScope)
			f.want(b, 200, req{method: "GET", path: "/whoami"})
			f.want(alice, 204, req{method: "DELETE", path: "/keys/" + own.ID})
			f.refused(b, 401, req{method: "GET", path: "/whoami"})
			f.want(root, 204, req{method: "DELETE", path: "/keys/" + k.ID})
			all := read[client.Page[client.Key]](f, alice, 200, req{method: "GET", path: "/keys"})
			if all.Items[0].Revoked == nil {
				t.Errorf("revoked key is listed as %+v", all.Items[0])
			}
		})
	})
}

// refuseKeys asks for what nobody gets; alices and robots are ids of keys.
func (f *fixture) refuseKeys(alices, robots string) {
	root, alice, mallory := f.as("admin"), f.as("alice"), f.as("mallory")
	create := func(text string) req { return req{method: "POST", path: "/keys", body: text} }
	for _, c := range []struct {
		name string
		bearer
		status int
		req
	}{
		{"for another", alice, 403, create(`{"owner":"robot:ci"}`)},
		{"for nobody", root, 404, create(`{"owner":"robot:nobody"}`)},
		{"for a group", root, 400, create(`{"owner":"group:admins"}`)},
		{"for a bare name", root, 400, create(`{"owner":"ci"}`)},
		{"an unknown action", alice, 400, create(`{"actions":["fly"]}`)},
		{"S-02 every action", alice, 400, create(`{"actions":["*"]}`)},
		{"a bad pattern", alice, 400, create(`{"repositories":["Team/**"]}`)},
		{"for a second", alice, 400, create(`{"expiresIn":1}`)},
		{"for ever", alice, 400, create(`{"expiresIn":9223372036854775807}`)},
		{"for ten years", alice, 400, create(`{"expiresIn":315360000}`)},
		{"for less than nothing", alice, 400, create(`{"expiresIn":-5}`)},
		{"L-02 a name with control characters", alice, 400, create(`{"name":"a\u001b[2Jb"}`)},
		{"I-23 an id of one's own", alice, 400, create(`{"id":"x"}`)},
		{"S-38 another's list", mallory, 403, req{method: "GET", path: "/keys?owner=user:alice"}},
		{"S-38 everybody's list", mallory, 403, req{method: "GET", path: "/keys?owner=all"}},
		{"the list of nobody", root, 404, req{method: "GET", path: "/keys?owner=user:nobody"}},
		{"S-38 revoking another's", mallory, 404, req{method: "DELETE", path: "/keys/" + alices}},
		{"S-38 revoking a robot's", alice, 404, req{method: "DELETE", path: "/keys/" + robots}},
		{"revoking nothing", root, 404, req{method: "DELETE", path: "/keys/nothing"}},
		{"D-16 revoking a wildcard", root, 404, req{method: "DELETE", path: "/keys/%25"}},
	} {
		f.t.Run(c.name, func(t *testing.T) { f.refused(c.bearer, c.status, c.req) })
	}
}

// TestKeyOfKey: a key makes no other for its owner, who would keep that when it
// is revoked (I-19).
func TestKeyOfKey(t *testing.T) {
	f := onSQLite(t)
	alice := account.Name{Kind: access.User, Name: "alice"}
	for _, text := range []string{`{}`, `{"owner":"user:alice"}`, `{"expiresIn":60}`, `{"actions":["pull"]}`} {
		k, b := f.key(alice, 24*time.Hour, nil, nil) // a session begun with the key
		p := f.refused(b, 403, req{method: "POST", path: "/keys", body: text})
		if !strings.Contains(p.Detail, "log in with a password to create keys") {
			t.Errorf("the cure is %q", p.Detail)
		}
		f.want(b, 204, req{method: "DELETE", path: "/keys/" + k.ID})
		f.refused(b, 401, req{method: "GET", path: "/whoami"})
	}
	// Without a session it is the same key.
	_, secret, err := f.accounts.CreateKey(t.Context(), alice, account.NewKey{})
	f.ok(err)
	f.refused(f.bare(secret.Reveal()), 403, req{method: "POST", path: "/keys", body: `{}`})
	// For others an administrator's key is as good as a password.
	_, root := f.key(account.Name{Kind: access.User, Name: "admin"}, time.Hour, nil, nil)
	f.want(root, 201, req{method: "POST", path: "/keys", body: `{"owner":"robot:ci","expiresIn":86400}`})
	f.refused(root, 403, req{method: "POST", path: "/keys", body: `{}`})
}

func TestSessions(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		root, alice, other, mallory := f.as("admin"), f.as("alice"), f.as("alice"), f.as("mallory")
		who := func(b bearer) client.Whoami {
			return read[client.Whoami](f, b, 200, req{method: "GET", path: "/whoami"})
		}
		end := func(id string) req { return req{method: "DELETE", path: "/sessions/" + id} }
		mine := read[client.Page[client.Session]](f, alice, 200, req{method: "GET", path: "/sessions"})
		if len(mine.Items) != 2 || mine.Items[0].Owner != "user:alice" {
			t.Fatalf("alice's sessions: %+v", mine)
		}
		f.refused(mallory, 404, end(who(alice).SessionID))
		f.refused(mallory, 404, end("nothing"))
		f.refused(mallory, 403, req{method: "GET", path: "/sessions?owner=user:alice"})
		f.want(alice, 204, end(who(other).SessionID))
		f.refused(other, 401, req{method: "GET", path: "/whoami"})
		f.want(root, 204, end(who(alice).SessionID))
		f.refused(alice, 401, req{method: "GET", path: "/whoami"})
		f.refused(root, 404, end("nothing"))

		t.Run("S-36 a narrowed credential ends its own and no other", func(t *testing.T) {
			ci := account.Name{Kind: access.Robot, Name: "ci"}
			_, one := f.key(ci, time.Hour, nil, []string{"pull"})
			_, two := f.key(ci, time.Hour, nil, []string{"pull"})
			f.refused(one, 403, end(who(two).SessionID))
			f.want(one, 204, end(who(one).SessionID))
			f.refused(one, 401, req{method: "GET", path: "/whoami"})
			f.want(two, 200, req{method: "GET", path: "/whoami"})
		})
		all := f.want(root, 200, req{method: "GET", path: "/sessions?owner=all"})
		if strings.Contains(all.Body.String(), "sallyport_idt_") {
			t.Errorf("W-10: sessions show tokens: %s", all.Body)
		}
	})
}

// TestRightsNow: what is taken away is gone with the next request (I-19, S-22).
func TestRightsNow(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		root, alice := f.as("admin"), f.as("alice")
		_, key := f.key(account.Name{Kind: access.User, Name: "alice"}, time.Hour, nil, nil)
		look := req{method: "GET", path: "/users"}
		f.refused(alice, 403, look)
		f.want(root, 204, req{method: "PUT", path: "/groups/admins/members/user:alice"})
		f.want(alice, 200, look)
		f.want(key, 200, look)
		f.want(root, 204, req{method: "DELETE", path: "/groups/admins/members/user:alice"})
		f.refused(alice, 403, look)
		f.refused(key, 403, look)
		f.want(root, 200, req{method: "PATCH", path: "/users/alice", body: `{"disabled":true}`})
		for _, b := range []bearer{alice, key} {
			f.refused(b, 401, req{method: "GET", path: "/whoami"})
		}
	})
}
