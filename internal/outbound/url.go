package outbound

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// maxURL bounds a URL, in bytes.
const maxURL = 2048

// ParseURL reads the URL of a server that somebody names: https, a host in one
// of the forms that everybody reads alike, and neither user nor fragment.
// Errors are *Error.
func ParseURL(raw string) (*url.URL, error) {
	if len(raw) > maxURL {
		return nil, refuse("", "shorten it", "the URL is longer than %d bytes", maxURL)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, refuse("", "write https://HOST/PATH", "this is not a URL")
	}
	if err := checkURL(u); err != nil {
		return nil, err
	}
	if strings.Contains(raw, "#") {
		return nil, refuse(u.Host, "leave out the # and what is behind it", "a URL with a fragment is not asked")
	}
	return u, nil
}

func checkURL(u *url.URL) error {
	switch {
	case u.Scheme != "https":
		return refuse(u.Host, "write https://", "only https is asked, not %.20q", u.Scheme)
	case u.Opaque != "" || u.Host == "":
		return refuse("", "write https://HOST/PATH", "the URL names no host")
	case u.User != nil:
		return refuse(u.Host, "leave out what is before the @", "a URL with a user is not asked")
	}
	if err := checkHost(u.Hostname()); err != nil {
		return err
	}
	return checkPort(u.Host, u.Port())
}

func checkPort(host, port string) error {
	if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0) || strings.HasSuffix(host, ":") {
		return refuse(host, "give a port from 1 to 65535, or none", "this is not a port")
	}
	return nil
}

// checkHost takes addresses in their usual form and names of letters, digits,
// hyphens, underscores and dots. What only some resolvers read as an address
// (127.1, 0x7f000001, 2130706433) is no name: its last part is a number.
func checkHost(host string) error {
	if a, err := netip.ParseAddr(host); err == nil {
		if a.Zone() != "" {
			return refuse(host, "use an address without a zone", "this address is link-local")
		}
		return nil
	}
	name := strings.TrimSuffix(host, ".")
	if name == "" || len(name) > 253 {
		return refuse(host[:min(len(host), 100)], "write a name of at most 253 bytes", "this is not a host")
	}
	for _, c := range []byte(name) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return refuse(host, "write a name in its ASCII form, or an address", "this is not a host")
		}
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	if strings.Contains("."+name+".", "..") {
		return refuse(host, "leave out the dot that is too many", "this is not a host")
	}
	if isNumber(strings.ToLower(last)) {
		return refuse(host, "write an IPv4 address as four decimal numbers", "this is neither a name nor an address")
	}
	return nil
}

func isNumber(s string) bool {
	digits := "0123456789"
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		s, digits = hex, "0123456789abcdef"
	}
	return strings.Trim(s, digits) == ""
}

// hostKey is how two spellings of a host are compared.
func hostKey(host string) string {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().String()
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
