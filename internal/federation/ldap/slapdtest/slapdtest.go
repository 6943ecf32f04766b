// Package slapdtest runs OpenLDAP's slapd for tests, on loopback and by nobody.
package slapdtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
)

// What is in every directory: bases, and who may search below them.
const (
	Base         = "dc=corp,dc=test"
	People       = "ou=people," + Base
	Groups       = "ou=groups," + Base
	BindDN       = "cn=registry," + Base
	BindPassword = "canary-of-the-registry"
)

const (
	root         = "cn=root," + Base
	rootPassword = "canary-of-root"
)

// A Server is one slapd with a directory of its own.
type Server struct {
	URL, StartTLS string // ldaps:// and ldap://
	CA            []byte // PEM

	t        testing.TB
	dir      string
	lifeline io.Closer
	cmd      *exec.Cmd
}

// Nobody but the registry reads anything, and nobody reads passwords.
const config = `
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
pidfile %[1]s/pid
TLSCertificateFile %[1]s/cert.pem
TLSCertificateKeyFile %[1]s/key.pem
database mdb
suffix ` + Base + `
rootdn ` + root + `
rootpw ` + rootPassword + `
directory %[1]s/data
dbnosync
overlay memberof
access to attrs=userPassword by anonymous auth by * none
access to dn.subtree="` + Base + `" by dn.exact="` + BindDN + `" read by anonymous auth by * none
`

// script runs slapd until its standard input ends, which it does with the test
// binary.
const script = `"$1" -f "$2/slapd.conf" -h "$3" -d 0 >"$2/log" 2>&1 & job=$!; read -r _; kill "$job"; wait "$job"`

// Start starts a slapd, which ends with the test. Where it is missing the test is
// skipped, and says so; with CI=true it fails.
func Start(t testing.TB) *Server {
	t.Helper()
	_, err := find()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("left out: everything with a directory: ", err)
	}
	// Not in t.TempDir, which others may not enter.
	dir, err := os.MkdirTemp("", "sallyport-slapd")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &Server{t: t, dir: dir, URL: "ldaps://" + free(t), StartTLS: "ldap://" + free(t)}
	must(t, os.Mkdir(filepath.Join(dir, "data"), 0o700))
	s.certificate()
	must(t, os.WriteFile(filepath.Join(dir, "slapd.conf"), fmt.Appendf(nil, config, dir), 0o600))
	s.Run()
	s.Add(Base, "objectClass", "dcObject", "objectClass", "organization", "o", "corp", "dc", "corp")
	s.Add(People, "objectClass", "organizationalUnit", "ou", "people")
	s.Add(Groups, "objectClass", "organizationalUnit", "ou", "groups")
	s.Add(BindDN, "objectClass", "applicationProcess", "objectClass", "simpleSecurityObject", "cn", "registry", "userPassword", BindPassword)
	return s
}

func find() (string, error) {
	for _, path := range []string{"slapd", "/usr/sbin/slapd", "/usr/libexec/slapd"} {
		if found, err := exec.LookPath(path); err == nil {
			return found, nil
		}
	}
	return "", fmt.Errorf("slapd is not installed (looked in PATH and /usr/sbin)")
}

func free(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// Run starts slapd, where it was before and with what it knew.
func (s *Server) Run() {
	s.t.Helper()
	path, err := find()
	must(s.t, err)
	cmd := exec.Command("/bin/sh", "-c", script, "sh", path, s.dir, s.URL+" "+s.StartTLS)
	s.lifeline, err = cmd.StdinPipe()
	must(s.t, err)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal is not for it
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = s.demote()
	}
	must(s.t, cmd.Start())
	s.cmd = cmd
	s.t.Cleanup(s.Stop)
	for range 200 {
		if c, err := s.dial(); err == nil {
			c.Close()
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	s.t.Fatalf("slapd does not start: %s", log)
}

// Stop ends slapd.
func (s *Server) Stop() {
	if s.cmd != nil {
		s.lifeline.Close()
		s.cmd.Wait() // it was killed
		s.cmd = nil
	}
}

// demote gives the folder to nobody.
func (s *Server) demote() *syscall.Credential {
	u, err := user.Lookup("nobody")
	must(s.t, err)
	uid, err := strconv.Atoi(u.Uid)
	must(s.t, err)
	gid, err := strconv.Atoi(u.Gid)
	must(s.t, err)
	must(s.t, filepath.WalkDir(s.dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, uid, gid)
	}))
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// certificate makes one that vouches for itself.
func (s *Server) certificate() {
	cert, key, err := Certificate()
	must(s.t, err)
	s.CA = cert
	must(s.t, os.WriteFile(filepath.Join(s.dir, "cert.pem"), cert, 0o600))
	must(s.t, os.WriteFile(filepath.Join(s.dir, "key.pem"), key, 0o600))
}

// Certificate makes one for loopback that vouches for itself, and its key; both PEM.
func Certificate() (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "directory"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

// dial returns a connection that may do everything.
func (s *Server) dial() (*goldap.Conn, error) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.CA)
	c, err := goldap.DialURL(s.URL, goldap.DialWithTLSConfig(&tls.Config{RootCAs: pool}))
	if err != nil {
		return nil, err
	}
	if err := c.Bind(root, rootPassword); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Do lets fn change the directory.
func (s *Server) Do(fn func(*goldap.Conn) error) {
	s.t.Helper()
	c, err := s.dial()
	must(s.t, err)
	defer c.Close()
	must(s.t, fn(c))
}

// Add adds an entry with attributes, each followed by a value.
func (s *Server) Add(dn string, attributes ...string) {
	s.t.Helper()
	r := goldap.NewAddRequest(dn, nil)
	values := map[string][]string{}
	for i := 0; i < len(attributes); i += 2 {
		values[attributes[i]] = append(values[attributes[i]], attributes[i+1])
	}
	for name, of := range values {
		r.Attribute(name, of)
	}
	s.Do(func(c *goldap.Conn) error { return c.Add(r) })
}

// AddPerson adds somebody with the password "canary-of-NAME", and returns the DN.
func (s *Server) AddPerson(name string, more ...string) string {
	s.t.Helper()
	dn := "uid=" + goldap.EscapeDN(name) + "," + People
	s.Add(dn, append([]string{"objectClass", "inetOrgPerson", "uid", name, "cn", name, "sn", name, "userPassword", "canary-of-" + name}, more...)...)
	return dn
}

// AddGroup adds a group with members, and returns the DN.
func (s *Server) AddGroup(name string, members ...string) string {
	s.t.Helper()
	dn := "cn=" + goldap.EscapeDN(name) + "," + Groups
	attributes := []string{"objectClass", "groupOfNames", "cn", name}
	for _, m := range members {
		attributes = append(attributes, "member", m)
	}
	s.Add(dn, attributes...)
	return dn
}

// Remove removes entries.
func (s *Server) Remove(dns ...string) {
	s.t.Helper()
	s.Do(func(c *goldap.Conn) error {
		for _, dn := range dns {
			if err := c.Del(goldap.NewDelRequest(dn, nil)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Set replaces the values of an attribute.
func (s *Server) Set(dn, attribute string, values ...string) {
	s.t.Helper()
	r := goldap.NewModifyRequest(dn, nil)
	r.Replace(attribute, values)
	s.Do(func(c *goldap.Conn) error { return c.Modify(r) })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
