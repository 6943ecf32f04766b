package federation

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

const (
	// Method is that of a proof by client certificate.
	Method = "certificate"
	// issuerPrefix and the name of an authority are the issuer of its principals.
	issuerPrefix = "x509:"
	// maxChain bounds the certificates that a client may present: its own and
	// intermediate ones.
	maxChain = 5
	// maxLogged bounds what of a certificate's own text is logged, in bytes.
	maxLogged = 256
)

// A ClientAuthority is a certificate authority whose client certificates prove
// external principals of the issuer "x509:NAME".
type ClientAuthority struct {
	Name string
	CA   string // PEM file: what it signs with, and intermediate certificates
	CRL  string // file with its revocation lists, or "": nothing is revoked
	// Identity says which name in a certificate is the principal's.
	Identity Identity
}

// Options of Certificates; the zero value works.
type Options struct {
	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: discard
}

// Certificates proves client certificates. It is the authenticator for
// access.Certificate, and says of each request whether what an earlier proof
// rests on still holds. It looks at its files when asked, once in half a second
// at most. Safe for concurrent use.
type Certificates struct {
	authorities []*authority
	now         func() time.Time
	log         *slog.Logger
}

// NewCertificates reads the files of the authorities for the first time. Errors
// carry a Hint.
func NewCertificates(list []ClientAuthority, o Options) (*Certificates, error) {
	c := &Certificates{now: o.Now, log: o.Logger}
	if c.now == nil {
		c.now = time.Now
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	for _, a := range list {
		opened, err := openAuthority(a, c.now(), c.log)
		if err != nil {
			return nil, err
		}
		c.authorities = append(c.authorities, opened)
	}
	return c, nil
}

// Accepted returns the certificates of all authorities, for the list that a TLS
// handshake shows to clients with several certificates.
func (c *Certificates) Accepted() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, a := range c.authorities {
		for _, cert := range a.trusted(c.now()).all {
			pool.AddCert(cert)
		}
	}
	return pool
}

// Authenticate implements access.Authenticator for access.Certificate. Why one
// is refused is for the log alone.
func (c *Certificates) Authenticate(ctx context.Context, credential access.Credential) (access.Identity, error) {
	presented, ok := credential.(access.Certificate)
	if !ok || len(presented.Chain) == 0 {
		return access.Identity{}, access.ErrBadCredential
	}
	id, err := c.prove(presented.Chain, c.now())
	if err != nil {
		leaf := presented.Chain[0]
		c.log.LogAttrs(ctx, slog.LevelWarn, "client certificate refused",
			slog.String("err", cut(err.Error())), slog.String("subject", cut(leaf.Subject.String())),
			slog.String("certificate", fingerprint(leaf)), slog.String("request", presented.From.RequestID))
		return access.Identity{}, access.ErrBadCredential
	}
	return id, nil
}

// prove asks every authority. One has to vouch, and only one: a certificate
// means one principal. One that knows it as revoked, or cannot know, overrules
// the others.
func (c *Certificates) prove(chain []*x509.Certificate, now time.Time) (access.Identity, error) {
	if err := checkForm(chain); err != nil {
		return access.Identity{}, err
	}
	var proven []access.Identity
	var refusals []string
	for _, a := range c.authorities {
		id, err := a.prove(chain, now)
		if _, final := errors.AsType[*revocation](err); final {
			return access.Identity{}, fmt.Errorf("authority %s: %w", a.Name, err)
		}
		if err != nil {
			refusals = append(refusals, "authority "+a.Name+": "+err.Error())
			continue
		}
		proven = append(proven, id)
	}
	switch len(proven) {
	case 1:
		return proven[0], nil
	case 0:
		return access.Identity{}, errors.New(strings.Join(refusals, "; "))
	}
	return access.Identity{}, errors.New("more than one authority vouches for it, under several names")
}

// checkForm refuses what no authority's word could mend. Key usages must be
// said: a certificate for servers, or for anything, does not log in (I-24).
func checkForm(chain []*x509.Certificate) error {
	leaf := chain[0]
	switch {
	case len(chain) > maxChain:
		return fmt.Errorf("more than %d certificates were presented", maxChain)
	case leaf.IsCA:
		return errors.New("it is the certificate of an authority")
	case !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth):
		return errors.New("it lacks the extended key usage clientAuth")
	case leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return errors.New("its key usage lacks digitalSignature")
	}
	return nil
}

// Resolve returns the principal that id and a proof of Authenticate name, if
// what the proof rests on still holds: the authority is configured as it was,
// its file has the anchor and the intermediates, nothing in the chain is revoked
// or expired. It costs no system call but a look at the files every half second.
// Errors: access.ErrBadCredential.
func (c *Certificates) Resolve(_ context.Context, id access.ID, proof access.Proof) (access.Identity, error) {
	name, ok := strings.CutPrefix(id.Issuer, issuerPrefix)
	if !ok || proof.Method != Method {
		return access.Identity{}, access.ErrBadCredential
	}
	e, err := parseEvidence(proof.Trust)
	if err != nil {
		return access.Identity{}, access.ErrBadCredential
	}
	for _, a := range c.authorities {
		if a.Name != name {
			continue
		}
		if now := c.now(); e.identity != a.Identity || !now.Before(e.expires) || !a.trusted(now).stillHolds(e, now) {
			break
		}
		return access.Identity{
			Principal: access.ExternalPrincipal(id.Issuer, id.Name, nil), Proof: proof, Expires: e.expires,
		}, nil
	}
	return access.Identity{}, access.ErrBadCredential
}

// fingerprint is the SHA-256 of a certificate, in hexadecimal.
func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// cut returns the beginning of s without what is not printable ASCII: a
// stranger wrote it.
func cut(s string) string {
	s = s[:min(len(s), maxLogged)]
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
