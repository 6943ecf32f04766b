package metadata

import (
	"context"
	"errors"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
)

// DeleteTag implements registry.Deleter.
func (c catalog) DeleteTag(ctx context.Context, repo oci.RepoName, tag oci.Tag, judge registry.TagJudge) error {
	err := c.db.change(ctx, func(ctx context.Context, t *tx) error {
		t.touch(repo)
		id, err := t.repositoryID(ctx, repo)
		if err != nil {
			return err
		}
		if err := judge.Ask(tag, access.Delete); err != nil {
			return err
		}
		n, err := t.exec(ctx, `DELETE FROM tag WHERE repository_id = $1 AND name = $2`, args{id, string(tag)})
		if err == nil && n == 0 {
			return oci.Errorf(oci.ManifestUnknown, "repository %s has no tag %s", repo, tag)
		}
		return err
	})
	return wrap(err, "delete tag %s in %s", tag, repo)
}

// DeleteManifest implements registry.Deleter. A manifest that an index of repo
// lists is oci.Unsupported: an index is never left with a hole. Tags and
// references go with the manifest, by the schema; its referrers stay.
func (c catalog) DeleteManifest(ctx context.Context, repo oci.RepoName, d oci.Digest, judge registry.TagJudge) error {
	err := c.db.change(ctx, func(ctx context.Context, t *tx) error {
		t.touch(repo)
		id, err := t.repositoryID(ctx, repo)
		if err != nil {
			return err
		}
		tags, err := t.judgeTagsOf(ctx, id, d, judge)
		if errors.Is(err, errNone) {
			return oci.Errorf(oci.ManifestUnknown, "repository %s has no manifest %s", repo, d)
		}
		if err != nil {
			return err
		}
		note(ctx, func(e *ledger.Event) { noteDeleted(e, tags) })
		var index string
		err = t.row(ctx, `SELECT manifest FROM manifest_child WHERE repository_id = $1 AND digest = $2 ORDER BY manifest LIMIT 1`, args{id, string(d)}, &index)
		if err == nil {
			return oci.Errorf(oci.Unsupported, "index %s of this repository lists the manifest: delete the index first", index)
		}
		if !errors.Is(err, errNone) {
			return err
		}
		_, err = t.exec(ctx, `DELETE FROM manifest WHERE repository_id = $1 AND digest = $2`, args{id, string(d)})
		return err
	})
	return wrap(err, "delete manifest %s in %s", d, repo)
}

// DeleteBlob implements registry.Deleter.
func (c catalog) DeleteBlob(ctx context.Context, repo oci.RepoName, d oci.Digest) error {
	err := c.db.change(ctx, func(ctx context.Context, t *tx) error {
		t.touch(repo)
		id, err := t.repositoryID(ctx, repo)
		if errors.Is(err, oci.NameUnknown) {
			return errBlob(repo, d)
		}
		if err != nil {
			return err
		}
		var user string
		err = t.row(ctx, `SELECT manifest FROM manifest_blob WHERE repository_id = $1 AND digest = $2
			UNION ALL SELECT manifest FROM manifest_optional WHERE repository_id = $1 AND digest = $2 LIMIT 1`, args{id, string(d)}, &user)
		if err == nil {
			return t.inUse(ctx, id, repo, d, user)
		}
		if !errors.Is(err, errNone) {
			return err
		}
		n, err := t.exec(ctx, `DELETE FROM blob_link WHERE repository_id = $1 AND digest = $2`, args{id, string(d)})
		if err == nil && n == 0 {
			return errBlob(repo, d)
		}
		return err
	})
	return wrap(err, "delete blob %s in %s", d, repo)
}

// inUse refuses to delete a blob that a manifest refers to, unless it is an
// optional one that is absent.
func (t *tx) inUse(ctx context.Context, id int64, repo oci.RepoName, d oci.Digest, user string) error {
	var leased int64
	err := t.row(ctx, `SELECT leased FROM blob_link WHERE repository_id = $1 AND digest = $2`, args{id, string(d)}, &leased)
	if errors.Is(err, errNone) {
		return errBlob(repo, d)
	}
	if err != nil {
		return err
	}
	return oci.Errorf(oci.Unsupported, "manifest %s of this repository uses the blob: delete the manifest first", user)
}
