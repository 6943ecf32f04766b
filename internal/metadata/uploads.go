package metadata

import (
	"context"
	"errors"
	"time"

	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
)

// finishedUploads is how long a finished session still proves that its token
// began a push.
const finishedUploads = 24 * time.Hour

// oldest returns the time at which the oldest session began that is not
// expired, and the time at which the oldest was finished that still counts.
func (db *DB) oldest() (started, finished int64) {
	now := db.opts.Now()
	return micros(now.Add(-registry.UploadTTL)), micros(now.Add(-finishedUploads))
}

// SaveUpload implements registry.Uploads. Starts of one owner that run at the
// same moment on PostgreSQL may pass MaxUploads by their own number.
func (c catalog) SaveUpload(ctx context.Context, s registry.Session) error {
	err := c.db.write(ctx, soft, func(ctx context.Context, t *tx) error {
		since, _ := c.db.oldest()
		var open int64
		if err := t.row(ctx, `SELECT count(*) FROM upload WHERE owner = $1 AND started > $2 AND finished = 0`, args{s.Owner, since}, &open); err != nil {
			return err
		}
		if open >= registry.MaxUploads {
			return oci.Errorf(oci.TooManyRequests, "%d uploads are open: finish or cancel some, or wait until they expire", open)
		}
		_, err := t.exec(ctx, `INSERT INTO upload (id, repository, owner, token, started, finished) VALUES ($1, $2, $3, $4, $5, 0)`,
			args{string(s.ID), string(s.Repo), s.Owner, s.Token, micros(s.Started)})
		return err
	})
	return wrap(err, "save upload")
}

// FindUpload implements registry.Uploads.
func (c catalog) FindUpload(ctx context.Context, id registry.UploadID) (registry.Session, error) {
	if err := ctx.Err(); err != nil {
		return registry.Session{}, err
	}
	since, _ := c.db.oldest()
	s := registry.Session{ID: id}
	var started int64
	err := c.db.reads.row(c.db.engine.detach(ctx), `SELECT repository, owner, token, started FROM upload
		WHERE id = $1 AND finished = 0 AND started > $2`, args{string(id), since}, &s.Repo, &s.Owner, &s.Token, &started)
	if errors.Is(err, errNone) {
		err = oci.Errorf(oci.BlobUploadUnknown, "no such upload: it was finished, cancelled or has expired")
	}
	if err != nil {
		return registry.Session{}, wrap(err, "find upload")
	}
	s.Started = timeOf(started)
	return s, nil
}

// DropUpload implements registry.Uploads. The row stays, as that of a finished
// session does: clients cancel the session that a refused mount left them and
// begin another, and it is one push.
func (c catalog) DropUpload(ctx context.Context, id registry.UploadID) error {
	err := c.db.write(ctx, soft, func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, `UPDATE upload SET finished = $2 WHERE id = $1 AND finished = 0`, args{string(id), micros(c.db.opts.Now())})
		return err
	})
	return wrap(err, "drop upload")
}

// BeganPush implements registry.Uploads.
func (c catalog) BeganPush(ctx context.Context, repo oci.RepoName, jti string, before time.Time) (bool, error) {
	if jti == "" {
		return false, nil
	}
	since, finished := c.db.oldest()
	var began bool
	err := c.db.reads.row(c.db.engine.detach(ctx), `SELECT EXISTS (SELECT 1 FROM upload
		WHERE token = $1 AND repository = $2 AND started <= $3 AND (finished = 0 AND started > $4 OR finished > $5))`,
		args{jti, string(repo), micros(before), since, finished}, &began)
	return began, wrap(err, "ask whether the push began")
}
