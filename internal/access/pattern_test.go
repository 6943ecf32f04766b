package access

import (
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/oci"
)

// Patterns are an inner part of the language, so this file alone is inside the
// package.

func TestPatternMatches(t *testing.T) {
	for _, c := range []struct {
		name, pattern, repo string
		want                bool
	}{
		{"whole name", "team-a/app", "team-a/app", true},
		{"whole name only", "team-a/app", "team-a/app2", false},
		{"whole name, below", "team-a/app", "team-a/app/x", false},
		{"S-09 one segment", "team-a/*", "team-a/app", true},
		{"S-09 longer first segment", "team-a/*", "team-a-evil/x", false},
		{"S-09 other first segment", "team-a/*", "team-ab/x", false},
		{"S-09 parent", "team-a/*", "team-a", false},
		{"S-09 deeper", "team-a/*", "team-a/x/y", false},
		{"S-09 prefixed", "team-a/*", "xteam-a/y", false},
		{"S-09 tree", "team-a/**", "team-a/x/y", true},
		{"S-09 tree one below", "team-a/**", "team-a/x", true},
		{"S-09 tree is not its root", "team-a/**", "team-a", false},
		{"S-09 tree of another", "team-a/**", "team-ab/x", false},
		{"everything", "**", "a", true},
		{"everything deep", "**", "a/b/c", true},
		{"one segment anything", "*", "a", true},
		{"one segment anything, deeper", "*", "a/b", false},
		{"front, none", "**/app", "app", true},
		{"front, two", "**/app", "a/b/app", true},
		{"front, anchored", "**/app", "a/xapp", false},
		{"middle, none", "a/**/b", "a/b", true},
		{"middle, two", "a/**/b", "a/x/y/b", true},
		{"middle, back up", "a/**/b/c", "a/b/x/b/c", true},
		{"middle, not at the end", "a/**/b", "a/b/c", false},
		{"several", "**/a/**/b/**", "x/a/a/b/b/y", true},
		{"several, nothing left for the end", "**/a/**/b/**", "x/a/y/b", false},
		{"front and end", "**/x/**", "x/y", true},
		{"front and end, root", "**/x/**", "x", false},
		{"end after star", "*/**", "a", false},
		{"end after star, one", "*/**", "a/b", true},
		{"doubled", "**/**", "a", true},
		{"star takes none", "app*", "app", true},
		{"star takes some", "app*", "app-x", true},
		{"star inside", "a*c/x", "abc/x", true},
		{"star does not cross", "a*c", "a/c", false},
		{"stars back up", "*ab*ab", "abxabyab", true},
		{"stars must reach the end", "*a", "ab", false},
		{"S-11 regular expression", "a.c", "abc", false},
		{"S-11 dot stands for itself", "a.c", "a.c", true},
		{"prefix of another", "team*", "team-a/x", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := parsePattern(c.pattern)
			if err != nil {
				t.Fatal(err)
			}
			set := newPatternSet([]pattern{p})
			if got := p.matches(c.repo, nobody); got != c.want {
				t.Errorf("%q matches %q: %t", c.pattern, c.repo, got)
			}
			if got := set.matches(c.repo); got != c.want {
				t.Errorf("the set of %q matches %q: %t", c.pattern, c.repo, got)
			}
			if got := indexed(p, c.repo, nobody); got != c.want {
				t.Errorf("the index of %q matches %q: %t", c.pattern, c.repo, got)
			}
		})
	}
}

// indexed reports whether p is found under name in an index.
func indexed(p pattern, name string, by caller) bool {
	var ix index[bool]
	ix.add(p, true)
	l := lookUp(name, by)
	return !ix.find(&l, func(bool) bool { return false })
}

