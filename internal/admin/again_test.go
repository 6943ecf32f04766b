package admin_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/admin"
	"github.com/sallyport/sallyport/internal/client"
)

// repeated has, for every route that changes something, what it answers the first
// time and when the answer was lost and the request is sent again. {it} is what
// before made.
var repeated = []struct {
	route, note string
	req
	before        func(*fixture) string
	first, second int
	kind          string // of the second answer's problem
	same          bool   // both answers are the same
}{
	{"POST /users", "", req{path: "/users", body: `{"name":"new","password":"a password of 7301"}`}, nil, 201, 200, "", true},
	{"POST /robots", "", req{path: "/robots", body: `{"name":"bot"}`}, nil, 201, 200, "", true},
	{"POST /htpasswd", "", req{path: "/htpasswd", body: "zoe:" + bcryptOfSecret + "\n", contentType: "text/plain"}, nil, 201, 400, "invalid", false},
	{"PATCH /users/{name}", "", req{path: "/users/alice", body: `{"disabled":true}`}, nil, 200, 200, "", true},
	{"PATCH /robots/{name}", "", req{path: "/robots/ci", body: `{"disabled":true}`}, nil, 200, 200, "", true},
	{"PUT /users/{name}/password", "", req{path: "/users/new/password", body: `{"password":"a password of 7302"}`}, nil, 204, 204, "", true},
	{"POST /users", "an invitation", req{path: "/users", body: `{"name":"guest","invite":true}`}, nil, 201, 200, "", true},
	{"POST /users/{name}/links", "", req{path: "/users/alice/links", body: `{"issuer":"https://idp.test","subject":"1"}`}, nil, 204, 204, "", true},
	{"DELETE /users/{name}/links", "", req{path: "/users/alice/links?issuer=https://idp.test&subject=1"}, nil, 204, 404, "not-found", false},
	{"POST /users/{name}/reset", "", req{path: "/users/new/reset"}, nil, 201, 201, "", false},
	{"POST /password-resets", "", req{path: "/password-resets", body: `{"code":"{it}","password":"four horses of 7303"}`}, newCode, 200, 403, "wrong-code", false},
	{"DELETE /users/{name}", "", req{path: "/users/{it}"}, goner, 204, 404, "not-found", false},
	{"DELETE /robots/{name}", "", req{path: "/robots/{it}"}, goneRobot, 204, 404, "not-found", false},
	{"PUT /groups/{group}/members/{member}", "", req{path: "/groups/dev/members/robot:ci"}, nil, 204, 204, "", true},
	{"DELETE /groups/{group}/members/{member}", "", req{path: "/groups/dev/members/robot:ci"}, nil, 204, 404, "not-found", false},
	{"POST /keys", "with a name", req{path: "/keys", body: `{"owner":"robot:ci","name":"deploy"}`}, nil, 201, 409, "exists", false},
	{"PATCH /keys/{id}", "", req{path: "/keys/{it}", body: `{"actions":["pull"]}`}, newKey, 200, 200, "", true},
	{"POST /keys/{id}/rotate", "", req{path: "/keys/{it}/rotate", body: `{}`}, newKey, 201, 409, "rotated", false},
	{"DELETE /keys/{id}", "", req{path: "/keys/{it}"}, newKey, 204, 204, "", true},
	{"DELETE /sessions", "", req{path: "/sessions?owner=user:mallory"}, func(f *fixture) string { return f.as("mallory").identity }, 200, 200, "", false},
	{"DELETE /sessions/{id}", "", req{path: "/sessions/{it}"}, newSession, 204, 204, "", true},
	{"PUT /policy", "", req{path: "/policy", body: managers, contentType: "application/yaml", ifMatch: `"2"`}, nil, 200, 412, "conflict", false},
	{"POST /signing-keys", "", req{path: "/signing-keys", body: `{"now":false}`}, nil, 200, 200, "", true},
	{"POST /signing-keys", "at once", req{path: "/signing-keys", body: `{"now":true}`}, nil, 200, 200, "", true},
	{"DELETE /signing-keys/{id}", "", req{path: "/signing-keys/{it}"}, nextSigningKey, 204, 404, "not-found", false},
	{"POST /issuers", "", req{path: "/issuers", body: definition("ci"), contentType: "application/yaml"}, nil, 201, 200, "", true},
	{"PUT /issuers/{issuer}", "", req{path: "/issuers/ci", body: definition("ci") + "sessions: 5m\n", contentType: "application/yaml", ifMatch: "{it}"}, issuerTag, 200, 412, "conflict", false},
	{"DELETE /issuers/{issuer}", "", req{path: "/issuers/ci"}, nil, 204, 404, "not-found", false},
	{"POST /gc", "", req{path: "/gc", body: `{"dryRun":true}`}, nil, 200, 200, "", false},
}

