package federation

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// maxCRL bounds the CRL file, in bytes: about half a million entries.
const maxCRL = 32 << 20

// A list is one revocation list (RFC 5280 §5), by serial numbers.
type list struct {
	made, until time.Time // thisUpdate, nextUpdate
	revoked     map[string]bool
}

// readCRL reads the lists of a file: PEM blocks, or one list in DER form. Each
// must be signed by a certificate of t, complete, and no older than the one
// that counts now.
func readCRL(path string, t *trust, now time.Time) (map[mark]list, error) {
	data, err := readBounded(path, maxCRL)
	if err != nil {
		return nil, err
	}
	var ders [][]byte
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "X509 CRL" {
			return nil, fmt.Errorf("%s holds a %.40q: leave only revocation lists", path, block.Type)
		}
		ders = append(ders, block.Bytes)
	}
	if len(ders) == 0 {
		ders = [][]byte{data}
	}
	lists := make(map[mark]list, len(ders))
	for _, der := range ders {
		signer, l, err := readList(der, t, now)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if _, twice := lists[signer]; twice {
			return nil, fmt.Errorf("%s holds two lists of one authority", path)
		}
		if l.made.Before(t.lists[signer].made) {
			return nil, fmt.Errorf("%s: a list is older than the one read before", path)
		}
		lists[signer] = l
	}
	return lists, nil
}

func readList(der []byte, t *trust, now time.Time) (mark, list, error) {
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		return "", list{}, err
	}
	signer, err := signerOf(crl, t)
	if err != nil {
		return "", list{}, err
	}
	switch {
	case crl.NextUpdate.IsZero():
		return "", list{}, errors.New("a list has no nextUpdate: how long it counts is not known")
	case crl.ThisUpdate.After(now.Add(5 * time.Minute)):
		return "", list{}, errors.New("a list comes from the future; see whether the clock is right")
	}
	// Lists for a part of the certificates, and changes to another list, say so in
	// critical extensions (RFC 5280 §5.2.4, §5.2.5). We read whole lists alone.
	for _, x := range crl.Extensions {
		if x.Critical {
			return "", list{}, fmt.Errorf("a list has the critical extension %s: only complete lists are read", x.Id)
		}
	}
	l := list{made: crl.ThisUpdate, until: crl.NextUpdate, revoked: make(map[string]bool, len(crl.RevokedCertificateEntries))}
	for _, entry := range crl.RevokedCertificateEntries {
		for _, x := range entry.Extensions {
			if x.Critical { // such as: the entry is about another authority's certificate
				return "", list{}, fmt.Errorf("an entry has the critical extension %s: only an authority's own lists are read", x.Id)
			}
		}
		l.revoked[serialOf(entry.SerialNumber)] = true
	}
	return signer, l, nil
}

// signerOf finds the certificate of the CA file that signed a list.
func signerOf(crl *x509.RevocationList, t *trust) (mark, error) {
	for _, c := range t.all {
		if bytes.Equal(crl.RawIssuer, c.RawSubject) && crl.CheckSignatureFrom(c) == nil {
			return signerMark(c), nil
		}
	}
	return "", errors.New("a list is signed by none of the certificates in ca")
}
