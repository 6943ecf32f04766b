package metadata

import (
	"context"
	"database/sql"
	"iter"

	"github.com/sallyport/sallyport/internal/oci"
)

// Repositories implements registry.Lister. The two statements differ so that
// either begins at its only lower bound.
func (c catalog) Repositories(ctx context.Context, after oci.RepoName, prefix string) iter.Seq2[oci.RepoName, error] {
	from, to := span(prefix)
	text := func(r oci.RepoName) string { return string(r) }
	return paged(bound(string(after)), text, func(after string, limit int) ([]oci.RepoName, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		query, low := listAfter, after
		if from > after {
			query, low = listFrom, from
		}
		names, err := collect[oci.RepoName](c.db.engine.detach(ctx), c.db.reads, query, args{low, to, limit})
		return names, wrap(err, "list repositories")
	})
}

const (
	listAfter   = `SELECT name FROM repository WHERE name > $1 AND name < $2 ORDER BY name LIMIT $3`
	listFrom    = `SELECT name FROM repository WHERE name >= $1 AND name < $2 ORDER BY name LIMIT $3`
	listTags    = `SELECT name FROM tag WHERE repository_id = $1 AND name > $2 ORDER BY name LIMIT $3`
	listHolders = `SELECT l.repository_id, r.name FROM blob_link l JOIN repository r ON r.id = l.repository_id
		WHERE l.digest = $1 AND l.repository_id > $2 ORDER BY l.repository_id LIMIT $3`
)

// Tags implements registry.Lister.
func (c catalog) Tags(ctx context.Context, repo oci.RepoName, after oci.Tag) iter.Seq2[oci.Tag, error] {
	id, err := c.db.reads.repositoryID(c.db.engine.detach(ctx), repo)
	if err != nil {
		return failed[oci.Tag](wrap(err, "list tags of %s", repo))
	}
	text := func(t oci.Tag) string { return string(t) }
	return paged(bound(string(after)), text, func(after string, limit int) ([]oci.Tag, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		tags, err := collect[oci.Tag](c.db.engine.detach(ctx), c.db.reads, listTags, args{id, after, limit})
		return tags, wrap(err, "list tags of %s", repo)
	})
}

// Holders implements registry.Lister. The order is that in which the
// repositories were made: by name, a page would cost what all holders do.
func (c catalog) Holders(ctx context.Context, d oci.Digest) iter.Seq2[oci.RepoName, error] {
	var last int64
	unused := func(oci.RepoName) string { return "" }
	return paged("", unused, func(_ string, limit int) ([]oci.RepoName, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var page []oci.RepoName
		err := c.db.reads.rows(c.db.engine.detach(ctx), listHolders, args{string(d), last, limit}, func(rows *sql.Rows) error {
			var name oci.RepoName
			err := rows.Scan(&last, &name)
			page = append(page, name)
			return err
		})
		return page, wrap(err, "list holders of %s", d)
	})
}
