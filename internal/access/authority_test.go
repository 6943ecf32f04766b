package access_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/oci"
)

var (
	live    = access.TokenFacts{ID: "jti-1"}
	expired = access.TokenFacts{ID: "jti-1", Expired: true}
	noToken = access.TokenFacts{}
)

func held(t *testing.T, scope string) access.Grants {
	t.Helper()
	s, err := access.ParseScopes([]string{scope})
	if err != nil {
		t.Fatal(err)
	}
	var g access.Grants
	for _, e := range s.Entries() {
		g.Add(e.Resource, e.Actions...)
	}
	return g
}

// outcome writes an error as the door would answer it.
func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	if e, ok := errors.AsType[*access.Denied](err); ok {
		return "denied " + string(e.Action) + " " + e.Resource.String()
	}
	if e, ok := errors.AsType[*access.InsufficientScope](err); ok {
		if e.Present {
			return "insufficient " + e.Need.String()
		}
		return "challenge " + e.Need.String()
	}
	if errors.Is(err, access.ErrInvalidToken) {
		return "invalid"
	}
	return err.Error()
}

func TestAuthorityCheck(t *testing.T) {
	pullOnly, err := access.NewNarrowing(nil, []string{"pull"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := access.NewNarrowing([]string{"team-b/other"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	const app, secret, base, missing = "team-a/app", "team-b/secret", "public/base", "team-b/missing"
	for _, c := range []struct {
		name   string
		who    access.Principal
		keeps  access.Narrowing
		token  access.TokenFacts
		held   string
		action access.Action
		repo   oci.RepoName
		want   string
	}{
		{"allowed and held", user("alice"), access.Narrowing{}, live, "repository:team-a/app:pull", access.Pull, app, "ok"},
		{"allowed, other action held", user("alice"), access.Narrowing{}, live, "repository:team-a/app:pull", access.Push, app, "insufficient repository:team-a/app:pull,push"},
		{"allowed, other repository held", user("alice"), access.Narrowing{}, live, "repository:team-a/x:pull", access.Pull, app, "insufficient repository:team-a/app:pull"},
		{"allowed, nothing held", user("alice"), access.Narrowing{}, live, "", access.Push, app, "insufficient repository:team-a/app:pull,push"},
		{"delete asks for delete", user("bob"), access.Narrowing{}, live, "repository:team-b/secret:pull", access.Delete, secret, "insufficient repository:team-b/secret:delete"},
		{"star is no action in a token", user("alice"), access.Narrowing{}, live, "repository:team-a/app:*", access.Pull, app, "insufficient repository:team-a/app:pull"},
		{"S-01 not allowed", user("carol"), access.Narrowing{}, live, "repository:team-a/app:pull", access.Push, app, "denied push repository:team-a/app"},
		{"S-22 held, no longer allowed", user("mallory"), access.Narrowing{}, live, "repository:team-a/app:pull,push", access.Push, app, "denied push repository:team-a/app"},
		{"S-17 exists", user("mallory"), access.Narrowing{}, live, "", access.Pull, secret, "denied pull repository:team-b/secret"},
		{"S-17 does not exist", user("mallory"), access.Narrowing{}, live, "", access.Pull, missing, "denied pull repository:team-b/missing"},
		{"S-17 expired token", user("mallory"), access.Narrowing{}, expired, "", access.Pull, missing, "denied pull repository:team-b/missing"},
		{"S-17 anonymous, exists", anonymous, access.Narrowing{}, noToken, "", access.Pull, secret, "challenge repository:team-b/secret:pull"},
		{"S-17 anonymous, does not exist", anonymous, access.Narrowing{}, noToken, "", access.Pull, missing, "challenge repository:team-b/missing:pull"},
		{"anonymous with a token", anonymous, access.Narrowing{}, live, "", access.Pull, secret, "insufficient repository:team-b/secret:pull"},
		{"anonymous, open to anyone, no token", anonymous, access.Narrowing{}, noToken, "", access.Pull, base, "challenge repository:public/base:pull"},
		{"anonymous, open to anyone", anonymous, access.Narrowing{}, live, "repository:public/base:pull", access.Pull, base, "ok"},
		{"anonymous push", anonymous, access.Narrowing{}, live, "repository:public/base:pull,push", access.Push, base, "insufficient repository:public/base:pull,push"},
		{"anonymous, expired", anonymous, access.Narrowing{}, expired, "repository:public/base:pull", access.Pull, base, "invalid"},
		{"anonymous, expired, not allowed", anonymous, access.Narrowing{}, expired, "", access.Pull, secret, "challenge repository:team-b/secret:pull"},
		{"T-11 expired", user("alice"), access.Narrowing{}, expired, "repository:team-a/app:pull", access.Pull, app, "invalid"},
		{"T-11 expired, not held", user("alice"), access.Narrowing{}, expired, "", access.Pull, app, "invalid"},
		{"S-36 narrowed action", user("alice"), pullOnly, live, "repository:team-a/app:pull,push", access.Push, app, "denied push repository:team-a/app"},
		{"S-36 narrowed, kept action", user("alice"), pullOnly, live, "repository:team-a/app:pull", access.Pull, app, "ok"},
		{"S-36 narrowed repository", user("bob"), elsewhere, live, "repository:team-b/secret:pull", access.Pull, secret, "denied pull repository:team-b/secret"},
		{"admin on a repository", user("root", "admins"), access.Narrowing{}, live, "repository:team-a/app:admin", access.Admin, app, "denied admin repository:team-a/app"},
	} {
		t.Run(c.name, func(t *testing.T) {
			au := access.Authority{
				Identity: access.Identity{Principal: c.who, Narrowing: c.keeps},
				Policy:   policy(t, fixture), Held: held(t, c.held), Token: c.token,
			}
			if got := outcome(au.Check(c.action, c.repo)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			asked := false
			got := outcome(au.CheckPush(c.action, c.repo, func() (bool, error) { asked = true; return false, nil }))
			if got != c.want {
				t.Errorf("as part of no push: got %q, want %q", got, c.want)
			}
			if asked != (c.want == "invalid" && (c.action == access.Pull || c.action == access.Push)) {
				t.Errorf("whether a push began was asked: %t", asked)
			}
		})
	}
	if got := outcome(access.Authority{}.Check(access.Pull, app)); got != "challenge repository:team-a/app:pull" {
		t.Errorf("the zero authority: %q", got)
	}
}

// TestAuthorityCheckPush: the grace excuses an expired token and nothing else.
func TestAuthorityCheckPush(t *testing.T) {
	broken := errors.New("database is gone")
	for _, c := range []struct {
		name   string
		who    access.Principal
		token  access.TokenFacts
		held   string
		action access.Action
		repo   oci.RepoName
		began  bool
		err    error
		want   string
	}{
		{"began", user("bob"), expired, "repository:team-b/x:pull,push", access.Push, "team-b/x", true, nil, "ok"},
		{"began, looks first", user("bob"), expired, "repository:team-b/x:pull,push", access.Pull, "team-b/x", true, nil, "ok"},
		{"did not begin", user("bob"), expired, "repository:team-b/x:pull,push", access.Push, "team-b/x", false, nil, "invalid"},
		{"S-22 right lost", user("mallory"), expired, "repository:team-b/x:pull,push", access.Push, "team-b/x", true, nil, "denied push repository:team-b/x"},
		{"not held", user("bob"), expired, "repository:team-b/x:pull", access.Push, "team-b/x", true, nil, "insufficient repository:team-b/x:pull,push"},
		{"delete is no part of a push", user("bob"), expired, "repository:team-b/x:delete", access.Delete, "team-b/x", true, nil, "invalid"},
		{"cannot tell", user("bob"), expired, "repository:team-b/x:push", access.Push, "team-b/x", true, broken, "database is gone"},
		{"live", user("bob"), live, "repository:team-b/x:push", access.Push, "team-b/x", false, broken, "ok"},
	} {
		t.Run(c.name, func(t *testing.T) {
			au := access.Authority{Identity: access.Identity{Principal: c.who}, Policy: policy(t, fixture), Held: held(t, c.held), Token: c.token}
			if got := outcome(au.CheckPush(c.action, c.repo, func() (bool, error) { return c.began, c.err })); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestAuthorityRegistry(t *testing.T) {
	pullOnly, err := access.NewNarrowing(nil, []string{"pull"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	const catalog, api = "registry:catalog:*", "registry:api:*"
	for _, c := range []struct {
		name                          string
		who                           access.Principal
		keeps                         access.Narrowing
		token                         access.TokenFacts
		held                          string
		ping, catalogue, apiis, admin string
	}{
		{"no token", anonymous, access.Narrowing{}, noToken, "", "challenge ", "challenge " + catalog, "challenge " + api, "challenge " + api},
		{"anonymous token", anonymous, access.Narrowing{}, live, catalog, "ok", "ok", "insufficient " + api, "insufficient " + api},
		{"empty token", user("alice"), access.Narrowing{}, live, "", "ok", "insufficient " + catalog, "insufficient " + api, "insufficient " + api},
		{"user", user("alice"), access.Narrowing{}, live, catalog + " " + api, "ok", "ok", "ok", "denied admin registry:api"},
		{"admin", user("root", "admins"), access.Narrowing{}, live, catalog + " " + api, "ok", "ok", "ok", "ok"},
		{"S-36 admin, narrowed", user("root", "admins"), pullOnly, live, api, "ok", "insufficient " + catalog, "ok", "denied admin registry:api"},
		{"expired", user("root", "admins"), access.Narrowing{}, expired, catalog + " " + api, "invalid", "invalid", "invalid", "invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			au := access.Authority{Identity: access.Identity{Principal: c.who, Narrowing: c.keeps}, Policy: policy(t, fixture), Held: held(t, c.held), Token: c.token}
			got := []string{outcome(au.Ping()), outcome(au.CheckCatalog()), outcome(au.CheckAPI()), outcome(au.CheckManage(access.Admin, ""))}
			if diff := cmp.Diff([]string{c.ping, c.catalogue, c.apiis, c.admin}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDeniedText(t *testing.T) {
	for want, err := range map[string]error{
		"user:carol may not push team-a/app":       &access.Denied{Principal: user("carol"), Action: access.Push, Resource: access.Repository("team-a/app")},
		"user:carol has no administrative right":   &access.Denied{Principal: user("carol"), Action: access.Admin, Resource: access.API},
		"token lacks repository:a:pull,push":       &access.InsufficientScope{Need: access.GrantsOf([]access.Claim{{Type: "repository", Name: "a", Actions: []string{"push", "pull"}}})},
		"anonymous may not pull team-b/secret":     &access.Denied{Action: access.Pull, Resource: access.Repository("team-b/secret")},
		"robot:ci may not delete team-a/ci-images": &access.Denied{Principal: robot("ci"), Action: access.Delete, Resource: access.Repository("team-a/ci-images")},
	} {
		if err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}

func TestVisiblePrefixes(t *testing.T) {
	for _, c := range []struct {
		name  string
		who   access.Principal
		repos []string
		acts  []string
		want  []string
	}{
		{"own and public", user("alice"), nil, nil, []string{"public/", "team-a/"}},
		{"anonymous", anonymous, nil, nil, []string{"public/"}},
		{"leading star", robot("ci"), nil, nil, []string{""}},
		{"whole name", user("carol"), nil, nil, []string{"public/", "team-a/app"}},
		{"S-36 narrowed below", user("alice"), []string{"team-a/app", "team-a/b*"}, nil, []string{"team-a/app", "team-a/b"}},
		{"S-36 narrowed above", user("carol"), []string{"team-a/**", "team-c/**"}, nil, []string{"team-a/app"}},
		{"S-36 narrowed elsewhere", user("alice"), []string{"team-c/**"}, nil, nil},
		{"S-36 narrowed to push", user("alice"), nil, []string{"push"}, nil},
		{"S-36 narrowed to everything", user("alice"), []string{"**"}, []string{"pull"}, []string{"public/", "team-a/"}},
		{"covered", user("carol"), []string{"team-a/**", "team-a/app"}, nil, []string{"team-a/app"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := access.NewNarrowing(c.repos, c.acts, nil)
			if err != nil {
				t.Fatal(err)
			}
			au := access.Authority{Identity: access.Identity{Principal: c.who, Narrowing: n}, Policy: policy(t, fixture)}
			if diff := cmp.Diff(c.want, au.VisiblePrefixes()); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got := (access.Authority{}).VisiblePrefixes(); len(got) != 0 {
		t.Errorf("the zero authority sees %q", got)
	}
}

// FuzzVisiblePrefixes: whatever may be pulled begins with exactly one of the
// prefixes, which are sorted.
func FuzzVisiblePrefixes(f *testing.F) {
	for seed := range uint64(50) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 2))
		pol := policy(t, document(randomPolicy(r)))
		var n access.Narrowing
		if r.IntN(2) == 0 {
			all := []string{"**", "x/**", "x/y", "*/y", "**/y", "x*", "other/*"}
			var err error
			if n, err = access.NewNarrowing(all[r.IntN(len(all)):][:1], nil, nil); err != nil {
				t.Fatal(err)
			}
		}
		for _, who := range []access.Principal{anonymous, user("a"), user("b", "g"), robot("a")} {
			au := access.Authority{Identity: access.Identity{Principal: who, Narrowing: n}, Policy: pol}
			prefixes := au.VisiblePrefixes()
			if !slices.IsSorted(prefixes) {
				t.Errorf("%q are not sorted", prefixes)
			}
			for _, repo := range []oci.RepoName{"x", "y", "x/y", "x/z", "x/a/z", "pub/a", "xx/yy", "other/y"} {
				begins := 0
				for _, p := range prefixes {
					if strings.HasPrefix(string(repo), p) {
						begins++
					}
				}
				if begins > 1 || begins == 0 && au.May(access.Pull, repo) {
					t.Errorf("%s may pull %s, which begins with %d of %q", who, repo, begins, prefixes)
				}
			}
		}
	})
}
