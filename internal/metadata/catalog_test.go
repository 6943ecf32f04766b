package metadata_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
	"github.com/sallyport/sallyport/internal/registry/registrytest"
)

func TestManifests(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, c := t.Context(), db.Catalog()
		config, layer, elsewhere := blobOf("config"), blobOf("layer"), blobOf("elsewhere")
		for _, d := range []oci.Descriptor{config, layer} {
			must(t, push(ctx, c, "team-a/app", d))
		}
		must(t, push(ctx, c, "team-b/secret", elsewhere))
		m := manifestOf("one", config, layer, layer)

		_, err := c.FindManifest(ctx, "team-a/none", oci.ByTag("1"))
		wantCode(t, err, oci.NameUnknown)
		_, err = c.FindManifest(ctx, "team-a/app", oci.ByTag("1"))
		wantCode(t, err, oci.ManifestUnknown)
		_, err = c.FindManifest(ctx, "team-a/app", oci.ByDigest(m.Digest))
		wantCode(t, err, oci.ManifestUnknown)

		must(t, save(ctx, c, "team-a/app", m, []oci.Tag{"1", "latest", "1"}))
		for _, ref := range []oci.Ref{oci.ByTag("1"), oci.ByTag("latest"), oci.ByDigest(m.Digest)} {
			got, err := c.FindManifest(ctx, "team-a/app", ref)
			must(t, err)
			if got.MediaType != m.MediaType || got.Digest != m.Digest || !bytes.Equal(got.Bytes, m.Bytes) {
				t.Errorf("%s: got %+v", ref, got)
			}
		}

		// A tag moves; the same bytes may come again.
		two := manifestOf("two", config)
		must(t, save(ctx, c, "team-a/app", two, []oci.Tag{"latest"}))
		must(t, save(ctx, c, "team-a/app", m, nil))
		got, err := c.FindManifest(ctx, "team-a/app", oci.ByTag("latest"))
		must(t, err)
		if got.Digest != two.Digest {
			t.Error("the tag did not move")
		}

		// What fails leaves nothing, a repository neither.
		missing := manifestOf("three", config, elsewhere, blobOf("nowhere"))
		err = save(ctx, c, "team-a/app", missing, []oci.Tag{"latest"})
		wantCode(t, err, oci.ManifestBlobUnknown, string(elsewhere.Digest)) // S-14
		err = save(ctx, c, "team-a/new", missing, nil)
		wantCode(t, err, oci.ManifestBlobUnknown, string(config.Digest))
		if err := firstError(c.Tags(ctx, "team-a/new", "")); err == nil {
			t.Error("a refused manifest made a repository")
		}
		err = save(ctx, c, "team-b/secret", indexOf("x", m), nil)
		wantCode(t, err, oci.ManifestBlobUnknown, string(m.Digest)) // S-14
		must(t, save(ctx, c, "team-c/empty", indexOf("empty"), []oci.Tag{"1"}))
	})
}

func TestManifestOfManyBlobs(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, c := t.Context(), db.Catalog()
		var blobs []oci.Descriptor
		for i := range 1500 {
			blobs = append(blobs, blobOf(fmt.Sprint(i)))
		}
		must(t, db.Write(ctx, func(exec metadata.Exec) error {
			for _, b := range blobs[1:] {
				if _, err := exec(`INSERT INTO blob (digest, size, leased) VALUES ($1, $2, 1)`, string(b.Digest), b.Size); err != nil {
					return err
				}
			}
			return nil
		}))
		must(t, push(ctx, c, "a", blobs[0]))
		must(t, db.Write(ctx, func(exec metadata.Exec) error {
			_, err := exec(`INSERT INTO blob_link (repository_id, digest, leased) SELECT r.id, b.digest, 1 FROM repository r CROSS JOIN blob b
				WHERE NOT EXISTS (SELECT 1 FROM blob_link)  OR b.leased = 1`)
			return err
		}))
		must(t, save(ctx, c, "a", manifestOf("many", blobs...), nil))
		last := blobOf("absent")
		wantCode(t, save(ctx, c, "a", manifestOf("more", append(blobs, last)...), nil), oci.ManifestBlobUnknown, string(last.Digest))
	})
}

