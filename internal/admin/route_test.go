package admin_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/admin"
	"github.com/sallyport/sallyport/internal/client"
)

// samples has a well-formed request for each route, and what it gives an
// administrator and a plain account. Every route needs a row.
var samples = map[string]struct {
	req
	admin, plain int
}{
	"GET /whoami":                             {req{path: "/whoami"}, 200, 200},
	"GET /openapi.json":                       {req{path: "/openapi.json"}, 200, 200},
	"GET /users":                              {req{path: "/users"}, 200, 403},
	"POST /users":                             {req{path: "/users", body: `{"name":"new","password":"four horses in a barn"}`}, 201, 403},
	"GET /users/{name}":                       {req{path: "/users/alice"}, 200, 403},
	"PATCH /users/{name}":                     {req{path: "/users/alice", body: `{"disabled":false}`}, 200, 403},
	"DELETE /users/{name}":                    {req{path: "/users/goner"}, 404, 403},
	"PUT /users/{name}/password":              {req{path: "/users/alice/password", body: `{"password":"another horse in a barn"}`}, 204, 403},
	"POST /users/{name}/reset":                {req{path: "/users/alice/reset"}, 201, 403},
	"POST /users/{name}/links":                {req{path: "/users/alice/links", body: `{"issuer":"https://idp.test","subject":"1"}`}, 204, 403},
	"DELETE /users/{name}/links":              {req{path: "/users/alice/links?issuer=https://idp.test&subject=none"}, 404, 403},
	"POST /password-resets":                   {req{path: "/password-resets", body: `{"code":"sallyport_rst_canary","password":"four horses in a barn"}`}, 403, 403},
	"POST /htpasswd":                          {req{path: "/htpasswd", body: "# nobody\n", contentType: "text/plain"}, 201, 403},
	"GET /robots":                             {req{path: "/robots"}, 200, 403},
	"POST /robots":                            {req{path: "/robots", body: `{"name":"bot"}`}, 201, 403},
	"GET /robots/{name}":                      {req{path: "/robots/ci"}, 200, 403},
	"PATCH /robots/{name}":                    {req{path: "/robots/ci", body: `{"disabled":false}`}, 200, 403},
	"DELETE /robots/{name}":                   {req{path: "/robots/goner"}, 404, 403},
	"GET /groups":                             {req{path: "/groups"}, 200, 403},
	"PUT /groups/{group}/members/{member}":    {req{path: "/groups/dev/members/user:alice"}, 204, 403},
	"DELETE /groups/{group}/members/{member}": {req{path: "/groups/none/members/user:alice"}, 404, 403},
	"GET /keys":                               {req{path: "/keys"}, 200, 200},
	"POST /keys":                              {req{path: "/keys", body: `{}`}, 201, 201},
	"PATCH /keys/{id}":                        {req{path: "/keys/abc", body: `{"actions":["pull"]}`}, 404, 404},
	"POST /keys/{id}/rotate":                  {req{path: "/keys/abc/rotate", body: `{"overlap":3600}`}, 404, 404},
	"DELETE /sessions":                        {req{path: "/sessions?owner=user:goner"}, 404, 403},
	"DELETE /keys/{id}":                       {req{path: "/keys/abc"}, 404, 404},
	"GET /sessions":                           {req{path: "/sessions"}, 200, 200},
	"DELETE /sessions/{id}":                   {req{path: "/sessions/abc"}, 404, 404},
	"GET /policy":                             {req{path: "/policy"}, 200, 403},
	"PUT /policy":                             {req{path: "/policy", body: policy, contentType: "application/yaml", ifMatch: `"1"`}, 412, 403},
	"POST /explain":                           {req{path: "/explain", body: `{"principal":"user:alice","action":"pull","repository":"team-a/app"}`}, 200, 403},
	"POST /policy/replay":                     {req{path: "/policy/replay?since=2026-01-01T00:00:00Z", body: policy, contentType: "application/yaml"}, 200, 403},
	"GET /who-can":                            {req{path: "/who-can?action=pull&repository=team-a/app"}, 200, 403},
	"GET /policy/versions":                    {req{path: "/policy/versions"}, 200, 403},
	"GET /policy/versions/{version}":          {req{path: "/policy/versions/1"}, 200, 403},
	"GET /audit":                              {req{path: "/audit?n=1"}, 200, 403},
	"GET /signing-keys":                       {req{path: "/signing-keys"}, 200, 403},
	"POST /signing-keys":                      {req{path: "/signing-keys", body: `{"now":true}`}, 200, 403},
	"DELETE /signing-keys/{id}":               {req{path: "/signing-keys/abc"}, 404, 403},
	"GET /signing-keys/jwks":                  {req{path: "/signing-keys/jwks"}, 200, 403},
	"GET /issuers":                            {req{path: "/issuers"}, 200, 403},
	"POST /issuers":                           {req{path: "/issuers", body: definition("ci"), contentType: "application/yaml"}, 201, 403},
	"GET /issuers/{issuer}":                   {req{path: "/issuers/none"}, 404, 403},
	"PUT /issuers/{issuer}":                   {req{path: "/issuers/none", body: definition("none"), contentType: "application/yaml", ifMatch: `"1"`}, 404, 403},
	"DELETE /issuers/{issuer}":                {req{path: "/issuers/none"}, 404, 403},
	"POST /issuers/{issuer}/check":            {req{path: "/issuers/none/check"}, 404, 403},
	"POST /issuers/test":                      {req{path: "/issuers/test", body: `{"token":"a.b.c"}`}, 200, 403},
	"GET /issuer-presets":                     {req{path: "/issuer-presets"}, 200, 403},
	"GET /issuer-presets/{preset}":            {req{path: "/issuer-presets/github"}, 200, 403},
	"GET /gc":                                 {req{path: "/gc"}, 200, 403},
	"POST /gc":                                {req{path: "/gc", body: `{"dryRun":true}`}, 200, 403},
}

