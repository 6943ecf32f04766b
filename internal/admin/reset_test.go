package admin_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/ledger"
)

func redemption(code, password string) req {
	return req{method: "POST", path: "/password-resets", body: body(`{"code":%q,"password":%q}`, code, password)}
}

func TestResets(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		root, alice := f.as("admin"), f.as("alice")
		reset := func(name string) req { return req{method: "POST", path: "/users/" + name + "/reset"} }
		for _, c := range []struct {
			name   string
			by     bearer
			q      req
			status int
		}{
			{"another's, without the right", alice, reset("mallory"), 403},
			{"one's own, without the right", alice, reset("alice"), 403},
			{"an administrator's own", root, reset("admin"), 409},
			{"of nobody", root, reset("nobody"), 404},
			{"of a robot", root, reset("ci"), 404},
			{"I-23 by robots' path", root, req{method: "POST", path: "/robots/ci/reset"}, 404},
		} {
			t.Run(c.name, func(t *testing.T) { f.refused(c.by, c.status, c.q) })
		}

		start := f.head()
		made := read[client.ResetCode](f, root, 201, reset("alice"))
		if made.User != "user:alice" || !made.Expires.Equal(f.clock().Truncate(time.Second).Add(account.ResetLife)) {
			t.Errorf("made %+v", made)
		}
		f.want(alice, 200, req{method: "GET", path: "/whoami"}) // nothing has ended yet
		code := made.Code.Reveal()
		for _, c := range []struct {
			name   string
			by     bearer
			q      req
			status int
			kind   string
		}{
			{"a weak password", nobody, redemption(code, "alice-2026-alice"), 400, "invalid"},
			{"no password", nobody, req{method: "POST", path: "/password-resets", body: body(`{"code":%q}`, code)}, 400, "invalid"},
			{"another code", nobody, redemption(code[:len(code)-1]+"!", "four horses in a barn"), 403, "wrong-code"},
			{"with a token of somebody else", f.as("mallory"), redemption("sallyport_rst_x", "four horses in a barn"), 403, "wrong-code"},
			{"a large body", nobody, redemption(code, strings.Repeat("x", 9000)), 413, "too-large"},
		} {
			t.Run(c.name, func(t *testing.T) {
				if p := f.refused(c.by, c.status, c.q); !strings.HasSuffix(p.Type, ":"+c.kind) {
					t.Errorf("%+v", p)
				}
			})
		}
		if got := read[client.Redeemed](f, nobody, 200, redemption(code, "four horses in a barn")); got.User != "user:alice" {
			t.Errorf("redeemed %+v", got)
		}
		f.refused(alice, 401, req{method: "GET", path: "/whoami"})
		f.want(f.login("alice", "four horses in a barn", apiScope), 200, req{method: "GET", path: "/whoami"})
		f.refused(nobody, 403, redemption(code, "five horses in a barn"))

		var got []string
		for _, e := range f.events(start) {
			line, err := json.Marshal(e)
			f.ok(err)
			if strings.Contains(string(line), "sallyport_rst_") || strings.Contains(string(line), "horses") {
				t.Errorf("L-01: %s", line)
			}
			if e.Kind == ledger.Password {
				got = append(got, strings.Join([]string{e.Action, string(e.Decision), e.Principal, e.Method, e.Object, e.Reason}, " "))
			}
		}
		want := []string{
			"reset allowed user:admin password user:alice ",
			"redeem failed anonymous code  invalid", "redeem failed anonymous code  invalid",
			"redeem denied anonymous code  bad credential", "redeem denied anonymous code  bad credential",
			"redeem failed anonymous code  too-large",
			"redeem allowed user:alice code user:alice ",
			"redeem denied anonymous code  bad credential",
		}
		slices.Sort(got) // refusals are written later than changes
		slices.Sort(want)
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("events are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// Who is invited has no password until a code sets it.
func TestInvitations(t *testing.T) {
	f := onSQLite(t)
	root := f.as("admin")
	invite := req{method: "POST", path: "/users", body: `{"name":"erin","invite":true}`}
	f.want(root, 201, invite)
	f.want(root, 200, invite) // an answer that was lost
	f.refused(root, 400, req{method: "POST", path: "/users", body: `{"name":"fred","invite":true,"password":"four horses in a barn"}`})
	f.refused(root, 400, req{method: "POST", path: "/users", body: `{"name":"fred"}`})
	f.refused(root, 409, req{method: "POST", path: "/users", body: `{"name":"alice","invite":true}`})
	code := read[client.ResetCode](f, root, 201, req{method: "POST", path: "/users/erin/reset"}).Code.Reveal()
	f.want(nobody, 200, redemption(code, "four horses in a barn"))
	f.refused(root, 409, invite)
	f.want(f.login("erin", "four horses in a barn", apiScope), 200, req{method: "GET", path: "/whoami"})
	f.ok(f.accounts.Disable(t.Context(), account.Name{Kind: "user", Name: "erin"}))
	f.refused(root, 400, req{method: "POST", path: "/users/erin/reset"})
}
