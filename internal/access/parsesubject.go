package access

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// subjects reads a list of who is meant.
func (p *policyParser) subjects(parent, n *yaml.Node, field string) names {
	out := names{subjects: make(map[subject]struct{})}
	if n == nil {
		p.problem(parent, field, "missing: write who is meant, as in [\"user:alice\", \"robot:ci\", \"group:dev\"]")
		return out
	}
	p.items(n, field, func(n *yaml.Node, field string) {
		switch {
		case n.Kind == yaml.MappingNode:
			p.outsider(&out, n, field)
		case n.Kind != yaml.ScalarNode || n.Tag != "!!str":
			p.problem(n, field, "must be a text, or the fields issuer, name, claims")
		default:
			p.subject(&out, n, field)
		}
	})
	return out
}

func (p *policyParser) subject(to *names, n *yaml.Node, field string) {
	kind, name, named := strings.Cut(n.Value, ":")
	switch {
	case n.Value == anyone.kind:
		to.subjects[anyone] = struct{}{}
	case n.Value == everyone.kind:
		to.subjects[everyone] = struct{}{}
	case !named || kind != kindUser && kind != kindRobot && kind != kindGroup:
		p.problem(n, field, "%.80q names nobody: write user:NAME, robot:NAME, group:NAME, anyone or everyone", n.Value)
	default:
		if err := ValidName(name); err != nil {
			p.problem(n, field, "%v", err)
			return
		}
		to.subjects[subject{kind, name}] = struct{}{}
	}
}

// Limits on a subject of a trusted issuer, in bytes and claims.
const (
	maxOutsiderText   = 1024
	maxOutsiderClaims = 20
)

func (p *policyParser) outsider(to *names, n *yaml.Node, field string) {
	fields := p.mapping(n, field, "issuer", "name", "claims")
	if fields == nil {
		return
	}
	before := len(p.problems)
	o := outsider{issuer: p.text(n, fields["issuer"], field+".issuer")}
	if name := fields["name"]; name != nil {
		o.name = p.text(n, name, field+".name")
	}
	if claims := fields["claims"]; claims != nil {
		o.claims = p.claims(claims, field+".claims")
	}
	if o.name == "" && len(o.claims) == 0 && len(p.problems) == before {
		p.problem(n, field, "says nothing about name or claims: for all that this issuer knows write name: \"**\"")
	}
	if len(p.problems) == before {
		to.outsiders = append(to.outsiders, o)
	}
}

func (p *policyParser) claims(n *yaml.Node, field string) []claimPattern {
	if !p.plain(n, field) {
		return nil
	}
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 || len(n.Content) > 2*maxOutsiderClaims {
		p.problem(n, field, "must have 1 to %d claims, each with a pattern", maxOutsiderClaims)
		return nil
	}
	var out []claimPattern
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := p.text(n, n.Content[i], field)
		if slices.ContainsFunc(out, func(c claimPattern) bool { return c.key == key }) {
			p.problem(n.Content[i], field, "claim %.40q is there twice: keep one", key)
		}
		out = append(out, claimPattern{key, p.text(n, n.Content[i+1], field+"."+key)})
	}
	slices.SortFunc(out, func(a, b claimPattern) int { return strings.Compare(a.key, b.key) })
	return out
}

// text reads a text that is not empty.
func (p *policyParser) text(parent, n *yaml.Node, field string) string {
	switch {
	case n == nil:
		p.problem(parent, field, "missing")
	case !p.plain(n, field):
	case n.Kind != yaml.ScalarNode || n.Tag != "!!str" || n.Value == "" || len(n.Value) > maxOutsiderText:
		p.problem(n, field, "must be a text of 1 to %d bytes: write it in quotes", maxOutsiderText)
	default:
		return n.Value
	}
	return ""
}
