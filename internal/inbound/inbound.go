// Package inbound owns what every door reads from an HTTP request in the same way:
// the bearer token, the client's certificate, and where the request came from.
package inbound

import (
	"crypto/x509"
	"errors"
	"net/http"
	"net/netip"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
)

// RequestIDHeader is where the front writes the request's id for all behind it.
const RequestIDHeader = "X-Request-Id"

// SchemeTLS is what the front writes into the URL's scheme of a request whose
// client spoke TLS, be it to us or to a declared proxy.
const SchemeTLS = "https"

// PortPassedOn is the port that the front writes into the address of a client for
// whom another one speaks. No client has it.
const PortPassedOn = 0

// maxUserAgent bounds what is kept of a user agent, in bytes.
const maxUserAgent = 256

// ErrNoBearer is a request with credentials of another scheme. It is not
// treated as anonymous: whoever sends credentials wants them to count.
var ErrNoBearer = errors.New("credentials are no bearer token")

// Bearer returns the token in the one Authorization header, or "" without such
// a header (RFC 6750 §2.1; the other places of section 2 do not exist here).
// Errors: ErrNoBearer, access.ErrInvalidToken.
func Bearer(h http.Header) (string, error) {
	lines := h["Authorization"]
	switch len(lines) {
	case 0:
		return "", nil
	case 1:
	default:
		return "", access.ErrInvalidToken // which of them is it?
	}
	scheme, token, _ := strings.Cut(lines[0], " ")
	switch {
	case !strings.EqualFold(scheme, "Bearer"):
		return "", ErrNoBearer
	case token == "", strings.ContainsAny(token, " ,\t"):
		return "", access.ErrInvalidToken
	}
	return token, nil
}

// Certificate returns what the client presented as its certificate on the
// connection, its own first, or nil. Nothing of it is verified but that the
// client holds the key. The front takes away what a proxy presented.
func Certificate(r *http.Request) []*x509.Certificate {
	if r.TLS == nil {
		return nil
	}
	return r.TLS.PeerCertificates
}

// Origin returns where r came from. answer is the header of the answer, where
// the front has written the request's id.
func Origin(r *http.Request, answer http.Header) access.Origin {
	o := access.Origin{
		TLS:       r.TLS != nil || r.URL.Scheme == SchemeTLS,
		UserAgent: Printable(r.UserAgent(), maxUserAgent),
		RequestID: answer.Get(RequestIDHeader),
	}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		o.Address = peer.Addr().Unmap().WithZone("")
		o.Local = o.Address.IsLoopback() && peer.Port() != PortPassedOn
	}
	return o
}

// Printable returns at most limit bytes of s without what is not printable
// ASCII.
func Printable(s string, limit int) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return -1
		}
		return c
	}, s[:min(len(s), 4*limit)])
	return strings.TrimSpace(s[:min(len(s), limit)])
}
