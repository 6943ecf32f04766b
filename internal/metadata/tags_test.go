package metadata_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
	"github.com/sallyport/sallyport/internal/registry/registrytest"
)

var errJudge = errors.New("the judge says no")

// A court is a judge that remembers what it was asked, "change tag", and
// refuses some of it.
type court struct {
	refuses []string
	asked   []string
}

func (c *court) judge(t oci.Tag, change access.Action) error {
	question := fmt.Sprint(change, " ", t)
	if !slices.Contains(c.asked, question) { // a transaction may run again
		c.asked = append(c.asked, question)
	}
	if slices.Contains(c.refuses, question) {
		return errJudge
	}
	return nil
}

// createOnly allows nothing but new tags.
func createOnly(_ oci.Tag, change access.Action) error {
	if change != access.CreateTag {
		return errJudge
	}
	return nil
}

// tagsOf returns every tag of repo with the manifest that it is on.
func tagsOf(t *testing.T, c registry.Catalog, repo oci.RepoName) map[oci.Tag]oci.Digest {
	t.Helper()
	found := map[oci.Tag]oci.Digest{}
	for tag, err := range c.Tags(t.Context(), repo, "") {
		if errors.Is(err, oci.NameUnknown) {
			return nil
		}
		must(t, err)
		m, err := c.FindManifest(t.Context(), repo, oci.ByTag(tag))
		must(t, err)
		found[tag] = m.Digest
	}
	return found
}

// S-25, S-26, S-27: every way in which a tag can change asks about exactly what
// it changes; one refusal, and nothing of it happens.
func TestJudgeOfTags(t *testing.T) {
	one, two := manifestOf("one"), manifestOf("two")
	put := func(m oci.Manifest, tags ...oci.Tag) func(context.Context, registry.Catalog, registry.TagJudge) ([]registry.TagChange, error) {
		return func(ctx context.Context, c registry.Catalog, j registry.TagJudge) ([]registry.TagChange, error) {
			return c.SaveManifest(ctx, "a", m, tags, j)
		}
	}
	remove := func(tag oci.Tag) func(context.Context, registry.Catalog, registry.TagJudge) ([]registry.TagChange, error) {
		return func(ctx context.Context, c registry.Catalog, j registry.TagJudge) ([]registry.TagChange, error) {
			return nil, c.DeleteTag(ctx, "a", tag, j)
		}
	}
	removeAll := func(m oci.Manifest) func(context.Context, registry.Catalog, registry.TagJudge) ([]registry.TagChange, error) {
		return func(ctx context.Context, c registry.Catalog, j registry.TagJudge) ([]registry.TagChange, error) {
			return nil, c.DeleteManifest(ctx, "a", m.Digest, j)
		}
	}
	type tags = map[oci.Tag]oci.Digest
	for _, tt := range []struct {
		name    string
		do      func(context.Context, registry.Catalog, registry.TagJudge) ([]registry.TagChange, error)
		asked   []string
		changes []registry.TagChange
		after   tags // of 1 and latest on one, 2 on two
	}{
		{"by digest", put(two), nil, nil, tags{"1": one.Digest, "latest": one.Digest, "2": two.Digest}},
		{"new tag", put(two, "3"), []string{"create-tag 3"}, []registry.TagChange{{Tag: "3"}},
			tags{"1": one.Digest, "latest": one.Digest, "2": two.Digest, "3": two.Digest}},
		{"same again", put(one, "1", "latest"), nil, nil, tags{"1": one.Digest, "latest": one.Digest, "2": two.Digest}},
		{"moved", put(two, "1"), []string{"move-tag 1"}, []registry.TagChange{{Tag: "1", Previous: one.Digest}},
			tags{"1": two.Digest, "latest": one.Digest, "2": two.Digest}},
		{"several", put(two, "latest", "2", "new", "1", "new"), []string{"move-tag 1", "move-tag latest", "create-tag new"},
			[]registry.TagChange{{Tag: "1", Previous: one.Digest}, {Tag: "latest", Previous: one.Digest}, {Tag: "new"}},
			tags{"1": two.Digest, "latest": two.Digest, "2": two.Digest, "new": two.Digest}},
		{"referrers fallback", put(two, "sha256-0123"), []string{"create-tag sha256-0123"}, []registry.TagChange{{Tag: "sha256-0123"}},
			tags{"1": one.Digest, "latest": one.Digest, "2": two.Digest, "sha256-0123": two.Digest}},
		{"tag deleted", remove("1"), []string{"delete 1"}, nil, tags{"latest": one.Digest, "2": two.Digest}},
		{"manifest deleted", removeAll(one), []string{"delete 1", "delete latest"}, nil, tags{"2": two.Digest}},
		{"untagged manifest deleted", removeAll(manifestOf("bare")), []string{"delete "}, nil,
			tags{"1": one.Digest, "latest": one.Digest, "2": two.Digest}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
				c := db.Catalog()
				must(t, save(t.Context(), c, "a", one, []oci.Tag{"1", "latest"}))
				must(t, save(t.Context(), c, "a", two, []oci.Tag{"2"}))
				must(t, save(t.Context(), c, "a", manifestOf("bare"), nil))
				before := tagsOf(t, c, "a")
				for _, refused := range tt.asked {
					_, err := tt.do(t.Context(), c, (&court{refuses: []string{refused}}).judge)
					want(t, err, errJudge)
					if diff := cmp.Diff(before, tagsOf(t, c, "a")); diff != "" {
						t.Fatalf("%s is refused, and something changed: %s", refused, diff)
					}
				}
				if len(tt.asked) > 0 {
					if _, err := tt.do(t.Context(), c, nil); err == nil {
						t.Fatal("a nil judge allows it")
					}
				}
				asked := &court{}
				changes, err := tt.do(t.Context(), c, asked.judge)
				must(t, err)
				if diff := cmp.Diff(tt.asked, asked.asked); diff != "" {
					t.Errorf("asked: %s", diff)
				}
				if diff := cmp.Diff(tt.changes, changes); diff != "" {
					t.Errorf("changes: %s", diff)
				}
				if diff := cmp.Diff(tt.after, tagsOf(t, c, "a")); diff != "" {
					t.Errorf("tags: %s", diff)
				}
			})
		})
	}
}

