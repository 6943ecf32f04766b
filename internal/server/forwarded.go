package server

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// proxies are the networks whose word about a request counts.
type proxies []netip.Prefix

func (p proxies) trust(a netip.Addr) bool {
	for _, prefix := range p {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

// client returns the address a request comes from: the peer, or, when the peer
// is a trusted proxy, the last address in X-Forwarded-For that is none, read
// from the right. An element that is no address ends the search at the hop
// before it: what stands left of it was written by nobody we know (H-03).
func (p proxies) client(peer netip.Addr, header http.Header) netip.Addr {
	client := peer
	if !p.trust(client) {
		return client
	}
	lines := header["X-Forwarded-For"]
	for i := len(lines) - 1; i >= 0; i-- {
		for rest, more := lines[i], true; more; {
			var hop string
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, hop = rest[:comma], rest[comma+1:]
			} else {
				hop, more = rest, false
			}
			a, ok := parseHop(hop)
			if !ok {
				return client
			}
			if client = a; !p.trust(client) {
				return client
			}
		}
	}
	return client
}

// parseHop reads one element of X-Forwarded-For: an address, which some proxies
// write with a port.
func parseHop(s string) (netip.Addr, bool) {
	s = strings.Trim(s, " \t")
	a, err := netip.ParseAddr(s)
	if err != nil {
		var ap netip.AddrPort
		if ap, err = netip.ParseAddrPort(s); err == nil {
			a = ap.Addr()
		} else if len(s) > 2 && s[0] == '[' && s[len(s)-1] == ']' {
			a, err = netip.ParseAddr(s[1 : len(s)-1])
		}
	}
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}

// forwardedHeaders say where a request came from. They are read here and
// nowhere else, so they go no further.
var forwardedHeaders = []string{
	"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix",
	"X-Forwarded-Proto", "X-Forwarded-Server", "X-Forwarded-User", "X-Original-Url", "X-Real-Ip", "X-Rewrite-Url",
}

// isForwarded reports whether a proxy says, in one way or another, that it passes on
// what somebody else asks.
func isForwarded(h http.Header) bool {
	return len(h["Via"]) > 0 || slices.ContainsFunc(forwardedHeaders, func(name string) bool { return len(h[name]) > 0 })
}

func dropForwarded(h http.Header) {
	for _, name := range forwardedHeaders {
		delete(h, name)
	}
}
