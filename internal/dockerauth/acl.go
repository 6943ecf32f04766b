package dockerauth

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/access"
)

// A selector is one member of a match clause as far as it is understood.
type selector struct {
	kind kind
	text string // of a literal or a glob
}

type kind int

const (
	everything kind = iota // absent
	literal                // one text, maybe empty
	glob                   // with "*" alone
	nonEmpty               // the regular expression /.+/
	unknown                // any other regular expression, a variable, ? or [ ]
)

// selectorOf reads a member as docker_auth does: between slashes it is a regular
// expression, else a pattern of path.Match, in which no number of stars crosses
// a slash.
func selectorOf(s *string) selector {
	switch {
	case s == nil:
		return selector{kind: everything}
	case *s == "/.+/":
		return selector{kind: nonEmpty}
	case len(*s) > 2 && (*s)[0] == '/' && (*s)[len(*s)-1] == '/', strings.Contains(*s, "${"), strings.ContainsAny(*s, `?[\`):
		return selector{kind: unknown}
	case strings.Contains(*s, "*"):
		text := *s
		for strings.Contains(text, "**") {
			text = strings.ReplaceAll(text, "**", "*")
		}
		return selector{glob, text}
	}
	return selector{literal, *s}
}

// disjoint reports whether certainly no text is selected by both.
func disjoint(a, b selector) bool {
	if a.kind > b.kind {
		a, b = b, a
	}
	switch {
	case a.kind == literal && b.kind == literal:
		return a.text != b.text
	case a.kind == literal && b.kind == nonEmpty:
		return a.text == ""
	case a.kind == literal && b.kind == glob:
		matched, err := path.Match(b.text, a.text)
		return err == nil && !matched
	case a.kind == glob && b.kind == glob:
		p, _, _ := strings.Cut(a.text, "*")
		q, _, _ := strings.Cut(b.text, "*")
		return !strings.HasPrefix(p, q) && !strings.HasPrefix(q, p)
	}
	return false
}

// A reading is one entry of the ACL as far as it is understood.
type reading struct {
	number              int // 1 is the first
	account, kind, name selector
	actions             []string
	all                 bool // every action
	why                 string
}

// overlaps reports whether some request may match both.
func (r reading) overlaps(o reading) bool {
	return !disjoint(r.account, o.account) && !disjoint(r.kind, o.kind) && !disjoint(r.name, o.name)
}

// gives reports whether r gives everything that o gives.
func (r reading) gives(o reading) bool {
	if r.all || len(o.actions) == 0 && !o.all {
		return true
	}
	return !o.all && !slices.ContainsFunc(o.actions, func(a string) bool { return !slices.Contains(r.actions, a) })
}

var repositoryActions = []string{"pull", "push", "delete"}

// read finds out what an entry means, and in why what it means that has no
// counterpart.
func read(number int, e entry) reading {
	m := e.Match
	if m == nil {
		m = &match{}
	}
	r := reading{number: number, account: selectorOf(m.Account), kind: selectorOf(m.Type), name: selectorOf(m.Name), actions: e.Actions}
	r.all = len(e.Actions) == 1 && e.Actions[0] == "*"
	repositories := !disjoint(r.kind, selector{literal, "repository"})
	switch {
	case len(m.Other) > 0:
		r.why = "it depends on more than account, type and name"
	case r.account.kind == unknown || r.account.kind == glob:
		r.why = "the account is a pattern"
	case r.account.kind == literal && r.account.text != "" && access.ValidName(r.account.text) != nil:
		r.why = "the account: " + access.ValidName(r.account.text).Error()
	case r.kind.kind != everything && r.kind.kind != literal:
		r.why = "the type is a pattern"
	case !repositories && r.kind.text == "registry":
		r.why = "the catalog needs no rule: it shows each account what it may pull"
	case !repositories:
		r.why = "there is nothing of this type"
	case r.name.kind == unknown || r.name.kind == nonEmpty || r.name.kind == literal && r.name.text == "":
		r.why = "the name is not a literal or a pattern of * alone"
	case !r.all && slices.ContainsFunc(e.Actions, func(a string) bool { return !slices.Contains(repositoryActions, a) }):
		r.why = "it has actions other than pull, push and delete"
	}
	return r
}

// A rule of a policy document, version 2.
type rule struct {
	Name         string   `yaml:"name"`
	Subjects     []string `yaml:"subjects,flow"`
	Repositories []string `yaml:"repositories,flow"`
	Actions      []string `yaml:"actions,flow"`
}

// acl translates the entries that say the same without their order: rules give,
// and what the first match keeps from later entries they cannot express.
func (out *Import) acl(entries []entry, anonymous bool) {
	rules := []rule{}
	var before []reading
	for i, e := range entries {
		r := read(i+1, e)
		at := slices.IndexFunc(before, func(b reading) bool { return b.overlaps(r) && !b.gives(r) })
		before = append(before, r)
		gives := r.all || len(r.actions) > 0
		switch {
		case !gives:
			// It gives nothing; what it keeps from later ones is said there.
		case r.why != "":
			out.leave("acl entry %d%s: %s", r.number, comment(e), r.why)
		case at >= 0:
			out.leave("acl entry %d%s: entry %d comes first and gives less to some of the same requests; rules only give, in any order", r.number, comment(e), before[at].number)
		case r.account == selector{literal, ""} && !anonymous:
			out.leave("acl entry %d%s: it is for anonymous requests, and there is no user \"\"", r.number, comment(e))
		case r.subject(anonymous) == anyone && !slices.Equal(r.actions, []string{"pull"}):
			out.leave("acl entry %d%s: it lets anonymous requests do more than pull", r.number, comment(e))
		default:
			rules = append(rules, r.rule(anonymous))
		}
	}
	document, err := yaml.Dump(struct {
		Version int    `yaml:"version"`
		Rules   []rule `yaml:"rules"`
	}{2, rules})
	if err != nil {
		panic(err) // texts always marshal
	}
	out.Policy = string(document)
}

func comment(e entry) string {
	if e.Comment == "" {
		return ""
	}
	return fmt.Sprintf(" (%q)", e.Comment)
}

const anyone = "anyone"

// subject says who gets what r gives. Who sends a credential could as well send
// none, so what anonymous may, anyone may.
func (r reading) subject(anonymous bool) string {
	switch {
	case r.account.kind == nonEmpty, r.account.kind == everything && !anonymous:
		return "everyone"
	case r.account.kind == everything, r.account.text == "":
		return anyone
	}
	return "user:" + r.account.text
}

// rule writes r as a rule.
func (r reading) rule(anonymous bool) rule {
	name := r.name.text
	if r.name.kind == everything {
		name = "**"
	}
	actions := r.actions
	if r.all {
		actions = repositoryActions
	}
	return rule{fmt.Sprintf("acl-%d", r.number), []string{r.subject(anonymous)}, []string{name}, actions}
}