func TestBlobs(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, c := t.Context(), db.Catalog()
		d := blobOf("secret")
		must(t, push(ctx, c, "team-b/secret", d))

		got, err := c.FindBlob(ctx, "team-b/secret", d.Digest)
		must(t, err)
		if got.Digest != d.Digest || got.Size != d.Size {
			t.Errorf("found %+v", got)
		}
		for _, repo := range []oci.RepoName{"team-a/app", "team-a/none"} { // S-15
			_, err = c.FindBlob(ctx, repo, d.Digest)
			wantCode(t, err, oci.BlobUnknown)
			wantCode(t, c.RenewLink(ctx, repo, d.Digest), oci.BlobUnknown)
			wantCode(t, c.DeleteBlob(ctx, repo, d.Digest), oci.BlobUnknown)
			must(t, push(ctx, c, "team-a/app", blobOf("other")))
		}

		for name, src := range map[string]registry.BlobAt{
			"S-12 source without the link":     {Repo: "team-a/app", Digest: d.Digest},
			"S-12 source that does not exist":  {Repo: "team-a/none", Digest: d.Digest},
			"S-12 blob that exists nowhere":    {Repo: "team-b/secret", Digest: oci.FromBytes([]byte("?"))},
			"S-12 wildcard as source (D-16)":   {Repo: "team-b/secre%", Digest: d.Digest},
			"S-12 underscore as source (D-16)": {Repo: "team_b/secret", Digest: d.Digest},
		} {
			t.Run(name, func(t *testing.T) {
				_, err := c.MountBlob(ctx, "team-a/new", src)
				wantCode(t, err, oci.BlobUnknown)
				wantCode(t, firstError(c.Tags(ctx, "team-a/new", "")), oci.NameUnknown)
			})
		}
		got, err = c.MountBlob(ctx, "team-a/app", registry.BlobAt{Repo: "team-b/secret", Digest: d.Digest})
		must(t, err)
		if got.Digest != d.Digest || got.Size != d.Size {
			t.Errorf("mounted %+v", got)
		}
		if got := all(t, c.Holders(ctx, d.Digest)); !slices.Equal(got, []oci.RepoName{"team-b/secret", "team-a/app"}) {
			t.Errorf("holders %q", got)
		}
	})
}

func TestLinkWithoutLease(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		c := db.Catalog()
		if err := c.LinkBlob(t.Context(), registry.Session{Repo: "a"}, blobOf("x")); err == nil {
			t.Error("a blob whose lease was lost is linked")
		}
		wantCode(t, firstError(c.Tags(t.Context(), "a", "")), oci.NameUnknown)
	})
}

func TestDeletes(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, c := t.Context(), db.Catalog()
		config, foreign := blobOf("config"), blobOf("foreign")
		must(t, push(ctx, c, "a", config))
		must(t, push(ctx, c, "a", foreign))
		child := manifestOf("child", config)
		child.Optional = []oci.Descriptor{foreign, blobOf("absent")}
		index := indexOf("index", child)
		signature := manifestOf("signature")
		signature.Subject, signature.ArtifactType = &oci.Descriptor{Digest: child.Digest}, "sig"
		must(t, save(ctx, c, "a", child, []oci.Tag{"child", "again"}))
		must(t, save(ctx, c, "a", index, []oci.Tag{"index"}))
		must(t, save(ctx, c, "a", signature, nil))

		wantCode(t, c.DeleteBlob(ctx, "a", config.Digest), oci.Unsupported, string(child.Digest))
		wantCode(t, c.DeleteBlob(ctx, "a", foreign.Digest), oci.Unsupported, string(child.Digest))
		wantCode(t, c.DeleteBlob(ctx, "a", blobOf("absent").Digest), oci.BlobUnknown)
		wantCode(t, c.DeleteManifest(ctx, "a", child.Digest, registrytest.AnyTag), oci.Unsupported, string(index.Digest))
		wantCode(t, c.DeleteManifest(ctx, "b", child.Digest, registrytest.AnyTag), oci.NameUnknown)
		wantCode(t, c.DeleteManifest(ctx, "a", manifestOf("?").Digest, registrytest.AnyTag), oci.ManifestUnknown)
		wantCode(t, c.DeleteTag(ctx, "b", "child", registrytest.AnyTag), oci.NameUnknown)
		wantCode(t, c.DeleteTag(ctx, "a", "none", registrytest.AnyTag), oci.ManifestUnknown)

		must(t, c.DeleteTag(ctx, "a", "child", registrytest.AnyTag))
		wantCode(t, c.DeleteTag(ctx, "a", "child", registrytest.AnyTag), oci.ManifestUnknown)
		_, err := c.FindManifest(ctx, "a", oci.ByTag("child"))
		wantCode(t, err, oci.ManifestUnknown)
		_, err = c.FindManifest(ctx, "a", oci.ByTag("again"))
		must(t, err)

		must(t, c.DeleteManifest(ctx, "a", index.Digest, registrytest.AnyTag))
		must(t, c.DeleteManifest(ctx, "a", child.Digest, registrytest.AnyTag))
		for _, ref := range []oci.Ref{oci.ByTag("again"), oci.ByDigest(child.Digest), oci.ByTag("index")} {
			_, err := c.FindManifest(ctx, "a", ref)
			wantCode(t, err, oci.ManifestUnknown)
		}
		if got := all(t, c.Tags(ctx, "a", "")); len(got) != 0 {
			t.Errorf("tags left: %q", got)
		}
		if got := all(t, c.Referrers(ctx, "a", child.Digest, "")); len(got) != 1 {
			t.Errorf("the referrer went with its subject: %v", got)
		}
		must(t, c.DeleteBlob(ctx, "a", config.Digest))
		wantCode(t, c.DeleteBlob(ctx, "a", config.Digest), oci.BlobUnknown)
		_, err = c.FindBlob(ctx, "a", config.Digest)
		wantCode(t, err, oci.BlobUnknown)
	})
}

