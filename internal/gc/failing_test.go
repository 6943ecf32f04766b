package gc_test

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/sallyport/sallyport/internal/gc"
	"github.com/sallyport/sallyport/internal/oci"
)

type (
	ctx        = context.Context
	seq[T any] = iter.Seq2[T, error]
)

var errBroken = errors.New("the database broke")

// A failing catalog is a real one whose connection breaks: the call after the
// first left ones fails, and all that follow, except that the end is recorded.
type failing struct {
	gc.Catalog
	left  int
	calls []string
}

func (f *failing) fail(method string) error {
	f.calls = append(f.calls, method)
	if f.left--; f.left < 0 {
		return errBroken
	}
	return nil
}

func (f *failing) ExpiredUploads(c ctx, limit int) ([]string, error) {
	if err := f.fail("ExpiredUploads"); err != nil {
		return nil, err
	}
	return f.Catalog.ExpiredUploads(c, limit)
}

func (f *failing) DropUploads(c ctx, ids []string) error {
	if err := f.fail("DropUploads"); err != nil {
		return err
	}
	return f.Catalog.DropUploads(c, ids)
}

func (f *failing) KnownUpload(c ctx, id string) (bool, error) {
	if err := f.fail("KnownUpload"); err != nil {
		return false, err
	}
	return f.Catalog.KnownUpload(c, id)
}

func (f *failing) UnusedLinks(c ctx, before time.Time) (int64, error) {
	if err := f.fail("UnusedLinks"); err != nil {
		return 0, err
	}
	return f.Catalog.UnusedLinks(c, before)
}

func (f *failing) DropUnusedLinks(c ctx, before time.Time, limit int) (int64, error) {
	if err := f.fail("DropUnusedLinks"); err != nil {
		return 0, err
	}
	return f.Catalog.DropUnusedLinks(c, before, limit)
}

func (f *failing) UnusedBlobs(c ctx, before time.Time) seq[oci.Descriptor] {
	return func(yield func(oci.Descriptor, error) bool) {
		for d, err := range f.Catalog.UnusedBlobs(c, before) {
			if failed := f.fail("UnusedBlobs"); failed != nil {
				yield(oci.Descriptor{}, failed)
				return
			}
			if !yield(d, err) {
				return
			}
		}
	}
}

func (f *failing) RemoveBlob(c ctx, d oci.Digest, before time.Time, free func() error) (bool, error) {
	if err := f.fail("RemoveBlob"); err != nil {
		return false, err
	}
	return f.Catalog.RemoveBlob(c, d, before, free)
}

func (f *failing) AdoptBlob(c ctx, d oci.Descriptor, leased time.Time) (bool, error) {
	if err := f.fail("AdoptBlob"); err != nil {
		return false, err
	}
	return f.Catalog.AdoptBlob(c, d, leased)
}

func (f *failing) UnknownBlobs(c ctx, ds []oci.Digest) ([]oci.Digest, error) {
	if err := f.fail("UnknownBlobs"); err != nil {
		return nil, err
	}
	return f.Catalog.UnknownBlobs(c, ds)
}

func (f *failing) CountBlobs(c ctx) (int64, error) {
	if err := f.fail("CountBlobs"); err != nil {
		return 0, err
	}
	return f.Catalog.CountBlobs(c)
}

func (f *failing) BeginSweep(c ctx, r gc.Report) error {
	if err := f.fail("BeginSweep"); err != nil {
		return err
	}
	return f.Catalog.BeginSweep(c, r)
}
