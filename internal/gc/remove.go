package gc

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sallyport/sallyport/internal/blob"
	"github.com/sallyport/sallyport/internal/oci"
)

// remove carries out p and counts into r what it did. The order is facts before
// bytes, and links before the blobs they held. Only what uploads have staged goes
// before its fact, and before the event of the sweep: it is no content, nothing
// refers to it, and on a full disk it makes the room that the database needs for
// all the rest.
func (s *Sweeper) remove(ctx context.Context, p plan, r *Report) error {
	steps := []struct {
		name string
		do   func(context.Context, *plan, *Report) error
	}{
		{"discard staged bytes", s.removeStaged},
		{"record the sweep", s.record},
		{"drop expired uploads", s.removeUploads},
		{"drop unused links", s.removeLinks},
		{"remove unused blobs", s.removeBlobs},
		{"remove bytes without a fact", s.removeOrphans},
	}
	for _, step := range steps {
		if err := step.do(ctx, &p, r); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// removeStaged leaves in p the expired sessions that no request writes to.
func (s *Sweeper) removeStaged(ctx context.Context, p *plan, r *Report) error {
	var free []string
	for i, keys := range [][]string{p.expired, p.staged} {
		for part := range slices.Chunk(keys, batch) {
			for _, key := range part {
				done, err := s.unstage(ctx, key)
				switch {
				case err != nil:
					return err
				case done && i == 0:
					free = append(free, key)
				case done:
					r.Uploads++
				}
			}
			if err := rest(ctx); err != nil {
				return err
			}
		}
	}
	p.expired = free
	return nil
}

func (s *Sweeper) record(ctx context.Context, p *plan, r *Report) error {
	return s.catalog.BeginSweep(ctx, p.report(Report{Started: r.Started}))
}

func (s *Sweeper) removeUploads(ctx context.Context, p *plan, r *Report) error {
	for ids := range slices.Chunk(p.expired, batch) {
		if err := s.catalog.DropUploads(ctx, ids); err != nil {
			return err
		}
		r.Uploads += int64(len(ids))
		if err := rest(ctx); err != nil {
			return err
		}
	}
	return nil
}

// unstage discards what was staged under key, unless a request is still writing
// it: then a later sweep will.
func (s *Sweeper) unstage(ctx context.Context, key string) (done bool, err error) {
	err = s.blobs.Unstage(ctx, key)
	if errors.Is(err, blob.ErrStaging) {
		return false, nil
	}
	return err == nil, err
}

func (s *Sweeper) removeLinks(ctx context.Context, p *plan, r *Report) error {
	for {
		n, err := s.catalog.DropUnusedLinks(ctx, p.before, linkBatch)
		if err != nil {
			return err
		}
		r.Links += n
		if n == 0 {
			return nil
		}
		if err := rest(ctx); err != nil {
			return err
		}
	}
}

// removeBlobs asks anew instead of keeping a list: what was used again in the
// meantime is then not even tried.
func (s *Sweeper) removeBlobs(ctx context.Context, p *plan, r *Report) error {
	tried := 0
	for d, err := range s.catalog.UnusedBlobs(ctx, p.before) {
		if err != nil {
			return err
		}
		if err := s.free(ctx, d, *p, r); err != nil {
			return err
		}
		if tried++; tried%batch == 0 {
			if err := rest(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeOrphans makes each known first, so that the same condition decides
// about it as about any other blob.
func (s *Sweeper) removeOrphans(ctx context.Context, p *plan, r *Report) error {
	for infos := range slices.Chunk(p.orphans, batch) {
		for _, info := range infos {
			d := oci.Descriptor{Digest: info.Digest, Size: info.Size}
			unknown, err := s.catalog.AdoptBlob(ctx, d, info.Modified)
			if err != nil {
				return err
			}
			if !unknown {
				continue // a push has leased it since
			}
			if err := s.free(ctx, d, *p, r); err != nil {
				return err
			}
		}
		if err := rest(ctx); err != nil {
			return err
		}
	}
	return nil
}

// free removes d if it is still unused. The transaction takes only the name:
// what we hold open keeps its space until afterwards, since giving back that of
// a huge file takes long, and pushes wait for the transaction.
func (s *Sweeper) free(ctx context.Context, d oci.Descriptor, p plan, r *Report) error {
	if held, err := s.blobs.Open(ctx, d.Digest); err == nil {
		defer held.Close()
	}
	removed, err := s.catalog.RemoveBlob(ctx, d.Digest, p.before, func() error {
		return s.blobs.Delete(ctx, d.Digest)
	})
	if err != nil {
		return fmt.Errorf("remove blob %s: %w", d.Digest, err)
	}
	if removed {
		r.Blobs++
		r.Bytes += d.Size
	}
	return nil
}
