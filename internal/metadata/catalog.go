package metadata

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/ledger"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
)

// catalog implements registry.Catalog.
type catalog struct{ db *DB }

// errRepository is the answer for a repository that does not exist.
func errRepository(repo oci.RepoName) error {
	return oci.Errorf(oci.NameUnknown, "repository %s does not exist", repo)
}

// repositoryID errors: oci.NameUnknown.
func (t *tx) repositoryID(ctx context.Context, repo oci.RepoName) (int64, error) {
	var id int64
	err := t.row(ctx, `SELECT id FROM repository WHERE name = $1`, args{string(repo)}, &id)
	if errors.Is(err, errNone) {
		return 0, errRepository(repo)
	}
	return id, err
}

// makeRepository returns the id of repo, which it creates if need be.
func (t *tx) makeRepository(ctx context.Context, repo oci.RepoName) (int64, error) {
	id, err := t.repositoryID(ctx, repo)
	if !errors.Is(err, oci.NameUnknown) {
		return id, err
	}
	if _, err := t.exec(ctx, `INSERT INTO repository (name, created) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`,
		args{string(repo), t.db.now()}); err != nil {
		return 0, err
	}
	return t.repositoryID(ctx, repo)
}

// SaveManifest implements registry.Catalog. On PostgreSQL nothing is locked to
// check the references: a link that is about to be swept is old, so renewing
// it makes the sweep wait and then spare it, and one that is being deleted
// violates the foreign key, whereupon the transaction runs again and sees.
func (c catalog) SaveManifest(ctx context.Context, repo oci.RepoName, m oci.Manifest, tags []oci.Tag, judge registry.TagJudge) ([]registry.TagChange, error) {
	var changes []registry.TagChange
	err := c.db.change(ctx, func(ctx context.Context, t *tx) error {
		t.touch(repo)
		id, err := t.makeRepository(ctx, repo)
		if err != nil {
			return err
		}
		if err := t.holdReferences(ctx, id, m); err != nil {
			return err
		}
		if err := t.insertManifest(ctx, id, m); err != nil {
			return err
		}
		if err := t.insertReferences(ctx, id, m); err != nil {
			return err
		}
		if changes, err = t.pointTags(ctx, id, m.Digest, tags, judge); err != nil {
			return err
		}
		note(ctx, func(e *ledger.Event) { noteTags(e, changes) })
		return nil
	})
	return changes, wrap(err, "save manifest %s in %s", m.Digest, repo)
}

func digestsOf(list []oci.Descriptor) []string {
	digests := make([]oci.Digest, len(list))
	for i, d := range list {
		digests[i] = d.Digest
	}
	return distinct(digests)
}

// holdReferences checks that what m needs is there, and renews the leases of
// links that have become old.
func (t *tx) holdReferences(ctx context.Context, id int64, m oci.Manifest) error {
	links := make(map[string]int64) // digest → lease
	wanted := slices.Concat(digestsOf(m.Blobs), digestsOf(m.Optional))
	if err := t.references(ctx, `SELECT digest, leased FROM blob_link WHERE repository_id = $1 AND digest IN `, id, wanted, links); err != nil {
		return err
	}
	children := make(map[string]int64)
	if err := t.references(ctx, `SELECT digest, size FROM manifest WHERE repository_id = $1 AND digest IN `, id, digestsOf(m.Manifests), children); err != nil {
		return err
	}
	for _, d := range m.Blobs {
		if _, ok := links[string(d.Digest)]; !ok {
			return oci.Errorf(oci.ManifestBlobUnknown, "blob %s is not in this repository: push it before the manifest", d.Digest)
		}
	}
	for _, d := range m.Manifests {
		if _, ok := children[string(d.Digest)]; !ok {
			return oci.Errorf(oci.ManifestBlobUnknown, "manifest %s is not in this repository: push it before the index", d.Digest)
		}
	}
	var old []string
	for digest, leased := range links {
		if leased < t.db.stale() {
			old = append(old, digest)
		}
	}
	return t.renewLeases(ctx, id, distinct(old))
}

// references reads digest → number for those of digests that there are.
func (t *tx) references(ctx context.Context, query string, id int64, digests []string, into map[string]int64) error {
	return inChunks(digests, 2, func(list string, a args) error {
		return t.rows(ctx, query+"("+list+")", append(args{id}, a...), func(rows *sql.Rows) error {
			var digest string
			var number int64
			if err := rows.Scan(&digest, &number); err != nil {
				return err
			}
			into[digest] = number
			return nil
		})
	})
}

