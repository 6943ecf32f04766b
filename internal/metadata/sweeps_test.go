package metadata_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/gc"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
	"github.com/sallyport/sallyport/internal/registry/registrytest"
)

func TestSweepOfUploads(t *testing.T) {
	eachClocked(t, func(t *testing.T, db *metadata.DB, clock *clock) {
		ctx, c, w := t.Context(), db.Catalog(), db.Sweeps()
		save := func(id registry.UploadID) registry.Session {
			s := registry.Session{ID: id, Repo: "a", Owner: "o", Token: "j", Started: clock.now()}
			must(t, c.SaveUpload(ctx, s))
			return s
		}
		expired := func(want ...string) {
			t.Helper()
			ids, err := w.ExpiredUploads(ctx, 10)
			must(t, err)
			if slices.Sort(ids); !slices.Equal(ids, want) {
				t.Errorf("expired %q, want %q", ids, want)
			}
		}
		known := func(id string) bool {
			yes, err := w.KnownUpload(ctx, id)
			must(t, err)
			return yes
		}
		save("open")
		finished := save("finished")
		must(t, c.LeaseBlob(ctx, blobOf("x").Digest))
		must(t, c.LinkBlob(ctx, finished, blobOf("x")))
		expired()
		if !known("open") || known("finished") || known("none") || known("\x00") {
			t.Error("KnownUpload is wrong")
		}
		clock.advance(registry.UploadTTL)
		expired("open")
		if known("open") {
			t.Error("a session past its life is known")
		}
		clock.advance(24 * time.Hour)
		expired("finished", "open")
		if ids, err := w.ExpiredUploads(ctx, 1); err != nil || len(ids) != 1 {
			t.Errorf("limit: %q, %v", ids, err)
		}
		must(t, w.DropUploads(ctx, []string{"finished", "open", "none"}))
		must(t, w.DropUploads(ctx, nil))
		expired()
	})
}

func TestSweepOfLinksAndBlobs(t *testing.T) {
	eachClocked(t, func(t *testing.T, db *metadata.DB, clock *clock) {
		ctx, c, w := t.Context(), db.Catalog(), db.Sweeps()
		used, optional, unused, renewed := blobOf("used"), blobOf("optional"), blobOf("unused"), blobOf("renewed")
		for _, d := range []oci.Descriptor{used, optional, unused, renewed} {
			must(t, push(ctx, c, "a", d))
		}
		must(t, push(ctx, c, "b", unused))
		m := manifestOf("m", used)
		m.Optional = []oci.Descriptor{optional}
		must(t, save(ctx, c, "a", m, nil))
		counts := func(want int64) {
			t.Helper()
			n, err := w.UnusedLinks(ctx, clock.now().Add(-grace))
			if must(t, err); n != want {
				t.Errorf("%d unused links, want %d", n, want)
			}
		}
		blobs := func(want ...oci.Descriptor) {
			t.Helper()
			var digests, wanted []oci.Digest
			for _, d := range all(t, w.UnusedBlobs(ctx, clock.now().Add(-grace))) {
				digests = append(digests, d.Digest)
			}
			for _, d := range want {
				wanted = append(wanted, d.Digest)
			}
			if slices.Sort(wanted); !slices.Equal(digests, wanted) {
				t.Errorf("unused blobs %q, want %q", digests, wanted)
			}
		}
		counts(0)
		blobs()
		clock.advance(grace * 3 / 4)
		must(t, c.RenewLink(ctx, "a", renewed.Digest))
		clock.advance(grace/4 + time.Second)
		counts(2)
		blobs(unused) // as if its links were dropped
		removed, err := w.RemoveBlob(ctx, unused.Digest, clock.now().Add(-grace), func() error { return errors.New("bytes removed") })
		if must(t, err); removed {
			t.Error("a linked blob was removed")
		}
		n, err := w.DropUnusedLinks(ctx, clock.now().Add(-grace), 1)
		if must(t, err); n != 1 {
			t.Errorf("dropped %d", n)
		}
		n, err = w.DropUnusedLinks(ctx, clock.now().Add(-grace), 10)
		if must(t, err); n != 1 {
			t.Errorf("dropped %d", n)
		}
		counts(0)
		_, err = c.FindBlob(ctx, "a", unused.Digest)
		wantCode(t, err, oci.BlobUnknown)
		blobs(unused)

		errDisk := errors.New("disk")
		_, err = w.RemoveBlob(ctx, unused.Digest, clock.now(), func() error { return errDisk })
		want(t, err, errDisk)
		blobs(unused) // nothing was forgotten
		freed := false
		removed, err = w.RemoveBlob(ctx, unused.Digest, clock.now(), func() error { freed = true; return nil })
		if must(t, err); !removed || !freed {
			t.Errorf("removed %v, freed %v", removed, freed)
		}
		clock.advance(grace)
		counts(1)
		blobs(renewed)
		must(t, c.DeleteManifest(ctx, "a", m.Digest, registrytest.AnyTag))
		counts(3)
		for _, d := range []oci.Descriptor{used, optional, renewed} {
			must(t, c.LeaseBlob(ctx, d.Digest))
		}
		blobs()
	})
}

