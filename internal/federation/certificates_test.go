package federation_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/federation"
	ft "github.com/sallyport/sallyport/internal/federation/federationtest"
)

const buildID = "spiffe://prod.test/ns/build/ci"

// A fixture has one authority, "build", and a clock that tests move.
type fixture struct {
	t   *testing.T
	dir string
	log bytes.Buffer
	now time.Time
	c   *federation.Certificates
}

func newFixture(t *testing.T) *fixture { return &fixture{t: t, dir: t.TempDir(), now: time.Now()} }

func (f *fixture) path(name string) string { return filepath.Join(f.dir, name) }

func (f *fixture) write(name string, data ...[]byte) string {
	ft.Write(f.t, f.path(name), bytes.Join(data, nil))
	return f.path(name)
}

func (f *fixture) tryOpen(list ...federation.ClientAuthority) error {
	c, err := federation.NewCertificates(list, federation.Options{
		Now: func() time.Time { return f.now }, Logger: slog.New(slog.NewTextHandler(&f.log, nil)),
	})
	f.c = c
	return err
}

func (f *fixture) open(list ...federation.ClientAuthority) {
	f.t.Helper()
	if err := f.tryOpen(list...); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) prove(c tls.Certificate) (access.Identity, error) {
	f.t.Helper()
	var chain []*x509.Certificate
	for _, der := range c.Certificate {
		parsed, err := x509.ParseCertificate(der)
		if err != nil {
			f.t.Fatal(err)
		}
		chain = append(chain, parsed)
	}
	return f.c.Authenticate(f.t.Context(), access.Certificate{Chain: chain, From: access.Origin{RequestID: "req-1"}})
}

// proves fails unless c proves name, now and when looked at again.
func (f *fixture) proves(what string, c tls.Certificate, name string) access.Identity {
	f.t.Helper()
	id, err := f.prove(c)
	if err != nil {
		f.t.Errorf("%s: %v\n%s", what, err, &f.log)
		return id
	}
	if p := id.Principal; p.Name != name || p.Issuer != "x509:build" || p.Kind != access.External || p.UID == "" || len(p.Groups) > 0 {
		f.t.Errorf("%s: proves %+v, want %s", what, p, name)
	}
	if id.Expires.After(c.Leaf.NotAfter) || id.Proof.Method != federation.Method || len(id.Proof.Certificate) != 64 {
		f.t.Errorf("%s: %+v", what, id)
	}
	f.stands(what, id)
	return id
}

func (f *fixture) stands(what string, id access.Identity) {
	f.t.Helper()
	again, err := f.c.Resolve(f.t.Context(), id.Principal.ID, id.Proof)
	if err != nil || again.Principal.UID != id.Principal.UID || !again.Expires.Equal(id.Expires.Truncate(time.Second)) {
		f.t.Errorf("%s: resolved to %+v, %v", what, again, err)
	}
}

func (f *fixture) void(what string, id access.Identity) {
	f.t.Helper()
	if again, err := f.c.Resolve(f.t.Context(), id.Principal.ID, id.Proof); !errors.Is(err, access.ErrBadCredential) {
		f.t.Errorf("%s: still resolves to %+v, %v", what, again, err)
	}
}

// refuses fails unless c proves nothing, for the reason that the log gives.
func (f *fixture) refuses(what string, c tls.Certificate, reason string) {
	f.t.Helper()
	f.log.Reset()
	id, err := f.prove(c)
	if !errors.Is(err, access.ErrBadCredential) || id.Principal.UID != "" {
		f.t.Errorf("%s: %+v, %v", what, id, err)
	}
	if line := f.log.String(); !strings.Contains(line, reason) || !strings.Contains(line, "req-1") {
		f.t.Errorf("%s: the log lacks %q:\n%s", what, reason, line)
	}
}

