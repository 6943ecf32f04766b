package access

import (
	"maps"
	"slices"
	"strings"
)

// Resource types and names that appear in scopes beside "repository".
const (
	typeRepository = "repository"
	typeRegistry   = "registry"
	typeName       = "name"    // in a Denied alone: a name in the tree
	nameCatalog    = "catalog" // registry:catalog:* lets a token list repositories
	nameAPI        = "api"     // registry:api:* lets a token speak to the admin API
)

// A Resource is the type and name part of a scope: "repository:team/app".
type Resource struct{ Type, Name string }

// The two resources that are not repositories.
var (
	Catalog = Resource{typeRegistry, nameCatalog}
	API     = Resource{typeRegistry, nameAPI}
)

// Repository returns the resource of a repository.
func Repository(name string) Resource { return Resource{typeRepository, name} }

func (r Resource) String() string { return r.Type + ":" + r.Name }

// A Scope is what is asked for: a set of actions for each resource. The
// grammar is in docker's token spec, scope.md.
type Scope struct{ entries []ScopeEntry }

// A ScopeEntry asks for Actions on Resource, as the client wrote them.
type ScopeEntry struct {
	Resource Resource
	Actions  []string
}

// Entries returns what is asked for, in the order first asked.
func (s Scope) Entries() []ScopeEntry { return s.entries }

// Grants are what policy gave: a set of actions for each resource. It is the
// "access" claim of an access token. The zero value grants nothing. "*" on a
// registry resource is the only action there.
type Grants struct{ of map[Resource][]string }

// Add adds actions on r, sorted and without doubles. Nothing is added for no actions.
func (g *Grants) Add(r Resource, actions ...string) {
	if len(actions) == 0 {
		return
	}
	if g.of == nil {
		g.of = make(map[Resource][]string)
	}
	all := append(slices.Clone(g.of[r]), actions...)
	slices.Sort(all)
	g.of[r] = slices.Compact(all)
}

// Has reports whether g holds action on r.
func (g Grants) Has(r Resource, action string) bool { return slices.Contains(g.of[r], action) }

// Resources returns the resources in g, sorted by their text.
func (g Grants) Resources() []Resource {
	return slices.SortedFunc(maps.Keys(g.of), func(a, b Resource) int { return strings.Compare(a.String(), b.String()) })
}

// Actions returns the actions on r, sorted.
func (g Grants) Actions(r Resource) []string { return g.of[r] }

// String writes g in the grammar of scope.md: the text of the token answer's
// scope field.
func (g Grants) String() string {
	var parts []string
	for _, r := range g.Resources() {
		parts = append(parts, r.String()+":"+strings.Join(g.of[r], ","))
	}
	return strings.Join(parts, " ")
}

// A Claim is one resource in the "access" claim of an access token (docker's
// token spec, jwt.md).
type Claim struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// Claims returns g as the "access" claim: never nil, so that it is written as
// [] and not as null, and ordered as Resources.
func (g Grants) Claims() []Claim {
	claims := make([]Claim, 0, len(g.of))
	for _, r := range g.Resources() {
		claims = append(claims, Claim{Type: r.Type, Name: r.Name, Actions: slices.Clone(g.of[r])})
	}
	return claims
}

// GrantsOf is the inverse of Claims.
func GrantsOf(claims []Claim) Grants {
	var g Grants
	for _, c := range claims {
		g.Add(Resource{Type: c.Type, Name: c.Name}, c.Actions...)
	}
	return g
}
