package access

import (
	"fmt"
	"slices"
	"strings"

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

// A Policy is a set of rules that give: what no rule gives is not allowed, and
// no rule takes away, so their order does not matter. It does not change after
// ParsePolicy and is safe for concurrent use. A nil Policy allows nothing.
type Policy struct {
	// of holds each subject's own rules, so that a check looks at no others.
	of map[subject][]*rule
}

// A subject is who a rule names.
type subject struct{ kind, name string }

const (
	kindUser  = string(User)
	kindRobot = string(Robot)
	kindGroup = "group"
)

var anyone = subject{kind: "anyone"}

// A rule gives actions on the repositories that what matches. Admin is given
// on the registry, whatever what says.
type rule struct {
	may  actionSet
	what patternSet
}

// An actionSet is a set of Actions.
type actionSet uint8

func setOf(a Action) actionSet {
	switch a {
	case Pull:
		return 1
	case Push:
		return 2
	case Delete:
		return 4
	case Admin:
		return 8
	}
	return 0
}

func (s actionSet) has(a Action) bool { return s&setOf(a) != 0 }

// repositoryActions are the actions on a repository: what "*" asks for there.
var repositoryActions = []Action{Pull, Push, Delete}

// subjectOf returns the subject that names p itself. Rules name local accounts
// only: who comes from a trusted issuer is never mistaken for one.
func subjectOf(p Principal) (s subject, local bool) {
	return subject{string(p.Kind), p.Name}, p.Issuer == "" && (p.Kind == User || p.Kind == Robot)
}

// rulesFor calls f with each list of rules that concern p, until f returns
// false. Anonymous has the rules for anyone alone.
func (pol *Policy) rulesFor(p Principal, f func([]*rule) bool) {
	if pol == nil {
		return
	}
	if !f(pol.of[anyone]) || p.IsAnonymous() {
		return
	}
	if s, local := subjectOf(p); local && !f(pol.of[s]) {
		return
	}
	for _, g := range p.Groups {
		if !f(pol.of[subject{kindGroup, g}]) {
			return
		}
	}
}

// Allows reports whether a rule lets p do a on repo. Admin is not an action on
// a repository: see AllowsAdmin.
func (pol *Policy) Allows(p Principal, a Action, repo oci.RepoName) bool {
	if a == Admin {
		return false
	}
	allowed := false
	pol.rulesFor(p, func(rules []*rule) bool {
		for _, r := range rules {
			if r.may.has(a) && r.what.matches(string(repo)) {
				allowed = true
				return false
			}
		}
		return true
	})
	return allowed
}

// AllowsAdmin reports whether a rule gives p the administrative right.
func (pol *Policy) AllowsAdmin(p Principal) bool {
	allowed := false
	pol.rulesFor(p, func(rules []*rule) bool {
		allowed = slices.ContainsFunc(rules, func(r *rule) bool { return r.may.has(Admin) })
		return !allowed
	})
	return allowed
}

// AnyoneMayPull reports whether something is open to anyone, without a login.
func (pol *Policy) AnyoneMayPull() bool { return pol != nil && len(pol.of[anyone]) > 0 }

// Mentions reports whether a rule names this account itself. Such a name must
// not come to mean another account.
func (pol *Policy) Mentions(kind Kind, name string) bool {
	if pol == nil || kind != User && kind != Robot {
		return false
	}
	return len(pol.of[subject{string(kind), name}]) > 0
}

// pullPrefixes returns literal prefixes, in no order, such that every
// repository that p may pull begins with one of them.
func (pol *Policy) pullPrefixes(p Principal) []string {
	var out []string
	pol.rulesFor(p, func(rules []*rule) bool {
		for _, r := range rules {
			if r.may.has(Pull) {
				out = append(out, r.what.literals()...)
			}
		}
		return true
	})
	return out
}

// Grant returns the part of want that policy and narrowing give the identity.
// Wanting too much is not an error (docker's token spec, "Requesting a Token").
// "*" on a repository stands for all that may be done there. What is not a
// repository name, and types and actions that we do not know, are given nothing;
// so is the class of scope.md in "repository(plugin)". Any account may hold
// the catalog and the API: what they show and do is checked there. Anonymous
// may hold the catalog when something is open to anyone.
func (pol *Policy) Grant(id Identity, want Scope) Grants {
	var given Grants
	if pol == nil {
		return given
	}
	for _, e := range want.Entries() {
		switch {
		case e.Resource.Type == typeRepository:
			if repo, err := oci.ParseRepoName(e.Resource.Name); err == nil {
				given.Add(e.Resource, pol.grantOn(id, repo, e.Actions)...)
			}
		case !slices.Contains(e.Actions, "*"):
		case e.Resource == Catalog && (!id.Principal.IsAnonymous() || pol.AnyoneMayPull()),
			e.Resource == API && !id.Principal.IsAnonymous():
			given.Add(e.Resource, "*")
		}
	}
	return given
}

func (pol *Policy) grantOn(id Identity, repo oci.RepoName, want []string) []string {
	all := slices.Contains(want, "*")
	var given []string
	for _, a := range repositoryActions {
		if (all || slices.Contains(want, string(a))) && pol.Allows(id.Principal, a, repo) && id.Narrowing.Allows(a, repo) {
			given = append(given, string(a))
		}
	}
	return given
}
