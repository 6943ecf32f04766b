package credential_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/client/ambient"
	"github.com/sallyport/sallyport/internal/credential"
)

var now = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// jwt is a token that lives so long from now, signed by nobody.
func jwt(name string, life time.Duration) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"none"}`)) + "." + enc([]byte(fmt.Sprintf(`{"sub":%q,"exp":%d}`, name, now.Add(life).Unix()))) + ".c2ln"
}

// A registry is a stand-in that exchanges tokens: the identity token of X is
// "idt of X".
type registry struct {
	*httptest.Server
	host, ca string
	realm    string // as the challenge names it
	status   int    // of an exchange
	only     bool   // access tokens
	seen     []string
}

func newRegistry(t *testing.T) *registry {
	t.Helper()
	r := &registry{status: http.StatusOK}
	r.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.seen = append(r.seen, req.Method+" "+req.URL.Path)
		switch {
		case req.URL.Path == "/v2/" && req.Header.Get("Authorization") == "":
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+r.realm+`",service="reg.test"`)
			w.WriteHeader(http.StatusUnauthorized)
		case req.URL.Path == "/token" && req.FormValue("grant_type") == "urn:ietf:params:oauth:grant-type:token-exchange" &&
			req.FormValue("subject_token_type") == "urn:ietf:params:oauth:token-type:jwt" && req.FormValue("service") == "reg.test" && req.Method == http.MethodPost:
			answer := map[string]any{"access_token": "at of " + req.FormValue("subject_token") + " for " + req.FormValue("scope"), "expires_in": 300}
			if req.FormValue("access_type") == "offline" && !r.only {
				answer["refresh_token"] = "idt of " + req.FormValue("subject_token")
			}
			w.WriteHeader(r.status)
			json.NewEncoder(w).Encode(answer)
		case req.URL.Path == "/away":
			http.Redirect(w, req, "/token", http.StatusTemporaryRedirect)
		default:
			t.Errorf("asked %s %s", req.Method, req.URL)
		}
	}))
	t.Cleanup(r.Close)
	r.host, r.ca, r.realm = strings.TrimPrefix(r.URL, "https://"), pemOf(r.Certificate()), r.URL+"/token"
	return r
}

func request(image, token string) string {
	r := map[string]any{"apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderRequest", "image": image}
	if token != "" {
		r["serviceAccountToken"] = token
	}
	b, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// An answer is CredentialProviderResponse, as the kubelet decodes it.
type answer struct {
	APIVersion, Kind, CacheKeyType, CacheDuration string
	Auth                                          map[string]struct{ Username, Password string }
}

func serve(t *testing.T, p credential.Provider, in string) (answer, string, error) {
	t.Helper()
	p.Now = func() time.Time { return now }
	var out bytes.Buffer
	var a answer
	err := p.Serve(context(), strings.NewReader(in), &out)
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(out.Bytes()))
		d.DisallowUnknownFields()
		must(t, d.Decode(&a))
	}
	return a, out.String(), err
}

