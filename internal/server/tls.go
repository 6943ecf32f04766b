package server

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"time"

	"github.com/sallyport/sallyport/internal/config"
)

// newTLS returns the listener's TLS configuration, and the file of the local CA
// when that is where the certificate comes from.
func newTLS(c config.Config, now func() time.Time, log *slog.Logger) (*tls.Config, string, error) {
	if c.TLS.Certificate != "" {
		cert, err := newCertificate(c.TLS.Certificate, c.TLS.Key, now, log)
		if err != nil {
			return nil, "", err
		}
		return tlsConfig(cert), "", nil
	}
	ca := newLocalCA(filepath.Join(c.Data, "tls"), localNames(c))
	if err := ca.ensure(now()); err != nil {
		return nil, "", err
	}
	cert, err := newCertificate(ca.path("server.pem"), ca.path("server-key.pem"), now, log)
	if err != nil {
		return nil, "", err
	}
	cert.renew = func(now time.Time) error {
		if now.Before(cert.current.Load().Leaf.NotAfter.Add(-renewAhead)) {
			return nil
		}
		return ca.ensure(now)
	}
	return tlsConfig(cert), ca.path("ca.pem"), nil
}

func tlsConfig(c *certificate) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
}

// localNames are the names a certificate of the local CA is for: this machine's
// own, the host of the external URL and the host listened on.
func localNames(c config.Config) []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if u, err := url.Parse(c.ExternalURL); err == nil && u.Hostname() != "" {
		names = append(names, canonicalName(u.Hostname()))
	}
	if host, _, err := net.SplitHostPort(c.Listen); err == nil && host != "" {
		if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
			names = append(names, canonicalName(host))
		}
	}
	return names
}

// canonicalName writes an IP address as a certificate gives it back.
func canonicalName(host string) string {
	if ip := net.ParseIP(host); ip != nil {
		return ip.String()
	}
	return host
}
