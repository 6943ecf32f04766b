package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/config"
)

// A caller is how a request comes in: from a peer, with headers that say, or
// pretend to say, who stands behind it.
type caller struct {
	name   string
	peer   string
	header http.Header
	inside bool // the key's networks hold the client
}

// callers come to a registry whose one declared proxy is in 127.0.0.0/8, with a
// key for 10.0.0.0/8 and 2001:db8::/32.
var callers = []caller{
	{"inside", "10.1.2.3:1", nil, true},
	{"inside, IPv4 in IPv6", "[::ffff:10.1.2.3]:1", nil, true},
	{"inside, IPv6", "[2001:db8::1]:1", nil, true},
	{"inside, by the proxy", "127.0.0.1:1", forwardedFor("10.1.2.3"), true},
	{"inside, by the proxy, pretending to be elsewhere", "127.0.0.1:1", forwardedFor("192.0.2.9, 10.1.2.3"), true},
	{"outside", "192.0.2.9:1", nil, false},
	{"outside, IPv6", "[2001:db9::1]:1", nil, false},
	{"H-02 outside, without the proxy", "192.0.2.9:1", forwardedFor("10.1.2.3"), false},
	{"outside, by the proxy", "127.0.0.1:1", forwardedFor("192.0.2.9"), false},
	{"H-03 outside, by the proxy, forged left", "127.0.0.1:1", forwardedFor("10.1.2.3, 192.0.2.9"), false},
	{"H-03 outside, by the proxy, forged header before", "127.0.0.1:1", forwardedFor("10.1.2.3", "192.0.2.9"), false},
	{"H-03 by the proxy, malformed", "127.0.0.1:1", forwardedFor("10.1.2.3, evil"), false},
	{"H-03 other headers", "127.0.0.1:1", http.Header{"X-Real-Ip": {"10.1.2.3"}, "Forwarded": {"for=10.1.2.3"}}, false},
	{"the proxy itself", "127.0.0.1:1", nil, false},
}

func forwardedFor(lines ...string) http.Header { return http.Header{"X-Forwarded-For": lines} }

// A keyDoor is a way to use a key or what came of it.
type keyDoor struct {
	name            string
	request         func() *http.Request
	inside, outside int // status
}

// TestKeyNetworksAtEveryDoor: S-36 a key that is narrowed to networks, and all
// that comes of it, is good for nothing elsewhere; and no header of a client
// takes it there.
func TestKeyNetworksAtEveryDoor(t *testing.T) {
	m := startMatrix(t, func(c *config.Config) {
		c.TrustedProxies, c.Tokens.Services = prefixes("127.0.0.0/8"), []string{"other.test"}
	})
	m.admin = m.login("admin", matrixPassword("admin"), allScopes).access
	m.putIndex("team/app", "fixed")
	doors := m.keyDoors()
	for _, c := range callers {
		t.Run(c.name, func(t *testing.T) {
			for _, d := range doors {
				want := d.outside
				if c.inside {
					want = d.inside
				}
				if w := m.come(c, d.request()); w.Code != want {
					t.Errorf("S-36 %s: %d %s, want %d", d.name, w.Code, w.Body, want)
				} else if !c.inside && strings.Contains(w.Body.String(), "sallyport_") {
					t.Errorf("S-36 %s gives a secret away: %s", d.name, w.Body)
				}
			}
		})
	}
}

// come sends r as the caller does.
func (m *matrix) come(c caller, r *http.Request) *httptest.ResponseRecorder {
	r.Host, r.RemoteAddr = m.Address(), c.peer
	for name, lines := range c.header {
		r.Header[name] = lines
	}
	w := httptest.NewRecorder()
	m.front.ServeHTTP(w, r)
	return w
}

