package metadata

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/internal/gc"
	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/oci"
)

const (
	// scanPage is how many rows the sweep looks at in one read.
	scanPage = 2000
	// dropPage is how many links it removes in one transaction, so that no
	// push waits long for it.
	dropPage = 100
	// keptSweeps is how many reports are kept.
	keptSweeps = 100
)

// sweeps implements gc.Catalog.
type sweeps struct{ db *DB }

// ExpiredUploads implements gc.Catalog.
func (s sweeps) ExpiredUploads(ctx context.Context, limit int) ([]string, error) {
	started, finished := s.db.oldest()
	ids, err := collect[string](s.db.engine.detach(ctx), s.db.reads, `SELECT id FROM upload
		WHERE finished = 0 AND started <= $1 OR finished > 0 AND finished <= $2 LIMIT $3`, args{started, finished, limit})
	return ids, wrap(err, "list expired uploads")
}

// DropUploads implements gc.Catalog.
func (s sweeps) DropUploads(ctx context.Context, ids []string) error {
	err := s.db.write(ctx, hard, func(ctx context.Context, t *tx) error {
		return inChunks(distinct(ids), 1, func(list string, a args) error {
			_, err := t.exec(ctx, `DELETE FROM upload WHERE id IN (`+list+`)`, a)
			return err
		})
	})
	return wrap(err, "drop uploads")
}

// KnownUpload implements gc.Catalog.
func (s sweeps) KnownUpload(ctx context.Context, id string) (bool, error) {
	since, _ := s.db.oldest()
	var known int64
	err := s.db.reads.row(s.db.engine.detach(ctx), `SELECT started FROM upload WHERE id = $1 AND finished = 0 AND started > $2`, args{id, since}, &known)
	if errors.Is(err, errNone) {
		return false, nil
	}
	return err == nil, wrap(err, "find upload %s", id)
}

// A link is a row of blob_link.
type link struct {
	id     int64 // of the repository
	repo   oci.RepoName
	digest string
}

const (
	scanLinks = `SELECT l.repository_id, r.name, l.digest, l.leased < $3
			AND NOT EXISTS (SELECT 1 FROM manifest_blob m WHERE m.repository_id = l.repository_id AND m.digest = l.digest)
			AND NOT EXISTS (SELECT 1 FROM manifest_optional o WHERE o.repository_id = l.repository_id AND o.digest = l.digest)
		FROM blob_link l JOIN repository r ON r.id = l.repository_id WHERE (l.repository_id, l.digest) > ($1, $2) ORDER BY l.repository_id, l.digest LIMIT $4`
	scanBlobs = `SELECT b.digest, coalesce(b.size, 0), b.leased < $2 AND NOT EXISTS (SELECT 1 FROM blob_link l WHERE l.digest = b.digest AND (l.leased >= $2
			OR EXISTS (SELECT 1 FROM manifest_blob m WHERE m.repository_id = l.repository_id AND m.digest = l.digest)
			OR EXISTS (SELECT 1 FROM manifest_optional o WHERE o.repository_id = l.repository_id AND o.digest = l.digest)))
		FROM blob b WHERE b.digest > $1 ORDER BY b.digest LIMIT $3`
	dropLink = `DELETE FROM blob_link WHERE repository_id = $1 AND digest = $2 AND leased < $3
		AND NOT EXISTS (SELECT 1 FROM manifest_blob m WHERE m.repository_id = $1 AND m.digest = $2)
		AND NOT EXISTS (SELECT 1 FROM manifest_optional o WHERE o.repository_id = $1 AND o.digest = $2)`
	dropBlob = `DELETE FROM blob WHERE digest = $1 AND leased < $2 AND NOT EXISTS (SELECT 1 FROM blob_link WHERE digest = $1)`
)

