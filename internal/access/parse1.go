package access

import (
	"fmt"

	"go.yaml.in/yaml/v4"
)

// document1 reads version 1 of the language:
//
//	version: 1
//	rules:
//	  - who: ["user:alice", "robot:ci", "group:dev", "anyone"]
//	    what: ["team-a/**", "public/*"]
//	    may: [pull, push, delete]
//	  - who: ["group:admins"]
//	    may: [admin]
//
// Its rules are those of version 2 under other words, named rule-1, rule-2 and
// so on. admin is a right on the whole registry, so its rule has no what, or
// "**".
func (p *policyParser) document1(n *yaml.Node) {
	fields := p.mapping(n, "", "version", "rules")
	if fields == nil {
		return
	}
	if fields["rules"] == nil {
		p.problem(n, "rules", "missing: to allow nothing write \"rules: []\"")
		return
	}
	p.statements(fields["rules"], "rules", p.rule1)
}

func (p *policyParser) rule1(n *yaml.Node, field string) {
	fields := p.mapping(n, field, "who", "what", "may")
	if fields == nil {
		return
	}
	before := len(p.problems)
	r := &rule{Statement: Statement{fmt.Sprintf("rule-%d", len(p.policy.rules)+1), n.Line}}
	r.names = p.who(n, fields["who"], field+".who")
	r.actions = p.may(n, fields["may"], field+".may")
	r.patterns = p.what(n, fields["what"], field+".what", r.actions)
	p.anyonePulls(r, fields["may"], field+".may")
	if len(p.problems) == before {
		p.policy.rules = append(p.policy.rules, r)
	}
}

func (p *policyParser) who(rule, n *yaml.Node, field string) names {
	if n == nil {
		p.problem(rule, field, "missing: write who is given this, as in [\"user:alice\", \"robot:ci\", \"group:dev\"]")
		return names{}
	}
	out := names{subjects: make(map[subject]struct{})}
	p.list(n, field, func(n *yaml.Node, field string) {
		if n.Value == everyone.kind {
			p.problem(n, field, "everyone is known from version 2 on: write anyone, or user:NAME, robot:NAME, group:NAME")
			return
		}
		p.subject(&out, n, field)
	})
	return out
}

func (p *policyParser) may(rule, n *yaml.Node, field string) actionSet {
	if n == nil {
		p.problem(rule, field, "missing: write what is given, of [pull, push, delete, admin]")
		return 0
	}
	var out actionSet
	p.list(n, field, func(n *yaml.Node, field string) {
		switch a := Action(n.Value); a {
		case Pull, Push, Delete, Admin:
			out |= setOf(a)
		default:
			p.problem(n, field, "%.40q is no action of version 1: use pull, push, delete or admin", n.Value)
		}
	})
	return out
}

// what is required for rights on repositories and out of place for admin.
func (p *policyParser) what(rule, n *yaml.Node, field string, may actionSet) []pattern {
	if n == nil {
		if may&^bitsAdmin != 0 {
			p.problem(rule, field, "missing: write the repositories, as in [\"team/**\"], or [\"**\"] for all")
		}
		everything, _ := parsePattern(anySegments)
		return []pattern{everything}
	}
	var out []pattern
	p.list(n, field, func(n *yaml.Node, field string) {
		pat, err := parsePattern(n.Value)
		if err != nil {
			p.problem(n, field, "%v", err)
			return
		}
		if may&bitsAdmin != 0 && pat.text != anySegments {
			p.problem(n, field, "admin is a right on the whole registry: give it in a rule of its own, without what")
		}
		out = append(out, pat)
	})
	return out
}
