package gc

import (
	"context"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/blob"
	"github.com/sallyport/sallyport/internal/oci"
)

// allUploads is more sessions than a plan will meet: a day's worth.
const allUploads = 1 << 20

// A plan is what a sweep would do. It is made by reading alone, and made whole
// before anything is removed, so that an error or a suspicion removes nothing.
type plan struct {
	before   time.Time   // leases and files older than this protect nothing
	expired  []string    // sessions past their life
	staged   []string    // keys of staged bytes that no session can reach
	links    int64       // unused links
	blobs    int64       // unused blobs, once the links are gone
	orphans  []blob.Info // stored bytes that no row names
	bytes    int64       // of blobs and orphans
	known    int64       // blobs in the catalog
	examined int64       // blobs in the store
}

// report returns r with what the plan would remove.
func (p plan) report(r Report) Report {
	r.Uploads, r.Links = int64(len(p.expired)+len(p.staged)), p.links
	r.Blobs, r.Bytes = p.blobs+int64(len(p.orphans)), p.bytes
	return r
}

func (p plan) empty() bool { return p.report(Report{}) == Report{} }

// plan returns what it found even beside an error that is a refusal.
func (s *Sweeper) plan(ctx context.Context, now time.Time) (plan, error) {
	p := plan{before: now.Add(-s.grace)}
	steps := []struct {
		name string
		do   func(context.Context, *plan) error
	}{
		{"find expired uploads", s.planUploads},
		{"find staged bytes", s.planStaged},
		{"find unused blobs", s.planBlobs},
		{"find bytes without a fact", s.planOrphans},
	}
	for _, step := range steps {
		if err := step.do(ctx, &p); err != nil {
			return p, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return p, p.mismatched()
}

func (s *Sweeper) planUploads(ctx context.Context, p *plan) (err error) {
	p.expired, err = s.catalog.ExpiredUploads(ctx, allUploads)
	return err
}

// planStaged leaves young stagings alone: their session may be committed a
// moment later than we looked.
func (s *Sweeper) planStaged(ctx context.Context, p *plan) error {
	expired := make(map[string]bool, len(p.expired))
	for _, id := range p.expired {
		expired[id] = true
	}
	for info, err := range s.blobs.Staged(ctx) {
		if err != nil {
			return err
		}
		if expired[info.Key] || !info.Modified.Before(p.before) {
			continue
		}
		known, err := s.catalog.KnownUpload(ctx, info.Key)
		if err != nil {
			return err
		}
		if !known {
			p.staged = append(p.staged, info.Key)
		}
	}
	return nil
}

func (s *Sweeper) planBlobs(ctx context.Context, p *plan) (err error) {
	if p.known, err = s.catalog.CountBlobs(ctx); err != nil {
		return err
	}
	if p.links, err = s.catalog.UnusedLinks(ctx, p.before); err != nil {
		return err
	}
	for d, err := range s.catalog.UnusedBlobs(ctx, p.before) {
		if err != nil {
			return err
		}
		p.blobs++
		p.bytes += d.Size
	}
	return nil
}

// planOrphans compares the store with the catalog, some hundred blobs at a time.
func (s *Sweeper) planOrphans(ctx context.Context, p *plan) error {
	old := make(map[oci.Digest]blob.Info, batch)
	for info, err := range s.blobs.All(ctx) {
		if err != nil {
			return err
		}
		p.examined++
		if !info.Modified.Before(p.before) {
			continue
		}
		if old[info.Digest] = info; len(old) == batch {
			if err := s.addOrphans(ctx, p, old); err != nil {
				return err
			}
			clear(old)
		}
	}
	return s.addOrphans(ctx, p, old)
}

func (s *Sweeper) addOrphans(ctx context.Context, p *plan, old map[oci.Digest]blob.Info) error {
	if len(old) == 0 {
		return nil
	}
	digests := make([]oci.Digest, 0, len(old))
	for d := range old {
		digests = append(digests, d)
	}
	unknown, err := s.catalog.UnknownBlobs(ctx, digests)
	if err != nil {
		return err
	}
	for _, d := range unknown {
		p.orphans = append(p.orphans, old[d])
		p.bytes += old[d].Size
	}
	return nil
}

// mismatched refuses a plan that looks like a wrong or an empty database, or a
// wrong folder, rather than like waste.
func (p plan) mismatched() error {
	orphans := int64(len(p.orphans))
	switch {
	case p.known == 0 && orphans > 0:
		return fmt.Errorf("%w: the database knows no blob, but %d are stored: check that database and blobs belong together", ErrSuspicious, p.examined)
	case tooMany(orphans, p.examined):
		return fmt.Errorf("%w: %d of %d stored blobs are not in the database, more than one in %d: check that database and blobs belong together", ErrSuspicious, orphans, p.examined, maxShare)
	}
	return nil
}

// large refuses a plan that would remove much of what is known.
func (p plan) large() error {
	if tooMany(p.blobs, p.known) {
		return fmt.Errorf("%w: %d of %d blobs are unused, more than one in %d: if so much was deleted on purpose, run a large sweep (sallyport gc run --large); else check that the database is whole",
			ErrSuspicious, p.blobs, p.known, maxShare)
	}
	return nil
}

func tooMany(n, of int64) bool { return n > maxFree && n > of/maxShare }
