package token_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/sallyport/sallyport/internal/token"
)

const other = "registry2.test"

// T-13: tokens for another registry are issued by the same policy, hold its name
// as audience, and open nothing here; nor do ours count as theirs.
func TestServices(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		f.s = f.service(token.Options{Services: []string{other, "registry3.test"}})
		pair := "alice:" + password("alice")
		ask := func(service, scope, pair string) answer {
			t.Helper()
			return f.do(get(url.Values{"service": {service}, "scope": {scope}}.Encode(), pair))
		}
		for _, tt := range []struct{ name, pair, scope, want string }{
			{"allowed", pair, "repository:team-a/app:pull,push", "repository:team-a/app:pull,push"},
			{"S-01 more than given", "carol:" + password("carol"), "repository:team-a/app:pull,push,delete", "repository:team-a/app:pull"},
			{"S-02 star", pair, "repository:team-a/app:*", "repository:team-a/app:pull,push"},
			{"denied", pair, "repository:team-b/secret:pull", ""},
			{"anonymous", "", "repository:public/x:pull repository:team-a/app:pull", "repository:public/x:pull"},
			{"a catalog that nobody filters", pair, "registry:catalog:*", ""},
			{"the whole catalog for whoever runs the registry", "admin:" + password("admin"), "registry:catalog:*", "registry:catalog:*"},
			{"our API", "admin:" + password("admin"), "registry:api:*", ""},
		} {
			a := ask(other, tt.scope, tt.pair)
			if a.status != http.StatusOK || a.Scope != tt.want {
				t.Errorf("%s: %d %s, scope %q, want %q", tt.name, a.status, a.raw, a.Scope, tt.want)
				continue
			}
			if aud := claims(t, a.Token)["aud"]; aud != other {
				t.Errorf("%s: audience %v", tt.name, aud)
			}
			f.dead("T-13 "+tt.name, a.Token)
		}
		for _, service := range []string{"registry4.test", other + ".", "REGISTRY2.test", " " + other, other + "," + service} {
			if a := ask(service, "", pair); a.status != http.StatusBadRequest || a.Error != "invalid_request" {
				t.Errorf("T-13 service %q: %d %s", service, a.status, a.raw)
			}
		}
		if a := f.do(get("service="+other+"&service="+service, pair)); a.status != http.StatusBadRequest {
			t.Errorf("T-13 two services: %d %s", a.status, a.raw)
		}
		for _, query := range []string{"service=", ""} {
			a := f.do(get(query, pair))
			f.alive("T-13 no service means ours", a.Token)
		}
	})
}

// An identity token serves the registry of its login alone.
func TestSessionsHaveOneService(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.s = f.service(token.Options{Services: []string{other}})
		login := func(service string) string {
			t.Helper()
			a := f.do(get("offline_token=true&client_id=docker&service="+service, "alice:"+password("alice")))
			if a.status != http.StatusOK || a.RefreshToken == "" {
				t.Fatalf("login: %d %s", a.status, a.raw)
			}
			return a.RefreshToken
		}
		refresh := func(identity, service string) answer {
			form := refreshForm(identity, "scope", "repository:team-a/app:pull")
			form.Set("service", service)
			return f.do(post(form))
		}
		ours, theirs := login(service), login(other)
		for _, tt := range []struct {
			identity, service string
			want              int
		}{
			{ours, service, 200}, {theirs, other, 200}, {ours, other, 401}, {theirs, service, 401}, {theirs, "", 401},
		} {
			a := refresh(tt.identity, tt.service)
			if a.status != tt.want {
				t.Errorf("T-14 service %q: %d %s", tt.service, a.status, a.raw)
			}
			if tt.want == 200 && claims(t, a.Token)["aud"] != tt.service {
				t.Errorf("audience %v", claims(t, a.Token)["aud"])
			}
		}
		sessions, err := f.s.Sessions(f.ctx(), "", token.Place{}, 1000)
		f.ok(err)
		for _, s := range sessions {
			if s.Service == other {
				f.ok(f.s.RevokeSession(f.ctx(), s.ID))
			}
		}
		if a := refresh(theirs, other); a.status != 401 {
			t.Errorf("revoked: %d %s", a.status, a.raw)
		}
		if a := refresh(ours, service); a.status != 200 {
			t.Errorf("ours: %d %s", a.status, a.raw)
		}
		// What the configuration no longer names is not served.
		f.s = f.service(token.Options{})
		if a := refresh(login(service), other); a.status != http.StatusBadRequest {
			t.Errorf("a service that was taken away: %d %s", a.status, a.raw)
		}
	})
}
