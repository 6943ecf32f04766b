package access_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/access"
)

func TestParseScopes(t *testing.T) {
	for _, c := range []struct {
		name   string
		params []string
		want   string // as Scope.String writes it
	}{
		{"none", nil, ""},
		{"empty", []string{""}, ""},
		{"docker pull", []string{"repository:a/b:pull"}, "repository:a/b:pull"},
		{"docker push", []string{"repository:a/b:push,pull"}, "repository:a/b:push,pull"},
		{"containerd: both in one", []string{"repository:a/b:pull repository:a/b:pull,push"}, "repository:a/b:pull,push"},
		{"docker mount: repeated", []string{"repository:a/b:pull,push", "repository:c/d:pull"}, "repository:a/b:pull,push repository:c/d:pull"},
		{"crane: doubled", []string{"repository:a/b:push,pull", "repository:a/b:pull,push"}, "repository:a/b:push,pull"},
		{"skopeo delete", []string{"repository:a/b:*"}, "repository:a/b:*"},
		{"catalog", []string{"registry:catalog:*"}, "registry:catalog:*"},
		{"S-04 class", []string{"repository(plugin):a/b:pull"}, "repository(plugin):a/b:pull"},
		{"S-05 host and port", []string{"repository:host:5000/a:pull"}, "repository:host:5000/a:pull"},
		{"S-05 two action lists", []string{"repository:a:pull:push"}, "repository:a:pull:push"},
		{"S-02 doubles", []string{"repository:a:pull,pull,,pull"}, "repository:a:pull"},
		{"no name", []string{"repository::pull"}, ""},
		{"no type", []string{":a:pull"}, ""},
		{"no action", []string{"repository:a:", "repository:a:,"}, ""},
		{"one colon", []string{"openid:x"}, ""},
		{"words", []string{"openid profile"}, ""},
		{"not ASCII", []string{"repository:ä:pull repository:a:pull"}, "repository:a:pull"},
		{"spaces", []string{"  repository:a:pull   repository:b:pull "}, "repository:a:pull repository:b:pull"},
		{"long action list", []string{"repository:a:" + strings.Repeat("pull,", 800)}, "repository:a:pull"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := access.ParseScopes(c.params)
			if err != nil || got.String() != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestParseScopesBounds(t *testing.T) {
	numbered := func(n int, format string) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf(format, i))
		}
		return out
	}
	for _, c := range []struct {
		name   string
		params []string
		want   string
	}{
		{"T-30 1 000 scopes", numbered(1000, "repository:r%d:pull"), "more than 50 resources"},
		{"T-30 51 scopes in one", []string{strings.Join(numbered(51, "repository:r%d:pull"), " ")}, "more than 50 resources"},
		{"T-30 10 000 scopes of nothing", numbered(10_000, "xx%d"), "more than 16384 bytes"},
		{"T-30 one 1 MB scope", []string{"repository:" + strings.Repeat("a", 1<<20) + ":pull"}, "more than 16384 bytes"},
		{"one long scope", []string{"repository:" + strings.Repeat("a", 4096) + ":pull"}, "more than 4096 bytes"},
		{"many actions", []string{"repository:a:" + strings.Join(numbered(21, "a%d"), ",")}, "more than 20 actions"},
		{"many actions in parts", numbered(21, "repository:a:a%d"), "more than 20 actions"},
		{"S-05 newline", []string{"repository:a:pull\nrepository:b:pull"}, "control character"},
		{"S-05 tab", []string{"repository:a:pull\trepository:b:pull"}, "control character"},
		{"NUL", []string{"repository:a\x00:pull"}, "control character"},
		{"DEL", []string{"repository:a\x7f:pull"}, "control character"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := access.ParseScopes(c.params)
			if err == nil || !strings.Contains(err.Error(), c.want) || len(got.Entries()) != 0 {
				t.Errorf("got %v, %v, want %q", got, err, c.want)
			}
		})
	}
	for name, params := range map[string][]string{
		"50 scopes":  numbered(50, "repository:r%d:pull"),
		"20 actions": {"repository:a:" + strings.Join(numbered(20, "a%d"), ",")},
	} {
		if _, err := access.ParseScopes(params); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzParseScopes: what is read is written so that it is read again; nothing
// asked twice stays twice; the limits hold; and what policy gives of it is
// part of it.
func FuzzParseScopes(f *testing.F) {
	for _, s := range []string{"repository:a/b:pull,push", "repository:samalba/my-app:pull,push repository:x:*", "repository(plugin):a:pull", "registry:catalog:*", "::", "a:b:c,,c a:b:d"} {
		f.Add(s, "repository:team-a/app:*")
	}
	pol := policy(f, fixture)
	f.Fuzz(func(t *testing.T, one, two string) {
		s, err := access.ParseScopes([]string{one, two})
		if err != nil {
			if len(one)+len(two) == 0 {
				t.Error(err)
			}
			return
		}
		again, err := access.ParseScopes([]string{s.String()})
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if diff := cmp.Diff(s.Entries(), again.Entries()); diff != "" || again.String() != s.String() {
			t.Errorf("%q: %s", s, diff)
		}
		seen := map[access.Resource][]string{}
		for _, e := range s.Entries() {
			if seen[e.Resource] != nil || len(e.Actions) == 0 || len(e.Actions) > access.MaxScopeActions {
				t.Errorf("entry %v", e)
			}
			seen[e.Resource] = e.Actions
		}
		if len(seen) > access.MaxScopeResources {
			t.Errorf("%d resources", len(seen))
		}
		given := pol.Grant(access.Identity{Principal: user("alice", "b")}, access.Origin{}, time.Time{}, s)
		for _, r := range given.Resources() {
			if seen[r] == nil {
				t.Errorf("%s was given and not asked for in %q", r, s)
			}
		}
	})
}

func TestGrantsClaims(t *testing.T) {
	var g access.Grants
	g.Add(access.Repository("b"), "push", "pull", "push")
	g.Add(access.Repository("a"), "pull")
	g.Add(access.Repository("none"))
	g.Add(access.Catalog, "*")
	b, err := json.Marshal(g.Claims())
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"type":"registry","name":"catalog","actions":["*"]},{"type":"repository","name":"a","actions":["pull"]},{"type":"repository","name":"b","actions":["pull","push"]}]`
	if string(b) != want {
		t.Errorf("got %s\nwant %s", b, want)
	}
	if again := access.GrantsOf(g.Claims()); again.String() != g.String() || g.String() != "registry:catalog:* repository:a:pull repository:b:pull,push" {
		t.Errorf("got %q, want %q", again, g)
	}
	if b, _ := json.Marshal(access.Grants{}.Claims()); string(b) != "[]" {
		t.Errorf("no grants are written %s", b)
	}
	if g.Has(access.Repository("a"), "push") || !g.Has(access.Repository("b"), "push") || g.Has(access.Repository("b"), "*") || g.Has(access.API, "*") {
		t.Error("Has")
	}
	claims := g.Claims()
	claims[0].Actions[0] = "changed"
	if !g.Has(access.Catalog, "*") {
		t.Error("the claims share memory with the grants")
	}
}
