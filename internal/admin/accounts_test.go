package admin_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/admin"
	"github.com/sallyport/sallyport/internal/client"
)

func TestBodies(t *testing.T) {
	f := onSQLite(t)
	b := f.as("admin")
	long := `{"name":"` + strings.Repeat("a", client.MaxBody) + `"}`
	for _, c := range []struct {
		name, body, contentType string
		status                  int
		detail                  string
	}{
		{"no body", "", "application/json", 400, "JSON object"},
		{"no type", `{"name":"x"}`, " ", 415, "application/json"},
		{"W-04 text", `{"name":"x"}`, "text/plain", 415, "application/json"},
		{"form", `name=x`, "application/x-www-form-urlencoded", 415, "application/json"},
		{"other charset", `{"name":"x"}`, "application/json; charset=utf-16", 415, "utf-8"},
		{"array", `["x"]`, "", 400, "JSON object"},
		{"null", `null`, "", 400, "JSON object"},
		{"I-23 unknown field", `{"name":"x","role":"admin"}`, "", 400, `"role" is not known`},
		{"T-18 other case", `{"Name":"x"}`, "", 400, `"Name" is not known`},
		{"T-18 folding to ASCII", `{"na\u006de":"x","paſſword":"y"}`, "", 400, "is not known"},
		{"T-17 twice", `{"name":"x","name":"y"}`, "", 400, "twice"},
		{"T-17 twice, escaped", `{"name":"x","n\u0061me":"y"}`, "", 400, "twice"},
		{"R-05 two documents", `{"name":"x"}{}`, "", 400, "goes on"},
		{"trailing bytes", `{"name":"x"} x`, "", 400, "goes on"},
		{"cut off", `{"name":"x"`, "", 400, "JSON"},
		{"null field", `{"name":null}`, "", 400, `"name" is null`},
		{"wrong type", `{"name":7}`, "", 400, `"name"`},
		{"R-07 nested", `{"name":` + strings.Repeat("[", 100_000) + `}`, "", 400, "JSON"},
		{"H-10 large", long, "", 413, "2097152"},
		{"good", `{"name":"x"}`, "application/json; charset=UTF-8", 201, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := f.do(b, req{method: "POST", path: "/robots", body: c.body, contentType: c.contentType})
			if w.Code != c.status || !strings.Contains(w.Body.String(), strings.ReplaceAll(c.detail, `"`, `\"`)) {
				t.Errorf("%d %.300s, want %d with %q", w.Code, w.Body, c.status, c.detail)
			}
		})
	}
}

// TestLargeBodies: H-10 at every route that reads a body.
func TestLargeBodies(t *testing.T) {
	f := onSQLite(t)
	b := f.as("admin")
	large := `{"name":"` + strings.Repeat("a", client.MaxBody) + `"}`
	for _, rt := range admin.Routes() {
		s := samples[rt.Method+" "+rt.Pattern]
		if s.body != "" {
			s.method, s.body = rt.Method, large
			f.refused(b, 413, s.req)
		}
	}
}

// FuzzDecode: what the strict reader takes, it takes as encoding/json writes it
// again, and a generic reader sees the same fields.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{}`, `{"owner":"robot:ci","label":"x","expiresIn":60,"repositories":["a/**"],"actions":["pull"]}`, `{"label":"\u0000"}`, `{"Label":"x"}`, `{"expiresIn":1e3}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var k client.NewKey
		if admin.Decode(b, &k) != nil {
			return
		}
		var generic map[string]any
		if err := json.Unmarshal(b, &generic); err != nil {
			t.Fatalf("%q is taken, and is no JSON: %v", b, err)
		}
		for name := range generic {
			if !slices.Contains([]string{"owner", "name", "expiresIn", "repositories", "actions", "networks"}, name) {
				t.Errorf("%q is taken with field %q", b, name)
			}
		}
		if len(k.Repositories) == 0 { // not written, as when it is absent
			k.Repositories = nil
		}
		if len(k.Actions) == 0 {
			k.Actions = nil
		}
		if len(k.Networks) == 0 {
			k.Networks = nil
		}
		again, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		var k2 client.NewKey
		if err := admin.Decode(again, &k2); err != nil || !reflect.DeepEqual(k, k2) {
			t.Errorf("%q becomes %+v, which as %q becomes %+v (%v)", b, k, again, k2, err)
		}
	})
}

