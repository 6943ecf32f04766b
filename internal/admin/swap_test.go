package admin_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/admin"
	"github.com/sallyport/sallyport/internal/token"
)

// managers is a policy with two who manage a part of the tree each.
const managers = `version: 2
rules:
  - {name: admins, subjects: ["group:admins"], repositories: ["**"], actions: [pull, push, delete, admin]}
  - {name: a, subjects: ["user:manager-a"], repositories: ["team-a/**"], actions: [manage-policy, manage-accounts, manage-keys, read-audit]}
  - {name: b, subjects: ["user:manager-b"], repositories: ["team-b/**"], actions: [manage-policy, manage-accounts, manage-keys, read-audit]}
`

// swapped has, for every route that names a thing, a request about "{thing}":
// what stands there is of the other part, or nowhere. things says which of the
// fixture's names or ids it is.
var swapped = []struct {
	route, things string
	req
	status int
}{
	{"GET /users/{name}", "user", req{path: "/users/{thing}"}, 403},
	{"PATCH /users/{name}", "user", req{path: "/users/{thing}", body: `{"disabled":true}`}, 403},
	{"DELETE /users/{name}", "user", req{path: "/users/{thing}"}, 403},
	{"PUT /users/{name}/password", "user", req{path: "/users/{thing}/password", body: `{"password":"a password of mine 7301"}`}, 403},
	{"POST /users/{name}/reset", "user", req{path: "/users/{thing}/reset"}, 403},
	{"POST /users/{name}/links", "user", req{path: "/users/{thing}/links", body: `{"issuer":"https://idp.test","subject":"1"}`}, 403},
	{"DELETE /users/{name}/links", "user", req{path: "/users/{thing}/links?issuer=https://idp.test&subject=1"}, 403},
	{"GET /robots/{name}", "robot", req{path: "/robots/{thing}"}, 403},
	{"PATCH /robots/{name}", "robot", req{path: "/robots/{thing}", body: `{"disabled":true}`}, 403},
	{"DELETE /robots/{name}", "robot", req{path: "/robots/{thing}"}, 403},
	{"PUT /groups/{group}/members/{member}", "group", req{path: "/groups/{thing}/members/user:manager-a"}, 403},
	{"DELETE /groups/{group}/members/{member}", "group", req{path: "/groups/{thing}/members/robot:team-b~ci"}, 403},
	{"PATCH /keys/{id}", "key", req{path: "/keys/{thing}", body: `{"actions":["pull"]}`}, 404},
	{"POST /keys/{id}/rotate", "key", req{path: "/keys/{thing}/rotate", body: `{}`}, 404},
	{"DELETE /keys/{id}", "key", req{path: "/keys/{thing}"}, 404},
	{"DELETE /sessions/{id}", "session", req{path: "/sessions/{thing}"}, 404},
	{"GET /policy/versions/{version}", "version", req{path: "/policy/versions/{thing}"}, 403},
	{"DELETE /signing-keys/{id}", "signing", req{path: "/signing-keys/{thing}"}, 403},
	{"GET /issuers/{issuer}", "issuer", req{path: "/issuers/{thing}"}, 403},
	{"PUT /issuers/{issuer}", "issuer", req{path: "/issuers/{thing}", body: definition("{thing}"), contentType: "application/yaml", ifMatch: `"1"`}, 403},
	{"DELETE /issuers/{issuer}", "issuer", req{path: "/issuers/{thing}"}, 403},
	{"POST /issuers/{issuer}/check", "issuer", req{path: "/issuers/{thing}/check"}, 403},
	{"GET /issuer-presets/{preset}", "preset", req{path: "/issuer-presets/{thing}"}, 403},
	// Things that are named elsewhere than in the path.
	{"GET /keys", "robot", req{path: "/keys?owner=robot:{thing}"}, 403},
	{"GET /keys", "key", req{path: "/keys?owner=all&after={thing}"}, 400},
	{"GET /keys", "sum", req{path: "/keys?sum={thing}"}, 200},
	{"GET /sessions", "user", req{path: "/sessions?owner=user:{thing}"}, 403},
	{"GET /sessions", "session", req{path: "/sessions?owner=all&after={thing}"}, 400},
	{"DELETE /sessions", "user", req{path: "/sessions?owner=user:{thing}"}, 403},
	{"GET /users", "user", req{path: "/users?after={thing}"}, 200},
	{"GET /robots", "robot", req{path: "/robots?after={thing}"}, 200},
	{"GET /groups", "group", req{path: "/groups?after={thing}"}, 400},
	{"POST /keys", "robot", req{path: "/keys", body: `{"owner":"robot:{thing}"}`}, 403},
	{"POST /robots", "robot", req{path: "/robots", body: `{"name":"{thing}"}`}, 403},
	{"POST /users", "user", req{path: "/users", body: `{"name":"{thing}","password":"a password of mine 7301"}`}, 403},
	{"GET /who-can", "repository", req{path: "/who-can?action=pull&repository={thing}"}, 403},
	{"POST /explain", "repository", req{path: "/explain", body: `{"principal":"user:manager-b","action":"pull","repository":"{thing}"}`}, 403},
}

