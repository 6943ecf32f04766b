package metadata

import (
	"context"
	"errors"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
)

// pointTags points tags at d and returns what that changed. It is the only
// place where a tag is made or moved.
func (t *tx) pointTags(ctx context.Context, id int64, d oci.Digest, tags []oci.Tag, judge registry.TagJudge) ([]registry.TagChange, error) {
	var changes []registry.TagChange
	for _, name := range distinct(tags) {
		change, changed, err := t.pointTag(ctx, id, oci.Tag(name), d, judge)
		if err != nil {
			return nil, err
		}
		if changed {
			changes = append(changes, change)
		}
	}
	return changes, nil
}

// pointTag changes the tag only if it still is what judge was asked about. Else
// somebody else, on PostgreSQL, was faster, and judge is asked about what that
// one left: of two who make a tag, one only may have made it.
func (t *tx) pointTag(ctx context.Context, id int64, tag oci.Tag, d oci.Digest, judge registry.TagJudge) (registry.TagChange, bool, error) {
	for {
		var previous string
		err := t.row(ctx, `SELECT digest FROM tag WHERE repository_id = $1 AND name = $2`, args{id, string(tag)}, &previous)
		absent := errors.Is(err, errNone)
		if err != nil && !absent {
			return registry.TagChange{}, false, err
		}
		if previous == string(d) {
			return registry.TagChange{}, false, nil
		}
		action, query, a := access.MoveTag, `UPDATE tag SET digest = $3 WHERE repository_id = $1 AND name = $2 AND digest = $4`,
			args{id, string(tag), string(d), previous}
		if absent {
			action, query, a = access.CreateTag, `INSERT INTO tag (repository_id, name, digest) VALUES ($1, $2, $3)
				ON CONFLICT (repository_id, name) DO NOTHING`, args{id, string(tag), string(d)}
		}
		if err := judge.Ask(tag, action); err != nil {
			return registry.TagChange{}, false, err
		}
		n, err := t.exec(ctx, query, a)
		if err != nil || n > 0 {
			return registry.TagChange{Tag: tag, Previous: oci.Digest(previous)}, err == nil, err
		}
	}
}

// judgeTagsOf asks judge about the end of the manifest d with every tag on it,
// and locks it so that no tag comes to it meanwhile: whoever pushes one writes
// the manifest first. It returns the tags. Errors: errNone.
func (t *tx) judgeTagsOf(ctx context.Context, id int64, d oci.Digest, judge registry.TagJudge) ([]oci.Tag, error) {
	n, err := t.exec(ctx, `UPDATE manifest SET pushed = pushed WHERE repository_id = $1 AND digest = $2`, args{id, string(d)})
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, errNone
	}
	tags, err := collect[oci.Tag](ctx, t, `SELECT name FROM tag WHERE repository_id = $1 AND digest = $2 ORDER BY name`, args{id, string(d)})
	if err != nil {
		return nil, err
	}
	asked := tags
	if len(tags) == 0 {
		asked = []oci.Tag{""}
	}
	for _, tag := range asked {
		if err := judge.Ask(tag, access.Delete); err != nil {
			return nil, err
		}
	}
	return tags, nil
}
