package access

import "strings"

// A subject is who a rule names: a kind and a name of an account or group of
// ours, anyone, or everyone who is signed in.
type subject struct{ kind, name string }

const (
	kindUser  = string(User)
	kindRobot = string(Robot)
	kindGroup = "group"
)

var (
	anyone   = subject{kind: "anyone"}   // also without a login
	everyone = subject{kind: "everyone"} // whoever was proven, external principals too
)

// An outsider names principals of a trusted issuer. What it says about names
// and claims are patterns in which "*" stands for characters other than "/" and
// "**" for any; the values they are compared with are taken literally.
type outsider struct {
	issuer string
	name   string // "" when it says nothing
	claims []claimPattern
}

type claimPattern struct{ key, value string }

// matches reports whether p is such a principal. A claim that p does not have
// matches nothing.
func (o *outsider) matches(p *Principal) bool {
	if p.Kind != External || p.Issuer != o.issuer || o.name != "" && !matchValue(o.name, p.Name) {
		return false
	}
	for _, c := range o.claims {
		if v, ok := p.Claims[c.key]; !ok || !matchValue(c.value, v) {
			return false
		}
	}
	return true
}

// An outsiderKey finds outsiders by something that they say literally.
type outsiderKey struct {
	issuer string
	field  string // "name", "claim:KEY", or "" when all is patterns
	value  string
}

func (o *outsider) key() outsiderKey {
	if o.name != "" && !strings.Contains(o.name, "*") {
		return outsiderKey{o.issuer, "name", o.name}
	}
	for _, c := range o.claims {
		if !strings.Contains(c.value, "*") {
			return outsiderKey{o.issuer, "claim:" + c.key, c.value}
		}
	}
	return outsiderKey{issuer: o.issuer}
}

// matchValue reports whether the pattern of an outsider matches s, in a time
// that is at most the product of the lengths. A longer value than a pattern can
// be matches nothing.
func matchValue(pattern, s string) bool {
	if len(s) > maxOutsiderText {
		return false
	}
	if !strings.Contains(pattern, "*") {
		return pattern == s
	}
	// reach[i] says whether the pattern so far matches s[:i].
	reach := make([]bool, len(s)+1)
	reach[0] = true
	for at := 0; at < len(pattern); at++ {
		switch slashes := strings.HasPrefix(pattern[at:], "**"); {
		case pattern[at] == '*':
			for i := 1; i <= len(s); i++ {
				reach[i] = reach[i] || reach[i-1] && (slashes || s[i-1] != '/')
			}
			if slashes {
				at++
			}
		default:
			for i := len(s); i >= 1; i-- {
				reach[i] = reach[i-1] && s[i-1] == pattern[at]
			}
			reach[0] = false
		}
	}
	return reach[len(s)]
}

// names says who a rule or the exception of a protection is for.
type names struct {
	subjects  map[subject]struct{}
	outsiders []outsider
}

// include reports whether p is among them.
func (n *names) include(p *Principal) bool {
	if n.has(anyone) {
		return true
	}
	if p.IsAnonymous() {
		return false
	}
	if n.has(everyone) {
		return true
	}
	if !p.local() {
		for i := range n.outsiders {
			if n.outsiders[i].matches(p) {
				return true
			}
		}
		return false
	}
	if n.has(subject{string(p.Kind), p.Name}) {
		return true
	}
	for _, g := range p.Groups {
		if n.has(subject{kindGroup, g}) {
			return true
		}
	}
	return false
}

func (n *names) has(s subject) bool {
	_, ok := n.subjects[s]
	return ok
}

// local reports whether p is an account of ours. Users, robots and groups of a
// policy are local ones: who comes from a trusted issuer is never mistaken for
// one of them.
func (p *Principal) local() bool { return p.Issuer == "" && (p.Kind == User || p.Kind == Robot) }