// TestSwappedIDs: S-38 who manages a part of the tree, and uses a name or an id
// out of another's, gets what there is for a name or an id that is not there.
// Every route that names a thing has a row.
func TestSwappedIDs(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		real, none := f.otherPart()
		a := f.as("manager-a")
		before := f.state()
		rows := map[string]bool{}
		for _, s := range swapped {
			rows[s.route] = true
			s.method, _, _ = strings.Cut(s.route, " ")
			ask := func(thing string) string {
				q := s.req
				path, query, _ := strings.Cut(q.path, "?")
				q.path = strings.ReplaceAll(path, "{thing}", strings.ReplaceAll(thing, "/", "~"))
				if query != "" {
					q.path += "?" + strings.ReplaceAll(query, "{thing}", thing)
				}
				q.body = strings.ReplaceAll(q.body, "{thing}", thing)
				w := f.want(a, s.status, q)
				return strings.ReplaceAll(w.Body.String(), thing, "{thing}")
			}
			if got, want := ask(real[s.things]), ask(none[s.things]); got != want {
				t.Errorf("S-38 %s %s: %s, and for one that is not there %s", s.method, s.path, got, want)
			}
		}
		if after := f.state(); strings.Join(after, "") != strings.Join(before, "") {
			t.Errorf("S-38 state was\n%s\nand is\n%s", before, after)
		}
		for _, rt := range admin.Routes() {
			if route := rt.Method + " " + rt.Pattern; strings.Contains(route, "{") && !rows[route] {
				t.Errorf("%s has no row in the table of swapped ids", route)
			}
		}
	})
}

// otherPart makes one of everything in the other's part of the tree, and names
// for what is nowhere.
func (f *fixture) otherPart() (real, none map[string]string) {
	f.t.Helper()
	root := f.as("admin")
	for _, name := range []string{"manager-a", "manager-b", "team-b/zoe"} {
		_, err := f.accounts.AddUser(f.t.Context(), name, secret(name))
		f.ok(err)
	}
	f.want(root, 201, req{method: "POST", path: "/robots", body: `{"name":"team-b/ci"}`})
	f.want(root, 201, req{method: "POST", path: "/issuers", body: definition("theirs"), contentType: "application/yaml"})
	f.want(root, 204, req{method: "PUT", path: "/groups/team-b~dev/members/robot:team-b~ci"})
	k, secret, err := f.accounts.CreateKey(f.t.Context(), robot("team-b/ci"), account.NewKey{})
	f.ok(err)
	f.want(root, 200, req{method: "PUT", path: "/policy", body: managers, contentType: "application/yaml", ifMatch: `"2"`})
	f.as("team-b/zoe")
	sessions, err := f.tokens.Sessions(f.t.Context(), "", token.Place{}, 1000)
	f.ok(err)
	keys, err := f.tokens.SigningKeys(f.t.Context())
	f.ok(err)
	real = map[string]string{
		"user": "team-b/zoe", "robot": "team-b/ci", "group": "team-b/dev", "repository": "team-b/app",
		"key": k.ID, "session": sessions[0].ID, "version": "2", "signing": keys[0].ID, "issuer": "theirs", "preset": "github", "sum": fmt.Sprintf("%x", secret.Sum()),
	}
	none = map[string]string{
		"user": "team-b/zac", "robot": "team-b/cd", "group": "team-b/ops", "repository": "team-b/none",
		"key": strings.Repeat("a", len(k.ID)), "session": strings.Repeat("a", len(k.ID)), "version": "9", "signing": "none", "issuer": "no-one", "preset": "none",
		"sum": strings.Repeat("0", 64),
	}
	return real, none
}
