package server_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/federation/ldap/slapdtest"
)

const pullsTeam = "repository:team/app:pull"

// A directed is a server with a real directory.
type directed struct {
	*matrix
	slapd *slapdtest.Server
	data  string // the server's directory
}

func startDirected(t *testing.T) directed {
	t.Helper()
	s := slapdtest.Start(t)
	folder := t.TempDir()
	for name, text := range map[string]string{"ca.pem": string(s.CA), "bind": slapdtest.BindPassword + "\n"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := directed{slapd: s}
	d.matrix = startMatrix(t, func(c *config.Config) {
		d.data = c.Data
		c.Login.Directories = []config.LoginDirectory{{
			Name: "corp", Schema: "rfc2307bis", URLs: []string{s.StartTLS}, CAFile: filepath.Join(folder, "ca.pem"),
			BindDN: slapdtest.BindDN, BindPasswordFile: filepath.Join(folder, "bind"),
			UserBase: slapdtest.People, GroupBase: slapdtest.Groups, NestedGroups: true, CreateAccounts: true,
		}}
	})
	d.admin = d.matrix.login("admin", matrixPassword("admin"), allScopes).access
	version := d.api("GET", "/policy", "")["version"]
	d.ask("PUT", "/api/v1/policy", matrixPolicy+`  - name: developers
    subjects: ["group:corp/dev"]
    repositories: ["team/**"]
    actions: [pull]
`, "Bearer "+d.admin, "Content-Type", "application/yaml", "If-Match", fmt.Sprintf(`"%v"`, version))
	d.putIndex("team/app", "fixed")
	return d
}

// token asks for one as docker login does, and every other client.
func (d directed) token(name, password string) *httptest.ResponseRecorder {
	d.t.Helper()
	r := d.request("GET", "/token?service="+url.QueryEscape(d.Address())+"&"+scopes(pullsTeam), "")
	r.SetBasicAuth(name, password)
	return d.send(r, false)
}

func (d directed) pulls(token string) int {
	d.t.Helper()
	r := d.request("GET", "/v2/team/app/manifests/fixed", "")
	r.Header.Set("Authorization", "Bearer "+token)
	return d.send(r, false).Code
}

func (d directed) refreshes(identity string) int {
	d.t.Helper()
	r := d.request("POST", "/token", "grant_type=refresh_token&refresh_token="+identity+"&"+scopes(pullsTeam))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return d.send(r, false).Code
}

// TestDirectory: I-09 to I-11, I-13 and I-21 through the whole server. The directory
// is asked for a password and for a check, and never for a request.
func TestDirectory(t *testing.T) {
	d := startDirected(t)
	alice := d.slapd.AddPerson("alice")
	d.slapd.AddPerson("bob")
	inner := d.slapd.AddGroup("inner", alice)
	dev := d.slapd.AddGroup("dev", inner)
	in := d.matrix.login("corp/alice", "canary-of-alice", pullsTeam)
	if code := d.pulls(in.access); in.identity == "" || code != 200 {
		t.Fatalf("pull by a nested group: %d", code)
	}
	for name, password := range map[string]string{
		"corp/alice": "", "corp/*": "canary-of-alice", "alice": "canary-of-alice", "corp/a)(|(uid=*)": "canary-of-alice", "corp/bob": "canary-of-alice",
	} {
		if w := d.token(name, password); w.Code != 401 {
			t.Errorf("%s with %q: %d %s", name, password, w.Code, w.Body)
		}
	}
	d.signsIn(t)
	d.slapd.Stop()
	d.whileDown(t, in)
	d.slapd.Run()
	d.slapd.Remove(dev)
	d.pass(61 * time.Minute)
	if code := d.pulls(d.refresh(in.identity, pullsTeam)); code != 403 {
		t.Errorf("pull out of the group after a check: %d", code)
	}
	d.slapd.Remove(inner, alice)
	d.pass(61 * time.Minute)
	if code := d.refreshes(in.identity); code != 401 {
		t.Errorf("identity token of who is gone: %d", code)
	}
	if w := d.token("corp/alice", "canary-of-alice"); w.Code != 401 {
		t.Errorf("password of who is gone: %d", w.Code)
	}
	d.admin = d.matrix.login("admin", matrixPassword("admin"), allScopes).access
	made, asked := false, false
	for _, e := range d.events("/audit?what=login&n=100") {
		made = made || e.Action == "sign-in" && e.Method == "sso" && e.Detail["created"] == "user:corp/alice" && e.Principal == "user:corp/alice"
		asked = asked || e.Reason == "directory not asked" && e.Principal == "user:corp/bob"
	}
	if !made || !asked {
		t.Errorf("the record does not say who was made (%t) and who could not be asked about (%t)", made, asked)
	}
	if strings.Contains(d.log.String(), "canary") {
		t.Error("the log shows a password")
	}
	files := 0
	err := filepath.WalkDir(d.data, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		files++
		text, err := os.ReadFile(path)
		for _, secret := range []string{"canary-of-alice", slapdtest.BindPassword} {
			if strings.Contains(string(text), secret) {
				t.Errorf("%s holds a password in clear", path)
			}
		}
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("%d files searched: %v", files, err)
	}
}

// whileDown: nobody but who shows a password of the directory sees that it is gone.
func (d directed) whileDown(t *testing.T, in login) {
	if d.pulls(in.access) != 200 || d.pulls(d.refresh(in.identity, pullsTeam)) != 200 {
		t.Error("a token of before does not pull")
	}
	w := d.token("corp/bob", "canary-of-bob")
	if w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "directory") || !strings.Contains(w.Body.String(), "UNAVAILABLE") {
		t.Errorf("while it is down: %d %s", w.Code, w.Body)
	}
	d.matrix.login("admin", matrixPassword("admin"), allScopes)
	_, key := d.key("corp/alice", "")
	if w := d.token("any", key); w.Code != 200 {
		t.Errorf("an access key: %d %s", w.Code, w.Body)
	}
}

var flowField = regexp.MustCompile(`name="flow" value="([^"]+)"`)

// signsIn: the page takes the same name and password.
func (d directed) signsIn(t *testing.T) {
	page := func(method, target, body string, cookies []*http.Cookie) *httptest.ResponseRecorder {
		r := d.request(method, target, body)
		r.Host = d.Address()
		r.RemoteAddr = "10.250.0.1:1000"
		r.Header.Set("Origin", "https://"+r.Host)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for _, c := range cookies {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		d.front.ServeHTTP(w, r)
		return w
	}
	begun := page("GET", "/oauth/authorize?"+url.Values{
		"client_id": {"sallyport"}, "redirect_uri": {"http://127.0.0.1:1234/callback"}, "response_type": {"code"},
		"code_challenge_method": {"S256"}, "code_challenge": {strings.Repeat("c", 43)}, "state": {strings.Repeat("s", 22)},
	}.Encode(), "", nil)
	flow := flowField.FindStringSubmatch(begun.Body.String())
	if flow == nil || !strings.Contains(begun.Body.String(), "corp/") {
		t.Fatalf("page: %d %s", begun.Code, begun.Body)
	}
	for password, want := range map[string]int{"wrong": 403, "canary-of-alice": 200} {
		form := url.Values{"flow": {flow[1]}, "name": {"corp/alice"}, "password": {password}}
		w := page("POST", "/oauth/password", form.Encode(), begun.Result().Cookies())
		if w.Code != want || want == 200 && !strings.Contains(w.Body.String(), "code=") {
			t.Errorf("page with %q: %d %s", password, w.Code, w.Body)
		}
	}
}
