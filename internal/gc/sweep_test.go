package gc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/internal/gc"
	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
	"github.com/sallyport/sallyport/internal/registry/registrytest"
)

const (
	app   oci.RepoName = "team-a/app"
	other oci.RepoName = "team-a/other"
	grace              = gc.DefaultGrace
)

// stage leaves bytes under key, as an upload that was broken off does.
func (h *house) stage(t *testing.T, key, text string) {
	t.Helper()
	st, err := h.store.Stage(t.Context(), key)
	must(t, err)
	_, err = st.Write([]byte(text))
	must(t, errors.Join(err, st.Close()))
}

// orphan stores bytes that no row names, as a crash before the link does.
func (h *house) orphan(t *testing.T, text string) error {
	st, err := h.store.Stage(t.Context(), fmt.Sprintf("%x", text))
	if err != nil {
		return err
	}
	if _, err := st.Write([]byte(text)); err != nil {
		return err
	}
	return st.Seal(t.Context(), oci.FromBytes([]byte(text)))
}

// litter pushes one of everything that a sweep finds, and returns an image that
// must stay.
func (h *house) litter(t *testing.T) oci.RawManifest {
	t.Helper()
	kept := h.image(t, app, "kept", "v1")
	h.mustUpload(t, app, "no manifest")
	gone := h.image(t, app, "gone")
	must(t, h.DeleteManifest(t.Context(), app, gone.Digest, registrytest.AnyTag))
	d := h.mustUpload(t, other, "no link")
	must(t, h.DeleteBlob(t.Context(), other, d.Digest))
	h.mustUpload(t, other, "kept layer") // shared: the link goes, the blob stays
	id, err := h.StartUpload(t.Context(), app, registry.Upload{})
	must(t, err)
	_, err = h.AppendUpload(t.Context(), app, registry.Upload{ID: id}, registry.Chunk{Body: bytes.NewReader([]byte("unfinished"))})
	must(t, err)
	h.stage(t, "0123456789", "no session")
	must(t, h.orphan(t, "no row"))
	return kept
}

func TestSweep(t *testing.T) {
	metadatatest.EachURL(t, func(t *testing.T, url string) {
		h := newHouse(t, url)
		kept := h.litter(t)

		h.clock.pass(registry.UploadTTL - time.Minute)
		if r := h.mustSweep(t); r.Uploads+r.Links+r.Blobs+r.Bytes != 0 {
			t.Fatalf("the first sweep found %+v", r)
		}
		if n := len(h.stored(t)); n != 7 {
			t.Fatalf("%d blobs are stored", n)
		}
		h.clock.pass(grace)
		want := gc.Report{
			Uploads: 9, // 7 finished, 1 open, 1 without a session
			Links:   4, // no manifest, gone config, gone layer, kept layer in other
			Blobs:   5, // no manifest, gone config, gone layer, no link, no row
			Bytes:   int64(len("no manifest" + "gone config" + "gone layer" + "no link" + "no row")),
		}
		for range 2 { // the second shows that the first changed nothing
			r, err := h.gc.DryRun(t.Context())
			must(t, err)
			if want.Started, want.Finished, want.DryRun = r.Started, r.Finished, true; r != want {
				t.Fatalf("dry run found %+v, want %+v", r, want)
			}
		}
		r := h.mustSweep(t)
		if want.Started, want.Finished, want.DryRun = r.Started, r.Finished, false; r != want {
			t.Fatalf("sweep did %+v, want %+v", r, want)
		}
		if s, err := h.gc.Status(t.Context()); err != nil || s.Running || s.Last == nil || s.Last.Blobs != want.Blobs || s.Last.DryRun {
			t.Fatalf("status is %+v, %v", s, err)
		}
		if n := len(h.stored(t)); n != 2 || h.staged(t) != 0 {
			t.Fatalf("%d blobs and %d stagings are left", n, h.staged(t))
		}
		must(t, h.whole(t, app, kept))
		if r := h.mustSweep(t); r.Uploads+r.Links+r.Blobs+r.Bytes != 0 {
			t.Fatalf("the last sweep found %+v", r)
		}
	})
}

