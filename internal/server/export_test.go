package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/netip"
	"reflect"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/config"
)

// NewHTTP returns an HTTP server with our limits and patience.
func NewHTTP(h http.Handler) *http.Server {
	return (&Server{log: slog.New(slog.DiscardHandler)}).newHTTP(h)
}

// Handlers returns what the listeners serve.
func (s *Server) Handlers() (front, health http.Handler) { return s.front, s.health.http.Handler }

// DoorNames returns the names of the doors behind the front.
func DoorNames() []string {
	var out []string
	for f := range reflect.TypeFor[doors]().Fields() {
		out = append(out, f.Name)
	}
	return out
}

// FrontOptions configure NewFront.
type FrontOptions struct {
	Door     http.Handler // for every path
	External string
	Scheme   string
	Listens  []netip.AddrPort
	Proxies  []netip.Prefix
	Log      *slog.Logger
	Plain    bool // plain HTTP for the proxies alone
}

// NewFront returns the outermost handler before one door, and the builder of
// realms that the doors get.
func NewFront(o FrontOptions) (http.Handler, func(*http.Request) string) {
	n, err := newNames(o.Scheme, o.External, o.Listens)
	if err != nil {
		panic(err)
	}
	return &front{
		doors: doors{o.Door, o.Door, o.Door, o.Door, o.Door}, names: n, proxies: o.Proxies, onlyProxies: o.Plain, metrics: newMetrics(),
		log: o.Log, rand: newRandom(nil),
	}, n.realm
}

// NewHealth returns the handler of the health listener with one part.
func NewHealth(ask func(context.Context) error, now func() time.Time) http.Handler {
	return (&health{probes: []probe{{"database", ask}}, metrics: http.NotFoundHandler(), log: slog.New(slog.DiscardHandler), now: now}).handler()
}

// Client is proxies.client.
func Client(p []netip.Prefix, peer netip.Addr, h http.Header) netip.Addr {
	return proxies(p).client(peer, h)
}

// CertificateFiles returns what a TLS configuration with own files serves.
func CertificateFiles(certFile, keyFile string, now func() time.Time, log *slog.Logger) (func() *tls.Certificate, error) {
	c, err := newCertificate(certFile, keyFile, now, log)
	if err != nil {
		return nil, err
	}
	return func() *tls.Certificate {
		pair, err := c.get(nil)
		if err != nil {
			panic(err)
		}
		return pair
	}, nil
}

// NewACME returns what serves handshakes with certificates of an ACME server.
func NewACME(c config.Config, cache autocert.Cache, now func() time.Time, log *slog.Logger) (func(*tls.ClientHelloInfo) (*tls.Certificate, error), error) {
	a, err := newACME(c, cache, now, log)
	if err != nil {
		return nil, err
	}
	return a.get, nil
}

// ACMEPrefix is what the names of a cache begin with in the database.
func ACMEPrefix(c *acmeCache) string { return c.prefix }

var (
	NewACMECache = newACMECache
	NewTLS       = newTLS
	PathFault    = pathFault
	RawPath      = rawPath
	WritePrivate = writePrivate
)

// FirstPassword reads the administrator's password, which has to pass the rules.
func FirstPassword(file string) (access.Secret, bool, error) {
	accounts := account.New(struct{ account.Directory }{}, nil, account.Options{})
	defer accounts.Close()
	return firstPassword(file, accounts.CheckPassword)
}

// Queries returns how many statements the server has sent to its database.
func (s *Server) Queries() int64 { return s.rooms.db.Queries() }
