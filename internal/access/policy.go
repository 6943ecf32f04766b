package access

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/oci"
)

// MaxName is the longest name of an account or a group, in bytes.
const MaxName = 128

// ValidName returns nil if s may name an account or a group. A name lies in the
// tree of names as a repository does, so that a part of the tree can be managed
// as a whole:
//
//	name      = component *( "/" component )   ; at most MaxName bytes
//	component = [a-z0-9]([a-z0-9._-]*[a-z0-9])?
//
// One spelling only: no capitals, no characters that look like others.
func ValidName(s string) error {
	ok := len(s) <= MaxName
	for component := range strings.SplitSeq(s, "/") {
		ok = ok && validComponent(component)
	}
	if !ok {
		return fmt.Errorf("name %.80q: use lower-case letters, digits, '.', '_', '-', beginning and ending with a letter or digit, in parts joined by '/', 1 to %d characters in all", s, MaxName)
	}
	return nil
}

func validComponent(s string) bool {
	alnum := func(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
	ok := s != "" && alnum(s[0]) && alnum(s[len(s)-1])
	for i := 0; ok && i < len(s); i++ {
		ok = alnum(s[i]) || s[i] == '.' || s[i] == '_' || s[i] == '-'
	}
	return ok
}

// A Policy is a set of rules that give and protections that take away: what no
// rule gives is not allowed, and order never matters. It does not change after
// ParsePolicy and is safe for concurrent use. A nil Policy allows nothing.
type Policy struct {
	version int64
	rules   []*rule // as in the document

	of          map[subject]*given
	outsiders   map[outsiderKey]*given
	protections index[*protection]
	protect     []*protection // as in the document

	conditions []*condition // the different ones
}

// Numbered returns the same policy, known under the number of its version.
func (pol *Policy) Numbered(version int64) *Policy {
	numbered := *pol
	numbered.version = version
	return &numbered
}

// Version returns the number of the policy's version; 0 is unknown.
func (pol *Policy) Version() int64 {
	if pol == nil {
		return 0
	}
	return pol.version
}

// given are the rules that name one subject.
type given struct {
	rules index[*rule]
	large []*rule // with an index of their own
	all   []*rule // in the order of the document
	check bool    // a rule found here may be for another outsider
}

// maxTogether bounds the smaller of a rule's numbers of subjects and patterns,
// if they are to be indexed together: the index stays within so many times the
// document.
const maxTogether = 4

// index makes the look-ups from the rules and protections.
func (pol *Policy) index() {
	pol.of, pol.outsiders = make(map[subject]*given), make(map[outsiderKey]*given)
	for _, r := range pol.rules {
		subjects := len(r.names.subjects) + len(r.names.outsiders)
		if min(subjects, len(r.patterns)) > maxTogether {
			r.own = new(index[*rule])
			for _, p := range r.patterns {
				r.own.add(p, r)
			}
		}
		for s := range r.names.subjects {
			if pol.of[s] == nil {
				pol.of[s] = new(given)
			}
			pol.of[s].add(r)
		}
		for i := range r.names.outsiders {
			key := r.names.outsiders[i].key()
			if pol.outsiders[key] == nil {
				pol.outsiders[key] = &given{check: true}
			}
			pol.outsiders[key].add(r)
		}
	}
	for _, p := range pol.protect {
		for _, pattern := range p.patterns {
			pol.protections.add(pattern, p)
		}
	}
}

func (g *given) add(r *rule) {
	if n := len(g.all); n > 0 && g.all[n-1] == r {
		return // two outsiders of one rule with the same key
	}
	g.all = append(g.all, r)
	if r.own != nil {
		g.large = append(g.large, r)
		return
	}
	for _, p := range r.patterns {
		g.rules.add(p, r)
	}
}

// givenTo calls f with the rules that concern p, a part at a time, until f
// returns false. Anonymous has the rules for anyone alone.
func (pol *Policy) givenTo(p *Principal, f func(*given) bool) {
	if pol == nil || !pol.given(anyone, f) || p.IsAnonymous() || !pol.given(everyone, f) {
		return
	}
	if !p.local() {
		pol.givenOutside(p, f)
		return
	}
	if !pol.given(subject{string(p.Kind), p.Name}, f) {
		return
	}
	for _, g := range p.Groups {
		if !pol.given(subject{kindGroup, g}, f) {
			return
		}
	}
}

func (pol *Policy) given(s subject, f func(*given) bool) bool {
	g := pol.of[s]
	return g == nil || f(g)
}

// givenOutside is givenTo for an external principal.
func (pol *Policy) givenOutside(p *Principal, f func(*given) bool) {
	if p.Kind != External || len(pol.outsiders) == 0 {
		return
	}
	if g := pol.outsiders[outsiderKey{p.Issuer, "name", p.Name}]; g != nil && !f(g) {
		return
	}
	for k, v := range p.Claims {
		if g := pol.outsiders[outsiderKey{p.Issuer, "claim:" + k, v}]; g != nil && !f(g) {
			return
		}
	}
	if g := pol.outsiders[outsiderKey{issuer: p.Issuer}]; g != nil {
		f(g)
	}
}

// AnyoneMayPull reports whether something is open to anyone, without a login.
func (pol *Policy) AnyoneMayPull() bool { return pol != nil && pol.of[anyone] != nil }

// Mentions reports whether a rule or protection names this account itself. Such
// a name must not come to mean another account.
func (pol *Policy) Mentions(kind Kind, name string) bool {
	if pol == nil || kind != User && kind != Robot {
		return false
	}
	s := subject{string(kind), name}
	return pol.of[s] != nil || slices.ContainsFunc(pol.protect, func(p *protection) bool { return p.except.has(s) })
}

// pullPrefixes returns literal prefixes, in no order, such that every
// repository that p may pull begins with one of them.
func (pol *Policy) pullPrefixes(p *Principal) []string {
	var out []string
	by := callerOf(*p)
	pol.givenTo(p, func(of *given) bool {
		for _, r := range of.all {
			if r.actions&bitPull == 0 || of.check && !r.names.include(p) {
				continue
			}
			for i := range r.patterns {
				if prefix, ok := r.patterns[i].prefix(by); ok {
					out = append(out, prefix)
				}
			}
		}
		return true
	})
	return out
}

// Grant returns the part of want that could be allowed to the identity, coming
// from there now. Wanting too much is not an error (docker's token spec,
// "Requesting a Token"). Every use is decided again. Only for one who logged in
// there is the admin API; anonymous may hold the catalog when something is open
// to anyone.
func (pol *Policy) Grant(id Identity, from Origin, now time.Time, want Scope) Grants {
	var given Grants
	if pol == nil {
		return given
	}
	au := Authority{Identity: id, Policy: pol, Origin: from, Now: now}
	for _, e := range want.Entries() {
		switch {
		case e.Resource.Type == typeRepository:
			if repo, err := oci.ParseRepoName(e.Resource.Name); err == nil {
				given.Add(e.Resource, au.grantOn(repo, e.Actions)...)
			}
		case !slices.Contains(e.Actions, "*"):
		case e.Resource == Catalog && (!id.Principal.IsAnonymous() || pol.AnyoneMayPull()),
			e.Resource == API && !id.Principal.IsAnonymous():
			given.Add(e.Resource, "*")
		}
	}
	return given
}

func (au Authority) grantOn(repo oci.RepoName, want []string) []string {
	all := slices.Contains(want, "*")
	var given []string
	for _, a := range wireActions {
		if (all || slices.Contains(want, string(a))) && au.May(a, repo) {
			given = append(given, string(a))
		}
	}
	return given
}
