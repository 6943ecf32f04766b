package client

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// maxAddress bounds the address of a server, in bytes.
const maxAddress = 300

// An Address is where a server is, in its one canonical form:
// "https://registry.example.com:5000", without the port that is the scheme's
// own. Two addresses are the same server only when they are equal.
type Address string

// ParseAddress reads "https://HOST[:PORT]" or "HOST[:PORT]". Plain http is
// for loopback only: anywhere else a password would travel in the clear.
func ParseAddress(s string) (Address, error) {
	if len(s) > maxAddress {
		return "", fmt.Errorf("the server's address is longer than %d bytes", maxAddress)
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '%' || c == '\\' {
			return "", fmt.Errorf("the server's address %q holds %q: use https://HOST:PORT, and a host's ASCII name", s, s[i:i+1])
		}
	}
	text := s
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", fmt.Errorf("the server's address %q is no URL: use https://HOST:PORT", s)
	}
	switch {
	case u.User != nil:
		return "", errors.New("the server's address holds a user name or a password: leave them out")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(s, "#") || u.Path != "" && u.Path != "/" || u.Opaque != "":
		return "", fmt.Errorf("the server's address %q has more than a host and a port: use https://HOST:PORT", s)
	}
	host, err := canonicalHost(u)
	if err != nil {
		return "", err
	}
	switch {
	case u.Scheme == "https":
	case u.Scheme == "http" && isLoopback(u.Hostname()):
	case u.Scheme == "http":
		return "", fmt.Errorf("http://%s would carry the password in the clear: use https", host)
	default:
		return "", fmt.Errorf("the server's address %q: use https", s)
	}
	return Address(u.Scheme + "://" + host), nil
}

func canonicalHost(u *url.URL) (string, error) {
	host := strings.ToLower(u.Hostname())
	if ip := net.ParseIP(host); ip == nil {
		for label := range strings.SplitSeq(host, ".") {
			if !validLabel(label) {
				return "", fmt.Errorf("%q is no host name", u.Hostname())
			}
		}
	} else if host = ip.String(); strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	port := u.Port()
	if port == "" && strings.HasSuffix(u.Host, ":") {
		return "", fmt.Errorf("%q has no port after the colon", u.Host)
	}
	if port == "" || u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		return host, nil
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return "", fmt.Errorf("%q is no port", port)
	}
	return host + ":" + port, nil
}

func validLabel(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// IsLoopback reports whether the server is on this machine.
func (a Address) IsLoopback() bool {
	u, err := url.Parse(string(a))
	return err == nil && isLoopback(u.Hostname())
}

// ErrForeignRealm says that a server sends its clients elsewhere for tokens.
// Nothing was sent there.
var ErrForeignRealm = errors.New("the server names a token service that is not its own")

// pin checks that realm is a URL of the server at a. Only there may secrets go.
func (a Address) pin(realm string) (string, error) {
	if len(realm) > 2*maxAddress {
		return "", ErrForeignRealm
	}
	for i := range len(realm) {
		if c := realm[i]; c <= ' ' || c >= 0x7f || c == '\\' {
			return "", ErrForeignRealm
		}
	}
	u, err := url.Parse(realm)
	if err != nil || u.User != nil || u.Opaque != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Path == "" {
		return "", ErrForeignRealm
	}
	origin, err := ParseAddress(u.Scheme + "://" + u.Host)
	if err != nil {
		return "", ErrForeignRealm
	}
	if origin != a {
		return "", fmt.Errorf("%w: %s; if that is the same server, log in with that address", ErrForeignRealm, origin)
	}
	return string(a) + u.EscapedPath(), nil
}
