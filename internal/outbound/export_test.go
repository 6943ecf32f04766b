package outbound

import (
	"net"
	"net/netip"
)

// Judge says where an address is.
func Judge(a netip.Addr) string {
	far, name := judge(a)
	return []string{"public", "inside", "never"}[far] + ": " + name
}

// UseResolver makes c look names up elsewhere.
func (c *Client) UseResolver(r *net.Resolver) { c.resolver = r }

// TakeAsPublic makes one address of this machine count as public.
func (c *Client) TakeAsPublic(a netip.Addr) {
	c.judge = func(to netip.Addr) (reach, string) {
		if to == a {
			return public, "public"
		}
		return judge(to)
	}
}