// What is in use stays, however old.
func TestSweepKeeps(t *testing.T) {
	metadatatest.EachURL(t, func(t *testing.T, url string) {
		h := newHouse(t, url)
		tagged := h.image(t, app, "tagged", "v1")
		untagged := h.image(t, app, "untagged")
		optional := h.mustUpload(t, app, "foreign layer")
		optional.MediaType = "application/vnd.oci.image.layer.nondistributable.v1.tar"
		withOptional := manifest(h.mustUpload(t, app, "config"), optional)
		_, err := h.PutManifest(t.Context(), app, withOptional, registrytest.AnyTag)
		must(t, err)
		_, err = h.MountBlob(t.Context(), other, registry.BlobAt{Repo: app, Digest: oci.FromBytes([]byte("tagged layer"))})
		must(t, err)
		mounted := manifest(h.mustUpload(t, other, "config"), oci.Descriptor{
			MediaType: optional.MediaType, Digest: oci.FromBytes([]byte("tagged layer")), Size: 12})
		_, err = h.PutManifest(t.Context(), other, mounted, registrytest.AnyTag)
		must(t, err)

		for range 5 {
			h.clock.pass(3 * grace)
			h.mustSweep(t)
		}
		for _, m := range []oci.RawManifest{tagged, untagged, withOptional} {
			must(t, h.whole(t, app, m))
		}
		must(t, h.whole(t, other, mounted))
		must(t, h.read(t, app, optional.Digest))
		must(t, h.read(t, other, oci.FromBytes([]byte("tagged layer"))))
	})
}

// D-02: whatever a push was told while the sweep was at work, it can rely on.
func TestSweepMeetsPush(t *testing.T) {
	ways := map[string]func(*testing.T, *house, []byte) error{
		"HEAD": func(t *testing.T, h *house, old []byte) error {
			_, err := h.StatBlob(t.Context(), app, oci.FromBytes(old))
			return err
		},
		"mount": func(t *testing.T, h *house, old []byte) error {
			_, err := h.MountBlob(t.Context(), app, registry.BlobAt{Repo: other, Digest: oci.FromBytes(old)})
			return err
		},
		"mount without from": func(t *testing.T, h *house, old []byte) error {
			_, err := h.MountBlob(t.Context(), app, registry.BlobAt{Digest: oci.FromBytes(old)})
			return err
		},
		"re-push": func(t *testing.T, h *house, old []byte) error {
			_, err := h.upload(t, app, old)
			return err
		},
	}
	metadatatest.EachURL(t, func(t *testing.T, url string) {
		h := newHouse(t, url)
		h.image(t, app, "live", "v1")
		for name, find := range ways {
			// The push meets the sweep when it lists the store, having decided
			// what to remove, and when it is about to remove links or bytes.
			for _, moment := range []string{"all", "unstage", "delete"} {
				t.Run("D-02 "+name+" before "+moment, func(t *testing.T) { h.meet(t, moment, []byte(t.Name()), find) })
			}
		}
	})
}

// meet plays a push that finds old content while a sweep has come to moment.
func (h *house) meet(t *testing.T, moment string, old []byte, find func(*testing.T, *house, []byte) error) {
	layer := h.mustUpload(t, app, string(old))
	h.mustUpload(t, other, string(old))
	h.stage(t, "0123456789", "x")
	h.clock.pass(2 * grace)
	met, done := false, make(chan error, 1)
	watch := watched{h.store, func(op string, _ oci.Digest) error {
		if op != moment || met {
			return nil
		}
		met = true
		go func() { done <- find(t, h, old) }()
		if moment != "delete" { // there the push has to wait for us
			done <- <-done
		}
		return nil
	}}
	_, err := h.sweeper(h.db.Sweeps(), watch).Sweep(t.Context())
	must(t, err)
	if !met {
		t.Fatal("the sweep never came to " + moment)
	}
	if err := <-done; errors.Is(err, oci.BlobUnknown) && moment == "delete" {
		_, err = h.upload(t, app, old) // as a client does then
		must(t, err)
	} else {
		must(t, err)
	}
	m := manifest(h.mustUpload(t, app, "config"), layer)
	_, err = h.PutManifest(t.Context(), app, m, registrytest.AnyTag, "v2")
	must(t, err)
	h.mustSweep(t)
	must(t, h.whole(t, app, m))
}