// TestRoutes walks the table of routes with every kind of caller.
func TestRoutes(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		ci := account.Name{Kind: access.Robot, Name: "ci"}
		root := account.Name{Kind: access.User, Name: "admin"}
		_, narrowed := f.key(ci, time.Hour, nil, []string{"pull"})
		_, adminPull := f.key(root, time.Hour, nil, []string{"pull"})
		_, adminRepo := f.key(root, time.Hour, []string{"**"}, nil)
		callers := []struct {
			name string
			bearer
			want func(rt admin.Route, admin, plain int) int
		}{
			{"S-37 no credentials", nobody, always(401)},
			{"garbage", bearer{access: "garbage"}, always(401)},
			{"T-15 an identity token", bearer{access: f.as("alice").identity}, always(401)},
			{"a token without the scope", f.login("admin", password("admin"), ""), always(401)},
			{"a token for repositories", f.login("alice", password("alice"), "repository:team-a/app:pull"), always(401)},
			{"S-36 a pull-only key", narrowed, ofNarrowed},
			{"S-36 an administrator's pull-only key", adminPull, ofNarrowed},
			{"S-36 an administrator's key for repositories", adminRepo, ofNarrowed},
			{"a plain account", f.as("mallory"), func(_ admin.Route, _, plain int) int { return plain }},
			{"an administrator", f.as("admin"), func(_ admin.Route, admin, _ int) int { return admin }},
		}
		for _, c := range callers {
			t.Run(c.name, func(t *testing.T) {
				for _, rt := range admin.Routes() {
					s, ok := samples[rt.Method+" "+rt.Pattern]
					if !ok {
						t.Fatalf("%s %s has no row in the table of samples", rt.Method, rt.Pattern)
					}
					s.method = rt.Method
					want := c.want(rt, s.admin, s.plain)
					if rt.Open {
						want = s.plain // whoever asks
					}
					if w := f.do(c.bearer, s.req); w.Code != want {
						t.Errorf("%s: %d %s, want %d", s.req, w.Code, w.Body, want)
					}
				}
			})
		}
	})
}

func always(status int) func(admin.Route, int, int) int {
	return func(admin.Route, int, int) int { return status }
}

// ofNarrowed is what a narrowed credential gets: nothing but who it is, which
// includes that another's session cannot be ended.
func ofNarrowed(rt admin.Route, _, _ int) int {
	if rt.Method == "GET" && rt.Narrowed {
		return 200
	}
	return 403
}

func TestChallenge(t *testing.T) {
	f := onSQLite(t)
	for _, c := range []struct {
		name   string
		header []string
		reason string
	}{
		{"none", nil, ""},
		{"T-31 two headers", []string{"Bearer a", "Bearer b"}, "invalid_token"},
		{"T-33 no token", []string{"Bearer"}, "invalid_token"},
		{"T-33 two spaces", []string{"Bearer  x"}, "invalid_token"},
		{"T-33 a list", []string{"Bearer a, Basic b"}, "invalid_token"},
		{"T-33 NUL", []string{"Bearer \x00"}, "invalid_token"},
		{"Basic", []string{"Basic YWRtaW46cGFzc3dvcmQ="}, "invalid_token"},
		{"T-22 long", []string{"Bearer " + strings.Repeat(".", 1<<20)}, "invalid_token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), "GET", client.APIPath+"/whoami", nil)
			r.Header["Authorization"] = c.header
			w := f.send(r)
			if w.Code != http.StatusUnauthorized {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			got, err := client.ParseChallenge(w.Header().Get("WWW-Authenticate"))
			want := client.Challenge{Realm: realm, Service: service, Scope: apiScope, Error: c.reason}
			if err != nil || got != want {
				t.Errorf("challenge %+v (%v), want %+v", got, err, want)
			}
		})
	}
}