func TestQueries(t *testing.T) {
	f := onSQLite(t)
	b := f.as("admin")
	for _, c := range []struct{ name, path string }{
		{"S-40 unknown parameter", "/users?q=password_hash"},
		{"S-40 sort", "/keys?sort=secret"},
		{"S-40 fields", "/sessions?fields=*"},
		{"T-31 token in the query", "/whoami?access_token=x"},
		{"twice", "/users?n=1&n=2"},
		{"n is 0", "/users?n=0"},
		{"n is negative", "/users?n=-1"},
		{"n is large", "/users?n=1001"},
		{"n is no number", "/users?n=x"},
		{"after is no name", "/users?after=%00"},
		{"D-16 after is a wildcard", "/users?after=%25"},
		{"S-40 after is no key", "/keys?after=x"},
		{"after is long", "/groups?after=" + strings.Repeat("a", 300)},
		{"owner is no account", "/keys?owner=alice"},
		{"owner is a group", "/keys?owner=group:admins"},
		{"a bad escape", "/users?n=%zz"},
	} {
		t.Run(c.name, func(t *testing.T) { f.refused(b, 400, req{method: "GET", path: c.path}) })
	}
}

func TestAccounts(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		b := f.as("admin")
		for _, kind := range []string{"user", "robot"} {
			all := "/" + kind + "s"
			add := func(name string) req {
				if kind == "robot" {
					return req{method: "POST", path: all, body: body(`{"name":%q}`, name)}
				}
				return req{method: "POST", path: all, body: body(`{"name":%q,"password":"a horse long enough"}`, name)}
			}
			made := read[client.Account](f, b, 201, add("dora-"+kind))
			if made.Name != "dora-"+kind || made.Kind != kind || made.Disabled || made.Groups == nil || made.Created.IsZero() {
				t.Errorf("added %+v", made)
			}
			if again := read[client.Account](f, b, 200, add("dora-"+kind)); !reflect.DeepEqual(again, made) {
				t.Errorf("added again %+v, which was %+v", again, made)
			}
			f.refused(b, 409, add(map[string]string{"user": "ci", "robot": "alice"}[kind])) // they share their names
			f.refused(b, 409, req{method: "POST", path: "/users", body: body(`{"name":%q,"password":"another horse of theirs"}`, "dora-"+kind)})
			one := all + "/dora-" + kind
			if got := read[client.Account](f, b, 200, req{method: "GET", path: one}); got.Name != made.Name {
				t.Errorf("got %+v", got)
			}
			if got := read[client.Account](f, b, 200, req{method: "PATCH", path: one, body: `{"disabled":true}`}); !got.Disabled {
				t.Errorf("after disabling: %+v", got)
			}
			if got := read[client.Account](f, b, 200, req{method: "PATCH", path: one, body: `{"disabled":false}`}); got.Disabled {
				t.Errorf("after enabling: %+v", got)
			}
			f.refused(b, 400, req{method: "PATCH", path: one, body: `{}`})
			f.want(b, 204, req{method: "DELETE", path: one})
			for _, method := range []string{"GET", "DELETE"} {
				f.refused(b, 404, req{method: method, path: one})
			}
			f.refused(b, 404, req{method: "PATCH", path: one, body: `{"disabled":true}`})
		}
		// A robot is not found as a user.
		f.refused(b, 404, req{method: "GET", path: "/users/ci"})
		f.refused(b, 404, req{method: "DELETE", path: "/robots/alice"})
		// I-16: the policy names alice, so nobody else becomes alice.
		f.want(b, 204, req{method: "DELETE", path: "/users/alice"})
		if p := f.refused(b, 409, req{method: "POST", path: "/users", body: `{"name":"alice","password":"a horse long enough"}`}); !strings.HasSuffix(p.Type, ":retired") {
			t.Errorf("adding a removed name that the policy names: %+v", p)
		}
	})
}

func TestAccountNames(t *testing.T) {
	f := onSQLite(t)
	b := f.as("admin")
	for _, name := range []string{"Admin", "\u0430dmin", "admin\u200b", "admin ", "ADMIN", "a:b", "a\nb", "a/", "/b", "a//b", "a/../b", "a~b", `a"b`, "\u202eadmin", strings.Repeat("a", 300), "", ".", "..", "-a"} {
		t.Run(fmt.Sprintf("I-12 I-15 %.20q", name), func(t *testing.T) {
			text, err := json.Marshal(map[string]string{"name": name, "password": "a horse long enough"})
			f.ok(err)
			if p := f.refused(b, 400, req{method: "POST", path: "/users", body: string(text)}); !strings.Contains(p.Detail, "name") {
				t.Errorf("detail %q does not name the field", p.Detail)
			}
		})
	}
}

