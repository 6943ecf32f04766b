package admin_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/client"
)

const delegated = `version: 2
rules:
  - {name: administrators, subjects: ["group:admins"], repositories: ["**"], actions: [pull, push, delete, admin]}
  - {name: team-a-manager, subjects: ["user:alice"], repositories: ["team-a/**"], actions: [manage-accounts, manage-keys]}
  - {name: keys-of-all, subjects: ["user:mallory"], repositories: ["**"], actions: [manage-accounts, manage-keys]}
  - {name: team-a-ci, subjects: ["robot:team-a/ci", "group:team-a/dev"], repositories: ["team-a/**"], actions: [pull, push]}
  - {name: releaser, subjects: ["robot:team-a/release", "user:team-a/boss", "robot:team-a/next", "user:team-a/next", "group:team-a/release"], repositories: ["prod/**"], actions: [push]}
  - {name: successor, subjects: ["user:next"], repositories: ["**"], actions: [manage-policy]}
`

// Nobody gets a credential by which more can be done than with the own one and in
// the part that is managed (S-38, I-23): not of an account, not of a name that
// the policy waits for, not through a group.
func TestNoCredentialBeyond(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		root := f.as("admin")
		for _, name := range []string{"team-a/ci", "team-a/release"} {
			f.want(root, 201, req{method: "POST", path: "/robots", body: body(`{"name":%q}`, name)})
		}
		for _, name := range []string{"team-a/boss", "team-a/dev"} {
			_, err := f.accounts.AddUser(t.Context(), name, secret(name))
			f.ok(err)
		}
		f.want(root, 200, req{method: "PUT", path: "/policy", body: delegated, contentType: "application/yaml", ifMatch: `"2"`})
		key := func(owner string) string {
			return read[client.CreatedKey](f, root, 201, req{method: "POST", path: "/keys", body: body(`{"owner":%q}`, owner)}).Key.ID
		}
		alice, mallory := f.as("alice"), f.as("mallory")
		const hash = ":$2y$04$abcdefghijklmnopqrstuuJ8pQ1WqV1WqV1WqV1WqV1WqV1WqV1WO\n"
		newUser := `{"name":%q,"password":"` + password("anybody") + `"}`
		for _, c := range []struct {
			who     string
			by      bearer
			q       req
			status  int
			mention string
		}{
			{"alice", alice, req{method: "POST", path: "/keys", body: `{"owner":"robot:team-a/ci"}`}, 201, ""},
			{"alice", alice, req{method: "POST", path: "/keys", body: `{"owner":"robot:team-a/release"}`}, 403, "gives robot:team-a/release more than user:alice has"},
			{"alice", alice, req{method: "POST", path: "/keys/" + key("robot:team-a/ci") + "/rotate", body: `{}`}, 201, ""},
			{"alice", alice, req{method: "POST", path: "/keys/" + key("robot:team-a/release") + "/rotate", body: `{}`}, 403, "gives robot:team-a/release more"},
			{"alice", alice, req{method: "PUT", path: "/users/team-a~dev/password", body: body(`{"password":%q}`, password("other"))}, 204, ""},
			{"alice", alice, req{method: "PUT", path: "/users/team-a~boss/password", body: body(`{"password":%q}`, password("other"))}, 403, "gives user:team-a/boss more"},
			{"alice", alice, req{method: "POST", path: "/users/team-a~dev/reset"}, 201, ""},
			{"alice", alice, req{method: "POST", path: "/users/team-a~boss/reset"}, 403, "gives user:team-a/boss more"},
			{"alice", alice, req{method: "POST", path: "/users", body: body(newUser, "team-a/clerk")}, 201, ""},
			{"alice", alice, req{method: "POST", path: "/users", body: `{"name":"team-a/guest","invite":true}`}, 201, ""},
			{"alice", alice, req{method: "POST", path: "/users", body: `{"name":"team-a/next","invite":true}`}, 403, "gives user:team-a/next more"},
			{"alice", alice, req{method: "POST", path: "/users", body: body(newUser, "team-a/next")}, 403, "gives user:team-a/next more"},
			{"alice", alice, req{method: "POST", path: "/robots", body: `{"name":"team-a/next"}`}, 403, "gives robot:team-a/next more"},
			{"alice", alice, req{method: "POST", path: "/robots", body: `{"name":"team-a/other"}`}, 201, ""},
			{"alice", alice, req{method: "PUT", path: "/groups/team-a~dev/members/user:alice"}, 204, ""},
			{"alice", alice, req{method: "PUT", path: "/groups/team-a~release/members/user:alice"}, 403, "gives group:team-a/release more"},
			{"alice", alice, req{method: "PATCH", path: "/users/team-a~boss", body: `{"disabled":true}`}, 200, ""},
			{"alice", alice, req{method: "DELETE", path: "/keys/" + key("robot:team-a/release")}, 204, ""},
			{"alice", alice, req{method: "DELETE", path: "/robots/team-a~release"}, 204, ""},
			{"mallory", mallory, req{method: "POST", path: "/keys", body: `{"owner":"user:admin"}`}, 403, "gives user:admin more than user:mallory has"},
			{"mallory", mallory, req{method: "POST", path: "/keys", body: `{"owner":"user:team-a/boss"}`}, 201, ""},
			{"mallory", mallory, req{method: "POST", path: "/keys/" + key("user:admin") + "/rotate", body: `{}`}, 403, "gives user:admin more"},
			{"mallory", mallory, req{method: "PUT", path: "/users/admin/password", body: body(`{"password":%q}`, password("other"))}, 403, "gives user:admin more"},
			{"mallory", mallory, req{method: "POST", path: "/users/admin/reset"}, 403, "gives user:admin more"},
			{"mallory", mallory, req{method: "PUT", path: "/groups/admins/members/user:mallory"}, 403, "gives group:admins more"},
			{"mallory", mallory, req{method: "POST", path: "/users", body: body(newUser, "next")}, 403, "gives user:next more"},
			{"mallory", mallory, req{method: "POST", path: "/htpasswd", body: "one" + hash + "next" + hash, contentType: "text/plain"}, 403, "gives user:next more"},
			{"mallory", mallory, req{method: "GET", path: "/users/one"}, 404, ""},
			{"root", root, req{method: "POST", path: "/keys", body: `{"owner":"user:team-a/boss","name":"root's"}`}, 201, ""},
			{"root", root, req{method: "PUT", path: "/groups/admins/members/user:mallory"}, 204, ""},
		} {
			w := f.do(c.by, c.q)
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.mention) {
				t.Errorf("%s: %s %s: %d %s, want %d %q", c.who, c.q, c.q.body, w.Code, w.Body, c.status, c.mention)
			}
			if strings.Contains(w.Body.String(), "releaser") || strings.Contains(w.Body.String(), "administrators") {
				t.Errorf("%s: %s tells of a rule outside: %s", c.who, c.q, w.Body)
			}
		}
		if a, err := f.accounts.Find(t.Context(), account.Name{Kind: access.User, Name: "admin"}); err != nil || len(a.Groups) != 1 {
			t.Errorf("%+v %v", a, err)
		}
	})
}
