package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Lives of what the local CA makes. Clients trust the CA by hand, so it lives
// long; the server's certificate is made anew by itself.
const (
	caLife     = 10 * 365 * 24 * time.Hour
	leafLife   = 365 * 24 * time.Hour
	renewAhead = 30 * 24 * time.Hour
)

// A localCA is made up at the first start and signs certificates for this
// server alone. Its files are in one directory:
//
//	ca.pem          to be trusted by clients (ca.crt is a copy under the name
//	                that podman --cert-dir and docker's certs.d expect)
//	ca-key.pem      its key
//	server.pem      the server's certificate
//	server-key.pem  its key
type localCA struct {
	dir   string
	names []string // DNS names and IP addresses, sorted
}

func newLocalCA(dir string, names []string) *localCA {
	names = slices.Clone(names)
	slices.Sort(names)
	return &localCA{dir: dir, names: slices.Compact(names)}
}

func (ca *localCA) path(name string) string { return filepath.Join(ca.dir, name) }

// ensure makes what is missing, is about to expire, or is for other names. When
// nothing is to be done it reads three small files.
func (ca *localCA) ensure(now time.Time) error {
	if err := makePrivateDir(ca.dir); err != nil {
		return err
	}
	root, err := ca.root(now)
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(ca.path("server.pem"), ca.path("server-key.pem"))
	if err == nil && ca.stillGood(pair.Leaf, root, now) {
		return nil
	}
	return ca.issue(root, now)
}

// stillGood reports whether the server's certificate leaf can stay.
func (ca *localCA) stillGood(leaf, root *x509.Certificate, now time.Time) bool {
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	slices.Sort(names)
	return slices.Equal(names, ca.names) && leaf.CheckSignatureFrom(root) == nil &&
		now.After(leaf.NotBefore) && now.Before(leaf.NotAfter.Add(-renewAhead))
}

// root returns the CA's certificate, made anew when there is none or it has
// little time left.
func (ca *localCA) root(now time.Time) (*x509.Certificate, error) {
	root, err := readCertificate(ca.path("ca.pem"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, cannot("restore ca.pem and ca-key.pem, or remove both to have them made anew", "read local CA: %w", err)
	case now.Before(root.NotAfter.Add(-2 * renewAhead)):
		return root, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key of local CA: %w", err)
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "Sallyport local CA " + serial.Text(36)[:8]},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(caLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make local CA: %w", err)
	}
	// The key first: a certificate without its key could sign nothing.
	if err := ca.writeKey("ca-key.pem", key); err != nil {
		return nil, err
	}
	for _, name := range []string{"ca.crt", "ca.pem"} {
		if err := ca.writeCertificates(name, der); err != nil {
			return nil, err
		}
	}
	return x509.ParseCertificate(der)
}

// issue signs a certificate for the names with a new key.
func (ca *localCA) issue(root *x509.Certificate, now time.Time) error {
	rootKey, err := ca.rootKey()
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	serial, err := serialNumber()
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: ca.names[0]},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(leafLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if template.NotAfter.After(root.NotAfter) {
		template.NotAfter = root.NotAfter
	}
	for _, name := range ca.names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, root, key.Public(), rootKey)
	if err != nil {
		return cannot("restore ca.pem and ca-key.pem, or remove both to have them made anew", "sign certificate with the local CA: %w", err)
	}
	if err := ca.writeKey("server-key.pem", key); err != nil {
		return err
	}
	return ca.writeCertificates("server.pem", der, root.Raw)
}

func (ca *localCA) rootKey() (*ecdsa.PrivateKey, error) {
	f, err := openSecret("local CA's key", ca.path("ca-key.pem"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 1<<16))
	if err != nil {
		return nil, fmt.Errorf("read local CA's key: %w", err)
	}
	const cure = "restore ca-key.pem, or remove it and ca.pem to have them made anew"
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, cannot(cure, "local CA's key: %s is not PEM", f.Name())
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, cannot(cure, "local CA's key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, cannot(cure, "local CA's key: %s is not an ECDSA key", f.Name())
	}
	return key, nil
}

func (ca *localCA) writeKey(name string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return writePrivate(ca.path(name), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func (ca *localCA) writeCertificates(name string, ders ...[]byte) error {
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return writePrivate(ca.path(name), out)
}

func readCertificate(path string) (*x509.Certificate, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s is not a certificate in PEM form", path)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// serialNumber returns 127 random bits (RFC 5280 §4.1.2.2 asks for a positive
// number of at most 20 octets).
func serialNumber() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	return n.SetBit(n, 126, 1), nil
}
