package server_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	ft "github.com/sallyport/sallyport/internal/federation/federationtest"
	"github.com/sallyport/sallyport/internal/server"
)

// matrixPolicy gives each role its rights, and a machine with a client certificate
// in that role the same, on team/** but for the auditor and
// the administrator, whose rights are for the whole registry.
const matrixPolicy = `version: 2
rules:
  - name: administrators
    subjects: ["user:admin", {issuer: "x509:matrix", name: "spiffe://matrix.test/admin"}]
    repositories: ["**"]
    actions: [pull, push, delete, admin]
  - name: open
    subjects: [anyone]
    repositories: ["open/**"]
    actions: [pull]
  - name: pullers
    subjects: ["user:puller", {issuer: "x509:matrix", name: "spiffe://matrix.test/puller"}]
    repositories: ["team/**"]
    actions: [pull]
  - name: creators
    subjects: ["user:creator", {issuer: "x509:matrix", name: "spiffe://matrix.test/creator"}]
    repositories: ["team/**"]
    actions: [pull, create-tag]
  - name: pushers
    subjects: ["user:pusher", {issuer: "x509:matrix", name: "spiffe://matrix.test/pusher"}]
    repositories: ["team/**"]
    actions: [pull, push, delete]
  - name: managers-of-team
    subjects: ["user:manager", {issuer: "x509:matrix", name: "spiffe://matrix.test/manager"}]
    repositories: ["team/**"]
    actions: [manage-policy, manage-accounts, manage-keys, read-audit]
  - name: auditors
    subjects: ["user:auditor", {issuer: "x509:matrix", name: "spiffe://matrix.test/auditor"}]
    repositories: ["**"]
    actions: [read-audit]
`

// roles are whose credentials come; each but the first is an account's name.
var roles = []string{"anonymous", "nobody", "puller", "creator", "pusher", "manager", "auditor", "admin"}

// A kind is a kind of credential.
type kind struct {
	letter byte
	name   string
}

var kinds = []kind{
	{'-', "none"},
	{'b', "the password, with Basic"},
	{'P', "an access token that came of the password"},
	{'S', "one that came of an identity token"},
	{'K', "one that came of an access key"},
	{'N', "one that came of a key that is narrowed to pull from team/app"},
	{'o', "one without a scope"},
	{'E', "one that has expired"},
	{'R', "one whose session was revoked"},
	{'r', "one whose key was revoked"},
	{'F', "one of another registry with the same name"},
	{'C', "a client certificate on the connection, of a machine with the rights of the role"},
	{'c', "an access token that came of that certificate"},
	{'U', "a client certificate that somebody else's authority has signed for the same name"},
	{'k', "the access key itself, as a bearer token"},
	{'i', "the identity token itself, as a bearer token"},
}

// A credential is what a request carries: with Basic, or as a bearer token, or
// the certificate of its connection.
type credential struct {
	secret      string
	basic       bool
	certificate *x509.Certificate
}

// A matrix is a server in this process, whose handlers are asked directly.
type matrix struct {
	t *testing.T
	*server.Server
	log           *lines
	front, health http.Handler
	n             int // of requests that a row made
	credentials   map[string]map[byte]credential
	admin         string // an access token
	ca, stranger  *ft.CA // of client certificates: ours, and one of the same name

	mu     sync.Mutex
	passed time.Duration
}

func (m *matrix) now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().Add(m.passed)
}

func (m *matrix) pass(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.passed += d
}

func matrixPassword(role string) string { return "a matrix word of " + role + " 7301" }

const allScopes = "registry:api:* registry:catalog:* repository:team/app:pull,push,delete repository:open/app:pull,push,delete repository:other/app:pull,push,delete"