// I-24, T-07: what a client certificate must be.
func TestWhatIsRefused(t *testing.T) {
	f := newFixture(t)
	ca, other := ft.NewCA(t, "build root"), ft.NewCA(t, "build root")
	inner := ca.Below("inner")
	revoked := ca.Client(ft.URI(buildID))
	dead := ca.Below("dead inner")
	constrained := ca.Below("constrained", func(c *x509.Certificate) {
		c.PermittedURIDomains, c.PermittedDNSDomainsCritical = []string{"other.test"}, true
	})
	serversOnly := ca.Below("servers only", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	expired := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
	f.open(federation.ClientAuthority{
		Name: "build", Identity: federation.SPIFFE,
		CA:  f.write("ca.pem", ft.PEM(ca, inner, dead, constrained, serversOnly)),
		CRL: f.write("crl.pem", ca.CRL(f.now.Add(time.Hour), revoked.Leaf, dead.Cert), inner.CRL(f.now.Add(time.Hour)), dead.CRL(f.now.Add(time.Hour)), constrained.CRL(f.now.Add(time.Hour)), serversOnly.CRL(f.now.Add(time.Hour))),
	})
	f.proves("good", ca.Client(ft.URI(buildID)), buildID)
	f.proves("good, by an intermediate", inner.Client(ft.URI(buildID)), buildID)
	f.proves("other names beside it", ca.Client(ft.URI(buildID), ft.DNS("a.test"), ft.DNS("b.test"), ft.CN("admin")), buildID)

	usage := func(u ...x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtKeyUsage = u }
	}
	uri := ft.URI(buildID)
	for _, tt := range []struct {
		what   string
		c      tls.Certificate
		reason string
	}{
		{"wrong CA", other.Client(uri), "certificate signed by unknown authority"},
		{"wrong CA below", other.Below("inner").Client(uri), "certificate signed by unknown authority"},
		{"expired", ca.Client(uri, expired), "certificate has expired"},
		{"not yet", ca.Client(uri, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }), "not yet valid"},
		{"expired intermediate", ca.Below("old", expired).Client(uri), "certificate has expired"},
		{"revoked", revoked, "it was revoked"},
		{"revoked intermediate", dead.Client(uri), "it was revoked, or an authority"},
		{"an authority without a list", ca.Below("new").Client(uri), "crl has no list of an authority in its chain"},
		{"no usages", ca.Client(uri, usage()), "lacks the extended key usage clientAuth"},
		{"for servers", ca.Client(uri, usage(x509.ExtKeyUsageServerAuth)), "lacks the extended key usage clientAuth"},
		{"for anything", ca.Client(uri, usage(x509.ExtKeyUsageAny)), "lacks the extended key usage clientAuth"},
		{"authority for servers", serversOnly.Client(uri), "incompatible key usage"},
		{"for encryption", ca.Client(uri, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), "lacks digitalSignature"},
		{"an authority's own", ca.Client(uri, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), "certificate of an authority"},
		{"name constraint", constrained.Client(uri), "is not permitted by any constraint"},
		{"two SANs", ca.Client(uri, ft.URI("spiffe://prod.test/other")), "it has 2 names of the kind spiffe"},
		{"the same twice", ca.Client(uri, uri), "it has 2 names of the kind spiffe"},
		{"no SAN", ca.Client(ft.CN("admin")), "it has 0 names of the kind spiffe"},
		{"another kind", ca.Client(ft.DNS("a.test"), ft.CN(buildID)), "it has 0 names of the kind spiffe"},
		{"not SPIFFE", ca.Client(ft.URI("https://prod.test/ns")), "its URI is not a SPIFFE ID"},
		{"unknown critical extension", ca.Client(uri, func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}})
		}), "unhandled critical extension"},
	} {
		f.refuses(tt.what, tt.c, tt.reason)
	}
	many := ca.Client(uri)
	for range 6 {
		many.Certificate = append(many.Certificate, other.Cert.Raw)
	}
	f.refuses("a long chain", many, "more than 5 certificates")
	if _, err := f.c.Authenticate(t.Context(), access.Certificate{}); !errors.Is(err, access.ErrBadCredential) {
		t.Error("nothing presented:", err)
	}
	if _, err := f.c.Authenticate(t.Context(), access.Password{Name: "admin"}); !errors.Is(err, access.ErrBadCredential) {
		t.Error("a password:", err)
	}
}