// unusedLinks yields the links that may go, looking at a page of all links at
// a time.
func (s sweeps) unusedLinks(ctx context.Context, before time.Time) iter.Seq2[link, error] {
	return func(yield func(link, error) bool) {
		var last link
		for {
			var unused []link
			seen := 0
			err := ctx.Err()
			if err == nil {
				err = s.db.reads.rows(s.db.engine.detach(ctx), scanLinks, args{last.id, last.digest, micros(before), scanPage}, func(rows *sql.Rows) error {
					var free bool
					err := rows.Scan(&last.id, &last.repo, &last.digest, &free)
					if seen++; free {
						unused = append(unused, last)
					}
					return err
				})
			}
			if err != nil {
				yield(link{}, err)
				return
			}
			for _, l := range unused {
				if !yield(l, nil) {
					return
				}
			}
			if seen < scanPage {
				return
			}
		}
	}
}

// UnusedLinks implements gc.Catalog.
func (s sweeps) UnusedLinks(ctx context.Context, before time.Time) (int64, error) {
	var n int64
	for _, err := range s.unusedLinks(ctx, before) {
		if err != nil {
			return 0, wrap(err, "count unused links")
		}
		n++
	}
	return n, nil
}

// DropUnusedLinks implements gc.Catalog. What it found is deleted on condition
// that it is still so. On PostgreSQL a push that renews the lease meanwhile
// makes the DELETE look again; one that saves a manifest without a renewal, the
// lease being young, is not among those found.
func (s sweeps) DropUnusedLinks(ctx context.Context, before time.Time, limit int) (int64, error) {
	var found []link
	for l, err := range s.unusedLinks(ctx, before) {
		if err != nil {
			return 0, wrap(err, "find unused links")
		}
		if found = append(found, l); len(found) >= limit {
			break
		}
	}
	var total int64
	for len(found) > 0 {
		page := found[:min(dropPage, len(found))]
		found = found[len(page):]
		n, err := s.dropLinks(ctx, page, before)
		if total += n; err != nil {
			return total, wrap(err, "drop unused links")
		}
	}
	return total, nil
}

