// Package federationtest makes certificate authorities for tests.
package federationtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"testing"
	"time"
)

// A CA signs certificates.
type CA struct {
	t    testing.TB
	Cert *x509.Certificate
	key  crypto.Signer
	up   []*x509.Certificate // what a client presents after its own
}

// NewCA makes an authority that has signed itself.
func NewCA(t testing.TB, name string, change ...func(*x509.Certificate)) *CA {
	return sign(t, nil, authority(name), change)
}

// Below makes an intermediate authority.
func (ca *CA) Below(name string, change ...func(*x509.Certificate)) *CA {
	return sign(ca.t, ca, authority(name), change)
}

func authority(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

func sign(t testing.TB, by *CA, template *x509.Certificate, change []func(*x509.Certificate)) *CA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = serial
	template.NotBefore, template.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(24*time.Hour)
	for _, f := range change {
		f(template)
	}
	made := &CA{t: t, key: key}
	parent, parentKey := template, crypto.Signer(key)
	if by != nil {
		parent, parentKey = by.Cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	if made.Cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	if by != nil && by.up != nil {
		made.up = append(made.up, made.Cert)
		made.up = append(made.up, by.up...)
	} else if by != nil {
		made.up = []*x509.Certificate{made.Cert}
	}
	return made
}

// Client makes a client certificate; change sets its names.
func (ca *CA) Client(change ...func(*x509.Certificate)) tls.Certificate {
	ca.t.Helper()
	c := sign(ca.t, ca, &x509.Certificate{
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, change)
	out := tls.Certificate{Certificate: [][]byte{c.Cert.Raw}, PrivateKey: c.key, Leaf: c.Cert}
	for _, u := range ca.up {
		out.Certificate = append(out.Certificate, u.Raw)
	}
	return out
}

// CRL makes a revocation list in PEM form that ends at until.
func (ca *CA) CRL(until time.Time, revoked ...*x509.Certificate) []byte {
	return ca.CRLOf(&x509.RevocationList{NextUpdate: until}, revoked...)
}

// CRLOf is CRL with more to choose.
func (ca *CA) CRLOf(template *x509.RevocationList, revoked ...*x509.Certificate) []byte {
	ca.t.Helper()
	template.Number = big.NewInt(time.Now().UnixNano())
	if template.ThisUpdate.IsZero() {
		template.ThisUpdate = time.Now().Add(-24 * time.Hour)
	}
	for _, c := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: c.SerialNumber, RevocationTime: template.ThisUpdate,
		})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, ca.Cert, ca.key)
	if err != nil {
		ca.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// PEM returns the certificates of authorities.
func PEM(cas ...*CA) []byte {
	var out []byte
	for _, ca := range cas {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Cert.Raw})...)
	}
	return out
}

// WriteFiles writes a client certificate with its chain, and its key.
func WriteFiles(t testing.TB, c tls.Certificate, certFile, keyFile string) {
	t.Helper()
	var chain []byte
	for _, der := range c.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	Write(t, certFile, chain)
	Write(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
}

// Write replaces a file at once.
func Write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// URI adds a URI to a certificate's names.
func URI(s string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		u, err := url.Parse(s)
		if err != nil {
			panic(err)
		}
		c.URIs = append(c.URIs, u)
	}
}

// DNS adds a DNS name.
func DNS(s string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, s) }
}

// Email adds an e-mail address.
func Email(s string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.EmailAddresses = append(c.EmailAddresses, s) }
}

// CN sets the common name.
func CN(s string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.Subject.CommonName = s }
}
