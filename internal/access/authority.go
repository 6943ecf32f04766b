package access

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/oci"
)

// An Authority is what one request may rely on: the principal, the narrowing
// of its credential, the grants its token holds, and the policy as it is now.
// It is an argument, never kept in a context. The zero value may do nothing.
type Authority struct {
	Identity Identity
	Policy   *Policy
	// Held is what the presented token holds. It is empty without a token.
	Held Grants
	// Token describes the presented token; the zero value is "no token".
	Token TokenFacts
	// Origin is where the request came from.
	Origin Origin
	// Now is when the request is judged. Conditions on time fail without it.
	Now time.Time
}

// TokenFacts are the facts about an access token that checks depend on.
type TokenFacts struct {
	ID      string    // jti
	Issued  time.Time // iat
	Expires time.Time // exp and the leeway: until then it was accepted
	// Expired is set when the token was past its end when the request began.
	// Such a token proves who comes, and serves only a push that it began.
	Expired bool
}

// Present reports whether the request carried a token of ours.
func (t TokenFacts) Present() bool { return t.ID != "" }

// Denied says that policy or narrowing does not allow the action now, whatever
// token comes (403 DENIED).
type Denied struct {
	Principal Principal
	Action    Action   // the missing one; exact where the tag was known
	Resource  Resource // API for a right over the whole registry
	Tag       oci.Tag  // "" when it was not known, or there is none
	// Protection is the name of one that takes away what the principal would
	// have otherwise. It is "" for who has no right there at all.
	Protection string
	// Beyond is set when the principal has Action there, and would give or get
	// more by it than it may.
	Beyond Beyond
}

// A Beyond says who has more than somebody who wants to act as it, or to put
// somebody into it.
type Beyond struct {
	Who    string // "robot:ci", "group:dev"; "" for nobody
	Rule   string // the name of the rule that gives it, or of a protection
	Hidden bool   // who wants it may not see that rule
}

func (e *Denied) Error() string {
	var b strings.Builder
	switch {
	case e.Beyond.Who != "" && e.Beyond.Hidden:
		return fmt.Sprintf("%s may not do that: the policy gives %s more than %[1]s has or manages", e.Principal, e.Beyond.Who)
	case e.Beyond.Who != "":
		return fmt.Sprintf("%s may not do that: by %s, the policy gives %s more than %[1]s has or manages", e.Principal, e.Beyond.Rule, e.Beyond.Who)
	case e.Action == Admin && e.Resource == API:
		return fmt.Sprintf("%s has no administrative right", e.Principal)
	case e.Resource == API:
		fmt.Fprintf(&b, "%s may not %s in the whole registry", e.Principal, e.Action)
	default:
		fmt.Fprintf(&b, "%s may not %s %s", e.Principal, e.Action, e.Resource.Name)
	}
	if e.Tag != "" {
		b.WriteString(":" + string(e.Tag))
	}
	if e.Protection != "" {
		fmt.Fprintf(&b, ": protected by %s", e.Protection)
	}
	return b.String()
}

// InsufficientScope says what a token would have to hold (401). Need is ready
// for the challenge's scope parameter.
type InsufficientScope struct {
	Need    Grants
	Present bool // the request carried a token, so error="insufficient_scope"
}

func (e *InsufficientScope) Error() string { return "token lacks " + e.Need.String() }

// ErrInvalidToken is a token that proves nothing: forged, foreign, revoked, or
// expired without an excuse (401, error="invalid_token").
var ErrInvalidToken = errors.New("invalid token")

// Ping returns nil for any live token (GET /v2/) that comes from where its
// credential may be used.
func (au Authority) Ping() error {
	switch {
	case !au.Token.Present():
		return &InsufficientScope{}
	case au.Token.Expired, !au.Identity.Narrowing.AllowsFrom(au.Origin.Address):
		return ErrInvalidToken
	}
	return nil
}

// Check returns nil if the principal may do a on repo now and its token holds
// it; a *Denied if policy and narrowing do not allow it, whatever token came;
// an *InsufficientScope naming what to ask for if they do but this token does
// not hold it; ErrInvalidToken for an expired token. Anonymous is never
// *Denied: a login could help.
func (au Authority) Check(a Action, repo oci.RepoName) error {
	return au.CheckPush(a, repo, func() (bool, error) { return false, nil })
}

// CheckPush is Check for a request of a push that began with this very token
// while it lived: began says so, and is asked only when the token has expired
// and policy and narrowing still allow the request. The expiry is excused, a
// lost right is not. Only pull and push can be part of a push. An error of
// began is returned as it is.
func (au Authority) CheckPush(a Action, repo oci.RepoName, began func() (bool, error)) error {
	r := Repository(string(repo))
	if err := au.allowed(a, repo, Query{AnyTag: true}); err != nil {
		return err
	}
	if au.Token.Expired {
		excused := false
		if a == Pull || a == Push {
			var err error
			if excused, err = began(); err != nil {
				return err
			}
		}
		if !excused {
			return ErrInvalidToken
		}
	}
	return au.holds(a, r)
}

// CheckTag decides exactly whether the principal may do a, CreateTag, MoveTag
// or Delete, to one tag of repo, or to something without a tag for "". It is
// asked where tags are written, in the transaction that knows which tags are
// there, after Check or CheckPush has let the request in: it does not ask about
// the token's end again. Errors: as Check.
func (au Authority) CheckTag(a Action, repo oci.RepoName, tag oci.Tag) error {
	if err := au.allowed(a, repo, Query{Tag: tag}); err != nil {
		return err
	}
	return au.holds(a, Repository(string(repo)))
}

