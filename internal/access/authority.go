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
	Action    Action
	Resource  Resource
}

func (e *Denied) Error() string {
	if e.Action == Admin {
		return fmt.Sprintf("%s has no administrative right", e.Principal)
	}
	return fmt.Sprintf("%s may not %s %s", e.Principal, e.Action, e.Resource.Name)
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

// Ping returns nil for any live token (GET /v2/).
func (au Authority) Ping() error {
	switch {
	case !au.Token.Present():
		return &InsufficientScope{}
	case au.Token.Expired:
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
	if !au.May(a, repo) {
		if au.Identity.Principal.IsAnonymous() {
			return &InsufficientScope{Need: needed(a, r), Present: au.Token.Present() && !au.Token.Expired}
		}
		return &Denied{Principal: au.Identity.Principal, Action: a, Resource: r}
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
	if !au.Held.Has(r, string(a)) {
		return &InsufficientScope{Need: needed(a, r), Present: au.Token.Present()}
	}
	return nil
}

// needed returns what a client should ask for to do a: who pushes looks first.
func needed(a Action, r Resource) Grants {
	var need Grants
	need.Add(r, string(a))
	if a == Push {
		need.Add(r, string(Pull))
	}
	return need
}

// May reports whether policy and narrowing allow a on repo now, whatever the
// token holds. It decides what a listing shows; Check decides everything else.
func (au Authority) May(a Action, repo oci.RepoName) bool {
	return au.Policy.Allows(au.Identity.Principal, a, repo) && au.Identity.Narrowing.Allows(a, repo)
}

// CheckCatalog asks for a token that may list; the listing itself shows what
// May says.
func (au Authority) CheckCatalog() error { return au.checkRegistry(Catalog) }

// CheckAPI asks for a token that may speak to the admin API at all.
func (au Authority) CheckAPI() error { return au.checkRegistry(API) }

// CheckAdmin asks for the administrative right beside CheckAPI. Errors: as Check.
func (au Authority) CheckAdmin() error {
	if err := au.CheckAPI(); err != nil {
		return err
	}
	if !au.MayAdmin() {
		return &Denied{Principal: au.Identity.Principal, Action: Admin, Resource: API}
	}
	return nil
}

// MayAdmin reports whether policy and narrowing give the administrative right.
func (au Authority) MayAdmin() bool {
	return au.Policy.AllowsAdmin(au.Identity.Principal) && au.Identity.Narrowing.AllowsAdmin()
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
	return nil
}

// VisiblePrefixes returns literal prefixes, sorted, none a prefix of another,
// such that every repository the authority may pull begins with one of them. A
// listing seeks to them instead of skipping what it may not show. A prefix
// that is a whole name is not marked as such: filter with May.
func (au Authority) VisiblePrefixes() []string {
	given := uncovered(au.Policy.pullPrefixes(au.Identity.Principal))
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