// FuzzChallenge: what our client reads is what we wrote.
func FuzzChallenge(f *testing.F) {
	f.Add("https://reg.test/token", "reg.test", "invalid_token")
	f.Add(`https://reg.test/"\`, "a,b=c", "")
	f.Fuzz(func(t *testing.T, realm, service, reason string) {
		if strings.IndexFunc(realm+service+reason, func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0 || realm == "" {
			return // control characters cannot be in a challenge
		}
		o := admin.Options{Realm: func(*http.Request) string { return realm }, Service: service}
		got, err := client.ParseChallenge(admin.Challenge(o, nil, reason))
		if want := (client.Challenge{Realm: realm, Service: service, Scope: apiScope, Error: reason}); err != nil || got != want {
			t.Errorf("read %+v (%v), wrote %+v", got, err, want)
		}
	})
}

func TestUnknownRoutes(t *testing.T) {
	f := onSQLite(t)
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/", 404, ""},
		{"GET", "/nothing", 404, ""},
		{"GET", "/users/", 404, ""},
		{"GET", "/users/alice/roles", 404, ""},
		{"GET", "/Users", 404, ""},
		{"POST", "/whoami", 405, "GET"},
		{"PATCH", "/users", 405, "GET, POST"},
		{"POST", "/users/alice", 405, "GET, PATCH, DELETE"},
		{"TRACE", "/whoami", 405, "GET"},
		{"OPTIONS", "/keys", 405, "GET, POST"},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			for _, b := range []bearer{nobody, f.as("admin")} {
				w := f.want(b, c.status, req{method: c.method, path: c.path})
				if got := w.Header().Get("Allow"); got != c.allow {
					t.Errorf("Allow is %q, want %q", got, c.allow)
				}
				if origin := w.Header().Get("Access-Control-Allow-Origin"); origin != "" {
					t.Errorf("O-19: Access-Control-Allow-Origin is %q", origin)
				}
			}
		})
	}
}

// TestTable: every route says who may, and what it is, under a name of its own.
func TestTable(t *testing.T) {
	ids := map[string]bool{}
	for _, rt := range admin.Routes() {
		if !rt.Decided {
			t.Errorf("%s %s does not say who may use it", rt.Method, rt.Pattern)
		}
		if rt.ID == "" || rt.Summary == "" || strings.HasSuffix(rt.Summary, ".") || ids[rt.ID] {
			t.Errorf("%s %s is called %q: %q", rt.Method, rt.Pattern, rt.ID, rt.Summary)
		}
		ids[rt.ID] = true
	}
}

// TestNamesInPaths: a slash of a name is "~" in a path.
func TestNamesInPaths(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		b := f.as("admin")
		f.want(b, 201, req{method: "POST", path: "/robots", body: `{"name":"team-a/ci"}`})
		if got := read[client.Account](f, b, 200, req{method: "GET", path: "/robots/team-a~ci"}); got.Name != "team-a/ci" {
			t.Errorf("got %+v", got)
		}
		f.want(b, 204, req{method: "PUT", path: "/groups/team-a~dev/members/robot:team-a~ci"})
		groups := read[client.Page[client.Group]](f, b, 200, req{method: "GET", path: "/groups"})
		if !slices.ContainsFunc(groups.Items, func(g client.Group) bool {
			return g.Name == "team-a/dev" && slices.Equal(g.Members, []string{"robot:team-a/ci"})
		}) {
			t.Errorf("groups are %+v", groups)
		}
		f.want(b, 204, req{method: "DELETE", path: "/groups/team-a~dev/members/robot:team-a~ci"})
		f.want(b, 204, req{method: "DELETE", path: "/robots/team-a~ci"})
	})
}

// TestNotCalled: a handler is not reached by who may not use it, so nothing
// has changed after a walk through all routes without the right.
func TestNotCalled(t *testing.T) {
	f := onSQLite(t)
	mallory := f.as("mallory")
	before := f.state()
	for _, rt := range admin.Routes() {
		s := samples[rt.Method+" "+rt.Pattern]
		s.method = rt.Method
		f.do(nobody, s.req)
		if rt.Admin {
			f.do(mallory, s.req)
		}
	}
	if after := f.state(); !slices.Equal(after, before) {
		t.Errorf("state was\n%s\nand is\n%s", before, after)
	}
}

// state is what an administrator sees.
func (f *fixture) state() []string {
	f.t.Helper()
	b := f.as("admin")
	var out []string
	for _, path := range []string{"/users", "/robots", "/groups", "/keys?owner=all", "/policy", "/gc"} {
		out = append(out, f.want(b, 200, req{method: "GET", path: path}).Body.String())
	}
	return out
}