// D-03: wherever the store or the database fails, the sweep ends there.
func TestSweepFailsClosed(t *testing.T) {
	for _, op := range []string{"staged", "all", "unstage", "delete"} {
		t.Run("D-03 "+op+" fails", func(t *testing.T) {
			h := newHouse(t, metadatatest.SQLite(t))
			kept := h.litter(t)
			h.clock.pass(2 * grace)
			before := len(h.stored(t))
			broken := errors.New("disk failure")
			failed := 0
			watch := watched{h.store, func(now string, _ oci.Digest) error {
				if failed > 0 {
					t.Errorf("%s after the failure", now)
				}
				if now == op {
					failed++
					return broken
				}
				return nil
			}}
			r, err := h.sweeper(h.db.Sweeps(), watch).Sweep(t.Context())
			if !errors.Is(err, broken) || r.Blobs != 0 || len(h.stored(t)) != before {
				t.Fatalf("sweep: %+v, %v", r, err)
			}
			if s, err := h.gc.Status(t.Context()); err != nil || s.Last == nil || !strings.Contains(s.Last.Err, "disk failure") {
				t.Fatalf("status: %+v, %v", s, err)
			}
			must(t, h.whole(t, app, kept))
			h.mustSweep(t)
			if n := len(h.stored(t)); n != 2 {
				t.Errorf("%d blobs are left after the next sweep", n)
			}
		})
	}
	t.Run("D-03 database fails at every call", func(t *testing.T) {
		for n := 0; ; n++ {
			h := newHouse(t, metadatatest.SQLite(t))
			kept := h.litter(t)
			h.clock.pass(2 * grace)
			f := &failing{Catalog: h.db.Sweeps(), left: n}
			_, err := h.sweeper(f, h.store).Sweep(t.Context())
			must(t, h.whole(t, app, kept))
			if err == nil {
				if n < 15 {
					t.Fatalf("only %d calls: %v", n, f.calls)
				}
				return
			}
			if !errors.Is(err, errBroken) || len(f.calls) != n+1 {
				t.Fatalf("call %d failed: %v; calls: %v", n+1, err, f.calls)
			}
			h.mustSweep(t)
			if left := len(h.stored(t)); left != 2 {
				t.Fatalf("call %d failed; %d blobs are left after the next sweep", n+1, left)
			}
		}
	})
}

// TestUnrecordedSweep: L-04, a sweep that cannot be recorded removes no content;
// one that can leaves an event before it removes anything, and one of its end.
func TestUnrecordedSweep(t *testing.T) {
	metadatatest.EachURL(t, func(t *testing.T, url string) {
		h := newHouse(t, url)
		h.litter(t)
		h.clock.pass(2 * grace)
		sweep := func() error {
			e := &ledger.Event{Kind: ledger.Sweep, Action: "run", Principal: "user:admin", RequestID: "r"}
			_, err := h.gc.Sweep(ledger.With(t.Context(), e))
			return err
		}
		before := len(h.stored(t))
		metadatatest.Exec(t, url, `ALTER TABLE audit_event RENAME TO audit_gone`)
		if err := sweep(); err == nil || len(h.stored(t)) != before {
			t.Errorf("L-04: %d of %d blobs are left (%v)", len(h.stored(t)), before, err)
		}
		metadatatest.Exec(t, url, `ALTER TABLE audit_gone RENAME TO audit_event`)
		must(t, sweep())
		page, err := h.db.Ledger().Read(t.Context(), ledger.Query{After: ledger.Seq{Given: true}, Limit: 10})
		must(t, err)
		if len(page.Events) != 2 {
			t.Fatalf("%d events: %+v", len(page.Events), page.Events)
		}
		for i, action := range []string{"begin", "run"} {
			e := page.Events[i]
			if e.Kind != ledger.Sweep || e.Action != action || e.Principal != "user:admin" || e.RequestID != "r" || e.Detail["blobs"] != "5" {
				t.Errorf("L-03: %s, want %s", e.Line(), action)
			}
		}
		must(t, sweep())
		if _, head, err := h.db.Ledger().Ends(t.Context()); err != nil || head.Seq != 3 {
			t.Errorf("a sweep that finds nothing: %d events in all (%v), want one more", head.Seq, err)
		}
	})
}