// TestOwnAccount: nobody gives or takes rights from themselves.
func TestOwnAccount(t *testing.T) {
	f := onSQLite(t)
	alice, root := f.as("alice"), f.as("admin")
	for _, q := range []req{
		{method: "PATCH", path: "/users/alice", body: `{"role":"admin"}`},
		{method: "PATCH", path: "/users/alice", body: `{"groups":["admins"]}`},
		{method: "PATCH", path: "/users/alice", body: `{"disabled":false}`},
		{method: "PUT", path: "/groups/admins/members/user:alice"},
		{method: "PUT", path: "/users/admin/password", body: `{"password":"a horse long enough"}`},
	} {
		t.Run("I-23 "+q.String(), func(t *testing.T) { f.refused(alice, 403, q) })
	}
	for _, q := range []req{
		{method: "PATCH", path: "/users/admin", body: `{"disabled":true}`},
		{method: "DELETE", path: "/users/admin"},
		{method: "DELETE", path: "/groups/admins/members/user:admin"},
		{method: "PUT", path: "/policy", body: "version: 1\nrules: []\n", contentType: "application/yaml", ifMatch: `"2"`},
	} {
		t.Run("the last administrator: "+q.String(), func(t *testing.T) {
			w := f.do(root, q)
			if w.Code != 409 && w.Code != 400 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			f.want(root, 200, req{method: "GET", path: "/users"})
		})
	}
	// With another reason to be one, a membership may go.
	f.want(root, 204, req{method: "PUT", path: "/groups/dev/members/user:admin"})
	f.want(f.as("admin"), 204, req{method: "DELETE", path: "/groups/dev/members/user:admin"})
}

func TestPasswords(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		alice, root := f.as("alice"), f.as("admin")
		change := func(name, text string) req {
			return req{method: "PUT", path: "/users/" + name + "/password", body: text}
		}
		for _, c := range []struct {
			name   string
			bearer bearer
			q      req
			status int
		}{
			{"without the current one", alice, change("alice", `{"password":"a horse long enough"}`), 400},
			{"with a wrong one", alice, change("alice", `{"current":"wrong password","password":"a horse long enough"}`), 403},
			{"to a short one", alice, change("alice", body(`{"current":%q,"password":"short"}`, password("alice"))), 400},
			{"I-06 to a long one", alice, change("alice", body(`{"current":%q,"password":%q}`, password("alice"), strings.Repeat("a", 2000))), 400},
			{"an administrator's own, without the current one", root, change("admin", `{"password":"a horse long enough"}`), 400},
			{"another's, with a current one", root, change("alice", `{"current":"x","password":"a horse long enough"}`), 400},
			{"of nobody", root, change("nobody", `{"password":"a horse long enough"}`), 404},
			{"of a robot", root, change("ci", `{"password":"a horse long enough"}`), 404},
		} {
			t.Run(c.name, func(t *testing.T) { f.refused(c.bearer, c.status, c.q) })
		}
		f.want(alice, 204, change("alice", body(`{"current":%q,"password":"the next one of her horses"}`, password("alice"))))
		t.Run("the sessions of the old one end", func(t *testing.T) {
			f.refused(alice, 401, req{method: "GET", path: "/whoami"})
		})
		again := f.login("alice", "the next one of her horses", apiScope)
		f.want(root, 204, change("alice", `{"password":"the third one of her horses"}`))
		f.refused(again, 401, req{method: "GET", path: "/whoami"})
		f.want(f.login("alice", "the third one of her horses", apiScope), 200, req{method: "GET", path: "/whoami"})
	})
}

