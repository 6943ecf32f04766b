package federation

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// An Identity says which name in a certificate is the principal's.
type Identity string

// The identities of certificates. A certificate must have exactly one name of
// the kind, whatever names of other kinds it has.
const (
	SPIFFE     Identity = "spiffe" // URI, "spiffe://domain/path"
	DNS        Identity = "dns"    // DNS name, in lower case, no wildcard
	Email      Identity = "email"  // e-mail address, the domain in lower case
	CommonName Identity = "cn"     // name constraints do not bind it: the last resort
)

// maxIdentity bounds a name, in bytes.
const maxIdentity = 512

var oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// nameOf returns the one name of c that counts.
func (i Identity) nameOf(c *x509.Certificate) (string, error) {
	var names []string
	var normal func(string) (string, error)
	switch i {
	case SPIFFE:
		for _, u := range c.URIs {
			names = append(names, u.String())
		}
		normal = spiffeID
	case DNS:
		names, normal = c.DNSNames, hostName
	case Email:
		names, normal = c.EmailAddresses, mailbox
	case CommonName:
		for _, n := range c.Subject.Names {
			if text, ok := n.Value.(string); n.Type.Equal(oidCommonName) && ok {
				names = append(names, text)
			}
		}
		normal = commonName
	default:
		return "", fmt.Errorf("identity %q is unknown", string(i))
	}
	if len(names) != 1 {
		return "", fmt.Errorf("it has %d names of the kind %s, not one", len(names), i)
	}
	if len(names[0]) > maxIdentity {
		return "", fmt.Errorf("its %s name is longer than %d bytes", i, maxIdentity)
	}
	return normal(names[0])
}

// spiffeID reads a SPIFFE ID of a workload (SPIFFE-ID §2): no port, user, query
// or fragment; segments of letters, digits and ".-_", none empty, "." or "..".
func spiffeID(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil {
		return "", errors.New("its URI is not a SPIFFE ID")
	}
	path, absolute := strings.CutPrefix(u.Path, "/")
	ok := u.Scheme == "spiffe" && u.User == nil && !strings.ContainsAny(s, "?#%") && u.Host != "" && only(u.Host, "._-", false) && absolute
	for segment := range strings.SplitSeq(path, "/") {
		ok = ok && segment != "" && segment != "." && segment != ".." && only(segment, "._-", true)
	}
	if !ok {
		return "", errors.New("its URI is not a SPIFFE ID")
	}
	return "spiffe://" + u.Host + u.Path, nil
}

func hostName(s string) (string, error) {
	s = strings.ToLower(s)
	ok := len(s) <= 253
	for label := range strings.SplitSeq(s, ".") {
		ok = ok && label != "" && len(label) <= 63 && label[0] != '-' && label[len(label)-1] != '-' && only(label, "-_", false)
	}
	if !ok {
		return "", errors.New("its DNS name is not a host name")
	}
	return s, nil
}

func mailbox(s string) (string, error) {
	local, domain, _ := strings.Cut(s, "@")
	domain, err := hostName(domain)
	if err != nil || local == "" || !only(local, "!#$&'+-/=?^_`{|}~.", true) {
		return "", errors.New("its e-mail address is not a plain one")
	}
	return local + "@" + domain, nil
}

func commonName(s string) (string, error) {
	if s == "" || s != strings.TrimSpace(s) || !only(s, " .-_@:", true) {
		return "", errors.New("its common name holds more than letters, digits, spaces and .-_@:")
	}
	return s, nil
}

// only reports whether s has ASCII letters, digits and what is in more alone.
func only(s, more string, capitals bool) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || capitals && 'A' <= c && c <= 'Z' || strings.IndexByte(more, c) >= 0) {
			return false
		}
	}
	return true
}
