package token_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/federation"
	ft "github.com/sallyport/sallyport/internal/federation/federationtest"
	"github.com/sallyport/sallyport/internal/token"
)

const workload = "spiffe://prod.test/ci"

// A certified fixture accepts the certificates of one authority.
type certified struct {
	*fixture
	ca      *ft.CA
	caFile  string
	crlFile string
	idp     *idProvider
}

func newCertified(f *fixture, change ...func(*token.Options)) certified {
	dir := f.t.TempDir()
	c := certified{f, ft.NewCA(f.t, "root"), filepath.Join(dir, "ca.pem"), filepath.Join(dir, "crl.pem"), newIDProvider(f)}
	f.pass(time.Since(f.clock())) // certificates are made by the real clock
	ft.Write(f.t, c.caFile, ft.PEM(c.ca))
	ft.Write(f.t, c.crlFile, c.ca.CRL(f.clock().Add(20*time.Hour)))
	proving, err := federation.NewCertificates([]federation.ClientAuthority{
		{Name: "build", CA: c.caFile, CRL: c.crlFile, Identity: federation.SPIFFE},
	}, federation.Options{Now: f.clock, Logger: f.logger()})
	f.ok(err)
	o := token.Options{Issuer: issuer, Service: service, Now: f.clock, Logger: f.logger()}
	for _, set := range change {
		set(&o)
	}
	s, err := token.New(f.ctx(), token.Deps{
		Store: f.db.Tokens(), Accounts: f.accounts, Policies: f.accounts, Changes: f.db,
		Passwords: f.accounts.Passwords(), Keys: f.accounts.Keys(), Certificates: proving, IDTokens: c.idp, Sealer: f.sealer,
	}, o)
	f.ok(err)
	f.t.Cleanup(func() { s.Close() })
	f.s = s
	return c
}

// over is r on a connection with a client certificate.
func over(r *http.Request, c tls.Certificate) *http.Request {
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c.Leaf}}
	return r
}

func (c certified) token(client tls.Certificate) answer {
	c.t.Helper()
	a := c.do(over(get("service="+service+"&offline_token=true&client_id=docker&scope=repository:public/x:pull,push", ""), client))
	if a.status != http.StatusOK {
		c.t.Fatalf("%d %s\n%s", a.status, a.raw, c.log)
	}
	return a
}

func TestClientCertificate(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		c := newCertified(f)
		client := c.ca.Client(ft.URI(workload), ft.CN("admin"))
		a := c.token(client)
		if a.RefreshToken != "" {
			t.Error("an identity token for a certificate")
		}
		if a.Scope != "repository:public/x:pull" {
			t.Error("scope", a.Scope)
		}
		au := f.alive("token of a certificate", a.Token)
		id := au.Identity
		if p := id.Principal; p.Kind != access.External || p.Issuer != "x509:build" || p.Name != workload || p.UID == "" || len(p.Groups) != 0 {
			t.Errorf("principal %+v", p)
		}
		if id.Proof.Method != "certificate" || len(id.Proof.Certificate) != 64 || !id.Narrowing.IsZero() {
			t.Errorf("identity %+v", id)
		}
		if again := f.alive("another token", c.token(client).Token); again.Identity.Principal.UID != id.Principal.UID {
			t.Error("the UID changed")
		}
		if sessions, err := f.s.Sessions(f.ctx(), "", token.Place{}, 1000); err != nil || len(sessions) != 0 {
			t.Errorf("%d sessions, %v", len(sessions), err)
		}
	})
}