func (s sweeps) dropLinks(ctx context.Context, page []link, before time.Time) (dropped int64, err error) {
	err = s.db.write(ctx, hard, func(ctx context.Context, t *tx) error {
		dropped = 0
		for _, l := range page {
			t.touch(l.repo)
			n, err := t.exec(ctx, dropLink, args{l.id, l.digest, micros(before)})
			if dropped += n; err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return dropped, nil
}

// UnusedBlobs implements gc.Catalog.
func (s sweeps) UnusedBlobs(ctx context.Context, before time.Time) iter.Seq2[oci.Descriptor, error] {
	return func(yield func(oci.Descriptor, error) bool) {
		var last string
		for {
			var unused []oci.Descriptor
			seen := 0
			err := ctx.Err()
			if err == nil {
				err = s.db.reads.rows(s.db.engine.detach(ctx), scanBlobs, args{last, micros(before), scanPage}, func(rows *sql.Rows) error {
					var d oci.Descriptor
					var free bool
					err := rows.Scan(&last, &d.Size, &free)
					if seen++; free {
						d.Digest = oci.Digest(last)
						unused = append(unused, d)
					}
					return err
				})
			}
			if err != nil {
				yield(oci.Descriptor{}, wrap(err, "find unused blobs"))
				return
			}
			for _, d := range unused {
				if !yield(d, nil) {
					return
				}
			}
			if seen < scanPage {
				return
			}
		}
	}
}

// RemoveBlob implements gc.Catalog. free runs inside the transaction: on
// PostgreSQL the row is locked, on SQLite nobody else writes, so that a push
// of the same bytes gets its lease before or after, and seals them anew. Once
// begun it is not cut off: a cancelled transaction is rolled back at a moment
// of database/sql's choosing, and free would run without the lock.
func (s sweeps) RemoveBlob(ctx context.Context, d oci.Digest, before time.Time, free func() error) (removed bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, wrap(err, "remove blob %s", d)
	}
	err = s.db.write(context.WithoutCancel(ctx), hard, func(ctx context.Context, t *tx) error {
		n, err := t.exec(ctx, dropBlob, args{string(d), micros(before)})
		if removed = n > 0; err != nil || !removed {
			return err
		}
		return free()
	})
	if err != nil {
		return false, wrap(err, "remove blob %s", d)
	}
	return removed, nil
}

// AdoptBlob implements gc.Catalog.
func (s sweeps) AdoptBlob(ctx context.Context, d oci.Descriptor, leased time.Time) (unknown bool, err error) {
	err = s.db.write(ctx, hard, func(ctx context.Context, t *tx) error {
		n, err := t.exec(ctx, `INSERT INTO blob (digest, size, leased) VALUES ($1, $2, $3) ON CONFLICT (digest) DO NOTHING`,
			args{string(d.Digest), d.Size, micros(leased)})
		unknown = n > 0
		return err
	})
	return unknown && err == nil, wrap(err, "adopt blob %s", d.Digest)
}

// UnknownBlobs implements gc.Catalog.
func (s sweeps) UnknownBlobs(ctx context.Context, ds []oci.Digest) ([]oci.Digest, error) {
	known := make(map[oci.Digest]bool)
	err := inChunks(distinct(ds), 1, func(list string, a args) error {
		found, err := collect[oci.Digest](s.db.engine.detach(ctx), s.db.reads, `SELECT digest FROM blob WHERE digest IN (`+list+`)`, a)
		for _, d := range found {
			known[d] = true
		}
		return err
	})
	if err != nil {
		return nil, wrap(err, "look for unknown blobs")
	}
	return slices.DeleteFunc(slices.Clone(ds), func(d oci.Digest) bool { return known[d] }), nil
}

// CountBlobs implements gc.Catalog.
func (s sweeps) CountBlobs(ctx context.Context) (int64, error) {
	var n int64
	err := s.db.reads.row(s.db.engine.detach(ctx), `SELECT count(*) FROM blob`, nil, &n)
	return n, wrap(err, "count blobs")
}

// BeginSweep implements gc.Catalog. The event that is pending stays so: it is
// about the end of the sweep.
func (s sweeps) BeginSweep(ctx context.Context, r gc.Report) error {
	e := ledger.Pending(ctx)
	if e == nil {
		return nil
	}
	begin := *e
	begin.Action, begin.Detail = "begin", nil
	noteSweep(&begin, r)
	err := s.db.write(ctx, hard, func(ctx context.Context, t *tx) error { return t.record(ctx, begin) })
	return wrap(err, "record that a sweep begins")
}

// noteSweep says in e what a sweep removes.
func noteSweep(e *ledger.Event, r gc.Report) {
	e.Set("uploads", strconv.FormatInt(r.Uploads, 10))
	e.Set("links", strconv.FormatInt(r.Links, 10))
	e.Set("blobs", strconv.FormatInt(r.Blobs, 10))
	e.Set("bytes", strconv.FormatInt(r.Bytes, 10))
}

// SaveSweep implements gc.Catalog. Old reports are forgotten.
func (s sweeps) SaveSweep(ctx context.Context, r gc.Report) error {
	text, err := json.Marshal(r)
	if err != nil {
		return wrap(err, "save sweep")
	}
	err = s.db.change(ctx, func(ctx context.Context, t *tx) error {
		note(ctx, func(e *ledger.Event) {
			noteSweep(e, r)
			if r.Err != "" {
				e.Decision, e.Reason = ledger.Failed, r.Err
			}
		})
		if _, err := t.exec(ctx, `INSERT INTO sweep (started, report) VALUES ($1, $2)
			ON CONFLICT (started) DO UPDATE SET report = excluded.report`, args{micros(r.Started), string(text)}); err != nil {
			return err
		}
		_, err := t.exec(ctx, `DELETE FROM sweep WHERE started < (SELECT min(started) FROM
			(SELECT started FROM sweep ORDER BY started DESC LIMIT $1) AS kept)`, args{keptSweeps})
		return err
	})
	return wrap(err, "save sweep")
}

// LastSweep implements gc.Catalog.
func (s sweeps) LastSweep(ctx context.Context) (r gc.Report, found bool, err error) {
	var text []byte
	err = s.db.reads.row(s.db.engine.detach(ctx), `SELECT report FROM sweep ORDER BY started DESC LIMIT 1`, nil, &text)
	if errors.Is(err, errNone) {
		return r, false, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	return r, err == nil, wrap(err, "read last sweep")
}