// A push that is refused leaves nothing, not even a repository.
func TestRefusedPushLeavesNothing(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		c, m := db.Catalog(), manifestOf("m")
		_, err := c.SaveManifest(t.Context(), "a", m, []oci.Tag{"1", "2"}, (&court{refuses: []string{"create-tag 2"}}).judge)
		want(t, err, errJudge)
		_, err = c.FindManifest(t.Context(), "a", oci.ByDigest(m.Digest))
		wantCode(t, err, oci.NameUnknown)
	})
}

// eachProcesses runs f with the catalogs of several processes where the
// database takes them.
func eachProcesses(t *testing.T, f func(t *testing.T, cs []registry.Catalog)) {
	metadatatest.EachURL(t, func(t *testing.T, url string) {
		cs := []registry.Catalog{metadatatest.Open(t, url, metadata.Options{}).Catalog()}
		if strings.HasPrefix(url, "postgres") {
			for range 2 {
				cs = append(cs, metadatatest.Open(t, url, metadata.Options{}).Catalog())
			}
		}
		f(t, cs)
	})
}

// S-25: of those who may only make a tag and come at once, exactly one makes
// it, and it stays on what that one pushed.
func TestRacingCreates(t *testing.T) {
	eachProcesses(t, func(t *testing.T, cs []registry.Catalog) {
		must(t, save(t.Context(), cs[0], "a", manifestOf("first"), nil))
		for round := range 10 {
			tag := oci.Tag(fmt.Sprint("v", round))
			var winner atomic.Pointer[oci.Digest]
			won := together(8, func(i int) bool {
				m := manifestOf(fmt.Sprint(round, " ", i))
				changes, err := cs[i%len(cs)].SaveManifest(context.Background(), "a", m, []oci.Tag{tag}, createOnly)
				if err != nil && !errors.Is(err, errJudge) {
					t.Error(err)
				}
				if err == nil {
					winner.Store(&m.Digest)
					if len(changes) != 1 || changes[0] != (registry.TagChange{Tag: tag}) {
						t.Errorf("changes %v", changes)
					}
				}
				return err == nil
			})
			if won != 1 {
				t.Fatalf("S-25 %d made the tag", won)
			}
			if got := tagsOf(t, cs[0], "a")[tag]; got != *winner.Load() {
				t.Fatalf("the tag is on %s, and %s made it", got, *winner.Load())
			}
		}
	})
}

// Moves that race are a chain: each one's previous is what another left.
func TestRacingMoves(t *testing.T) {
	eachProcesses(t, func(t *testing.T, cs []registry.Catalog) {
		must(t, save(t.Context(), cs[0], "a", manifestOf("first"), []oci.Tag{"t"}))
		previous := make(chan oci.Digest, 40)
		together(8, func(i int) bool {
			for j := range 5 {
				changes, err := cs[i%len(cs)].SaveManifest(context.Background(), "a", manifestOf(fmt.Sprint(i, " ", j)), []oci.Tag{"t"}, registrytest.AnyTag)
				if err != nil || len(changes) != 1 {
					t.Error(changes, err)
					return false
				}
				previous <- changes[0].Previous
			}
			return true
		})
		close(previous)
		seen := map[oci.Digest]bool{tagsOf(t, cs[0], "a")["t"]: true}
		for d := range previous {
			if seen[d] {
				t.Errorf("two moves left %s, or it is where the tag is", d)
			}
			seen[d] = true
		}
	})
}

// S-26: a tag that may not go does not go with a manifest that is deleted while
// the tag is put on it.
func TestDeleteRacesProtectedTag(t *testing.T) {
	eachProcesses(t, func(t *testing.T, cs []registry.Catalog) {
		keep := func(tag oci.Tag, change access.Action) error {
			if change == access.Delete && tag == "v1" {
				return errJudge
			}
			return nil
		}
		for round := range 30 {
			repo, m := oci.RepoName(fmt.Sprint("r", round)), manifestOf("m")
			must(t, save(t.Context(), cs[0], repo, m, nil))
			together(2, func(i int) bool {
				var err error
				if i == 0 {
					_, err = cs[0].SaveManifest(context.Background(), repo, m, []oci.Tag{"v1"}, keep)
				} else if err = cs[len(cs)-1].DeleteManifest(context.Background(), repo, m.Digest, keep); errors.Is(err, errJudge) {
					err = nil
				}
				if err != nil {
					t.Error(err)
				}
				return true
			})
			if got := tagsOf(t, cs[0], repo)["v1"]; got != m.Digest {
				t.Fatalf("S-26 round %d: the tag went with the manifest", round)
			}
		}
	})
}