// TestRepeated: what docs/api.md says of requests that are sent again. The second
// time changes nothing, for every route that changes anything.
func TestRepeated(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		rows := map[string]bool{}
		for _, r := range repeated {
			rows[r.route] = true
			it := ""
			if r.before != nil {
				it = r.before(f)
			}
			root := f.as("admin")
			r.method, _, _ = strings.Cut(r.route, " ")
			r.path, r.body = strings.ReplaceAll(r.path, "{it}", it), strings.ReplaceAll(r.body, "{it}", it)
			r.ifMatch = strings.ReplaceAll(r.ifMatch, "{it}", it)
			w := f.do(root, r.req)
			one, first, between := w.Body.String(), w.Code, f.state()
			w = f.do(root, r.req)
			if first != r.first || w.Code != r.second {
				t.Errorf("%s %s: %d, and again %d, want %d and %d\n%s%s", r.route, r.note, first, w.Code, r.first, r.second, one, w.Body)
			}
			if two := w.Body.String(); r.same && two != one || r.kind != "" && !strings.Contains(two, "problem:"+r.kind+`"`) {
				t.Errorf("%s %s: %s, and again: %s", r.route, r.note, one, two)
			}
			if after := f.state(); !slices.Equal(between, after) && r.route != "POST /gc" {
				t.Errorf("%s %s changes something the second time:\n%s\n%s", r.route, r.note, between, after)
			}
		}
		for _, rt := range admin.Routes() {
			if route := rt.Method + " " + rt.Pattern; !rt.Quiet && !rows[route] {
				t.Errorf("%s has no row in the table of repeated requests", route)
			}
		}
	})
}

func newCode(f *fixture) string {
	f.t.Helper()
	_, code, err := f.accounts.ResetPassword(f.t.Context(), "new")
	f.ok(err)
	return code.Reveal()
}

// TestLostSecrets: how docs/api.md says to go on when the answer with a secret
// was lost.
func TestLostSecrets(t *testing.T) {
	f := onSQLite(t)
	root := f.as("admin")
	create := req{method: "POST", path: "/keys", body: `{"owner":"robot:ci","name":"deploy"}`}
	find := func(name string) client.Key {
		t.Helper()
		for _, k := range read[client.Page[client.Key]](f, root, 200, req{method: "GET", path: "/keys?owner=robot:ci"}).Items {
			if k.Name == name && k.Revoked == nil && k.Successor == "" {
				return k
			}
		}
		t.Fatalf("there is no key %q in the list", name)
		return client.Key{}
	}
	f.want(root, 201, create) // the answer is lost
	f.refused(root, 409, create)
	f.want(root, 204, req{method: "DELETE", path: "/keys/" + find("deploy").ID})
	k := read[client.CreatedKey](f, root, 201, create)
	rotate := req{method: "POST", path: "/keys/" + k.ID + "/rotate", body: `{}`}
	f.want(root, 201, rotate) // the answer is lost
	f.refused(root, 409, rotate)
	f.want(root, 204, req{method: "DELETE", path: "/keys/" + find("deploy").ID})
	next := read[client.CreatedKey](f, root, 201, rotate)
	f.bare(k.Secret.Reveal())
	f.bare(next.Secret.Reveal())
}

// bcryptOfSecret is of a password that nobody has.
const bcryptOfSecret = "$2y$04$7RQ8mXkJ4mUqPHC7wCOiOe4mdFBCwgPDmpJqp5ZBzWkZpUbK0xK0a"

func goner(f *fixture) string {
	_, err := f.accounts.AddUser(f.t.Context(), "goner", secret("goner"))
	f.ok(err)
	return "goner"
}

func goneRobot(f *fixture) string {
	_, err := f.accounts.AddRobot(f.t.Context(), "gone-bot")
	f.ok(err)
	return "gone-bot"
}

func newKey(f *fixture) string {
	k, _, err := f.accounts.CreateKey(f.t.Context(), robot("bot"), account.NewKey{})
	f.ok(err)
	return k.ID
}

func newSession(f *fixture) string {
	return read[client.Whoami](f, f.as("mallory"), 200, req{method: "GET", path: "/whoami"}).SessionID
}

func nextSigningKey(f *fixture) string {
	keys, err := f.tokens.SigningKeys(f.t.Context())
	f.ok(err)
	return keys[len(keys)-1].ID
}
