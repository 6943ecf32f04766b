package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/config"
	ft "github.com/sallyport/sallyport/internal/federation/federationtest"
	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/server"
)

// A federated is a server that trusts an issuer, and the issuer.
type federated struct {
	*matrix
	issuer *ft.Issuer
}

const jobAudience = "jobs-of-matrix.test"

// startFederated starts a server, and adds an issuer through the API, whose web
// jobs may push to team/**.
func startFederated(t *testing.T, change ...func(*config.Config)) federated {
	t.Helper()
	f := federated{issuer: ft.NewIssuer(t)}
	f.matrix = startMatrix(t, append(change, func(c *config.Config) { c.Federation.AllowPrivate = []string{"127.0.0.1"} })...)
	f.admin = f.login("admin", matrixPassword("admin"), allScopes).access
	f.ask("POST", "/api/v1/issuers", f.definition(), "Bearer "+f.admin, "Content-Type", "application/yaml")
	version := f.api("GET", "/policy", "")["version"]
	f.ask("PUT", "/api/v1/policy", fmt.Sprintf(`%s  - name: jobs-push
    subjects: [{issuer: %q, claims: {project: web}}]
    repositories: ["team/**"]
    actions: [pull, push]
`, matrixPolicy, f.issuer.URL), "Bearer "+f.admin, "Content-Type", "application/yaml", "If-Match", fmt.Sprintf(`"%v"`, version))
	f.putIndex("other/app", "fixed")
	return f
}

func (f federated) definition() string {
	return fmt.Sprintf(`name: ci
issuer:
  url: %s
  audiences: [%s]
  certificateAuthority: |
    %s
allowPrivateAddresses: [127.0.0.1]
claimMappings:
  username: {claim: sub, prefix: ""}
  extra: [{key: project, claim: project}]
claimValidationRules: [{expression: "claims.event != 'pull_request'", message: no pull requests}]
`, f.issuer.URL, jobAudience, strings.ReplaceAll(strings.TrimSpace(f.issuer.CA), "\n", "\n    "))
}

// job returns a token of a job, good for five minutes.
func (f federated) job(t *testing.T, project string, more ...string) string {
	claims := map[string]any{"sub": "job:" + project, "project": project, "event": "push"}
	for i := 0; i < len(more); i += 2 {
		claims[more[i]] = more[i+1]
	}
	return f.issuer.Token(t, f.now(), 5*time.Minute, jobAudience, claims)
}

// A tokenAnswer is what /token says.
type tokenAnswer struct {
	status         int
	Token          string
	Access         string `json:"access_token"`
	Identity       string `json:"refresh_token"`
	IssuedType     string `json:"issued_token_type"`
	Scope, Message string
}

func (f federated) token(r *http.Request) tokenAnswer {
	f.t.Helper()
	w := f.send(r, false)
	a := tokenAnswer{status: w.Code, Message: w.Body.String()}
	f.read(w, &a)
	return a
}

// asPassword presents a token as docker login does.
func (f federated) asPassword(token, query string) tokenAnswer {
	f.t.Helper()
	r := f.request("GET", "/token?"+query, "")
	r.SetBasicAuth("job", token)
	return f.token(r)
}

// exchange presents it as RFC 8693 says.
func (f federated) exchange(token, scope string) tokenAnswer {
	f.t.Helper()
	r := f.request("POST", "/token", url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {token},
		"subject_token_type": {"urn:ietf:params:oauth:token-type:jwt"}, "scope": {scope}, "access_type": {"offline"}, "client_id": {"test"},
	}.Encode())
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return f.token(r)
}

func (f federated) status(method, target, body, token string) int {
	f.t.Helper()
	r := f.request(method, target, body)
	r.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		r.Header.Set("Content-Type", "application/vnd.oci.image.index.v1+json")
	}
	return f.send(r, false).Code
}

// steady fails unless requests with tokens of jobs cost no query.
func (f federated) steady(t *testing.T, tokens ...string) {
	t.Helper()
	for i, token := range tokens {
		f.status("GET", "/v2/", "", token)
		const n = 200
		before := f.Queries()
		for range n {
			f.status("GET", "/v2/", "", token)
		}
		// What is written in batches may fall in between.
		if asked := f.Queries() - before; asked > n/4 {
			t.Errorf("token %d: %d queries for %d requests", i, asked, n)
		}
	}
}

