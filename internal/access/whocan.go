package access

import (
	"fmt"
	"slices"
	"strings"
)

// Access says who can do something to a name, and what takes it away.
type Access struct {
	Gives []Giver `json:"gives"`
	Takes []Taker `json:"takes"`
}

// A Giver is a rule that gives it.
type Giver struct {
	Name     string   `json:"name"`
	Line     int      `json:"line"`
	Subjects []string `json:"subjects"`
	Actions  []Action `json:"actions"` // of those asked for
	Pattern  string   `json:"pattern"` // which covers the name; {user} stands for whoever has that name
	When     string   `json:"when,omitempty"`
}

// A Taker is a protection that can take it away.
type Taker struct {
	Name    string   `json:"name"`
	Line    int      `json:"line"`
	Actions []Action `json:"actions"`
	Tags    []string `json:"tags"` // none means all
	Except  []string `json:"except"`
	When    string   `json:"when,omitempty"`
}

// WhoCan lists the rules that give q's Action on its Name and the protections
// that can take it away for its Tag, or for some tag with AnyTag. Conditions
// are shown and not asked; who and from where are not looked at.
func (pol *Policy) WhoCan(q Query) Access {
	out := Access{Gives: []Giver{}, Takes: []Taker{}}
	asked := setOf(q.Action)
	if pol == nil {
		return out
	}
	for _, r := range pol.rules {
		p := r.coversForSome(q.Name)
		if both := r.actions & asked; both != 0 && p != nil {
			out.Gives = append(out.Gives, Giver{
				Name: r.Name, Line: r.Line, Subjects: r.names.list(), Actions: both.single(), Pattern: p.text, When: r.when.String(),
			})
		}
	}
	for _, p := range pol.protect {
		if both := p.actions & asked; both != 0 && p.covers(q.Name) && (q.AnyTag || len(p.tags) == 0 || p.onTag(q.Tag)) {
			out.Takes = append(out.Takes, Taker{
				Name: p.Name, Line: p.Line, Actions: both.single(), Tags: append([]string{}, p.tags...), Except: p.except.list(), When: p.when.String(),
			})
		}
	}
	return out
}

// coversForSome returns a pattern of r that matches name for some caller.
func (r *rule) coversForSome(name string) *pattern {
	if r.excepts(name) {
		return nil
	}
	for i := range r.patterns {
		p := &r.patterns[i]
		switch {
		case name == "":
			if p.text == anySegments {
				return p
			}
		case p.placeholders:
			open := *p
			open.segments = nil
			for _, s := range p.segments {
				if s == userSegment || s == robotSegment {
					s = "*"
				}
				open.segments = append(open.segments, s)
			}
			if open.matches(name, nobody) {
				return p
			}
		case p.matches(name, nobody):
			return p
		}
	}
	return nil
}

// String returns the text of c, "" for none.
func (c *condition) String() string {
	if c == nil {
		return ""
	}
	return c.text
}

// list writes the subjects as in a document, sorted.
func (n *names) list() []string {
	out := []string{}
	for s := range n.subjects {
		out = append(out, s.String())
	}
	for i := range n.outsiders {
		out = append(out, n.outsiders[i].String())
	}
	slices.Sort(out)
	return out
}

func (s subject) String() string {
	if s.name == "" {
		return s.kind
	}
	return s.kind + ":" + s.name
}

func (o outsider) String() string {
	parts := []string{fmt.Sprintf("issuer: %q", o.issuer)}
	if o.name != "" {
		parts = append(parts, fmt.Sprintf("name: %q", o.name))
	}
	if len(o.claims) > 0 {
		var claims []string
		for _, c := range o.claims {
			claims = append(claims, fmt.Sprintf("%q: %q", c.key, c.value))
		}
		parts = append(parts, "claims: {"+strings.Join(claims, ", ")+"}")
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
