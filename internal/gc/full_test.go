package gc_test

import (
	"errors"
	"testing"

	"github.com/sallyport/sallyport/internal/blob"
	"github.com/sallyport/sallyport/internal/gc"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
)

// D-07: a sweep makes room even when the database has none.
func TestSweepFreesStagedBytesFirst(t *testing.T) {
	h := newHouse(t, metadatatest.SQLite(t))
	h.litter(t)
	h.clock.pass(registry.UploadTTL + 1) // its session has expired, nothing else has
	f := &failing{Catalog: h.db.Sweeps()}
	for f.left = range 100 {
		f.calls = nil
		_, err := h.sweeper(f, h.store).Sweep(t.Context())
		if !errors.Is(err, errBroken) {
			t.Fatal("no call dropped the upload")
		}
		if f.calls[len(f.calls)-1] == "DropUploads" {
			break
		}
	}
	if n := h.staged(t); n != 1 { // the one without a session
		t.Errorf("%d stagings are left, want 1", n)
	}
	if r := h.mustSweep(t); r.Uploads != 1 {
		t.Errorf("the next sweep: %+v", r)
	}
}

// A session past its life stays as long as a request writes to it: without it
// nobody could tell whose the bytes are.
func TestSweepLeavesSessionThatIsWritten(t *testing.T) {
	h := newHouse(t, metadatatest.SQLite(t))
	id, err := h.StartUpload(t.Context(), app, registry.Upload{})
	must(t, err)
	st, err := h.store.Stage(t.Context(), string(id))
	must(t, err)
	h.clock.pass(registry.UploadTTL + 1)
	if r := h.mustSweep(t); r.Uploads != 0 || h.staged(t) != 1 {
		t.Errorf("sweep beside a request: %+v", r)
	}
	must(t, st.Close())
	if r := h.mustSweep(t); r.Uploads != 1 || h.staged(t) != 0 {
		t.Errorf("sweep after it: %+v", r)
	}
}

// A counting store knows how many blobs are open.
type counting struct {
	blob.Store
	open *int
}

type counted struct {
	blob.Reader
	open *int
}

func (c counting) Open(ctx ctx, d oci.Digest) (blob.Reader, error) {
	r, err := c.Store.Open(ctx, d)
	if err == nil {
		*c.open++
	}
	return counted{r, c.open}, err
}

func (c counted) Close() error {
	*c.open--
	return c.Reader.Close()
}

// A removal holds the bytes until the database has let go of the transaction.
func TestRemovalFreesSpaceAfterTransaction(t *testing.T) {
	h := newHouse(t, metadatatest.SQLite(t))
	h.litter(t)
	h.clock.pass(2 * gc.DefaultGrace)
	open, deleted := 0, 0
	watch := watched{counting{h.store, &open}, func(op string, _ oci.Digest) error {
		if op == "delete" {
			if deleted++; open != 1 {
				t.Errorf("%d blobs are open in the transaction, want 1", open)
			}
		}
		return nil
	}}
	_, err := h.sweeper(h.db.Sweeps(), watch).Sweep(t.Context())
	must(t, err)
	if deleted != 5 || open != 0 {
		t.Errorf("%d blobs were deleted and %d are open", deleted, open)
	}
}
