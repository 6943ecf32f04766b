package registry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/blob"
	"github.com/sallyport/sallyport/internal/blob/file"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
)

var errFull = oci.Errorf(oci.StorageFull, "no room")

// A hook is called ahead of an operation, which fails with its error.
type hook func(op string) error

type hookedCatalog struct {
	registry.Catalog
	hook
}

func (c hookedCatalog) DropUpload(ctx context.Context, id registry.UploadID) error {
	if err := c.hook("drop"); err != nil {
		return err
	}
	return c.Catalog.DropUpload(ctx, id)
}

func (c hookedCatalog) LeaseBlob(ctx context.Context, d oci.Digest) error {
	if err := c.hook("lease"); err != nil {
		return err
	}
	return c.Catalog.LeaseBlob(ctx, d)
}

func (c hookedCatalog) RenewLink(ctx context.Context, repo oci.RepoName, d oci.Digest) error {
	if err := c.hook("renew"); err != nil {
		return err
	}
	return c.Catalog.RenewLink(ctx, repo, d)
}

func (c hookedCatalog) LinkBlob(ctx context.Context, s registry.Session, d oci.Descriptor) error {
	if err := errors.Join(c.hook("link"), ctx.Err()); err != nil {
		return err
	}
	return c.Catalog.LinkBlob(ctx, s, d)
}

type hookedStore struct {
	blob.Store
	hook
}

func (s hookedStore) Stage(ctx context.Context, key string) (blob.Staging, error) {
	if err := s.hook("stage"); err != nil {
		return nil, err
	}
	st, err := s.Store.Stage(ctx, key)
	return hookedStaging{st, s.hook}, err
}

type hookedStaging struct {
	blob.Staging
	hook
}

func (s hookedStaging) ReadFrom(r io.Reader) (int64, error) {
	if err := s.hook("write"); err != nil {
		return 0, err
	}
	return s.Staging.ReadFrom(r)
}

func (s hookedStaging) Seal(ctx context.Context, d oci.Digest) error {
	if err := s.hook("seal"); err != nil {
		return err
	}
	return s.Staging.Seal(ctx, d)
}

// A brittleHouse is a registry whose stores call hook.
type brittleHouse struct {
	registry.Registry
	store blob.Store
	log   bytes.Buffer
	hook  hook // nil lets everything pass
}

func newBrittleHouse(t *testing.T) *brittleHouse {
	t.Helper()
	store, err := file.New(t.TempDir(), file.Options{})
	if err != nil {
		t.Fatal(err)
	}
	db := metadatatest.Open(t, metadatatest.SQLite(t), metadata.Options{})
	h := &brittleHouse{store: store}
	hook := func(op string) error {
		if h.hook == nil {
			return nil
		}
		return h.hook(op)
	}
	h.Registry = registry.New(hookedCatalog{db.Catalog(), hook}, hookedStore{store, hook},
		registry.Options{Logger: slog.New(slog.NewTextHandler(&h.log, nil))})
	return h
}

// fail lets the named operations fail with err.
func (h *brittleHouse) fail(err error, ops ...string) {
	h.hook = func(op string) error {
		if strings.Contains(" "+strings.Join(ops, " ")+" ", " "+op+" ") {
			return err
		}
		return nil
	}
}

// begin opens a session and sends b.
func (h *brittleHouse) begin(t *testing.T, b []byte) registry.Upload {
	t.Helper()
	id, err := h.StartUpload(t.Context(), app, registry.Upload{})
	if err != nil {
		t.Fatal(err)
	}
	u := registry.Upload{ID: id}
	if _, err := h.AppendUpload(t.Context(), app, u, registry.Chunk{Body: bytes.NewReader(b)}); err != nil {
		t.Fatal(err)
	}
	return u
}

// staged fails unless n stagings are in the store.
func (h *brittleHouse) staged(t *testing.T, n int) {
	t.Helper()
	got := 0
	for _, err := range h.store.Staged(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got++
	}
	if got != n {
		t.Errorf("%d uploads are staged, want %d", got, n)
	}
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}

// D-07: cancelling makes room even when the database has none.
func TestCancelFreesBytesFirst(t *testing.T) {
	h := newBrittleHouse(t)
	u := h.begin(t, []byte("x"))
	h.fail(errFull, "drop")
	wantError(t, "cancel on a full disk", h.CancelUpload(t.Context(), app, u), oci.StorageFull)
	h.staged(t, 0)
	h.hook = nil
	wantError(t, "cancel again", h.CancelUpload(t.Context(), app, u), nil)
	wantError(t, "cancel what is gone", h.CancelUpload(t.Context(), app, u), oci.BlobUploadUnknown)
}

// A session that a request is writing stays, or its bytes were nobody's.
func TestCancelWhileWriting(t *testing.T) {
	h := newBrittleHouse(t)
	u := h.begin(t, []byte("x"))
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := h.AppendUpload(t.Context(), app, u, registry.Chunk{At: 1, Body: r})
		done <- err
	}()
	if _, err := w.Write([]byte("y")); err != nil { // it has begun
		t.Fatal(err)
	}
	wantError(t, "cancel", h.CancelUpload(t.Context(), app, u), oci.RangeInvalid)
	if err := errors.Join(w.Close(), <-done); err != nil {
		t.Fatal(err)
	}
	_, err := h.FinishUpload(t.Context(), app, u, oci.FromBytes([]byte("xy")))
	wantError(t, "finish", err, nil)
}