// One documented field names the principal.
func TestIdentities(t *testing.T) {
	ca := ft.NewCA(t, "root")
	for _, tt := range []struct {
		identity federation.Identity
		with     func(*x509.Certificate)
		want     string // "" is refused
	}{
		{federation.SPIFFE, ft.URI("spiffe://a.test/x"), "spiffe://a.test/x"},
		{federation.SPIFFE, ft.URI("SPIFFE://a.test/X"), "spiffe://a.test/X"},
		{federation.SPIFFE, ft.URI("spiffe://a.test"), ""},
		{federation.SPIFFE, ft.URI("spiffe://a.test/"), ""},
		{federation.SPIFFE, ft.URI("spiffe://a.test/x/"), ""},
		{federation.SPIFFE, ft.URI("spiffe://a.test/x//y"), ""},
		{federation.SPIFFE, ft.URI("spiffe://a.test/x/../y"), ""},
		{federation.SPIFFE, ft.URI("spiffe://a.test/x%2Fy"), ""},
		{federation.SPIFFE, ft.URI("spiffe://a.test:1/x"), ""},
		{federation.SPIFFE, ft.URI("spiffe://u@a.test/x"), ""},
		{federation.SPIFFE, ft.URI("spiffe://a.test/x?y"), ""},
		{federation.SPIFFE, ft.URI("spiffe://a.test/x*"), ""},
		{federation.SPIFFE, ft.URI("spiffe://a.test/" + strings.Repeat("x", 600)), ""},
		{federation.DNS, ft.DNS("ci.A.test"), "ci.a.test"},
		{federation.DNS, ft.DNS("*.a.test"), ""},
		{federation.DNS, ft.DNS("a..test"), ""},
		{federation.Email, ft.Email("Alice+ci@A.test"), "Alice+ci@a.test"},
		{federation.CommonName, ft.CN("admin"), "admin"},
		{federation.CommonName, ft.CN("Build Server 7"), "Build Server 7"},
		{federation.CommonName, ft.CN("a\x00b"), ""},
		{federation.CommonName, ft.CN("user:*"), ""},
		{federation.CommonName, ft.CN(" a"), ""},
		{federation.CommonName, ft.CN(""), ""},
		{federation.CommonName, func(c *x509.Certificate) {
			c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "a"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "b"}}
		}, ""},
	} {
		f := newFixture(t)
		f.open(federation.ClientAuthority{Name: "build", Identity: tt.identity, CA: f.write("ca.pem", ft.PEM(ca))})
		c := ca.Client(tt.with)
		what := string(tt.identity) + " " + tt.want
		if tt.want == "" {
			f.refuses(what, c, "")
		} else {
			f.proves(what, c, tt.want)
		}
	}
}

// A certificate means one principal, or none.
func TestTwoAuthorities(t *testing.T) {
	f := newFixture(t)
	ca := ft.NewCA(t, "root")
	revoked := ca.Client(ft.URI(buildID))
	file, crl := f.write("ca.pem", ft.PEM(ca)), f.write("crl.pem", ca.CRL(f.now.Add(time.Hour), revoked.Leaf))
	f.open(
		federation.ClientAuthority{Name: "build", Identity: federation.SPIFFE, CA: file, CRL: crl},
		federation.ClientAuthority{Name: "hosts", Identity: federation.DNS, CA: file},
	)
	f.proves("one kind of name", ca.Client(ft.URI(buildID)), buildID)
	f.refuses("both kinds", ca.Client(ft.URI(buildID), ft.DNS("a.test")), "more than one authority vouches")
	f.refuses("revoked for one", revoked, "it was revoked")
	host, err := f.prove(ca.Client(ft.DNS("a.test")))
	if err != nil || host.Principal.Issuer != "x509:hosts" {
		t.Errorf("%+v, %v", host, err)
	}
}