// TestFederation walks a job through the whole server: its token by both ways, push
// and pull, what is denied and why, and the end of the trust.
func TestFederation(t *testing.T) {
	f := startFederated(t)
	const scope = "repository:team/app:pull,push repository:other/app:pull"
	exchanged := f.exchange(f.job(t, "web"), scope)
	if exchanged.status != 200 || exchanged.Identity == "" || exchanged.Scope != "repository:team/app:pull,push" || !strings.HasSuffix(exchanged.IssuedType, ":access_token") {
		t.Fatalf("exchange: %+v", exchanged)
	}
	query := "offline_token=true&client_id=docker&" + url.Values{"scope": {"repository:team/app:pull,push"}}.Encode()
	basic := f.asPassword(f.job(t, "web"), query)
	if basic.status != 200 || basic.Identity == "" || basic.Token == "" {
		t.Fatalf("Basic: %+v", basic)
	}
	// The outside token itself opens no door but /token.
	if code := f.status("GET", "/v2/", "", f.job(t, "web")); code != 401 {
		t.Error("T-14 an outside token at /v2/:", code)
	}
	for name, token := range map[string]string{"exchange": exchanged.Access, "Basic": basic.Access, "session": f.refresh(basic.Identity, "repository:team/app:pull,push")} {
		tag := "/v2/team/app/manifests/" + strings.ToLower(name)
		for _, c := range []struct {
			method, target, body string
			want                 int
		}{
			{"PUT", tag, emptyIndex, 201}, {"GET", tag, "", 200}, {"GET", "/v2/other/app/manifests/fixed", "", 403},
			{"DELETE", tag, "", 403}, {"GET", "/api/v1/whoami", "", 401},
		} {
			if got := f.status(c.method, c.target, c.body, token); got != c.want {
				t.Errorf("%s: %s %s: %d, want %d", name, c.method, c.target, got, c.want)
			}
		}
	}
	f.steady(t, exchanged.Access, f.refresh(basic.Identity, "repository:team/app:pull,push"))
	f.refusals(t)
	f.record(t)
	f.api("DELETE", "/issuers/ci", "")
	for name, token := range map[string]string{"exchange": exchanged.Access, "Basic": basic.Access} {
		if got := f.status("GET", "/v2/team/app/tags/list", "", token); got != 401 {
			t.Errorf("%s after the issuer was removed: %d", name, got)
		}
	}
	r := f.request("POST", "/token", "grant_type=refresh_token&refresh_token="+basic.Identity)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if a := f.token(r); a.status < 400 {
		t.Errorf("its session after the issuer was removed: %+v", a)
	}
	if a := f.exchange(f.job(t, "web"), scope); a.status < 400 {
		t.Errorf("a token after the issuer was removed: %+v", a)
	}
}

// refusals: what is no token of the issuer for us, and who has no right.
func (f federated) refusals(t *testing.T) {
	other := ft.NewIssuer(t)
	for name, token := range map[string]string{
		"F-04 another issuer":       other.Token(t, f.now(), time.Minute, jobAudience, map[string]any{"sub": "job:web", "project": "web", "event": "push"}),
		"F-01 another's signature":  other.Token(t, f.now(), time.Minute, jobAudience, map[string]any{"iss": f.issuer.URL, "sub": "job:web", "project": "web", "event": "push"}),
		"F-09 for somebody else":    f.job(t, "web", "aud", "elsewhere.test"),
		"F-18 refused by the rules": f.job(t, "web", "event", "pull_request"),
		"expired":                   f.issuer.Token(t, f.now().Add(-time.Hour), time.Minute, jobAudience, map[string]any{"sub": "job:web", "project": "web", "event": "push"}),
	} {
		if a := f.exchange(token, "repository:team/app:pull"); a.status != 400 && a.status != 401 {
			t.Errorf("%s, exchanged: %+v", name, a)
		}
		if a := f.asPassword(token, ""); a.status != 401 {
			t.Errorf("%s, as password: %+v", name, a)
		}
	}
	if other.Asked.Load() != 0 {
		t.Error("F-04: an issuer that is not trusted was asked for keys")
	}
	shop := f.asPassword(f.job(t, "shop"), url.Values{"scope": {"repository:team/app:pull"}}.Encode())
	if shop.status != 200 || f.status("GET", "/v2/team/app/tags/list", "", shop.Access) != 403 {
		t.Errorf("a job without a right: %+v", shop)
	}
}

