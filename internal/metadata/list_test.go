package metadata_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry/registrytest"
)

// names are repositories and tags that other orders than that of bytes, and
// wildcards, would get wrong.
var names = []string{
	"0.1.2", "0.1.20", "a", "a-b", "a.b", "a/b", "a/b/c", "a0", "a_b", "ab", "math", "math-voila", "team-a/app", "team-a/app2",
	"team_a/x", "teamxa/x", "z",
}

func TestRepositories(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, c := t.Context(), db.Catalog()
		for i := len(names) - 1; i >= 0; i-- {
			must(t, save(ctx, c, oci.RepoName(names[i]), indexOf("x"), nil))
		}
		want := func(after, prefix string) (out []oci.RepoName) {
			for _, n := range slices.Sorted(slices.Values(names)) {
				if n > after && strings.HasPrefix(n, prefix) {
					out = append(out, oci.RepoName(n))
				}
			}
			return out
		}
		prefixes := []string{"", "a", "a/", "team_a", "team-a/", "team%", "%", "_", "a/b/c/d", "é", "a\x00", "\xff", "z", "~"}
		afters := append(slices.Clone(names), "", "a!", "b", "zz", "a\x00", "a\x00z", "a\xff", "mathé", "x>; rel=\"evil\"", "~~", "\x7f")
		for _, prefix := range prefixes {
			for _, after := range afters {
				got := all(t, c.Repositories(ctx, oci.RepoName(after), prefix))
				if diff := cmp.Diff(want(after, prefix), got); diff != "" {
					t.Errorf("D-16 after %q prefix %q: %s", after, prefix, diff)
				}
			}
		}
	})
}

func TestTags(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, c := t.Context(), db.Catalog()
		var tags []oci.Tag
		for _, n := range append([]string{"B", "_x", "Z", "latest", "1.0", "1-0"}, names...) {
			if _, err := oci.ParseTag(n); err == nil {
				tags = append(tags, oci.Tag(n))
			}
		}
		must(t, save(ctx, c, "a", indexOf("x"), tags))
		must(t, save(ctx, c, "ab", indexOf("x"), []oci.Tag{"not-mine"}))
		slices.Sort(tags)
		t.Run("R-15 pages of one", func(t *testing.T) {
			var after oci.Tag
			for _, want := range tags {
				for got, err := range c.Tags(ctx, "a", after) {
					must(t, err)
					if got != want {
						t.Fatalf("after %q comes %q, want %q", after, got, want)
					}
					after = got
					break
				}
			}
			if rest := all(t, c.Tags(ctx, "a", after)); len(rest) != 0 {
				t.Errorf("rest %q", rest)
			}
		})
		for _, after := range []oci.Tag{"", "1.0\x00", "~", "\x00", "\xff", "Zé", "x>; rel=\"evil\""} {
			var want []oci.Tag
			for _, tag := range tags {
				if tag > after {
					want = append(want, tag)
				}
			}
			if diff := cmp.Diff(want, all(t, c.Tags(ctx, "a", after))); diff != "" {
				t.Errorf("after %q: %s", after, diff)
			}
		}
		wantCode(t, firstError(c.Tags(ctx, "none", "")), oci.NameUnknown)
	})
}

func TestManyTags(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, c := t.Context(), db.Catalog()
		var tags []oci.Tag
		for i := range 5000 {
			tags = append(tags, oci.Tag(fmt.Sprintf("t%05d", i)))
		}
		must(t, save(ctx, c, "a", indexOf("x"), tags))
		before := db.Queries()
		if diff := cmp.Diff(tags, all(t, c.Tags(ctx, "a", ""))); diff != "" {
			t.Error(diff)
		}
		if n := db.Queries() - before; n > 10 {
			t.Errorf("%d queries for 5,000 tags", n)
		}
		// The consumer may write while it reads: nothing is held meanwhile.
		for tag, err := range c.Tags(ctx, "a", "") {
			must(t, err)
			if tag > "t00120" {
				break
			}
			must(t, c.DeleteTag(ctx, "a", tag, registrytest.AnyTag))
		}
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		if err := firstError(c.Tags(ctx, "a", "")); err == nil {
			t.Error("a cancelled context is ignored")
		}
	})
}

func TestReferrers(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, c := t.Context(), db.Catalog()
		subject := manifestOf("subject")
		var want []oci.Descriptor
		for i := range 120 {
			m := manifestOf(fmt.Sprint("referrer ", i))
			m.Subject = &oci.Descriptor{Digest: subject.Digest}
			m.ArtifactType = "application/vnd.example"
			if i%2 == 0 {
				m.Annotations = map[string]string{"i": fmt.Sprint(i), "ü": "\"'\\"}
			}
			must(t, save(ctx, c, "a", m, nil))
			want = append(want, m.Descriptor())
		}
		other := manifestOf("other")
		other.Subject = &oci.Descriptor{Digest: other.Digest}
		must(t, save(ctx, c, "a", other, nil))
		slices.SortFunc(want, func(a, b oci.Descriptor) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
		if diff := cmp.Diff(want, all(t, c.Referrers(ctx, "a", subject.Digest, ""))); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(want[101:], all(t, c.Referrers(ctx, "a", subject.Digest, want[100].Digest))); diff != "" {
			t.Error(diff)
		}
		if got := all(t, c.Referrers(ctx, "a", subject.Digest, "\x00\xff")); len(got) != len(want) {
			t.Error("a cursor outside the grammar fails")
		}
		for _, repo := range []oci.RepoName{"b", "none"} {
			if got := all(t, c.Referrers(ctx, repo, subject.Digest, "")); len(got) != 0 {
				t.Errorf("S-15 %s shows %v", repo, got)
			}
		}
	})
}

// FuzzBound: for every name of the registry's grammar, bound(s) separates as s
// does, and span(prefix) holds exactly the names with the prefix.
func FuzzBound(f *testing.F) {
	for _, s := range append(names, "", "\x00", "a\xff", "~", "\x7f") {
		f.Add(s, "a/b")
	}
	f.Fuzz(func(t *testing.T, s, name string) {
		for _, c := range []byte(name) {
			if c <= ' ' || c >= 0x7f {
				t.Skip()
			}
		}
		if name == "" {
			t.Skip()
		}
		if (name > s) != (name > metadata.Bound(s)) {
			t.Errorf("bound(%q) = %q separates %q wrongly", s, metadata.Bound(s), name)
		}
		from, to := metadata.Span(s)
		if strings.HasPrefix(name, s) != (name >= from && name < to) {
			t.Errorf("span(%q) = %q, %q is wrong for %q", s, from, to, name)
		}
	})
}