// What is taken out of the files ends what was proven with it (I-24: after CA
// removal).
func TestFilesChange(t *testing.T) {
	f := newFixture(t)
	ca, next := ft.NewCA(t, "root"), ft.NewCA(t, "next root")
	inner := ca.Below("inner")
	tick := func() { f.now = f.now.Add(time.Second) }
	f.open(federation.ClientAuthority{
		Name: "build", Identity: federation.SPIFFE, CA: f.write("ca.pem", ft.PEM(ca, inner)),
		CRL: f.write("crl.pem", ca.CRL(f.now.Add(time.Hour)), inner.CRL(f.now.Add(time.Hour))),
	})
	direct, below := ca.Client(ft.URI(buildID)), inner.Client(ft.URI(buildID))
	a, b := f.proves("direct", direct, buildID), f.proves("below", below, buildID)

	f.write("crl.pem", ca.CRL(f.now.Add(2*time.Hour), direct.Leaf), inner.CRL(f.now.Add(2*time.Hour)))
	f.stands("within half a second nobody looks", a)
	tick()
	f.void("revoked", a)
	f.stands("not revoked", b)
	f.refuses("revoked", direct, "it was revoked")

	f.write("crl.pem", []byte("garbage"))
	tick()
	f.stands("an unreadable list: the last one counts", b)
	f.void("an unreadable list: the last one counts", a)
	f.write("crl.pem", ca.CRLOf(&x509.RevocationList{ThisUpdate: time.Now().Add(-47 * time.Hour), NextUpdate: f.now.Add(3 * time.Hour)}), inner.CRL(f.now.Add(2*time.Hour)))
	tick()
	f.void("an older list revives nothing", a)
	if err := os.Remove(f.path("crl.pem")); err != nil {
		t.Fatal(err)
	}
	tick()
	f.stands("no list file", b)
	f.now = f.now.Add(2*time.Hour + time.Minute)
	f.void("until the last list ends", b)
	f.refuses("until the last list ends", below, "out of date")
	f.write("crl.pem", ca.CRL(f.now.Add(time.Hour)), inner.CRL(f.now.Add(time.Hour)))
	tick()
	f.stands("a current list", b)
	f.stands("no longer revoked", a)

	f.write("ca.pem", ft.PEM(ca))
	tick()
	f.void("its intermediate was removed", b)
	f.stands("the anchor is there", a)
	f.write("ca.pem", ft.PEM(ca, next, inner))
	tick()
	f.stands("a second anchor", b)
	f.write("ca.pem", ft.PEM(ca)[:200])
	tick()
	f.void("half a file", a)
	f.refuses("half a file", direct, "unknown authority")
	f.write("ca.pem", ft.PEM(next))
	tick()
	f.void("another authority", a)
	f.refuses("another authority", direct, "unknown authority")
	f.write("ca.pem", ft.PEM(ca, inner))
	f.write("crl.pem", ca.CRL(f.now.Add(time.Hour)), inner.CRL(f.now.Add(time.Hour)))
	tick()
	f.stands("back again", a)
	f.now = direct.Leaf.NotAfter
	f.void("expired", a)
}

// What a proof is bound to beside the files.
func TestOtherConfiguration(t *testing.T) {
	f := newFixture(t)
	ca := ft.NewCA(t, "root")
	good := federation.ClientAuthority{Name: "build", Identity: federation.SPIFFE, CA: f.write("ca.pem", ft.PEM(ca))}
	f.open(good)
	id := f.proves("good", ca.Client(ft.URI(buildID), ft.DNS("a.test")), buildID)
	renamed, other := good, good
	renamed.Name, other.Identity = "builds", federation.DNS
	for what, list := range map[string][]federation.ClientAuthority{"removed": nil, "renamed": {renamed}, "another identity": {other}} {
		f.open(list...)
		f.void(what, id)
	}
	f.open(good)
	f.stands("as before", id)
	for _, trust := range []string{"", "x", "spiffe x y z", strings.Replace(id.Proof.Trust, "spiffe", "dns", 1), id.Proof.Trust + strings.Repeat(" a:b", 20)} {
		changed := id
		changed.Proof.Trust = trust
		f.void("trust "+trust, changed)
	}
	local := id
	local.Principal.Issuer = ""
	f.void("no issuer", local)
	password := id
	password.Proof.Method = "password"
	f.void("another method", password)
}

