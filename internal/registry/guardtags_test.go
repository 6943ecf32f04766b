package registry_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
	"github.com/sallyport/sallyport/internal/registry/registrytest"
)

// tagRules let creator make tags, mover make and move them, cleaner delete some,
// root everything; and nobody moves or deletes v*, or makes rel-* but release.
const tagRules = `version: 2
rules:
  - {name: creates, subjects: ["user:creator"], repositories: ["team-a/**"], actions: [pull, create-tag]}
  - {name: moves, subjects: ["user:mover"], repositories: ["team-a/**"], actions: [pull, push]}
  - {name: moves-only, subjects: ["user:retagger"], repositories: ["team-a/**"], actions: [pull, move-tag]}
  - {name: cleans, subjects: ["user:cleaner"], repositories: ["team-a/**"], actions: [pull, delete]}
  - {name: root, subjects: ["user:root", "user:release"], repositories: ["**"], actions: [pull, push, delete, admin]}
protections:
  - {name: versions, repositories: ["team-a/**"], tags: ["v*"], actions: [move-tag, delete]}
  - {name: releases, repositories: ["team-a/**"], tags: ["rel-*"], actions: [create-tag], except-subjects: ["user:release"]}
`

// as returns the view of a user under tagRules with a token that holds all.
func as(t *testing.T, r registry.Registry, name string) registry.Registry {
	t.Helper()
	policy, err := access.ParsePolicy([]byte(tagRules))
	if err != nil {
		t.Fatal(err)
	}
	au := authority(t, name, "[]", scope(app, everything)...)
	au.Policy = policy
	return registry.Guard(r, au)
}