// T-31: one request, one credential. I-24: a bad certificate is refused.
func TestCertificateBesideOthers(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		c := newCertified(f)
		good := c.ca.Client(ft.URI(workload))
		bad := ft.NewCA(t, "root").Client(ft.URI(workload))
		bob := "bob:" + password("bob")
		for _, tt := range []struct {
			what string
			r    *http.Request
			sub  string // "" is a refusal
		}{
			{"certificate", over(get("", ""), good), "external:" + workload + " (x509:build)"},
			{"certificate and empty Basic", over(get("", ":"), good), "external:" + workload + " (x509:build)"},
			{"bad certificate", over(get("", ""), bad), ""},
			{"bad certificate and empty Basic", over(get("", ":"), bad), ""},
			{"certificate and Basic", over(get("", bob), good), "user:bob"},
			{"bad certificate and Basic", over(get("", bob), bad), "user:bob"},
			{"certificate and wrong Basic", over(get("", "bob:wrong password"), good), ""},
			{"certificate and password grant", over(post(form("grant_type", "password", "service", service, "username", "bob", "password", password("bob"), "client_id", "x")), good), "user:bob"},
			{"certificate and no grant", over(post(form("service", service)), good), ""},
			{"certificate and its name", over(get("account="+"bob", ""), good), "external:" + workload + " (x509:build)"},
		} {
			a := f.do(tt.r)
			if (a.status == http.StatusOK) != (tt.sub != "") || tt.sub != "" && claims(t, a.Token)["sub"] != tt.sub {
				t.Errorf("%s: %d %s", tt.what, a.status, a.raw)
			}
		}
		refused := f.do(over(get("", ""), bad))
		if refused.status != http.StatusUnauthorized || !strings.Contains(refused.Description, "client certificate is not accepted") ||
			!strings.Contains(refused.Description, "req-1") || !strings.Contains(f.log.String(), "unknown authority") {
			t.Errorf("%d %s\n%s", refused.status, refused.raw, f.log)
		}
		f.s = f.service(token.Options{})
		if a := f.do(over(get("", ""), good)); a.status != http.StatusUnauthorized {
			t.Errorf("no authority configured: %d %s", a.status, a.raw)
		}
	})
}

// Tokens end with what their certificate rests on, within a second.
func TestCertificateTokenEnds(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		c := newCertified(f)
		client, other := c.ca.Client(ft.URI(workload)), c.ca.Client(ft.URI(workload))
		bearer, others := c.token(client).Token, c.token(other).Token
		f.alive("first", bearer)
		before := f.db.Queries()
		for range 10 {
			f.alive("again", bearer)
		}
		if n := f.db.Queries() - before; n != 0 {
			t.Errorf("%d queries for 10 requests", n)
		}
		ft.Write(t, c.crlFile, c.ca.CRL(f.clock().Add(30*time.Hour), client.Leaf))
		f.pass(time.Second)
		f.dead("revoked", bearer)
		f.alive("another certificate of the same name", others)
		if err := os.Remove(c.caFile); err != nil {
			t.Fatal(err)
		}
		f.pass(time.Second)
		f.dead("CA removed", others)
		ft.Write(t, c.caFile, ft.PEM(c.ca))
		f.pass(time.Second)
		f.alive("CA is back", others)

		brief := c.ca.Client(ft.URI(workload), func(x *x509.Certificate) { x.NotAfter = f.clock().Add(2 * time.Minute) })
		last := c.token(brief).Token
		f.alive("brief", last)
		f.pass(2 * time.Minute)
		f.dead("its certificate has expired: no grace for a push", last)

		without := f.service(token.Options{})
		f.s = without
		f.dead("a process without the authority", others)
	})
}

// T-12, T-19: claims of a certificate's token that do not agree.
func TestCertificateClaims(t *testing.T) {
	onSQLite(t, func(t *testing.T, f *fixture) {
		c := newCertified(f)
		forge := newForger(f)
		forge.text = c.token(c.ca.Client(ft.URI(workload))).Token
		f.alive("the forger's own good token", forge.raw(forge.header(""), forge.payload("", "")))
		for _, tt := range [][2]string{
			{workload, "spiffe://prod.test/other"},
			{`"name":"` + workload, `"name":"spiffe://prod.test/other`},
			{`"iss":"x509:build"`, `"iss":"x509:other"`},
			{`"iss":"x509:build"`, `"iss":""`},
			{`"method":"certificate"`, `"method":"password"`},
			{`"method":"certificate"`, `"method":"certificate","key":"k"`},
			{`"method":"certificate"`, `"method":"certificate","sid":"s"`},
			{`"trust":"spiffe`, `"trust":"cn`},
			{`"trust":"spiffe`, `"trust":"`},
			{`"uid":"x`, `"uid":"y`},
		} {
			f.dead(tt[0]+" → "+tt[1], forge.raw(forge.header(""), forge.payload(tt[0], tt[1])))
		}
		local := newForger(f)
		local.alive("alice", local.text)
		local.dead("an account's token with a certificate", local.raw(local.header(""), local.payload(`"method":"password"`, `"method":"certificate"`)))
	})
}