func TestProvider(t *testing.T) {
	r := newRegistry(t)
	file := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(file, []byte(jwt("node", time.Hour)), 0o600))
	account := credential.Provider{Hosts: []string{"other.test", r.host}, CA: r.ca}
	through, node := account, account
	through.PassThrough = true
	node.Node = "file:" + file
	image := r.host + "/team/app:1"
	for _, c := range []struct {
		name     string
		p        credential.Provider
		in       string
		password string // "" for a refusal
		cached   string
	}{
		{"a service account", account, request(image, jwt("a", time.Hour)), "idt of " + jwt("a", time.Hour), "4m30s"},
		{"C-17: another one", account, request(image, jwt("b", time.Hour)), "idt of " + jwt("b", time.Hour), "4m30s"},
		{"C-17: a token that ends sooner", account, request(image, jwt("a", 2*time.Minute)), "idt of " + jwt("a", 2*time.Minute), "1m30s"},
		{"C-17: a token that ends now", account, request(image, jwt("a", time.Second)), "idt of " + jwt("a", time.Second), "0s"},
		{"C-17: an end that cannot be read", account, request(image, "e30.e30.e30"), "idt of e30.e30.e30", "0s"},
		{"passed through", through, request(image, jwt("a", time.Hour)), jwt("a", time.Hour), "59m30s"},
		{"the node", node, request(image, ""), "idt of " + jwt("node", time.Hour), "4m30s"},
		{"a digest", account, request(r.host+"/a@sha256:0", jwt("a", time.Hour)), "idt of " + jwt("a", time.Hour), "4m30s"},

		{"C-16: no token", account, request(image, ""), "", ""},
		{"C-16: no token to pass through", through, request(image, ""), "", ""},
		{"C-17: a pod's token and the node's identity", node, request(image, jwt("a", time.Hour)), "", ""},
		{"C-16: what is no token", account, request(image, "a\nb.c.d"), "", ""},
		{"C-16: another host", account, request("evil.test/team/app:1", jwt("a", time.Hour)), "", ""},
		{"C-16: a longer host", account, request(r.host+".evil.test/team/app:1", jwt("a", time.Hour)), "", ""},
		{"C-16: a host in the path", account, request("evil.test/"+image, jwt("a", time.Hour)), "", ""},
		{"C-16: a user name", account, request("u@"+image, jwt("a", time.Hour)), "", ""},
		{"C-16: a scheme", account, request("https://"+image, jwt("a", time.Hour)), "", ""},
		{"C-16: a wildcard", account, request("*/team/app:1", jwt("a", time.Hour)), "", ""},
		{"C-16: no image", account, request("", jwt("a", time.Hour)), "", ""},
		{"C-16: a host alone", account, request(r.host+"/", jwt("a", time.Hour)), "", ""},
		{"C-16: nothing", account, "", "", ""},
		{"C-16: a list", account, "[]", "", ""},
		{"C-16: two requests", account, request(image, jwt("a", time.Hour)) + "{}", "", ""},
		{"C-16: an unknown field", account, strings.Replace(request(image, jwt("a", time.Hour)), "{", `{"x":1,`, 1), "", ""},
		{"C-16: another version", account, strings.Replace(request(image, jwt("a", time.Hour)), "/v1", "/v1beta1", 1), "", ""},
		{"C-16: another kind", account, strings.Replace(request(image, jwt("a", time.Hour)), "ProviderRequest", "ProviderResponse", 1), "", ""},
		{"C-16: a megabyte", account, strings.Repeat(" ", 1<<20) + request(image, jwt("a", time.Hour)), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, out, err := serve(t, c.p, c.in)
			if c.password == "" {
				if err == nil || out != "" || strings.Contains(err.Error(), "eyJ") {
					t.Errorf("answered %q, %v", out, err)
				}
				return
			}
			if err != nil || a.CacheKeyType != "Registry" || a.CacheDuration != c.cached || len(a.Auth) != 1 || a.Kind != "CredentialProviderResponse" || a.APIVersion != "credentialprovider.kubelet.k8s.io/v1" {
				t.Fatalf("answered %s, %v; want it cached for %s", out, err, c.cached)
			}
			if got := a.Auth[r.host]; got.Password != c.password || got.Username == "" {
				t.Errorf("answered %s, want %s", out, c.password)
			}
		})
	}
}

// TestPinned: a token of another issuer goes to the registry's own token service
// and nowhere else (C-04, C-05).
func TestPinned(t *testing.T) {
	r := newRegistry(t)
	p := credential.Provider{Hosts: []string{r.host}, CA: r.ca}
	for realm, last := range map[string]string{
		"https://evil.test/token": "GET /v2/", "http://" + r.host + "/token": "GET /v2/", "http://169.254.169.254/token": "GET /v2/",
		"https://u:p@" + r.host + "/token": "GET /v2/", r.URL + "/token?x=y": "GET /v2/", r.URL + "/away": "POST /away",
	} {
		r.realm, r.seen = realm, nil
		if _, out, err := serve(t, p, request(r.host+"/a:1", jwt("a", time.Hour))); err == nil || r.seen[len(r.seen)-1] != last {
			t.Errorf("realm %s: %q, %v, asked %v", realm, out, err, r.seen)
		}
	}
	r.realm, r.status = r.URL+"/token", http.StatusUnauthorized
	if _, out, err := serve(t, p, request(r.host+"/a:1", jwt("a", time.Hour))); err == nil || out != "" {
		t.Errorf("an identity that is refused: %q, %v", out, err)
	}
}

