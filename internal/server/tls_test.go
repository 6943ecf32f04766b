package server_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/server"
)

// A clock that tests move by hand.
type clock struct{ offset atomic.Int64 }

func (c *clock) Now() time.Time          { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *clock) advance(d time.Duration) { c.offset.Add(int64(d)) }

// pair makes a self-signed certificate and its key, as PEM.
func pair(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCertificateReload(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	certA, keyA := pair(t, "a")
	certB, keyB := pair(t, "b")
	write(t, certFile, certA)
	write(t, keyFile, keyA)
	var now clock
	log := &lines{}
	get, err := server.CertificateFiles(certFile, keyFile, now.Now, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	serves := func(step, want string) {
		t.Helper()
		if got := get().Leaf.Subject.CommonName; got != want {
			t.Errorf("%s: serves %s, want %s", step, got, want)
		}
	}
	complaints := func(step string, want int) {
		t.Helper()
		if n := len(log.with(t, "certificate not reloaded, the last good one stays")); n != want {
			t.Errorf("%s: %d complaints, want %d", step, n, want)
		}
	}
	serves("start", "a")

	write(t, certFile, certB)
	serves("within a second nobody looks", "a")
	now.advance(2 * time.Second)
	serves("half of the new pair", "a")
	complaints("half of the new pair", 1)
	now.advance(2 * time.Second)
	serves("still half", "a")
	complaints("the same failure is said once", 1)
	write(t, keyFile, keyB)
	now.advance(2 * time.Second)
	serves("the whole pair", "b")

	write(t, certFile, certA[:len(certA)/2])
	now.advance(2 * time.Second)
	serves("a half-written file", "b")
	complaints("a half-written file", 2)
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	now.advance(2 * time.Second)
	serves("no file", "b")
	complaints("no file", 3)
	if err := server.WritePrivate(keyFile, keyA); err != nil {
		t.Fatal(err)
	}
	if err := server.WritePrivate(certFile, certA); err != nil {
		t.Fatal(err)
	}
	now.advance(2 * time.Second)
	serves("the old pair again", "a")

	if err := os.Chmod(keyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	write(t, certFile, append([]byte("# touched\n"), certA...))
	now.advance(2 * time.Second)
	serves("X-03 a key that others can read", "a")
	complaints("X-03 a key that others can read", 4)
	if !strings.Contains(log.String(), "can be read by others") {
		t.Error(log)
	}
}

func TestBadCertificates(t *testing.T) {
	certA, keyA := pair(t, "a")
	_, keyB := pair(t, "b")
	for name, tt := range map[string]struct {
		cert, key []byte
		mode      os.FileMode
		want      string
	}{
		"no match":      {certA, keyB, 0o600, "cannot be used"},
		"no PEM":        {[]byte("x"), keyA, 0o600, "cannot be used"},
		"no key":        {certA, []byte("x"), 0o600, "cannot be used"},
		"X-03 readable": {certA, keyA, 0o640, "can be read by others (mode 0640)"},
		"X-03 world":    {certA, keyA, 0o604, "can be read by others (mode 0604)"},
		"passphrase":    {certA, bytes.ReplaceAll(keyA, []byte("PRIVATE"), []byte("ENCRYPTED PRIVATE")), 0o600, "encrypted with a passphrase"},
		"missing":       {certA, nil, 0o600, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			certFile, keyFile := filepath.Join(dir, "c"), filepath.Join(dir, "k")
			write(t, certFile, tt.cert)
			if tt.key != nil {
				write(t, keyFile, tt.key)
				if err := os.Chmod(keyFile, tt.mode); err != nil {
					t.Fatal(err)
				}
			}
			_, err := server.CertificateFiles(certFile, keyFile, time.Now, slog.New(slog.DiscardHandler))
			hasHint(t, err, tt.want)
		})
	}
}

func TestLocalCA(t *testing.T) {
	c := config.Default()
	c.Data = t.TempDir()
	c.ExternalURL = "https://reg.test:8443"
	var now clock
	start := func() (*tls.Config, *x509.CertPool) {
		t.Helper()
		conf, caFile, err := server.NewTLS(c, now.Now, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ca, err := os.ReadFile(caFile)
		if err != nil {
			t.Fatal(err)
		}
		if crt, err := os.ReadFile(strings.TrimSuffix(caFile, ".pem") + ".crt"); err != nil || !bytes.Equal(crt, ca) {
			t.Errorf("ca.crt is not ca.pem: %v", err)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(ca)
		return conf, pool
	}
	leaf := func(conf *tls.Config) *x509.Certificate {
		t.Helper()
		pair, err := conf.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf
	}
	conf, pool := start()
	first := leaf(conf)
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "reg.test"} {
		if _, err := first.Verify(x509.VerifyOptions{Roots: pool, DNSName: name, CurrentTime: now.Now()}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := first.Verify(x509.VerifyOptions{Roots: pool, DNSName: "other.test"}); err == nil {
		t.Error("good for another name")
	}
	if k, ok := first.PublicKey.(*ecdsa.PublicKey); !ok || k.Curve != elliptic.P256() || first.IsCA {
		t.Errorf("key %T", first.PublicKey)
	}
	if conf.MinVersion != tls.VersionTLS12 {
		t.Errorf("least version %x", conf.MinVersion)
	}

	conf, samePool := start()
	if !leaf(conf).Equal(first) || !samePool.Equal(pool) {
		t.Error("a second start made something new")
	}
	c.ExternalURL = "https://other.test"
	conf, samePool = start()
	renamed := leaf(conf)
	if renamed.Equal(first) || !samePool.Equal(pool) || !slices.Contains(renamed.DNSNames, "other.test") {
		t.Error("not issued anew for another name by the same CA")
	}

	now.advance(336 * 24 * time.Hour)
	renewed := leaf(conf)
	if renewed.Equal(renamed) || renewed.NotAfter.Before(now.Now().Add(300*24*time.Hour)) {
		t.Error("not renewed while running")
	}
	if _, err := renewed.Verify(x509.VerifyOptions{Roots: pool, DNSName: "other.test", CurrentTime: now.Now()}); err != nil {
		t.Error(err)
	}

	now.advance(10 * 365 * 24 * time.Hour)
	conf, newPool := start()
	if newPool.Equal(pool) {
		t.Error("the CA outlived itself")
	}
	if _, err := leaf(conf).Verify(x509.VerifyOptions{Roots: newPool, DNSName: "localhost", CurrentTime: now.Now()}); err != nil {
		t.Error(err)
	}
}

// A crash between two of the files leaves nothing to repair by hand.
func TestLocalCARepairs(t *testing.T) {
	other := config.Default()
	other.Data = t.TempDir()
	if _, _, err := server.NewTLS(other, time.Now, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	for name, harm := range map[string]func(dir string) error{
		"no server certificate": func(dir string) error { return os.Remove(filepath.Join(dir, "server.pem")) },
		"no server key":         func(dir string) error { return os.Remove(filepath.Join(dir, "server-key.pem")) },
		"only the CA's key": func(dir string) error {
			return os.Remove(filepath.Join(dir, "ca.pem"))
		},
		"half a server certificate": func(dir string) error { return os.Truncate(filepath.Join(dir, "server.pem"), 100) },
		"another server key": func(dir string) error {
			key, err := os.ReadFile(filepath.Join(other.Data, "tls", "server-key.pem"))
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, "server-key.pem"), key, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := config.Default()
			c.Data = t.TempDir()
			for range 2 {
				if _, _, err := server.NewTLS(c, time.Now, slog.New(slog.DiscardHandler)); err != nil {
					t.Fatal(err)
				}
				if err := harm(filepath.Join(c.Data, "tls")); err != nil {
					t.Fatal(err)
				}
			}
			if _, _, err := server.NewTLS(c, time.Now, slog.New(slog.DiscardHandler)); err != nil {
				t.Error(err)
			}
		})
	}
	for name, file := range map[string]string{"half a CA": "ca.pem", "half a CA key": "ca-key.pem"} {
		t.Run(name, func(t *testing.T) {
			c := config.Default()
			c.Data = t.TempDir()
			if _, _, err := server.NewTLS(c, time.Now, slog.New(slog.DiscardHandler)); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(filepath.Join(c.Data, "tls", file), 50); err != nil {
				t.Fatal(err)
			}
			c.ExternalURL = "https://reg.test"
			_, _, err := server.NewTLS(c, time.Now, slog.New(slog.DiscardHandler))
			hasHint(t, err, "")
		})
	}
}

func TestTLSVersions(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		c := settings(t)
		c.TLS.HTTP2 = http2
		r := start(t, c, server.Options{})
		resp, _ := r.get(t, "/v2/")
		if (resp.ProtoMajor == 2) != http2 {
			t.Errorf("http2 %v: %s", http2, resp.Proto)
		}
		if resp.TLS.Version != tls.VersionTLS13 {
			t.Errorf("version %x", resp.TLS.Version)
		}
		for version, ok := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true} {
			conf := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: version}
			conn, err := tls.Dial("tcp", r.Address(), conf)
			if (err == nil) != ok {
				t.Errorf("version %x: %v", version, err)
			}
			if err == nil {
				conn.Close()
			}
		}
		if status, _ := plainGet(t, r.Address(), "/v2/"); status != 400 {
			t.Errorf("plain HTTP on a TLS port: %d", status)
		}
	}
}