// newMatrix starts a server with an account for each role, three repositories,
// and every kind of credential of each account.
func newMatrix(t *testing.T) *matrix {
	t.Helper()
	m := startMatrix(t)
	m.admin = m.login("admin", matrixPassword("admin"), allScopes).access
	for _, role := range append(roles[1:len(roles)-1:len(roles)-1], "team/victim", "other/victim") {
		m.api("POST", "/users", fmt.Sprintf(`{"name":%q,"password":%q}`, role, matrixPassword(role)))
	}
	m.api("POST", "/robots", `{"name":"team/ci"}`)
	m.api("POST", "/robots", `{"name":"other/ci"}`)
	version := m.api("GET", "/policy", "")["version"]
	m.ask("PUT", "/api/v1/policy", matrixPolicy, "Bearer "+m.admin, "Content-Type", "application/yaml", "If-Match", fmt.Sprintf(`"%v"`, version))
	for _, repo := range []string{"team/app", "open/app", "other/app"} {
		m.putIndex(repo, "fixed")
	}
	other := startMatrix(t)
	other.admin = other.login("admin", matrixPassword("admin"), "registry:api:*").access
	m.credentials = map[string]map[byte]credential{}
	for _, role := range roles[1:] {
		m.credentials[role] = m.credentialsOf(role, other)
	}
	// The expired tokens expire; the others are made anew.
	m.pass(time.Hour)
	m.admin = m.login("admin", matrixPassword("admin"), allScopes).access
	for _, role := range roles[1:] {
		for letter, c := range m.credentialsOf(role, other) {
			if letter != 'E' {
				m.credentials[role][letter] = c
			}
		}
	}
	return m
}

func startMatrix(t *testing.T, change ...func(*config.Config)) *matrix {
	t.Helper()
	c := settings(t)
	for _, f := range change {
		f(&c)
	}
	c.AdminPasswordFile = filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(c.AdminPasswordFile, []byte(matrixPassword("admin")), 0o600); err != nil {
		t.Fatal(err)
	}
	m := &matrix{t: t, ca: ft.NewCA(t, "clients"), stranger: ft.NewCA(t, "clients")}
	authority := filepath.Join(t.TempDir(), "clients.pem")
	ft.Write(t, authority, ft.PEM(m.ca))
	c.TLS.ClientAuthorities = []config.ClientAuthority{{Name: "matrix", CA: authority, Identity: "spiffe"}}
	run := start(t, c, server.Options{Now: m.now})
	m.Server, m.log = run.Server, &run.log
	m.front, m.health = m.Handlers()
	return m
}