// renewLeases renews blobs before links, as all who renew both do.
func (t *tx) renewLeases(ctx context.Context, id int64, digests []string) error {
	now := t.db.now()
	for _, d := range digests {
		if _, err := t.exec(ctx, `UPDATE blob SET leased = $2 WHERE digest = $1 AND leased < $2`, args{d, now}); err != nil {
			return err
		}
	}
	for _, d := range digests {
		if _, err := t.exec(ctx, `UPDATE blob_link SET leased = $3 WHERE repository_id = $1 AND digest = $2 AND leased < $3`, args{id, d, now}); err != nil {
			return err
		}
	}
	return nil
}

// insertManifest stores m itself. The same bytes may come again, under another
// media type even; the last one counts.
func (t *tx) insertManifest(ctx context.Context, id int64, m oci.Manifest) error {
	var subject, annotations any = nil, ""
	if m.Subject != nil {
		subject = string(m.Subject.Digest)
	}
	if len(m.Annotations) > 0 {
		text, err := json.Marshal(m.Annotations)
		if err != nil {
			return err
		}
		annotations = string(text)
	}
	_, err := t.exec(ctx, `INSERT INTO manifest (repository_id, digest, media_type, size, subject, artifact_type, annotations, pushed, content)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (repository_id, digest) DO UPDATE SET media_type = excluded.media_type, subject = excluded.subject,
			artifact_type = excluded.artifact_type, annotations = excluded.annotations, pushed = excluded.pushed`,
		args{id, string(m.Digest), m.MediaType, int64(len(m.Bytes)), subject, m.ArtifactType, annotations, t.db.now(), m.Bytes})
	return err
}

// insertReferences records what m refers to, many rows with one statement.
func (t *tx) insertReferences(ctx context.Context, id int64, m oci.Manifest) error {
	for _, part := range []struct {
		table   string
		digests []string
	}{{"manifest_blob", digestsOf(m.Blobs)}, {"manifest_optional", digestsOf(m.Optional)}, {"manifest_child", digestsOf(m.Manifests)}} {
		err := inChunks(part.digests, 3, func(list string, a args) error {
			rows := `($1, $2, ` + strings.ReplaceAll(list, ",", `), ($1, $2, `) + `)`
			_, err := t.exec(ctx, `INSERT INTO `+part.table+` (repository_id, manifest, digest) VALUES `+rows+` ON CONFLICT DO NOTHING`,
				append(args{id, string(m.Digest)}, a...))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// FindManifest implements registry.Catalog.
func (c catalog) FindManifest(ctx context.Context, repo oci.RepoName, ref oci.Ref) (oci.RawManifest, error) {
	key := cacheKey{repo: repo, ref: ref.String()}
	known, stamp := c.db.cache.get(key)
	if known != nil {
		return known.manifest, nil
	}
	if err := ctx.Err(); err != nil {
		return oci.RawManifest{}, err
	}
	ctx = c.db.engine.detach(ctx)
	var m oci.RawManifest
	var err error
	if ref.Tag() != "" {
		err = c.db.reads.row(ctx, `SELECT m.media_type, m.digest, m.content
			FROM repository r JOIN tag t ON t.repository_id = r.id JOIN manifest m ON m.repository_id = r.id AND m.digest = t.digest
			WHERE r.name = $1 AND t.name = $2`, args{string(repo), string(ref.Tag())}, &m.MediaType, &m.Digest, &m.Bytes)
	} else {
		err = c.db.reads.row(ctx, `SELECT m.media_type, m.digest, m.content
			FROM repository r JOIN manifest m ON m.repository_id = r.id
			WHERE r.name = $1 AND m.digest = $2`, args{string(repo), string(ref.Digest())}, &m.MediaType, &m.Digest, &m.Bytes)
	}
	if errors.Is(err, errNone) {
		err = c.db.reads.unknown(ctx, repo, ref)
	}
	if err != nil {
		return oci.RawManifest{}, wrap(err, "find manifest %s in %s", ref, repo)
	}
	c.db.cache.put(key, &cacheEntry{stamp: stamp, manifest: m})
	if ref.Tag() != "" { // clients ask for the digest next
		c.db.cache.put(cacheKey{repo: repo, ref: string(m.Digest)}, &cacheEntry{stamp: stamp, manifest: m})
	}
	return m, nil
}

// unknown tells a repository that is missing from one that lacks ref.
func (t *tx) unknown(ctx context.Context, repo oci.RepoName, ref oci.Ref) error {
	if _, err := t.repositoryID(ctx, repo); err != nil {
		return err
	}
	return oci.Errorf(oci.ManifestUnknown, "repository %s has no manifest %s", repo, ref)
}