func TestHtpasswd(t *testing.T) {
	f := onSQLite(t)
	b := f.as("admin")
	// htpasswd -nbB -C 4 erin "erin's password"
	const hash = "$2y$04$7RQ8mXkJ4mUqPHC7wCOiOe4mdFBCwgPDmpJqp5ZBzWkZpUbK0xK0a"
	send := func(status int, text string) req {
		return req{method: "POST", path: "/htpasswd", contentType: "text/plain; charset=utf-8", body: text}
	}
	p := f.refused(b, 400, send(400, "erin:"+hash+"\nadmin:"+hash+"\nfrank:{SHA}x\nno colon\n"))
	var lines []int
	for _, e := range p.Errors {
		lines = append(lines, e.Line)
		if strings.Contains(e.Detail, hash) {
			t.Errorf("C-10: %q shows a hash", e.Detail)
		}
	}
	slices.Sort(lines)
	if !slices.Equal(lines, []int{2, 3, 4}) {
		t.Errorf("bad lines %v: %+v", lines, p.Errors)
	}
	f.refused(b, 404, req{method: "GET", path: "/users/erin"})
	f.refused(b, 415, req{method: "POST", path: "/htpasswd", body: `{}`})
	if got := read[client.Imported](f, b, 201, send(201, "erin:"+hash+"\n")); !slices.Equal(got.Users, []string{"erin"}) {
		t.Errorf("imported %+v", got)
	}
	f.want(b, 200, req{method: "GET", path: "/users/erin"})
}

func TestGroups(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		b := f.as("admin")
		member := func(method, group, who string) req {
			return req{method: method, path: "/groups/" + group + "/members/" + who}
		}
		f.want(b, 204, member("PUT", "dev", "user:alice"))
		f.want(b, 204, member("PUT", "dev", "user:alice"))
		f.want(b, 204, member("PUT", "dev", "robot:ci"))
		for who, status := range map[string]int{"alice": 400, "group:admins": 400, "user:": 400, "user:A": 400, "user:nobody": 404, "user:ci": 404, "anyone": 400} {
			f.refused(b, status, member("PUT", "dev", who))
		}
		f.refused(b, 400, member("PUT", "Dev", "user:alice"))
		groups := read[client.Page[client.Group]](f, b, 200, req{method: "GET", path: "/groups"})
		if got := fmt.Sprint(groups.Items); got != "[{admins [user:admin]} {dev [robot:ci user:alice]}]" {
			t.Errorf("groups are %s", got)
		}
		f.want(b, 204, member("DELETE", "dev", "user:alice"))
		f.refused(b, 404, member("DELETE", "dev", "user:alice"))
		f.want(b, 204, member("DELETE", "dev", "robot:ci"))
		if groups = read[client.Page[client.Group]](f, b, 200, req{method: "GET", path: "/groups"}); len(groups.Items) != 1 {
			t.Errorf("a group without members is still there: %+v", groups)
		}
	})
}

// TestPages: the parts of a list are the whole, without doubles, whatever their
// size.
func TestPages(t *testing.T) {
	f := onSQLite(t)
	b := f.as("admin")
	for _, name := range []string{"a", "a.b", "a-b", "a0", "ab", "b"} {
		_, err := f.accounts.AddRobot(t.Context(), name)
		f.ok(err)
		n := account.Name{Kind: access.Robot, Name: name}
		f.ok(f.accounts.AddMember(t.Context(), "group-"+name, n))
		_, _, err = f.accounts.CreateKey(t.Context(), n, account.NewKey{})
		f.ok(err)
		f.as("alice")
	}
	for _, path := range []string{"/robots", "/users", "/groups", "/keys?owner=all", "/sessions?owner=all"} {
		whole := names(t, f.want(b, 200, req{method: "GET", path: path}).Body.Bytes()).items
		for n := 1; n <= len(whole)+1; n++ {
			var parts []string
			for after := ""; ; {
				sep := "?"
				if strings.Contains(path, "?") {
					sep = "&"
				}
				p := names(t, f.want(b, 200, req{method: "GET", path: fmt.Sprintf("%s%sn=%d&after=%s", path, sep, n, after)}).Body.Bytes())
				if len(p.items) > n {
					t.Fatalf("%s: %d items, asked for %d", path, len(p.items), n)
				}
				parts = append(parts, p.items...)
				if after = p.next; after == "" {
					break
				}
			}
			if !slices.Equal(parts, whole) {
				t.Errorf("%s in parts of %d: %v, want %v", path, n, parts, whole)
			}
		}
	}
}

type namesPage struct {
	items []string
	next  string
}

func names(t *testing.T, b []byte) namesPage {
	t.Helper()
	var p client.Page[struct{ ID, Name string }]
	if err := json.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	out := namesPage{next: p.Next}
	for _, i := range p.Items {
		out.items = append(out.items, i.ID+i.Name)
	}
	return out
}
