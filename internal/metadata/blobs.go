package metadata

import (
	"context"
	"errors"

	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
)

func errBlob(repo oci.RepoName, d oci.Digest) error {
	return oci.Errorf(oci.BlobUnknown, "repository %s has no blob %s", repo, d)
}

// FindBlob implements registry.Catalog.
func (c catalog) FindBlob(ctx context.Context, repo oci.RepoName, d oci.Digest) (oci.Descriptor, error) {
	e, err := c.findLink(ctx, repo, d, 0)
	if err != nil {
		return oci.Descriptor{}, wrap(err, "find blob %s in %s", d, repo)
	}
	return e.blob, nil
}

// findLink returns repo's link to d. A remembered one serves if its lease is
// known to be at least as young as given.
func (c catalog) findLink(ctx context.Context, repo oci.RepoName, d oci.Digest, leased int64) (*cacheEntry, error) {
	key := cacheKey{blob: true, repo: repo, ref: string(d)}
	e, stamp := c.db.cache.get(key)
	if e != nil && e.leased >= leased {
		return e, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e = &cacheEntry{stamp: stamp, blob: oci.Descriptor{Digest: d}}
	err := c.db.reads.row(c.db.engine.detach(ctx), `SELECT b.size, l.leased
		FROM repository r JOIN blob_link l ON l.repository_id = r.id JOIN blob b ON b.digest = l.digest
		WHERE r.name = $1 AND l.digest = $2`, args{string(repo), string(d)}, &e.blob.Size, &e.leased)
	if errors.Is(err, errNone) {
		return nil, errBlob(repo, d)
	}
	if err != nil {
		return nil, err
	}
	c.db.cache.put(key, e)
	return e, nil
}

// RenewLink implements registry.Uploads.
func (c catalog) RenewLink(ctx context.Context, repo oci.RepoName, d oci.Digest) error {
	e, err := c.findLink(ctx, repo, d, c.db.stale())
	if err != nil {
		return wrap(err, "renew link to %s in %s", d, repo)
	}
	if e.leased >= c.db.stale() {
		return nil
	}
	err = c.db.write(ctx, soft, func(ctx context.Context, t *tx) error {
		now := c.db.now()
		if _, err := t.exec(ctx, `UPDATE blob SET leased = $2 WHERE digest = $1 AND leased < $2`, args{string(d), now}); err != nil {
			return err
		}
		n, err := t.exec(ctx, `UPDATE blob_link SET leased = CASE WHEN leased < $3 THEN $3 ELSE leased END
			WHERE repository_id = (SELECT id FROM repository WHERE name = $1) AND digest = $2`, args{string(repo), string(d), now})
		if err == nil && n == 0 {
			return errBlob(repo, d)
		}
		return err
	})
	return wrap(err, "renew link to %s in %s", d, repo)
}

// LeaseBlob implements registry.Uploads.
func (c catalog) LeaseBlob(ctx context.Context, d oci.Digest) error {
	err := c.db.write(ctx, soft, func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, `INSERT INTO blob (digest, leased) VALUES ($1, $2)
			ON CONFLICT (digest) DO UPDATE SET leased = excluded.leased WHERE blob.leased < excluded.leased`, args{string(d), c.db.now()})
		return err
	})
	return wrap(err, "lease blob %s", d)
}

// LinkBlob implements registry.Uploads. LeaseBlob came before: without its row
// the sweep may have taken the bytes, and the push has to begin again.
func (c catalog) LinkBlob(ctx context.Context, s registry.Session, d oci.Descriptor) error {
	err := c.db.write(ctx, hard, func(ctx context.Context, t *tx) error {
		t.touch(s.Repo)
		now := c.db.now()
		n, err := t.exec(ctx, `UPDATE blob SET size = $2, leased = CASE WHEN leased < $3 THEN $3 ELSE leased END WHERE digest = $1`,
			args{string(d.Digest), d.Size, now})
		if err != nil {
			return err
		}
		if n == 0 {
			return errors.New("the blob was not leased")
		}
		if err := t.link(ctx, s.Repo, d.Digest, now); err != nil {
			return err
		}
		_, err = t.exec(ctx, `UPDATE upload SET finished = $2 WHERE id = $1 AND finished = 0`, args{string(s.ID), now})
		return err
	})
	return wrap(err, "link blob %s in %s", d.Digest, s.Repo)
}

// link records that repo holds d, whose row the transaction has renewed.
func (t *tx) link(ctx context.Context, repo oci.RepoName, d oci.Digest, now int64) error {
	id, err := t.makeRepository(ctx, repo)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO blob_link (repository_id, digest, leased) VALUES ($1, $2, $3)
		ON CONFLICT (repository_id, digest) DO UPDATE SET leased = excluded.leased WHERE blob_link.leased < excluded.leased`,
		args{id, string(d), now})
	return err
}

// MountBlob implements registry.Catalog. On PostgreSQL the renewed row of the
// blob holds off its removal; that the source loses its link meanwhile is as
// if it had done so a moment later.
func (c catalog) MountBlob(ctx context.Context, repo oci.RepoName, src registry.BlobAt) (oci.Descriptor, error) {
	d := oci.Descriptor{Digest: src.Digest}
	err := c.db.write(ctx, hard, func(ctx context.Context, t *tx) error {
		t.touch(repo)
		now := c.db.now()
		err := t.row(ctx, `UPDATE blob SET leased = CASE WHEN leased < $3 THEN $3 ELSE leased END
			WHERE digest = $2 AND EXISTS (SELECT 1 FROM repository r JOIN blob_link l ON l.repository_id = r.id WHERE r.name = $1 AND l.digest = $2)
			RETURNING size`, args{string(src.Repo), string(src.Digest), now}, &d.Size)
		if errors.Is(err, errNone) {
			return errBlob(src.Repo, src.Digest)
		}
		if err != nil {
			return err
		}
		return t.link(ctx, repo, src.Digest, now)
	})
	if err != nil {
		return oci.Descriptor{}, wrap(err, "mount blob %s into %s", src.Digest, repo)
	}
	return d, nil
}