func TestParsePatternRefuses(t *testing.T) {
	for _, c := range []struct{ name, pattern, want string }{
		{"empty", "", "empty"},
		{"capital", "Team/*", "can match no repository name"},
		{"leading slash", "/team", "can match no"},
		{"trailing slash", "team/", "can match no"},
		{"double slash", "a//b", "can match no"},
		{"dot dot", "a/../b", "can match no"},
		{"leading dot", ".*", "can match no"},
		{"trailing dash", "*-", "can match no"},
		{"separators that never meet", "a_.*", "can match no"},
		{"two dots", "*..*", "can match no"},
		{"S-10 question mark", "team-?/**", "can match no"},
		{"S-11 variable", "${user}/**", "can match no"},
		{"S-11 alternatives", "{a,b}", "can match no"},
		{"S-11 comma", "a,b", "can match no"},
		{"regular expression", "^a$", "can match no"},
		{"host and port", "host:5000/a", "can match no"},
		{"newline", "a\n", "can match no"},
		{"two stars inside", "a**", "must be a whole segment"},
		{"three stars", "***", "must be a whole segment"},
		{"two stars beside", "a/**b", "must be a whole segment"},
		{"long", strings.Repeat("a", 201), "the limit is 200"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if p, err := parsePattern(c.pattern); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("parsePattern(%q) = %v, %v", c.pattern, p, err)
			}
		})
	}
}

// asRegexp says what a pattern means in another language.
func asRegexp(pattern string) *regexp.Regexp {
	segments := strings.Split(pattern, "/")
	var b strings.Builder
	b.WriteString(`\A`)
	for i, s := range segments {
		last := i == len(segments)-1
		switch {
		case s == "**" && last:
			b.WriteString(`[^/]+(/[^/]+)*`)
		case s == "**":
			b.WriteString(`([^/]+/)*`)
		default:
			b.WriteString(strings.ReplaceAll(regexp.QuoteMeta(s), `\*`, `[^/]*`))
			if !last {
				b.WriteString("/")
			}
		}
	}
	return regexp.MustCompile(b.String() + `\z`)
}

// FuzzPattern: the matcher agrees with a regular expression; a pattern that is
// accepted matches a valid name; and its literal begins every name it matches.
func FuzzPattern(f *testing.F) {
	for _, p := range []string{"team-a/**", "**/app", "a/**/b", "*a*b*/c", "**", "app", "**/**/x", "a*/**/b*/**"} {
		for _, n := range []string{"team-a/app", "a/b", "a/x/y/b", "aab/c", "app", "x", "ab/b/bb/c"} {
			f.Add(p, n)
		}
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		p, err := parsePattern(text)
		if err != nil {
			return
		}
		reference, set := asRegexp(text), newPatternSet([]pattern{p})
		example := example(strings.Split(text, "/"))
		if _, err := oci.ParseRepoName(example); err != nil {
			t.Fatalf("%q: the example %q is no name", text, example)
		}
		if !p.matches(example, nobody) {
			t.Errorf("%q does not match its example %q", text, example)
		}
		for _, n := range []string{name, example, example + "/" + name, name + "/" + example} {
			if _, err := oci.ParseRepoName(n); err != nil {
				continue
			}
			want := reference.MatchString(n)
			if got := p.matches(n, nobody); got != want {
				t.Errorf("%q matches %q: %t, want %t", text, n, got, want)
			}
			if got := set.matches(n); got != want {
				t.Errorf("the set of %q matches %q: %t, want %t", text, n, got, want)
			}
			if got := indexed(p, n, nobody); got != want {
				t.Errorf("the index of %q matches %q: %t, want %t", text, n, got, want)
			}
			if want && !strings.HasPrefix(n, set.literals()[0]) {
				t.Errorf("%q matches %q, which does not begin with %q", text, n, set.literals())
			}
		}
	})
}

// TestPatternWork: the worst patterns take no more than the product of the
// lengths: with an exponential matcher this would not end.
func TestPatternWork(t *testing.T) {
	for _, c := range []struct{ pattern, name string }{
		{strings.Repeat("*a", 99) + "*b", strings.Repeat("a", 200)},
		{strings.Repeat("**/a/", 39) + "b", strings.TrimSuffix(strings.Repeat("a/", 100), "/")},
		{strings.Repeat("**/*a*a*/", 22) + "b", strings.TrimSuffix(strings.Repeat("aaaa/", 40), "/")},
	} {
		p, err := parsePattern(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			if p.matches(c.name, nobody) {
				t.Fatalf("%q matches %q", c.pattern, c.name)
			}
		}
	}
}
