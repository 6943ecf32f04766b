package metadata

import (
	"context"
	"database/sql"
	"encoding/json"
	"iter"

	"github.com/sallyport/sallyport/internal/oci"
)

// pageBytes is where a page of referrers ends: those of one manifest may be as
// large as a manifest, so a number of rows bounds nothing.
const pageBytes = 1 << 20

const (
	// sizeReferrers looks at sizes alone, which neither database reads the
	// annotations for.
	sizeReferrers = `SELECT digest, octet_length(annotations) FROM manifest
		WHERE repository_id = (SELECT id FROM repository WHERE name = $1) AND subject = $2 AND digest > $3 ORDER BY digest LIMIT $4`
	listReferrers = `SELECT digest, media_type, size, artifact_type, annotations FROM manifest
		WHERE repository_id = (SELECT id FROM repository WHERE name = $1) AND subject = $2 AND digest > $3 AND digest <= $4 ORDER BY digest LIMIT $5`
)

// A referrer is a row whose annotations nobody has looked at yet.
type referrer struct {
	oci.Descriptor
	annotations []byte // a JSON object, or empty
}

// Referrers implements registry.Lister. Annotations are decoded one row at a
// time, when the consumer gets there.
func (c catalog) Referrers(ctx context.Context, repo oci.RepoName, subject, after oci.Digest) iter.Seq2[oci.Descriptor, error] {
	key := func(r referrer) string { return string(r.Digest) }
	rows := pagedUntil(bound(string(after)), key, func(after string, limit int) ([]referrer, bool, error) {
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		page, more, err := c.referrers(c.db.engine.detach(ctx), repo, subject, after, limit)
		return page, more, wrap(err, "list referrers of %s in %s", subject, repo)
	})
	return func(yield func(oci.Descriptor, error) bool) {
		for r, err := range rows {
			if err == nil && len(r.annotations) > 0 {
				err = wrap(json.Unmarshal(r.annotations, &r.Annotations), "read annotations of %s in %s", r.Digest, repo)
			}
			if !yield(r.Descriptor, err) || err != nil {
				return
			}
		}
	}
}

// referrers returns up to limit rows, fewer when their annotations pass
// pageBytes, and whether more may follow. Sizes come first: what PostgreSQL has
// begun to send has to be received to its end.
func (c catalog) referrers(ctx context.Context, repo oci.RepoName, subject oci.Digest, after string, limit int) (page []referrer, more bool, err error) {
	var n, total int
	var last string
	err = c.db.reads.rows(ctx, sizeReferrers, args{string(repo), string(subject), after, limit}, func(rows *sql.Rows) error {
		if total >= pageBytes {
			more = true
			return nil
		}
		var size int
		err := rows.Scan(&last, &size)
		n, total = n+1, total+size
		return err
	})
	if err != nil || n == 0 {
		return nil, false, err
	}
	more = more || n == limit
	page = make([]referrer, 0, n)
	err = c.db.reads.rows(ctx, listReferrers, args{string(repo), string(subject), after, last, n}, func(rows *sql.Rows) error {
		var r referrer
		err := rows.Scan(&r.Digest, &r.MediaType, &r.Size, &r.ArtifactType, &r.annotations)
		page = append(page, r)
		return err
	})
	return page, more, err
}
