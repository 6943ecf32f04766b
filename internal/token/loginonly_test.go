package token_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/token"
)

// With PasswordsLogIn a password begins sessions and nothing else; every other
// credential is as ever. Of a password that is refused nothing is said: not
// whether it is right, nor whether there is such an account.
func TestPasswordsLogIn(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		r := ledger.NewRecorder(f.db.Ledger(), ledger.RecorderOptions{Now: f.clock})
		t.Cleanup(func() { r.Close() })
		s := f.service(token.Options{PasswordUse: token.PasswordsLogIn, Ledger: r})
		_, key := f.key(user("alice"), account.NewKey{})
		passwordForm := func(name, password string, more ...string) *http.Request {
			return post(form(append([]string{"grant_type", "password", "username", name, "password", password}, more...)...))
		}
		identity := f.doOn(s, get("offline_token=true", "alice:"+password("alice"))).RefreshToken
		const taken, wrong, refused = http.StatusOK, http.StatusUnauthorized, http.StatusForbidden
		bodies := map[string]string{}
		for _, c := range []struct {
			name    string
			request *http.Request
			want    int
		}{
			{"docker login", get("account=alice&client_id=docker&offline_token=true&service="+service, "alice:"+password("alice")), taken},
			{"docker login, wrong", get("offline_token=true", "alice:wrong"), wrong},
			{"login by POST", passwordForm("alice", password("alice"), "access_type", "offline"), taken},
			{"login by POST, wrong", passwordForm("alice", "wrong", "access_type", "offline"), wrong},
			{"podman", get("account=alice&service="+service, "alice:"+password("alice")), refused},
			{"podman, wrong", get("account=alice", "alice:wrong"), refused},
			{"podman, unknown", get("account=zoe", "zoe:wrong"), refused},
			{"with a scope", get("scope=repository:team-a/app:pull", "alice:"+password("alice")), refused},
			{"offline_token=false", get("offline_token=false", "alice:"+password("alice")), refused},
			{"POST", passwordForm("alice", password("alice")), refused},
			{"POST, online", passwordForm("alice", password("alice"), "access_type", "online"), refused},
			{"POST, the other way's word", passwordForm("alice", password("alice"), "offline_token", "true"), refused},
			{"POST, wrong", passwordForm("alice", "wrong"), refused},
			{"POST, unknown", passwordForm("zoe", "wrong"), refused},
			{"access key", get("scope=repository:team-a/app:pull", "alice:"+key), taken},
			{"access key by POST", passwordForm("alice", key), taken},
			{"identity token", post(refreshForm(identity)), taken},
			{"identity token as a password", get("", "alice:"+identity), taken},
			{"anonymous", get("", ""), taken},
		} {
			hashes := f.accounts.Hashes()
			a := f.doOn(s, c.request)
			if a.status != c.want {
				t.Errorf("%s: %d %s", c.name, a.status, a.raw)
			}
			if c.want != refused {
				continue
			}
			f.ok(r.Flush(f.ctx()))
			if n := f.accounts.Hashes() - hashes; n != 0 {
				t.Errorf("%s: %d hashes", c.name, n)
			}
			if a.Error != "unauthorized_client" || len(a.Errors) != 1 || a.Errors[0].Code != "DENIED" || !strings.Contains(a.Errors[0].Message, "sallyport key create") || a.header.Get("WWW-Authenticate") != "" {
				t.Errorf("%s: %s", c.name, a.raw)
			}
			bodies[a.raw] = c.name
			page, err := f.db.Ledger().Read(f.ctx(), ledger.Query{Limit: 1})
			f.ok(err)
			if e := page.Events[0]; e.Kind != ledger.Login || e.Decision != ledger.Denied || e.Reason != ledger.LoginOnly || e.Method != "password" || !strings.HasPrefix(e.Principal, "user:") {
				t.Errorf("%s: %s", c.name, e.Line())
			}
		}
		if len(bodies) != 1 {
			t.Errorf("the answers tell passwords and accounts apart: %q", bodies)
		}
	})
}