// putIndex pushes an index that holds nothing.
func (m *matrix) putIndex(repo, tag string) {
	m.t.Helper()
	m.ask("PUT", "/v2/"+repo+"/manifests/"+tag, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`,
		"Bearer "+m.admin, "Content-Type", "application/vnd.oci.image.index.v1+json")
}

// credentialsOf makes one of each kind.
func (m *matrix) credentialsOf(role string, other *matrix) map[byte]credential {
	m.t.Helper()
	bearer := func(s string) credential { return credential{secret: s} }
	byPassword := m.login(role, matrixPassword(role), allScopes)
	_, key := m.key(role, "")
	narrowed, narrowedKey := m.key(role, `,"repositories":["team/app"],"actions":["pull"]`)
	revoked, revokedKey := m.key(role, "")
	ended := m.login(role, matrixPassword(role), allScopes)
	machine := ft.URI("spiffe://matrix.test/" + role)
	certificate, strangers := m.ca.Client(machine).Leaf, m.stranger.Client(machine).Leaf
	out := map[byte]credential{
		'b': {secret: matrixPassword(role), basic: true},
		'C': {certificate: certificate},
		'c': bearer(m.certified(certificate)),
		'U': {certificate: strangers},
		'P': bearer(byPassword.access),
		'S': bearer(m.refresh(byPassword.identity, allScopes)),
		'K': bearer(m.login("any", key, allScopes).access),
		'N': bearer(m.login("any", narrowedKey, allScopes).access),
		'o': bearer(m.login(role, matrixPassword(role), "").access),
		'E': bearer(byPassword.access),
		'R': bearer(m.refresh(ended.identity, allScopes)),
		'r': bearer(m.login("any", revokedKey, allScopes).access),
		'F': bearer(other.admin),
		'k': bearer(key),
		'i': bearer(byPassword.identity),
	}
	if narrowed == "" || revoked == "" {
		m.t.Fatal("keys without ids")
	}
	m.api("DELETE", "/keys/"+revoked, "")
	var me struct{ SessionID string }
	m.read(m.ask("GET", "/api/v1/whoami", "", "Bearer "+out['R'].secret), &me)
	m.api("DELETE", "/sessions/"+me.SessionID, "")
	return out
}

type login struct{ access, identity string }

// login logs in with a password or a key, for an identity token too.
func (m *matrix) login(name, password, scope string) login {
	m.t.Helper()
	r := m.request("GET", "/token?offline_token=true&client_id=matrix&"+scopes(scope), "")
	r.SetBasicAuth(name, password)
	var out struct {
		Access   string `json:"access_token"`
		Identity string `json:"refresh_token"`
	}
	m.read(m.must(r), &out)
	return login{out.Access, out.Identity}
}

// certified returns an access token that came of a client certificate.
func (m *matrix) certified(c *x509.Certificate) string {
	m.t.Helper()
	r := m.request("GET", "/token?"+scopes(allScopes), "")
	r.TLS = m.connection(c)
	var out struct {
		Access string `json:"access_token"`
	}
	m.read(m.must(r), &out)
	return out.Access
}

// connection is one on which the client has presented c.
func (m *matrix) connection(c *x509.Certificate) *tls.ConnectionState {
	host, _, _ := net.SplitHostPort(m.Address())
	return &tls.ConnectionState{ServerName: host, PeerCertificates: []*x509.Certificate{c}}
}

func (m *matrix) refresh(identity, scope string) string {
	m.t.Helper()
	r := m.request("POST", "/token", "grant_type=refresh_token&refresh_token="+identity+"&"+scopes(scope))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var out struct {
		Access string `json:"access_token"`
	}
	m.read(m.must(r), &out)
	return out.Access
}

func scopes(scope string) string {
	if scope == "" {
		return ""
	}
	return url.Values{"scope": {scope}}.Encode()
}

// key makes an access key; more are fields of the request.
func (m *matrix) key(owner, more string) (id, secret string) {
	m.t.Helper()
	out := m.api("POST", "/keys", fmt.Sprintf(`{"owner":"user:%s"%s}`, owner, more))
	id, _ = out["id"].(string)
	secret, _ = out["secret"].(string)
	return id, secret
}

// api asks the API as the administrator, and expects it to be done.
func (m *matrix) api(method, path, body string) map[string]any {
	m.t.Helper()
	w := m.ask(method, "/api/v1"+path, body, "Bearer "+m.admin, "Content-Type", "application/json")
	var out map[string]any
	if w.Body.Len() > 0 {
		m.read(w, &out)
	}
	return out
}

func (m *matrix) ask(method, target, body, authorization string, header ...string) *httptest.ResponseRecorder {
	m.t.Helper()
	r := m.request(method, target, body)
	r.Header.Set("Authorization", authorization)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return m.must(r)
}

func (m *matrix) request(method, target, body string) *http.Request {
	return httptest.NewRequest(method, target, strings.NewReader(body))
}

func (m *matrix) must(r *http.Request) *httptest.ResponseRecorder {
	m.t.Helper()
	w := m.send(r, false)
	if w.Code >= 300 {
		m.t.Fatalf("%s %s: %d %s", r.Method, r.URL, w.Code, w.Body)
	}
	return w
}

// send gives r to the front or to the health listener. Each
// request comes from a network of its own, so that none is slowed down for the
// others.
func (m *matrix) send(r *http.Request, toHealth bool) *httptest.ResponseRecorder {
	m.n++
	r.Host = m.Address()
	r.RemoteAddr = fmt.Sprintf("10.%d.%d.1:1000", m.n>>8&0xff, m.n&0xff)
	if r.Body != nil && r.ContentLength == 0 {
		r.Body = http.NoBody
	}
	r.Header.Set("Origin", "https://evil.test")
	w := httptest.NewRecorder()
	if toHealth {
		m.health.ServeHTTP(w, r)
	} else {
		m.front.ServeHTTP(w, r)
	}
	if origin := w.Header().Get("Access-Control-Allow-Origin"); origin != "" {
		m.t.Errorf("O-19: %s %s answers pages of %s", r.Method, r.URL, origin)
	}
	return w
}

func (m *matrix) read(w *httptest.ResponseRecorder, out any) {
	m.t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), out); err != nil {
		m.t.Fatalf("%v: %s", err, w.Body)
	}
}
