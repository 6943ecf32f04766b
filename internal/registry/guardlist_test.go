package registry_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
)

// A counted registry counts the names that were read to make a listing.
type counted struct {
	registry.Registry
	ranges, names int
}

func (c *counted) Repositories(ctx context.Context, after oci.RepoName, prefix string) iter.Seq2[oci.RepoName, error] {
	c.ranges++
	return func(yield func(oci.RepoName, error) bool) {
		for repo, err := range c.Registry.Repositories(ctx, after, prefix) {
			c.names++
			if !yield(repo, err) {
				return
			}
		}
	}
}

func TestCatalogShowsWhatMayBePulled(t *testing.T) {
	h := newHouse(t)
	for _, repo := range []oci.RepoName{"open/x", "public/base", "team-a-evil/x", "team-a/app", "team-a/app/sub", "team-a/web", "team-ab/x", "team-b/secret"} {
		push(t, h, repo, []byte("x"))
	}
	for i := range 50 {
		push(t, h, oci.RepoName(fmt.Sprintf("zz/%02d", i)), []byte("x"))
	}
	cases := []struct {
		name          string
		who, rules    string
		after, prefix string
		want          []oci.RepoName
		most          int // names read
	}{
		{"alice", "alice", teams, "", "", []oci.RepoName{"public/base", "team-a/app", "team-a/app/sub", "team-a/web"}, 4},
		{"alice, second page", "alice", teams, "team-a/app", "", []oci.RepoName{"team-a/app/sub", "team-a/web"}, 2},
		{"alice, past her end", "alice", teams, "team-a/web", "", nil, 0},
		{"alice, by prefix", "alice", teams, "", "team-a/app", []oci.RepoName{"team-a/app", "team-a/app/sub"}, 2},
		{"alice, by a prefix above", "alice", teams, "", "team", []oci.RepoName{"team-a/app", "team-a/app/sub", "team-a/web"}, 3},
		{"alice, by a prefix of another", "alice", teams, "", "team-b/", nil, 0},
		{"S-09 one name, not those that begin with it", "carol", rule("user:carol", "team-a/app", "pull"), "", "", []oci.RepoName{"team-a/app"}, 2},
		{"push alone shows nothing", "carol", rule("user:carol", "**", "push, delete"), "", "", nil, 0},
		{"anonymous", "", teams, "", "", []oci.RepoName{"public/base"}, 1},
		{"nobody", "mallory", "[]", "", "", nil, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			counter := &counted{Registry: h}
			g := registry.Guard(counter, authority(t, c.who, c.rules, "registry:catalog:*"))
			var got []oci.RepoName
			for repo, err := range g.Repositories(t.Context(), oci.RepoName(c.after), c.prefix) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, repo)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("catalog is %q, want %q", got, c.want)
			}
			if counter.names > c.most {
				t.Errorf("%d names were read, want at most %d", counter.names, c.most)
			}
		})
	}
}

func TestHoldersShowsWhatMayBePulled(t *testing.T) {
	h := newHouse(t)
	d := push(t, h, secret, []byte("x"))
	push(t, h, app, []byte("x"))
	var got []oci.RepoName
	for repo, err := range registry.Guard(h, authority(t, "alice", teams, "registry:catalog:*")).Holders(t.Context(), d) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, repo)
	}
	if !slices.Equal(got, []oci.RepoName{app}) {
		t.Errorf("holders are %q", got)
	}
}

// The law of the catalog: seeking by prefixes shows what asking about every
// name would.
func TestCatalogIsAllThatMayBePulled(t *testing.T) {
	h := newHouse(t)
	parts := []string{"a", "a-b", "ab", "a_b", "b", "b/a", "a/b"}
	var all []oci.RepoName
	for _, p := range parts {
		for _, q := range parts {
			repo := oci.RepoName(p + "/" + q)
			if !slices.Contains(all, repo) {
				all = append(all, repo)
				push(t, h, repo, []byte("x"))
			}
		}
	}
	slices.Sort(all)
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	for range 300 {
		var rules []string
		for range 1 + random.IntN(3) {
			pattern := pick("a", "a*", "*b", "*", "**", "b", "a/b") + pick("", "/*", "/**", "/a", "/a*", "/b/*")
			rules = append(rules, fmt.Sprintf(`{who: ["user:alice"], what: [%q], may: [pull]}`, pattern))
		}
		policy := "[" + strings.Join(rules, ", ") + "]"
		after := oci.RepoName(pick("", "", "a", "a/b", "a/b/a", "ab/zz", "b", "zz"))
		prefix := pick("", "", "a", "a/", "a/b", "a_", "b/a/", "c")
		au := authority(t, "alice", policy, "registry:catalog:*")
		var want, got []oci.RepoName
		for _, repo := range all {
			if repo > after && strings.HasPrefix(string(repo), prefix) && au.May(access.Pull, repo) {
				want = append(want, repo)
			}
		}
		for repo, err := range registry.Guard(h, au).Repositories(t.Context(), after, prefix) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, repo)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("policy %s, after %q, prefix %q: catalog is %q, want %q", policy, after, prefix, got, want)
		}
	}
}

// A crowded registry holds a blob in more repositories than a mount may look at.
type crowded struct {
	registry.Registry
	looked int
}

func (c *crowded) Holders(context.Context, oci.Digest) iter.Seq2[oci.RepoName, error] {
	return func(yield func(oci.RepoName, error) bool) {
		for c.looked = 1; yield(oci.RepoName(fmt.Sprintf("team-b/%d", c.looked)), nil); c.looked++ {
		}
	}
}

func TestMountLooksAtSomeHoldersOnly(t *testing.T) {
	c := &crowded{Registry: newHouse(t)}
	_, err := registry.Guard(c, full(t)).MountBlob(t.Context(), app, registry.BlobAt{Digest: nobody})
	if !errors.Is(err, oci.BlobUnknown) || c.looked != 1000 {
		t.Errorf("mount: %v after %d holders", err, c.looked)
	}
}
