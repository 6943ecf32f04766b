-- Times are microseconds since 1970 UTC; 0 is "never". Digests and names are
-- compared by bytes. Keep in step with ../postgres.

-- +goose Up
CREATE TABLE repository (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL
) STRICT;

-- What the blob store holds, or is about to. A row without a size was leased
-- but never linked.
CREATE TABLE blob (
    digest TEXT PRIMARY KEY,
    size   INTEGER,
    leased INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE blob_link (
    repository_id INTEGER NOT NULL REFERENCES repository (id),
    digest        TEXT NOT NULL REFERENCES blob (digest),
    leased        INTEGER NOT NULL,
    PRIMARY KEY (repository_id, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX blob_link_digest ON blob_link (digest, repository_id);

CREATE TABLE manifest (
    repository_id INTEGER NOT NULL REFERENCES repository (id),
    digest        TEXT NOT NULL,
    media_type    TEXT NOT NULL,
    size          INTEGER NOT NULL,
    subject       TEXT,
    artifact_type TEXT NOT NULL,
    annotations   TEXT NOT NULL, -- a JSON object, or ''
    pushed        INTEGER NOT NULL,
    content       BLOB NOT NULL,
    PRIMARY KEY (repository_id, digest)
) STRICT;
CREATE INDEX manifest_subject ON manifest (repository_id, subject, digest) WHERE subject IS NOT NULL;

-- A manifest's blobs must stay while it does: the database itself sees to it.
CREATE TABLE manifest_blob (
    repository_id INTEGER NOT NULL,
    manifest      TEXT NOT NULL,
    digest        TEXT NOT NULL,
    PRIMARY KEY (repository_id, manifest, digest),
    FOREIGN KEY (repository_id, manifest) REFERENCES manifest (repository_id, digest) ON DELETE CASCADE,
    FOREIGN KEY (repository_id, digest) REFERENCES blob_link (repository_id, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX manifest_blob_digest ON manifest_blob (repository_id, digest);

-- Layers that may be absent; when present the sweep keeps them.
CREATE TABLE manifest_optional (
    repository_id INTEGER NOT NULL,
    manifest      TEXT NOT NULL,
    digest        TEXT NOT NULL,
    PRIMARY KEY (repository_id, manifest, digest),
    FOREIGN KEY (repository_id, manifest) REFERENCES manifest (repository_id, digest) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX manifest_optional_digest ON manifest_optional (repository_id, digest);

CREATE TABLE manifest_child (
    repository_id INTEGER NOT NULL,
    manifest      TEXT NOT NULL,
    digest        TEXT NOT NULL,
    PRIMARY KEY (repository_id, manifest, digest),
    FOREIGN KEY (repository_id, manifest) REFERENCES manifest (repository_id, digest) ON DELETE CASCADE,
    FOREIGN KEY (repository_id, digest) REFERENCES manifest (repository_id, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX manifest_child_digest ON manifest_child (repository_id, digest);

CREATE TABLE tag (
    repository_id INTEGER NOT NULL,
    name          TEXT NOT NULL,
    digest        TEXT NOT NULL,
    PRIMARY KEY (repository_id, name),
    FOREIGN KEY (repository_id, digest) REFERENCES manifest (repository_id, digest) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX tag_digest ON tag (repository_id, digest);

-- Push sessions. A start does not create the repository, so this holds a name.
CREATE TABLE upload (
    id         TEXT PRIMARY KEY,
    repository TEXT NOT NULL,
    owner      TEXT NOT NULL,
    token      TEXT NOT NULL,
    started    INTEGER NOT NULL,
    finished   INTEGER NOT NULL -- 0 while open
) STRICT, WITHOUT ROWID;
CREATE INDEX upload_owner ON upload (owner, started) WHERE finished = 0;
CREATE INDEX upload_token ON upload (token, repository);
CREATE INDEX upload_finished ON upload (finished, started);

CREATE TABLE account (
    uid           TEXT PRIMARY KEY,
    name          TEXT NOT NULL UNIQUE,
    kind          TEXT NOT NULL CHECK (kind IN ('user', 'robot')),
    password_hash TEXT NOT NULL,
    password_set  INTEGER NOT NULL, -- grows with each new password; a rehash is none
    disabled      INTEGER NOT NULL CHECK (disabled IN (0, 1)),
    created       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX account_kind ON account (kind, name);

CREATE TABLE retired_name (
    name TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE member (
    group_name  TEXT NOT NULL,
    account_uid TEXT NOT NULL REFERENCES account (uid) ON DELETE CASCADE,
    PRIMARY KEY (group_name, account_uid)
) STRICT, WITHOUT ROWID;
CREATE INDEX member_account ON member (account_uid, group_name);

CREATE TABLE access_key (
    id          TEXT PRIMARY KEY,
    account_uid TEXT NOT NULL REFERENCES account (uid) ON DELETE CASCADE,
    label       TEXT NOT NULL,
    sum         BLOB NOT NULL UNIQUE, -- SHA-256 of the secret
    narrowing   TEXT NOT NULL,        -- JSON
    created     INTEGER NOT NULL,
    expires     INTEGER NOT NULL,
    revoked     INTEGER NOT NULL,
    last_used   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX access_key_account ON access_key (account_uid, created);

-- Identity tokens of docker login.
CREATE TABLE session (
    id          TEXT PRIMARY KEY,
    account_uid TEXT NOT NULL REFERENCES account (uid) ON DELETE CASCADE,
    key_id      TEXT NOT NULL, -- '' without a key
    sum         BLOB NOT NULL UNIQUE, -- SHA-256 of the token
    service     TEXT NOT NULL,
    client      TEXT NOT NULL,
    created     INTEGER NOT NULL,
    expires     INTEGER NOT NULL,
    last_used   INTEGER NOT NULL,
    revoked     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX session_account ON session (account_uid, created);
CREATE INDEX session_key ON session (key_id);

CREATE TABLE signing_key (
    id      TEXT PRIMARY KEY,
    pkcs8   BLOB NOT NULL,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE policy (
    version  INTEGER PRIMARY KEY,
    document TEXT NOT NULL,
    author   TEXT NOT NULL,
    applied  INTEGER NOT NULL
) STRICT;

CREATE TABLE generation (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    value INTEGER NOT NULL
) STRICT;
INSERT INTO generation (id, value) VALUES (1, 1);

CREATE TABLE sweep (
    started INTEGER PRIMARY KEY,
    report  TEXT NOT NULL -- JSON
) STRICT;