// indexOf returns an empty index that differs from others by text.
func indexOf(text string) oci.RawManifest {
	b := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[],"annotations":{"text":%q}}`, oci.MediaTypeImageIndex, text)
	return oci.RawManifest{MediaType: oci.MediaTypeImageIndex, Digest: oci.FromBytes(b), Bytes: b}
}

// S-25, S-26, S-27: who may do what to the tags of a repository that holds old
// at v1, latest and sha256-1234 (a referrers fallback), and untagged by digest.
func TestTagRights(t *testing.T) {
	old, bare, fresh := indexOf("old"), indexOf("untagged"), indexOf("fresh")
	put := func(m oci.RawManifest, tags ...oci.Tag) func(*testing.T, registry.Registry) error {
		return func(t *testing.T, r registry.Registry) error {
			_, err := r.PutManifest(t.Context(), app, m, registrytest.AnyTag, tags...)
			return err
		}
	}
	remove := func(tag oci.Tag) func(*testing.T, registry.Registry) error {
		return func(t *testing.T, r registry.Registry) error {
			return r.DeleteTag(t.Context(), app, tag, registrytest.AnyTag)
		}
	}
	removeAll := func(m oci.RawManifest) func(*testing.T, registry.Registry) error {
		return func(t *testing.T, r registry.Registry) error {
			return r.DeleteManifest(t.Context(), app, m.Digest, registrytest.AnyTag)
		}
	}
	people := []string{"creator", "retagger", "mover", "cleaner", "root", "release"}
	for _, tt := range []struct {
		name string
		do   func(*testing.T, registry.Registry) error
		may  string // of people
		says string // to the others, beside who: action, name and tag
	}{
		{"S-25 new tag", put(fresh, "new"), "creator mover root release", "create-tag team-a/app:new"},
		{"S-25 existing tag", put(fresh, "latest"), "retagger mover root release", "move-tag team-a/app:latest"},
		{"S-25 existing tag beside a new one", put(fresh, "latest", "a-new"), "mover root release", ""},
		{"S-25 same digest again", put(old, "latest"), "creator retagger mover root release", "push team-a/app"},
		{"S-25 by digest", put(fresh), "creator retagger mover root release", "push team-a/app"},
		{"S-25 referrers fallback that is there", put(fresh, "sha256-1234"), "retagger mover root release", "move-tag team-a/app:sha256-1234"},
		{"S-25 referrers fallback that is new", put(fresh, "sha256-5678"), "creator mover root release", "create-tag team-a/app:sha256-5678"},
		{"S-26 protected tag overwritten", put(fresh, "v1"), "", "move-tag team-a/app:v1"},
		{"S-26 protected tag among others", put(fresh, "new", "v1"), "", ""},
		{"S-26 protected tag again", put(old, "v1"), "creator retagger mover root release", "push team-a/app"},
		{"S-26 protected tag made", put(fresh, "v2"), "creator mover root release", "create-tag team-a/app:v2"},
		{"S-26 protected tag deleted", remove("v1"), "", "delete team-a/app"},
		{"S-26 its manifest deleted", removeAll(old), "", "delete team-a/app"},
		{"only the release makes it", put(fresh, "rel-1"), "release", "create-tag team-a/app:rel-1"},
		{"S-27 tag deleted", remove("latest"), "cleaner root release", "delete team-a/app"},
		{"S-27 untagged manifest deleted", removeAll(bare), "cleaner root release", "delete team-a/app"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, name := range people {
				h := newHouse(t)
				for m, tags := range map[*oci.RawManifest][]oci.Tag{&old: {"v1", "latest", "sha256-1234"}, &bare: nil} {
					if _, err := h.PutManifest(t.Context(), app, *m, registrytest.AnyTag, tags...); err != nil {
						t.Fatal(err)
					}
				}
				err := tt.do(t, as(t, h, name))
				if slices.Contains(strings.Fields(tt.may), name) {
					if err != nil {
						t.Errorf("%s: %v", name, err)
					}
					continue
				}
				denied, ok := errors.AsType[*access.Denied](err)
				if !ok {
					t.Errorf("%s: %v, want a denial", name, err)
					continue
				}
				// What is denied before the tags are looked at names push.
				want := "user:" + name + " may not " + tt.says
				if text := denied.Error(); tt.says != "" && name != "cleaner" && !strings.HasPrefix(text, want) {
					t.Errorf("%q, want %q", text, want)
				}
				for _, tag := range []oci.Tag{"v1", "latest", "sha256-1234"} {
					if m, err := h.Manifest(t.Context(), app, oci.ByTag(tag)); err != nil || m.Digest != old.Digest {
						t.Errorf("%s was denied, and %s is on %q, %v", name, tag, m.Digest, err)
					}
				}
			}
		})
	}
}

// S-25: of two who may only create and come at once, one does.
func TestRacingCreatesThroughGuard(t *testing.T) {
	metadatatest.EachURL(t, func(t *testing.T, url string) {
		h := newHouseAt(t, url)
		creator := as(t, h, "creator")
		for round := range 10 {
			var won atomic.Int64
			var all sync.WaitGroup
			for i := range 4 {
				all.Go(func() {
					_, err := creator.PutManifest(t.Context(), app, indexOf(fmt.Sprint(round, i)), nil, oci.Tag(fmt.Sprint("t", round)))
					if err == nil {
						won.Add(1)
					} else if denied, ok := errors.AsType[*access.Denied](err); !ok || denied.Action != access.MoveTag {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if won.Load() != 1 {
				t.Fatalf("S-25 %d made one tag", won.Load())
			}
		}
	})
}

// S-27: a push-only account deletes nothing, and one that may delete tags of a
// kind deletes no blob.
func TestDeleteBlobNeedsTheWholeRight(t *testing.T) {
	h := newHouse(t)
	d := push(t, h, app, []byte("x"))
	for name, want := range map[string]string{"creator": "denied", "retagger": "denied", "mover": "denied", "cleaner": ""} {
		if err := as(t, h, name).DeleteBlob(t.Context(), app, d); refusal(err) != want || want == "" && err != nil {
			t.Errorf("S-27 %s: %v", name, err)
		}
	}
}

// A tag that nobody decides about is not written: the registry itself, whoever
// uses it, refuses.
func TestNobodyDecides(t *testing.T) {
	h := newHouse(t)
	if _, err := h.PutManifest(t.Context(), app, indexOf("x"), nil, "v1"); err == nil {
		t.Error("a tag was written though nobody decides")
	}
	if _, err := h.PutManifest(t.Context(), app, indexOf("x"), nil); err != nil {
		t.Error(err)
	}
	if err := h.DeleteManifest(t.Context(), app, indexOf("x").Digest, nil); err == nil {
		t.Error("a manifest was deleted though nobody decides")
	}
}