// allowed asks policy and narrowing, for the tag of q.
func (au Authority) allowed(a Action, repo oci.RepoName, q Query) error {
	q.Action, q.Name = a, string(repo)
	d := au.Decide(q)
	switch {
	case d.Allowed && setOf(a)&bitsAdmin == 0:
		return nil
	case au.Identity.Principal.IsAnonymous():
		return &InsufficientScope{
			Need:    needed(a, Repository(q.Name)),
			Present: au.Token.Present() && !au.Token.Expired,
		}
	}
	return &Denied{
		Principal: au.Identity.Principal, Action: a, Resource: Repository(q.Name), Tag: q.Tag,
		Protection: d.Protection.Name,
	}
}

// holds returns nil if the token holds what a needs on r.
func (au Authority) holds(a Action, r Resource) error {
	if !au.Held.Has(r, string(wire(a))) {
		return &InsufficientScope{Need: needed(a, r), Present: au.Token.Present()}
	}
	return nil
}

// Decide completes q with who asks, from where and when, and asks the policy.
func (au Authority) Decide(q Query) Decision {
	q.Principal, q.Method, q.Narrowing = au.Identity.Principal, au.Identity.Proof.Method, au.Identity.Narrowing
	q.Origin, q.Time = au.Origin, au.Now
	return au.Policy.Decide(q)
}

// needed returns what a client should ask for to do a: who pushes looks first.
func needed(a Action, r Resource) Grants {
	var need Grants
	need.Add(r, string(wire(a)))
	if wire(a) == Push {
		need.Add(r, string(Pull))
	}
	return need
}

// May reports whether policy and narrowing could allow a on repo now, whatever
// the token holds and whatever the tag. It decides what a listing shows; Check
// decides everything else.
func (au Authority) May(a Action, repo oci.RepoName) bool {
	return setOf(a)&bitsAdmin == 0 && au.Decide(Query{Action: a, Name: string(repo), AnyTag: true}).Allowed
}

// CheckCatalog asks for a token that may list; the listing itself shows what
// May says.
func (au Authority) CheckCatalog() error { return au.checkRegistry(Catalog) }

// CheckAPI asks for a token that may speak to the admin API at all.
func (au Authority) CheckAPI() error { return au.checkRegistry(API) }

// CheckManage asks for an administrative right over a name in the tree
// ("team-a/ci", "team-a/app"), or over the whole registry for "", beside
// CheckAPI. Errors: as Check.
func (au Authority) CheckManage(a Action, name string) error {
	if err := au.CheckAPI(); err != nil {
		return err
	}
	if !au.MayManage(a, name) {
		r := API
		if name != "" {
			r = Resource{typeName, name}
		}
		return &Denied{Principal: au.Identity.Principal, Action: a, Resource: r}
	}
	return nil
}

// MayManage reports whether policy and narrowing give an administrative right,
// as CheckManage, whatever the token holds.
func (au Authority) MayManage(a Action, name string) bool {
	return setOf(a)&bitsAdmin != 0 && au.Decide(Query{Action: a, Name: name}).Allowed
}

// CheckManageAny asks for an administrative right over anything at all, beside
// CheckAPI: who has none learns nothing from a listing, not even that it would be
// empty. What the right is over is decided thing by thing, with CheckManage or
// MayManage. Errors: as Check.
func (au Authority) CheckManageAny(a Action) error {
	if err := au.CheckAPI(); err != nil {
		return err
	}
	some, n := false, au.Identity.Narrowing
	if bit := setOf(a) & bitsAdmin; bit != 0 && (n.IsZero() || n.AllowsFrom(au.Origin.Address) && n.leaves(a)) {
		au.Policy.givenTo(&au.Identity.Principal, func(of *given) bool {
			some = slices.ContainsFunc(of.all, func(r *rule) bool {
				return r.actions&bit == bit && (!of.check || r.names.include(&au.Identity.Principal))
			})
			return !some
		})
	}
	if !some {
		return &Denied{Principal: au.Identity.Principal, Action: a, Resource: API}
	}
	return nil
}

func (au Authority) checkRegistry(r Resource) error {
	if au.Token.Expired {
		return ErrInvalidToken
	}
	if !au.Held.Has(r, "*") {
		need := Grants{}
		need.Add(r, "*")
		return &InsufficientScope{Need: need, Present: au.Token.Present()}
	}
	if !au.Identity.Narrowing.AllowsFrom(au.Origin.Address) {
		return &Denied{Principal: au.Identity.Principal, Action: Admin, Resource: r}
	}
	return nil
}

// VisiblePrefixes returns literal prefixes, sorted, none a prefix of another,
// such that every repository the authority may pull begins with one of them. A
// listing seeks to them instead of skipping what it may not show. A prefix
// that is a whole name is not marked as such: filter with May.
func (au Authority) VisiblePrefixes() []string {
	given := uncovered(au.Policy.pullPrefixes(&au.Identity.Principal))
	kept := uncovered(au.Identity.Narrowing.pullPrefixes())
	var both []string
	for _, g := range given {
		for _, k := range kept {
			// What begins with both begins with the longer, if the shorter begins it.
			if long := max(g, k); strings.HasPrefix(long, min(g, k)) {
				both = append(both, long)
			}
		}
	}
	return uncovered(both)
}

// uncovered sorts prefixes and drops those that begin with another of them.
func uncovered(prefixes []string) []string {
	slices.Sort(prefixes)
	var out []string
	for _, p := range prefixes {
		if len(out) == 0 || !strings.HasPrefix(p, out[len(out)-1]) {
			out = append(out, p)
		}
	}
	return out
}