// D-04: a sweep that would remove suspiciously much removes nothing.
func TestSweepRefuses(t *testing.T) {
	t.Run("D-04 empty database beside a full store", func(t *testing.T) {
		h := newHouse(t, metadatatest.SQLite(t))
		h.image(t, app, "kept", "v1")
		elsewhere := newHouse(t, metadatatest.SQLite(t))
		elsewhere.clock.pass(2 * grace)
		h.refused(t, elsewhere.sweeper(elsewhere.db.Sweeps(), h.store))
	})
	t.Run("D-04 another database beside a full store", func(t *testing.T) {
		h := newHouse(t, metadatatest.SQLite(t))
		var all errgroup.Group
		all.SetLimit(32) // they share flushes
		for i := range 1001 {
			all.Go(func() error { return h.orphan(t, fmt.Sprintf("no row%d", i)) })
		}
		must(t, all.Wait())
		h.image(t, app, "kept", "v1")
		h.clock.pass(2 * grace)
		h.refused(t, h.gc)
	})
	t.Run("D-04 database that lost its manifests", func(t *testing.T) {
		h := newHouse(t, metadatatest.SQLite(t))
		h.image(t, app, "kept", "v1")
		h.mustUpload(t, app, "no manifest")
		for i := range 1001 {
			must(t, h.db.Catalog().LeaseBlob(t.Context(), oci.FromBytes([]byte(fmt.Sprint(i)))))
		}
		h.clock.pass(2 * grace)
		h.refused(t, h.gc)
		must(t, h.read(t, app, oci.FromBytes([]byte("no manifest"))))
		if r, err := h.gc.SweepLarge(t.Context()); err != nil || r.Blobs == 0 {
			t.Errorf("a large sweep that an operator asked for: %+v, %v", r, err)
		}
	})
	t.Run("1000 blobs are not too many", func(t *testing.T) {
		h := newHouse(t, metadatatest.SQLite(t))
		for i := range 1000 {
			must(t, h.db.Catalog().LeaseBlob(t.Context(), oci.FromBytes([]byte(fmt.Sprint(i)))))
		}
		h.clock.pass(2 * grace)
		if r := h.mustSweep(t); r.Blobs != 1000 {
			t.Errorf("%d blobs were removed", r.Blobs)
		}
	})
}

// refused fails unless s refuses, whole and dry, and removes nothing.
func (h *house) refused(t *testing.T, s *gc.Sweeper) {
	t.Helper()
	before := len(h.stored(t))
	if r, err := s.Sweep(t.Context()); !errors.Is(err, gc.ErrSuspicious) || r.Err == "" || r.Uploads+r.Links+r.Blobs != 0 {
		t.Fatalf("sweep: %+v, %v", r, err)
	}
	if _, err := s.DryRun(t.Context()); !errors.Is(err, gc.ErrSuspicious) {
		t.Fatalf("dry run: %v", err)
	}
	if n := len(h.stored(t)); n != before {
		t.Fatalf("%d of %d blobs are left", n, before)
	}
}

func TestOneSweepAtATime(t *testing.T) {
	h := newHouse(t, metadatatest.SQLite(t))
	h.image(t, app, "kept", "v1")
	var s *gc.Sweeper
	met := false
	s = h.sweeper(h.db.Sweeps(), watched{h.store, func(op string, _ oci.Digest) error {
		if met {
			return nil
		}
		met = true
		if _, err := s.Sweep(t.Context()); !errors.Is(err, gc.ErrRunning) {
			t.Errorf("second sweep: %v", err)
		}
		if _, err := s.DryRun(t.Context()); !errors.Is(err, gc.ErrRunning) {
			t.Errorf("dry run beside a sweep: %v", err)
		}
		if status, err := s.Status(t.Context()); err != nil || !status.Running || status.Last != nil {
			t.Errorf("status: %+v, %v", status, err)
		}
		return nil
	}})
	_, err := s.Sweep(t.Context())
	must(t, err)
	if status, err := s.Status(t.Context()); err != nil || status.Running || status.Last == nil {
		t.Errorf("status: %+v, %v", status, err)
	}
}

func TestSweepIsCancelled(t *testing.T) {
	h := newHouse(t, metadatatest.SQLite(t))
	kept := h.litter(t)
	h.clock.pass(2 * grace)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := h.sweeper(h.db.Sweeps(), watched{h.store, func(op string, _ oci.Digest) error {
		if op == "unstage" {
			cancel()
		}
		return nil
	}})
	if r, err := s.Sweep(ctx); !errors.Is(err, context.Canceled) || r.Blobs != 0 {
		t.Fatalf("sweep: %+v, %v", r, err)
	}
	if status, err := s.Status(t.Context()); err != nil || status.Last == nil || status.Last.Err == "" {
		t.Fatalf("status: %+v, %v", status, err)
	}
	must(t, h.whole(t, app, kept))
}

// A staging that a request is writing is left to the request.
func TestSweepLeavesOpenStaging(t *testing.T) {
	h := newHouse(t, metadatatest.SQLite(t))
	h.image(t, app, "kept", "v1")
	st, err := h.store.Stage(t.Context(), "0123456789")
	must(t, err)
	h.clock.pass(2 * grace)
	h.mustSweep(t)
	if n := h.staged(t); n != 1 {
		t.Fatalf("%d stagings are left", n)
	}
	must(t, st.Close())
	h.mustSweep(t)
	if n := h.staged(t); n != 0 {
		t.Fatalf("%d stagings are left", n)
	}
}
