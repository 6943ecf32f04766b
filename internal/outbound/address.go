package outbound

import (
	"net/netip"
	"strings"
)

// A reach says how far an address is from us.
type reach int

const (
	public reach = iota
	// inside is for those who have been allowed by name: whoever may name a
	// server could otherwise look at our network through us.
	inside
	// never is for nobody: no server that somebody names is there, but what
	// hands out the machine's own credentials is.
	never
)

// A network has one reach, and words for it.
type network struct {
	prefix netip.Prefix
	reach  reach
	name   string
}

// networks are those that are not public, from the special-purpose registries
// of RFC 6890; of two that hold an address the first counts. Of IPv6 only
// 2000::/3 is public, so that what is not listed is refused.
var networks = parseNetworks(`
	168.63.129.16/32   never   the cloud's own service
	100.100.100.200/32 never   the cloud's own service
	fd00:ec2::/32      never   the cloud's own service
	0.0.0.0/8          never   unspecified
	10.0.0.0/8         inside  private
	100.64.0.0/10      inside  shared (carrier-grade NAT)
	127.0.0.0/8        inside  loopback
	169.254.0.0/16     never   link-local
	172.16.0.0/12      inside  private
	192.0.0.0/24       never   reserved
	192.0.2.0/24       never   for documentation
	192.88.99.0/24     never   6to4
	192.168.0.0/16     inside  private
	198.18.0.0/15      never   for benchmarks
	198.51.100.0/24    never   for documentation
	203.0.113.0/24     never   for documentation
	224.0.0.0/4        never   multicast
	240.0.0.0/4        never   reserved
	0.0.0.0/0          public  public
	::/128             never   unspecified
	::1/128            inside  loopback
	64:ff9b::/96       inside  translated (NAT64)
	64:ff9b:1::/48     inside  translated (NAT64)
	fc00::/7           inside  private
	fe80::/10          never   link-local
	ff00::/8           never   multicast
	2001::/23          never   reserved
	2001:db8::/32      never   for documentation
	2002::/16          never   6to4
	3fff::/20          never   for documentation
	2000::/3           public  public
	::/0               never   reserved
`)

func parseNetworks(table string) []network {
	reaches := map[string]reach{"public": public, "inside": inside, "never": never}
	var list []network
	for line := range strings.Lines(strings.TrimSpace(table)) {
		f := strings.Fields(line)
		list = append(list, network{netip.MustParsePrefix(f[0]), reaches[f[1]], strings.Join(f[2:], " ")})
	}
	return list
}

// nat64 holds IPv4 addresses in its last four bytes (RFC 6052 §2.1).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// judge returns where an address is, in one word or two as well. An IPv4 address
// counts as itself in whatever form it comes.
func judge(a netip.Addr) (reach, string) {
	a = a.Unmap()
	if a.Zone() != "" {
		return never, "link-local"
	}
	if b := a.As16(); a.Is6() && nat64.Contains(a) {
		if far, name := judge(netip.AddrFrom4([4]byte(b[12:]))); far == never {
			return never, name
		}
	}
	for _, n := range networks {
		if n.prefix.Contains(a) {
			return n.reach, n.name
		}
	}
	return never, "invalid"
}