func TestAdoption(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, w := t.Context(), db.Sweeps()
		d := blobOf("x")
		for i, want := range []bool{true, false} {
			unknown, err := w.AdoptBlob(ctx, d, created)
			if must(t, err); unknown != want {
				t.Errorf("time %d: unknown %v", i, unknown)
			}
		}
		n, err := w.CountBlobs(ctx)
		if must(t, err); n != 1 {
			t.Errorf("%d blobs", n)
		}
		unknown, err := w.UnknownBlobs(ctx, []oci.Digest{blobOf("y").Digest, d.Digest, blobOf("z").Digest})
		must(t, err)
		if !slices.Equal(unknown, []oci.Digest{blobOf("y").Digest, blobOf("z").Digest}) {
			t.Errorf("unknown %q", unknown)
		}
		_, err = db.Catalog().FindBlob(ctx, "a", d.Digest)
		wantCode(t, err, oci.BlobUnknown)
		if got := all(t, w.UnusedBlobs(ctx, created.Add(time.Second))); len(got) != 1 || got[0].Size != d.Size {
			t.Errorf("unused %v", got)
		}
	})
}

// TestSweepPages: more rows than one look takes in.
func TestSweepPages(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, w := t.Context(), db.Sweeps()
		must(t, push(ctx, db.Catalog(), "a", blobOf("x")))
		must(t, db.Write(ctx, func(exec metadata.Exec) error {
			for i := range 4100 {
				d := blobOf(fmt.Sprint(i))
				if _, err := exec(`INSERT INTO blob (digest, size, leased) VALUES ($1, 1, 1)`, string(d.Digest)); err != nil {
					return err
				}
			}
			_, err := exec(`INSERT INTO blob_link (repository_id, digest, leased) SELECT r.id, b.digest, 1 FROM repository r CROSS JOIN blob b WHERE b.leased = 1`)
			return err
		}))
		n, err := w.UnusedLinks(ctx, created)
		if must(t, err); n != 4100 {
			t.Errorf("%d links", n)
		}
		n, err = w.DropUnusedLinks(ctx, created, 4050)
		if must(t, err); n != 4050 {
			t.Errorf("dropped %d", n)
		}
		if got := len(all(t, w.UnusedBlobs(ctx, created))); got != 4100 {
			t.Errorf("%d blobs", got)
		}
	})
}

func TestReports(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		ctx, w := t.Context(), db.Sweeps()
		_, found, err := w.LastSweep(ctx)
		if must(t, err); found {
			t.Error("a report of a sweep that never was")
		}
		var last gc.Report
		for i := range 150 {
			last = gc.Report{Started: created.Add(time.Duration(i) * time.Second), Finished: created.Add(time.Hour), DryRun: true, Blobs: int64(i), Bytes: 1 << 40, Err: "ended ü"}
			must(t, w.SaveSweep(ctx, last))
		}
		got, found, err := w.LastSweep(ctx)
		must(t, err)
		if diff := cmp.Diff(last, got); diff != "" || !found {
			t.Error(diff)
		}
		n, err := db.Number(ctx, `SELECT count(*) FROM sweep`)
		if must(t, err); n != 100 {
			t.Errorf("%d reports kept", n)
		}
	})
}

// TestRemovalIsNotCutOff: D-01, a sweep that is stopped between the removal of
// the row and that of the bytes keeps the row locked until the bytes are gone.
func TestRemovalIsNotCutOff(t *testing.T) {
	url := metadatatest.Postgres(t)
	db, watch := metadatatest.Open(t, url, metadata.Options{}), connect(t, url)
	d := blobOf("x")
	_, err := db.Sweeps().AdoptBlob(t.Context(), d, created)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	leased := make(chan error, 1)
	removed, err := db.Sweeps().RemoveBlob(ctx, d.Digest, time.Now(), func() error {
		cancel()
		time.Sleep(100 * time.Millisecond) // long enough for a rollback behind our back
		go func() { leased <- db.Catalog().LeaseBlob(context.Background(), d.Digest) }()
		blocked(t, watch)
		return nil
	})
	if must(t, err); !removed {
		t.Error("not removed")
	}
	must(t, <-leased)
	_, err = db.Sweeps().RemoveBlob(ctx, d.Digest, time.Now().Add(time.Hour), func() error { return errors.New("bytes removed") })
	want(t, err, context.Canceled)
}