// record: the events say who, how and with which claims, and why one was denied;
// no event and no line of the log holds a token.
func (f federated) record(t *testing.T) {
	logins, denied := f.events("/audit?what=login&n=100"), ""
	if !slices.ContainsFunc(logins, func(e client.AuditEvent) bool {
		return e.Principal == "external:job:web ("+f.issuer.URL+")" && e.Method == "id-token" && e.Claims["project"] == "web"
	}) {
		t.Errorf("no event says that a job logged in: %+v", logins)
	}
	for _, e := range f.events("/audit?denied=true&n=100") {
		if strings.HasPrefix(e.Principal, "external:job:shop ") && e.Reason == ledger.ByPolicy {
			denied = e.RequestID
		}
	}
	if denied == "" {
		t.Error("no event says that a job was denied")
	}
	question := fmt.Sprintf(`{"principal":"external:job:shop (%s)","claims":{"project":"shop"},"action":"pull","repository":"team/app"}`, f.issuer.URL)
	if e := f.api("POST", "/explain", question); e["allowed"] != false {
		t.Errorf("explain: %v", e)
	}
	all, _ := json.Marshal(f.events("/audit?n=1000"))
	if strings.Contains(string(all), "eyJ") {
		t.Error("L-01: the record holds a token")
	}
	test := f.api("POST", "/issuers/test", fmt.Sprintf(`{"token":%q}`, f.job(t, "web")))
	if test["accepted"] != true || test["issuer"] != "ci" {
		t.Errorf("a good token: %v", test)
	}
	if test = f.api("POST", "/issuers/test", fmt.Sprintf(`{"token":%q}`, f.job(t, "web", "event", "pull_request"))); test["accepted"] == true || !strings.Contains(fmt.Sprint(test["reason"]), "no pull requests") {
		t.Errorf("a bad token: %v", test)
	}
	if r := f.api("POST", "/issuers/ci/check", ""); r["good"] != true {
		t.Errorf("the check: %v", r)
	}
}

// TestIssuersFile: the file is taken over when it changes, a broken one changes
// nothing, and at the start it is refused.
func TestIssuersFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "issuers.yaml")
	issuer := ft.NewIssuer(t)
	entry := strings.ReplaceAll(strings.TrimSpace(federated{issuer: issuer}.definition()), "\n", "\n  ")
	whole := "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- " + entry + "\n"
	replace := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	replace(whole)
	f := federated{issuer: issuer, matrix: startMatrix(t, func(c *config.Config) { c.Federation.IssuersFile = file })}
	f.admin = f.login("admin", matrixPassword("admin"), allScopes).access
	a := f.exchange(f.job(t, "web"), "")
	if a.status != 200 {
		t.Fatalf("a token of the file's issuer: %+v", a)
	}
	until := func(what string, want func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !want(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: not after 20 s", what)
			}
		}
	}
	names := func() (out string) {
		items, _ := f.api("GET", "/issuers", "")["items"].([]any)
		for _, i := range items {
			out += fmt.Sprint(i.(map[string]any)["name"], " ")
		}
		return out
	}
	replace(strings.Replace(whole, "name: ci", "name: second", 1))
	until("another definition", func() bool { return names() == "second " })
	if code := f.status("GET", "/v2/", "", a.Access); code != 401 {
		t.Error("a token of the definition before:", code)
	}
	replace("kind: nonsense\n")
	until("a complaint", func() bool { return strings.Contains(f.log.String(), "the last good one counts") })
	if names() != "second " || f.exchange(f.job(t, "web"), "").status != 200 {
		t.Error("a broken file ended the trust")
	}
	r := f.request("DELETE", "/api/v1/issuers/second", "")
	r.Header.Set("Authorization", "Bearer "+f.admin)
	if w := f.send(r, false); w.Code != http.StatusConflict {
		t.Errorf("removing what a file says: %d %s", w.Code, w.Body)
	}
	// What moves from the API to the file is trusted once it is gone there.
	replace("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt: []\n")
	until("an empty file", func() bool { return names() == "" })
	f.ask("POST", "/api/v1/issuers", strings.Replace(f.definition(), "allowPrivateAddresses: [127.0.0.1]\n", "", 1), "Bearer "+f.admin, "Content-Type", "application/yaml")
	replace(whole)
	until("a clash", func() bool { return strings.Contains(f.log.String(), "another issuer with this name") })
	f.api("DELETE", "/issuers/ci", "")
	until("no clash any more", func() bool { return names() == "ci " && f.exchange(f.job(t, "web"), "").status == 200 })
	replace("kind: nonsense\n")
	c := settings(t)
	c.Federation.IssuersFile = file
	if _, err := server.New(t.Context(), c, server.Options{}); err == nil || !strings.Contains(err.Error(), "federation.issuers_file") {
		t.Errorf("a start with a broken file: %v", err)
	}
	if err := server.CheckFiles(c); err == nil {
		t.Error("config check takes a broken file")
	}
}
