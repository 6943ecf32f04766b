package server

import (
	"crypto/tls"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/federation"
	"github.com/sallyport/sallyport/internal/token"
)

// openClientAuthorities reads the files of the configured client authorities, if
// there are any, and makes the listener ask for certificates.
func (s *Server) openClientAuthorities() error {
	if len(s.config.TLS.ClientAuthorities) == 0 {
		return nil
	}
	var err error
	if s.rooms.certificates, err = clientAuthorities(s.config, federation.Options{Now: s.now, Logger: s.log}); err != nil {
		return err
	}
	if s.config.TLS.HTTP2 {
		s.tls.NextProtos = append(s.tls.NextProtos, "h2")
	}
	s.tls.NextProtos = append(s.tls.NextProtos, "http/1.1")
	askForCertificates(s.tls, s.rooms.certificates)
	return nil
}

func clientAuthorities(c config.Config, o federation.Options) (*federation.Certificates, error) {
	var list []federation.ClientAuthority
	for _, a := range c.TLS.ClientAuthorities {
		list = append(list, federation.ClientAuthority{Name: a.Name, CA: a.CA, CRL: a.CRL, Identity: federation.Identity(a.Identity)})
	}
	return federation.NewCertificates(list, o)
}

// outsiders is what the token service asks about client certificates: an
// interface that is nil where there is nobody to ask.
func (r *rooms) outsiders() token.Outsiders {
	if r.certificates == nil {
		return nil
	}
	return r.certificates
}

// askForCertificates makes every handshake ask the client for a certificate,
// which it need not have. It is not judged here but where it is used, request by
// request: a connection outlives trust, and an answer in HTTP can say what is
// wrong. There are no session tickets, so that no handshake leaves it out (I-24).
// net/http adds its protocols to c, but not to what GetConfigForClient returns:
// they must be in c before.
func askForCertificates(c *tls.Config, of *federation.Certificates) {
	c.ClientAuth = tls.RequestClientCert
	c.SessionTicketsDisabled = true
	base := c.Clone()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := base.Clone()
		now.ClientCAs = of.Accepted()
		return now, nil
	}
}