// D-07: wherever a push finds no room, its bytes and its session go, and a
// second try of the same request meets neither before both are gone.
func TestFullPushIsAbandoned(t *testing.T) {
	want := oci.FromBytes([]byte("x"))
	for _, op := range []string{"stage", "write", "lease", "seal"} {
		for _, method := range []string{"append", "finish"} {
			if method == "append" && (op == "lease" || op == "seal") || method == "finish" && op == "write" {
				continue
			}
			t.Run("D-07 "+method+" when "+op+" finds no room", func(t *testing.T) {
				h := newBrittleHouse(t)
				var u registry.Upload
				try := func() (err error) {
					if method == "append" {
						_, err = h.AppendUpload(t.Context(), app, u, registry.Chunk{At: registry.AtEnd, Body: strings.NewReader("y")})
					} else {
						_, err = h.FinishUpload(t.Context(), app, u, want)
					}
					return err
				}
				if op == "stage" { // it is refused only with nothing staged
					id, err := h.StartUpload(t.Context(), app, registry.Upload{})
					wantError(t, "start", err, nil)
					u = registry.Upload{ID: id}
				} else {
					u = h.begin(t, []byte("x"))
				}
				h.hook = func(now string) error {
					if now == "drop" && op != "stage" {
						h.hook = nil
						h.staged(t, 0)
						wantError(t, "another try meanwhile", try(), oci.RangeInvalid)
					}
					if now == op {
						return errFull
					}
					return nil
				}
				wantError(t, method, try(), oci.StorageFull)
				h.hook = nil
				h.staged(t, 0)
				wantError(t, "again", try(), oci.BlobUploadUnknown)
				push(t, h, app, []byte("x"))
			})
		}
	}
}

// A client that has left is no reason to keep what is in the way.
func TestFullPushOfClientThatLeft(t *testing.T) {
	h := newBrittleHouse(t)
	u := h.begin(t, []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	h.hook = func(op string) error {
		if op == "seal" {
			cancel()
			return errFull
		}
		return nil
	}
	_, err := h.FinishUpload(ctx, app, u, oci.FromBytes([]byte("x")))
	wantError(t, "finish", err, oci.StorageFull)
	h.staged(t, 0)
	_, err = h.UploadSize(t.Context(), app, u)
	wantError(t, "upload size", err, oci.BlobUploadUnknown)
}

// What fails for a while, or because the client left, keeps its bytes.
func TestFailedFinishKeepsBytes(t *testing.T) {
	for _, op := range []string{"lease", "seal"} {
		h := newBrittleHouse(t)
		u := h.begin(t, []byte("x"))
		broken := errors.New("no answer")
		h.fail(broken, op)
		_, err := h.FinishUpload(t.Context(), app, u, oci.FromBytes([]byte("x")))
		wantError(t, "finish", err, broken)
		h.hook = nil
		_, err = h.FinishUpload(t.Context(), app, u, oci.FromBytes([]byte("x")))
		wantError(t, "finish again", err, nil)
	}
}

// Once sealed, the bytes have left the session: it is of no more use.
func TestFailedLinkEndsSession(t *testing.T) {
	h := newBrittleHouse(t)
	u := h.begin(t, []byte("x"))
	broken := errors.New("no answer")
	h.fail(broken, "link")
	for _, want := range []error{broken, oci.BlobUploadUnknown} {
		_, err := h.FinishUpload(t.Context(), app, u, oci.FromBytes([]byte("x")))
		wantError(t, "finish", err, want)
	}
}

// A client that leaves after its bytes were sealed leaves a blob.
func TestLinkOfClientThatLeft(t *testing.T) {
	h := newBrittleHouse(t)
	u := h.begin(t, []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	h.hook = func(op string) error {
		if op == "link" {
			cancel()
		}
		return nil
	}
	d, err := h.FinishUpload(ctx, app, u, oci.FromBytes([]byte("x")))
	wantError(t, "finish", err, nil)
	_, err = h.StatBlob(t.Context(), app, d.Digest)
	wantError(t, "stat", err, nil)
}

// D-07: readers get their answer though nothing can be written, and the operator
// hears of it once.
func TestStatBlobWithoutRenewal(t *testing.T) {
	h := newBrittleHouse(t)
	d := push(t, h, app, []byte("x"))
	h.fail(errFull, "renew")
	for range 3 {
		got, err := h.StatBlob(t.Context(), app, d)
		wantError(t, "stat", err, nil)
		if got.Digest != d || got.Size != 1 {
			t.Errorf("stat: %+v", got)
		}
	}
	if n := strings.Count(h.log.String(), "level=ERROR"); n != 1 {
		t.Errorf("the operator hears %d times:\n%s", n, &h.log)
	}
	h.fail(oci.BlobUnknown, "renew") // deleted in between
	_, err := h.StatBlob(t.Context(), app, d)
	wantError(t, "stat of what is gone", err, oci.BlobUnknown)
}