// What cannot be used stops the start, with the cure.
func TestBadFiles(t *testing.T) {
	f := newFixture(t)
	ca, other := ft.NewCA(t, "root"), ft.NewCA(t, "root")
	hour := f.now.Add(time.Hour)
	leaf := ca.Client(ft.URI(buildID))
	ft.WriteFiles(t, leaf, f.path("leaf.pem"), f.path("leaf-key.pem"))
	partial := &x509.RevocationList{NextUpdate: hour, ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 0}}}}
	for _, tt := range []struct{ what, ca, crl, reason string }{
		{"no CA", f.path("none"), "", "no such file"},
		{"no PEM", f.write("a", []byte("x")), "", "holds 0 certificates"},
		{"a leaf", f.path("leaf.pem"), "", "no authority's"},
		{"a key", f.path("leaf-key.pem"), "", `holds a "PRIVATE KEY"`},
		{"no CRL", f.write("ca.pem", ft.PEM(ca)), f.path("none"), "no such file"},
		{"garbage", f.path("ca.pem"), f.write("b", []byte("x")), "malformed"},
		{"another's", f.path("ca.pem"), f.write("c", other.CRL(hour)), "signed by none of the certificates in ca"},
		{"one of two is another's", f.path("ca.pem"), f.write("d", ca.CRL(hour), other.CRL(hour)), "signed by none"},
		{"twice", f.path("ca.pem"), f.write("e", ca.CRL(hour), ca.CRL(hour)), "two lists of one authority"},
		{"future", f.path("ca.pem"), f.write("g", ca.CRLOf(&x509.RevocationList{ThisUpdate: hour, NextUpdate: hour.Add(time.Hour)})), "comes from the future"},
		{"partial", f.path("ca.pem"), f.write("h", ca.CRLOf(partial)), "only complete lists"},
	} {
		err := f.tryOpen(federation.ClientAuthority{Name: "build", Identity: federation.SPIFFE, CA: tt.ca, CRL: tt.crl})
		var hint interface{ Hint() string }
		if err == nil || !strings.Contains(err.Error(), tt.reason) || !errors.As(err, &hint) || hint.Hint() == "" {
			t.Errorf("%s: %v", tt.what, err)
		}
	}
	// A list past its end is no reason not to serve the others.
	f.open(federation.ClientAuthority{Name: "build", Identity: federation.SPIFFE, CA: f.path("ca.pem"), CRL: f.write("i", ca.CRL(f.now.Add(-time.Minute)))})
	if !strings.Contains(f.log.String(), "revocation list out of date") {
		t.Error("nothing is said of a stale list")
	}
	f.refuses("stale from the start", leaf, "out of date")
}

// The policy of docs/mtls.md gives what it says, to nobody else.
func TestDocumentedPolicy(t *testing.T) {
	text, err := os.ReadFile("../../docs/mtls.md")
	if err != nil {
		t.Fatal(err)
	}
	_, document, _ := strings.Cut(string(text), "```yaml\nversion: 2\n")
	document, _, _ = strings.Cut(document, "```")
	policy, err := access.ParsePolicy([]byte("version: 2\n" + document))
	if err != nil {
		t.Fatal(err)
	}
	const name = "spiffe://prod.example.com/ns/build/ci"
	for _, tt := range []struct {
		issuer, name string
		may          bool
	}{{"x509:build", name, true}, {"x509:other", name, false}, {"x509:build", name + "2", false}, {"", name, false}} {
		p := access.ExternalPrincipal(tt.issuer, tt.name, nil)
		au := access.Authority{Identity: access.Identity{Principal: p}, Policy: policy, Now: time.Now()}
		if may := au.May(access.Push, "team/app"); may != tt.may {
			t.Errorf("%+v may push: %t", p.ID, may)
		}
	}
}
