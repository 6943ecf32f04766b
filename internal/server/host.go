package server

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// names are the hosts under which the registry answers, and the base of the
// URLs in its answers. Nothing else in a request can change them (H-01, H-02).
type names struct {
	scheme   string          // of the listener: "https" or "http"
	external string          // "https://registry.example.com", or ""
	hosts    map[string]bool // "registry.example.com:443"
}

// newNames collects the names: the host of external and, on loopback, the
// listeners' own addresses and localhost.
func newNames(scheme, external string, addresses []netip.AddrPort) (names, error) {
	n := names{scheme: scheme, hosts: map[string]bool{}}
	if external != "" {
		u, err := url.Parse(external)
		if err != nil {
			return names{}, err
		}
		n.external = u.Scheme + "://" + u.Host
		n.hosts[withPort(strings.ToLower(u.Host), u.Scheme)] = true
	}
	for _, a := range addresses {
		if a.Addr().IsLoopback() {
			n.hosts[a.String()] = true
			n.hosts["localhost:"+portOf(a)] = true
		}
	}
	return n, nil
}

// serves reports whether host, as it came in the request, is one of ours.
func (n names) serves(host string) bool {
	if n.hosts[host] {
		return true
	}
	host = strings.ToLower(host)
	if n.hosts[withPort(host, n.scheme)] {
		return true
	}
	// Behind a proxy that ends TLS the external URL's default port is another.
	return strings.HasPrefix(n.external, "https:") && n.hosts[withPort(host, "https")]
}

// sniMatches reports whether the TLS connection of r, if it has one, was made
// for the host that r names. Clients send no name for an address.
func sniMatches(r *http.Request) bool {
	if r.TLS == nil {
		return true
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(r.Host, "["), "]")
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return r.TLS.ServerName == ""
	}
	return strings.EqualFold(host, r.TLS.ServerName)
}

// base returns scheme, host and port of the URLs in the answer to r, whose Host
// has passed serves.
func (n names) base(r *http.Request) string {
	if n.external != "" {
		return n.external
	}
	return n.scheme + "://" + strings.ToLower(r.Host)
}

// realm returns the URL of the token endpoint for the challenge to r.
func (n names) realm(r *http.Request) string { return n.base(r) + "/token" }

// withPort appends the scheme's port to a host that has none.
func withPort(host, scheme string) string {
	if _, _, err := net.SplitHostPort(host); err == nil || host == "" {
		return host
	}
	if scheme == "https" {
		return host + ":443"
	}
	return host + ":80"
}