// keyDoors makes the key, what comes of it, and every request that they serve.
func (m *matrix) keyDoors() []keyDoor {
	m.t.Helper()
	made := m.api("POST", "/keys", `{"owner":"user:admin","networks":["10.0.0.0/8","2001:db8::/32"]}`)
	key, id := made["secret"].(string), made["id"].(string)
	if got := fmt.Sprint(made["networks"]); got != "[10.0.0.0/8 2001:db8::/32]" {
		m.t.Fatalf("S-36 the key is for %s", got)
	}
	basic := func(target, secret string) func() *http.Request {
		return func() *http.Request {
			r := m.request("GET", target, "")
			r.SetBasicAuth("any", secret)
			return r
		}
	}
	form := func(pairs ...string) func() *http.Request {
		return func() *http.Request {
			v := url.Values{"scope": {allScopes}}
			for i := 0; i < len(pairs); i += 2 {
				v.Set(pairs[i], pairs[i+1])
			}
			r := m.request("POST", "/token", v.Encode())
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			return r
		}
	}
	ask := "/token?" + scopes(allScopes)
	got := func(r *http.Request) (a struct {
		Access   string `json:"access_token"`
		Identity string `json:"refresh_token"`
	}) {
		m.t.Helper()
		w := m.come(callers[0], r)
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != http.StatusOK {
			m.t.Fatalf("%d %s", w.Code, w.Body)
		}
		return a
	}
	bare := got(basic(ask, key)())
	login := got(basic(ask+"&offline_token=true&client_id=x", key)())
	refreshed := got(form("grant_type", "refresh_token", "refresh_token", login.Identity)())
	foreign := got(basic("/token?service=other.test&offline_token=true&client_id=x&"+scopes(allScopes), key)())
	doors := []keyDoor{
		{"Basic at /token", basic(ask, key), 200, 401},
		{"Basic at /token, for another registry", basic(ask+"&service=other.test", key), 200, 401},
		{"a login with Basic", basic(ask+"&offline_token=true", key), 200, 401},
		{"the password grant", form("grant_type", "password", "username", "any", "password", key), 200, 401},
		{"the password grant, for another registry", form("grant_type", "password", "username", "any", "password", key, "service", "other.test"), 200, 401},
		{"a login with the password grant", form("grant_type", "password", "username", "any", "password", key, "access_type", "offline"), 200, 401},
		{"its identity token", form("grant_type", "refresh_token", "refresh_token", login.Identity), 200, 401},
		{"its identity token, with Basic", basic(ask, login.Identity), 200, 401},
		{"its identity token for another registry", form("grant_type", "refresh_token", "refresh_token", foreign.Identity, "service", "other.test"), 200, 401},
		{"Basic at /v2/", basic("/v2/team/app/manifests/fixed", key), 401, 401},
		{"Basic at the API", basic("/api/v1/whoami", key), 401, 401},
	}
	for name, token := range map[string]string{"bare": bare.Access, "login": login.Access, "refreshed": refreshed.Access} {
		doors = append(doors, m.tokenDoors(name, token)...)
	}
	rotate := m.bearing("POST", "/api/v1/keys/"+id+"/rotate", `{}`, jsonBody, bare.Access)
	return slices.Concat(doors, []keyDoor{
		{"the key as a bearer token", m.bearing("GET", "/api/v1/whoami", "", "", key), 401, 401},
		{"a token for another registry", m.bearing("GET", "/v2/", "", "", foreign.Access), 401, 401},
		{"the key rotates itself", func() *http.Request {
			m.endSuccessor(id)
			return rotate()
		}, 201, 403},
	})
}

// tokenDoors are what an access token of an administrator's key serves.
func (m *matrix) tokenDoors(name, token string) []keyDoor {
	return []keyDoor{
		{name + ": ping", m.bearing("GET", "/v2/", "", "", token), 200, 401},
		{name + ": catalog", m.bearing("GET", "/v2/_catalog", "", "", token), 200, 403},
		{name + ": pull", m.bearing("GET", "/v2/team/app/manifests/fixed", "", "", token), 200, 403},
		{name + ": tags", m.bearing("GET", "/v2/team/app/tags/list", "", "", token), 200, 403},
		{name + ": referrers", m.bearing("GET", "/v2/team/app/referrers/"+noDigest, "", "", token), 200, 403},
		{name + ": push", m.bearing("PUT", "/v2/team/app/manifests/fixed", newIndex, indexBody, token), 201, 403},
		{name + ": upload", m.bearing("POST", "/v2/team/app/blobs/uploads/", "", "", token), 202, 403},
		{name + ": delete", m.bearing("DELETE", "/v2/team/app/manifests/none", "", "", token), 404, 403},
		{name + ": whoami", m.bearing("GET", "/api/v1/whoami", "", "", token), 200, 403},
		{name + ": description", m.bearing("GET", "/api/v1/openapi.json", "", "", token), 200, 403},
		{name + ": keys", m.bearing("GET", "/api/v1/keys", "", "", token), 403, 403}, // narrowed, without manage-keys
	}
}

// bearing makes a request with an access token.
func (m *matrix) bearing(method, target, body, header, token string) func() *http.Request {
	return func() *http.Request {
		r := m.request(method, target, body)
		if name, value, ok := strings.Cut(header, ": "); ok {
			r.Header.Set(name, value)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		return r
	}
}

// endSuccessor makes place for another successor of a key.
func (m *matrix) endSuccessor(id string) {
	m.t.Helper()
	var keys struct {
		Items []struct {
			ID, Successor string
			Networks      []string
		}
	}
	m.read(m.ask("GET", "/api/v1/keys?owner=user:admin", "", "Bearer "+m.admin), &keys)
	for _, k := range keys.Items {
		if len(k.Networks) != 2 {
			m.t.Errorf("S-36 key %s is for %q", k.ID, k.Networks)
		}
		if k.ID == id && k.Successor != "" {
			m.api("DELETE", "/keys/"+k.Successor, "")
		}
	}
}
