package access

import "net/netip"

// Network returns what counts as one client: an IPv4 address, or an IPv6 /64,
// which is what one customer gets at least. Requests of unknown origin are one
// network together.
func Network(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	if a.Is4() {
		return netip.PrefixFrom(a, 32)
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// An Origin is where a request came from, as far as rights and the record care.
// Doors read it from the request in one way (inbound.Origin). The zero value is
// nowhere: a right that asks for a network is not given there.
type Origin struct {
	Address   netip.Addr // the client's, declared proxies looked through; unmapped
	Local     bool       // this machine asks itself: on loopback, and through no proxy that says so
	TLS       bool       // the client's own connection was encrypted, as far as is known
	UserAgent string     // printable, cut; for the record alone
	RequestID string     // for the record and for answers
}