// TestOnlyAccess: where the registry reviews tokens it gives no identity token, and
// a pod's own token does.
func TestOnlyAccess(t *testing.T) {
	r := newRegistry(t)
	r.only = true
	p := credential.Provider{Hosts: []string{r.host}, CA: r.ca}
	if _, out, err := serve(t, p, request(r.host+"/a:1", jwt("a", time.Hour))); err == nil || out != "" || !strings.Contains(err.Error(), "--pass-through") {
		t.Errorf("answered %q, %v", out, err)
	}
}

// TestMint: the environment's identity is for the hosts that somebody named, a
// login comes before it, and nothing of it is stored.
func TestMint(t *testing.T) {
	r := newRegistry(t)
	d := newDesk(t)
	env := map[string]string{"SALLYPORT_ID_TOKEN": jwt("job", time.Hour)}
	find := ambient.Finder{Root: t.TempDir(), Getenv: func(name string) string { return env[name] }}
	d.Mint = credential.Minter{Store: d.Store, Find: find, Notes: &d.notes}.Identity
	const none = "credentials not found in native keychain\n"
	if out, _ := d.run("get", r.host); out != none || len(r.seen) > 0 {
		t.Errorf("for a host that nobody named: %q, asked %v", out, r.seen)
	}
	must(t, d.Store.SetAmbient(r.host, &client.Ambient{Identity: "auto", CA: r.ca}))
	before, err := os.ReadFile(d.Store.Path())
	must(t, err)
	want := `{"ServerURL":"` + r.host + `","Username":"\u003ctoken\u003e","Secret":"idt of ` + env["SALLYPORT_ID_TOKEN"] + `"}` + "\n"
	if out, code := d.run("get", r.host); out != want || code != 0 {
		t.Errorf("for a host that somebody named: %q, %d", out, code)
	}
	for _, other := range []string{"other.test", r.host + ".evil.test", "http://" + r.host, "u@" + r.host} {
		seen := len(r.seen)
		if out, _ := d.run("get", other); out != none || len(r.seen) != seen {
			t.Errorf("C-02: %s gets %q", other, out)
		}
	}
	if after, err := os.ReadFile(d.Store.Path()); err != nil || !bytes.Equal(before, after) {
		t.Errorf("it stores %s", after)
	}
	r.status = http.StatusUnauthorized
	if out, code := d.run("get", r.host); code == 0 || strings.Contains(out, "eyJ") {
		t.Errorf("refused: %q, %d", out, code)
	}
	r.status = http.StatusOK
	clear(env)
	if out, _ := d.run("get", r.host); out != none || !strings.Contains(d.notes.String(), "no identity") {
		t.Errorf("without an identity: %q, %q", out, d.notes.String())
	}
	d.run("store", stored(r.host, "alice", "pw"))
	env["SALLYPORT_ID_TOKEN"] = jwt("job", time.Hour)
	if out, _ := d.run("get", r.host); !strings.Contains(out, `"alice"`) {
		t.Errorf("a login does not come first: %q", out)
	}
}

// TestRegistriesVariable: what a job says with its environment.
func TestRegistriesVariable(t *testing.T) {
	d := newDesk(t)
	t.Setenv("SALLYPORT_REGISTRIES", "reg.test:5000,two.test")
	t.Setenv("SALLYPORT_IDENTITY", "github")
	m := credential.Minter{Store: d.Store}
	for host, want := range map[string]bool{"reg.test:5000": true, "two.test": true, "reg.test": false, "": false, "reg.test:5000,two.test": false, "three.test": false} {
		a, ok, err := m.Configured(host)
		if ok != want || err != nil || ok && a.Identity != "github" {
			t.Errorf("%q: %+v, %v, %v", host, a, ok, err)
		}
	}
}

// FuzzProvider: whatever the kubelet's request is, an answer is for the one host.
func FuzzProvider(f *testing.F) {
	for _, s := range []string{request("reg.test/a:1", "e30.e30.e30"), request("evil.test/reg.test/a", "e30.e30.e30"), "{}", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		a, out, err := serve(t, credential.Provider{Hosts: []string{"reg.test"}, PassThrough: true}, in)
		if err != nil && out != "" {
			t.Errorf("%q: %v and %q", in, err, out)
		}
		if _, ok := a.Auth["reg.test"]; err == nil && (!ok || len(a.Auth) != 1 || a.CacheKeyType != "Registry") {
			t.Errorf("%q: %s", in, out)
		}
	})
}