func TestUploads(t *testing.T) {
	eachClocked(t, func(t *testing.T, db *metadata.DB, clock *clock) {
		ctx, c := t.Context(), db.Catalog()
		s := registry.Session{ID: "id-1", Repo: "a", Owner: "uid", Token: "jti", Started: clock.now()}
		must(t, c.SaveUpload(ctx, s))
		got, err := c.FindUpload(ctx, s.ID)
		must(t, err)
		if diff := cmp.Diff(s, got); diff != "" {
			t.Error(diff)
		}
		wantCode(t, firstError(c.Tags(ctx, "a", "")), oci.NameUnknown) // a start makes no repository

		began := func(repo oci.RepoName, jti string, before time.Time) bool {
			t.Helper()
			yes, err := c.BeganPush(ctx, repo, jti, before)
			must(t, err)
			return yes
		}
		now := clock.now()
		if !began("a", "jti", now) || began("b", "jti", now) || began("a", "other", now) || began("a", "", now) || began("a", "jti", now.Add(-time.Second)) {
			t.Error("BeganPush is wrong for an open session")
		}

		d := blobOf("x")
		must(t, c.LeaseBlob(ctx, d.Digest))
		must(t, c.LinkBlob(ctx, s, d))
		_, err = c.FindUpload(ctx, s.ID)
		wantCode(t, err, oci.BlobUploadUnknown)
		if clock.advance(23 * time.Hour); !began("a", "jti", now) {
			t.Error("a finished session is forgotten too early")
		}
		if clock.advance(time.Hour + time.Second); began("a", "jti", now) {
			t.Error("a finished session is never forgotten")
		}

		s.ID, s.Started = "id-2", clock.now()
		must(t, c.SaveUpload(ctx, s))
		must(t, c.DropUpload(ctx, s.ID))
		must(t, c.DropUpload(ctx, s.ID))
		if !began("a", "jti", clock.now()) {
			t.Error("a cancelled session no longer says that the push began")
		}
		for _, id := range []registry.UploadID{s.ID, "none", "", "nul\x00", "\xff\xfe", "%"} {
			_, err := c.FindUpload(ctx, id)
			wantCode(t, err, oci.BlobUploadUnknown)
		}

		s.ID = "id-3"
		must(t, c.SaveUpload(ctx, s))
		clock.advance(registry.UploadTTL)
		_, err = c.FindUpload(ctx, s.ID)
		wantCode(t, err, oci.BlobUploadUnknown)
	})
}

func TestUploadLimit(t *testing.T) {
	eachClocked(t, func(t *testing.T, db *metadata.DB, clock *clock) {
		ctx, c := t.Context(), db.Catalog()
		save := func(owner string, i int) error {
			return c.SaveUpload(ctx, registry.Session{ID: registry.UploadID(fmt.Sprint(owner, i)), Repo: "a", Owner: owner, Started: clock.now()})
		}
		for i := range registry.MaxUploads {
			must(t, save("alice", i))
		}
		wantCode(t, save("alice", -1), oci.TooManyRequests)
		must(t, save("bob", 0))
		must(t, c.DropUpload(ctx, "alice7"))
		must(t, save("alice", registry.MaxUploads))
		wantCode(t, save("alice", -1), oci.TooManyRequests)
		clock.advance(registry.UploadTTL)
		must(t, save("alice", -1))
	})
}
