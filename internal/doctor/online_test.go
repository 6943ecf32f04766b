package doctor_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/doctor"
)

// An authority signs certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string, ends time.Time) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now.AddDate(-10, 0, 0), NotAfter: ends, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	must(t, err)
	c, err = x509.ParseCertificate(der)
	must(t, err)
	return authority{c, key}
}

func (a authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

func expiredCA(t testing.TB) string { return newAuthority(t, "Old CA", now.AddDate(0, 0, -1)).pem() }

// serve runs a server with a certificate for name, which ends so.
func (a authority) serve(t *testing.T, name string, ends time.Time, h http.HandlerFunc) (host string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: now.AddDate(-1, 0, 0), NotAfter: ends, DNSNames: []string{name}}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	must(t, err)
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.StartTLS()
	t.Cleanup(s.Close)
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	must(t, err)
	return "localhost:" + port
}

// registry answers as one does whose clock is ahead by so much. It takes no
// secret.
func registry(realm string, ahead time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
		if r.URL.Path == "/token" && r.Header.Get("Authorization") == "" && r.Method == http.MethodGet {
			w.Write([]byte(`{"access_token":"anonymous"}`))
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+strings.ReplaceAll(realm, "SELF", r.Host)+`",service="reg"`)
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// TestServer: what is found of a registry, and of the secrets for it.
func TestServer(t *testing.T) {
	ca := newAuthority(t, "Test CA", time.Now().AddDate(1, 0, 0))
	later, good := time.Now().AddDate(0, 2, 0), registry("https://SELF/token", 0)
	plain := httptest.NewServer(good)
	defer plain.Close()
	key, idt := made(t, access.KeySecret), made(t, access.RefreshSecret)
	for name, c := range map[string]struct {
		host    string
		trusted bool
		want    []string
	}{
		"good, and it takes no secret": {ca.serve(t, "localhost", later, good), true, []string{"login-ended"}},
		"untrusted":                    {ca.serve(t, "localhost", later, good), false, []string{"tls-untrusted"}},
		"another name":                 {ca.serve(t, "reg.test", later, good), true, []string{"tls-name"}},
		"expired":                      {ca.serve(t, "localhost", time.Now().Add(-time.Hour), good), true, []string{"tls-expired"}},
		"expires soon":                 {ca.serve(t, "localhost", time.Now().AddDate(0, 0, 3), good), true, []string{"tls-expiring", "login-ended"}},
		"clock ahead":                  {ca.serve(t, "localhost", later, registry("https://SELF/token", time.Hour)), true, []string{"clock-skew", "login-ended"}},
		"clock behind":                 {ca.serve(t, "localhost", later, registry("https://SELF/token", -time.Hour)), true, []string{"clock-skew", "login-ended"}},
		"C-04, another server's realm": {ca.serve(t, "localhost", later, registry("https://elsewhere.test/token", 0)), true, []string{"realm-elsewhere"}},
		"no token service":             {ca.serve(t, "localhost", later, registry("https://SELF/v2/", 0)), true, []string{"login-ended"}},
		"a broken token service": {ca.serve(t, "localhost", later, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/" {
				good(w, r)
				return
			}
			w.WriteHeader(http.StatusBadGateway)
		}), true, []string{"realm-unreachable"}},
		"something else": {ca.serve(t, "localhost", later, func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("hello")) }), true, []string{"registry-foreign"}},
		"plain HTTP":     {plain.Listener.Addr().String(), true, []string{"registry-plain"}},
		"C-05, a redirect": {ca.serve(t, "localhost", later, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.test/", http.StatusFound)
		}), true, []string{"registry-unreachable"}},
		"nobody": {"localhost:1", true, []string{"registry-unreachable"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := machine{"/root/.docker/config.json": `{"auths":{"` + c.host + `":{"auth":"` + b64("ci:"+key) + `","identitytoken":"` + idt + `"}}}`}
			if c.trusted {
				m["/etc/docker/certs.d/"+c.host+"/ca.crt"] = ca.pem()
			}
			server, err := client.ParseAddress(c.host)
			must(t, err)
			for _, o := range []doctor.Options{{Servers: []client.Address{server}}, {Online: true}} {
				o.Root, o.Now = m.build(t), time.Now
				got, _ := examine(t, o)
				var ids []string
				for _, f := range got {
					id, rest, _ := strings.Cut(f, " ")
					if id != "key-stored" && id != "identity-stored" {
						ids = append(ids, id)
						if !strings.Contains(rest, c.host) {
							t.Errorf("found %s", f)
						}
					}
				}
				if !slices.Equal(ids, c.want) {
					t.Errorf("found %q, want %q", ids, c.want)
				}
			}
		})
	}
}

// TestOnlineNames: a name that somebody gave to a repository or a user is no host,
// even where it reads like one: nothing goes there.
func TestOnlineNames(t *testing.T) {
	asked := false
	ca := newAuthority(t, "Test CA", time.Now().AddDate(1, 0, 0))
	good := registry("https://SELF/token", 0)
	host := ca.serve(t, "localhost", time.Now().AddDate(0, 2, 0), func(w http.ResponseWriter, r *http.Request) {
		asked = true
		good(w, r)
	})
	key := made(t, access.KeySecret)
	helm := func(name, url string) machine {
		return machine{"/root/.config/helm/repositories.yaml": "repositories:\n- {name: '" + name + "', url: '" + url + "', username: ci, password: " + key + "}\n"}
	}
	for name, c := range map[string]struct {
		files machine
		want  bool
	}{
		"a repository's name": {helm(host, "https://127.0.0.1:1/charts"), false},
		"a repository's URL":  {helm("charts", "https://"+host+"/charts"), true},
		"a path of it":        {helm("charts", "https://127.0.0.1:1/@"+host), false},
		"a user of kubectl":   {machine{"/root/.kube/config": "users: [{name: '" + host + "', user: {username: ci, password: " + key + ", token: " + key + "}}]"}, false},
		"docker's":            {machine{"/root/.docker/config.json": `{"auths":{"` + host + `":{"auth":"` + b64("ci:"+key) + `"}}}`}, true},
		"regctl's":            {machine{"/root/.regctl/config.json": `{"hosts":{"` + host + `":{"user":"ci","pass":"` + key + `"}}}`}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c.files["/etc/docker/certs.d/"+host+"/ca.crt"] = ca.pem()
			asked = false
			got, _ := examine(t, doctor.Options{Root: c.files.build(t), Now: time.Now, Online: true})
			ended := slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "login-ended ") })
			if asked != c.want || ended != c.want {
				t.Errorf("asked %t, the key presented %t, want %t: %q", asked, ended, c.want, got)
			}
		})
	}
}
