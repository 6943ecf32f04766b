package federation

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// maxCA bounds the CA file, in bytes; maxAuthorities its certificates.
const (
	maxCA          = 1 << 20
	maxAuthorities = 100
)

// A mark names an authority's certificate, or what a list is signed with.
type mark string

// certMark names exactly this certificate.
func certMark(c *x509.Certificate) mark {
	sum := sha256.Sum256(c.Raw)
	return mark(hex.EncodeToString(sum[:]))
}

// signerMark names a subject and its key: certificates that were renewed with
// the same key have the same, and the same revocation list.
func signerMark(c *x509.Certificate) mark {
	h := sha256.New()
	fmt.Fprintf(h, "%d:", len(c.RawSubject))
	h.Write(c.RawSubject)
	h.Write(c.RawSubjectPublicKeyInfo)
	return mark(hex.EncodeToString(h.Sum(nil)))
}

// A trust is the content of an authority's files. It does not change.
type trust struct {
	roots, inner *x509.CertPool
	all          []*x509.Certificate
	anchors      map[mark]bool // by certMark: where a path may end
	signers      map[mark]bool // by signerMark: all in the file
	lists        map[mark]list // by signerMark; nil: no CRL is configured
}

// noTrust trusts nobody.
func noTrust() *trust {
	return &trust{roots: x509.NewCertPool(), inner: x509.NewCertPool(), anchors: map[mark]bool{}, signers: map[mark]bool{}}
}

// readCA reads a CA file. A certificate that another one in it has signed is an
// intermediate one; the others are anchors.
func readCA(path string) (*trust, error) {
	data, err := readBounded(path, maxCA)
	if err != nil {
		return nil, err
	}
	t := noTrust()
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s holds a %.40q: leave only certificates", path, block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if !c.BasicConstraintsValid || !c.IsCA {
			return nil, fmt.Errorf("%s holds a certificate that is no authority's: %.100q", path, c.Subject)
		}
		t.all = append(t.all, c)
	}
	if len(t.all) == 0 || len(t.all) > maxAuthorities {
		return nil, fmt.Errorf("%s holds %d certificates in PEM form: give 1 to %d", path, len(t.all), maxAuthorities)
	}
	for _, c := range t.all {
		t.signers[signerMark(c)] = true
		if t.isInner(c) {
			t.inner.AddCert(c)
			continue
		}
		t.roots.AddCert(c)
		t.anchors[certMark(c)] = true
	}
	return t, nil
}

// isInner reports whether another certificate of the file has signed c.
func (t *trust) isInner(c *x509.Certificate) bool {
	for _, other := range t.all {
		if !bytes.Equal(c.RawIssuer, c.RawSubject) && bytes.Equal(c.RawIssuer, other.RawSubject) && c.CheckSignatureFrom(other) == nil {
			return true
		}
	}
	return false
}

// readBounded reads a file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return data, nil
}

// A revocation is a good chain that revocation lists refuse: revoked, or there
// is no current list to know.
type revocation struct{ text string }

func (e *revocation) Error() string { return e.text }

// checkRevoked looks every certificate below the anchor up in the list of the
// one that signed it. Errors: *revocation.
func (t *trust) checkRevoked(e evidence, now time.Time) error {
	if t.lists == nil {
		return nil
	}
	for _, l := range e.links {
		list, ok := t.lists[l.signer]
		switch {
		case !ok:
			return &revocation{"crl has no list of an authority in its chain; put that authority into ca and its list into crl"}
		case !now.Before(list.until):
			return &revocation{"the revocation list is out of date"}
		case list.revoked[l.serial]:
			return &revocation{"it was revoked, or an authority in its chain was"}
		}
	}
	return nil
}

// stillHolds reports whether what a proof rested on is still trusted.
func (t *trust) stillHolds(e evidence, now time.Time) bool {
	if !t.anchors[e.anchor] {
		return false
	}
	for _, l := range e.links {
		if l.ours && !t.signers[l.signer] {
			return false
		}
	}
	return t.checkRevoked(e, now) == nil
}

// evidenceOf writes down what a verified path, leaf first, rests on.
func (t *trust) evidenceOf(path []*x509.Certificate) evidence {
	e := evidence{anchor: certMark(path[len(path)-1]), expires: path[0].NotAfter}
	for i, c := range path {
		if c.NotAfter.Before(e.expires) {
			e.expires = c.NotAfter
		}
		if i+1 < len(path) {
			signer := signerMark(path[i+1])
			e.links = append(e.links, link{serial: serialOf(c.SerialNumber), signer: signer, ours: t.signers[signer]})
		}
	}
	return e
}

// A Fault is an error with its cure.
type Fault struct {
	err  error
	cure string
}

// Error returns one line.
func (f *Fault) Error() string { return f.err.Error() }

func (f *Fault) Unwrap() error { return f.err }

// Hint returns the cure as one line.
func (f *Fault) Hint() string { return f.cure }

func cannot(cure, format string, args ...any) error {
	return &Fault{fmt.Errorf(format, args...), cure}
}

var errEvidence = errors.New("not written by us")
