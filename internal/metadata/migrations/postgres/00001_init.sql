-- Times are microseconds since 1970 UTC; 0 is "never". Digests and names are
-- compared by bytes. Keep in step with ../sqlite.

-- +goose Up
CREATE TABLE repository (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name    text COLLATE "C" NOT NULL UNIQUE,
    created bigint NOT NULL
);

-- What the blob store holds, or is about to. A row without a size was leased
-- but never linked.
CREATE TABLE blob (
    digest text COLLATE "C" PRIMARY KEY,
    size   bigint,
    leased bigint NOT NULL
);

CREATE TABLE blob_link (
    repository_id bigint NOT NULL REFERENCES repository (id),
    digest        text COLLATE "C" NOT NULL REFERENCES blob (digest),
    leased        bigint NOT NULL,
    PRIMARY KEY (repository_id, digest)
);
CREATE INDEX blob_link_digest ON blob_link (digest, repository_id);

CREATE TABLE manifest (
    repository_id bigint NOT NULL REFERENCES repository (id),
    digest        text COLLATE "C" NOT NULL,
    media_type    text COLLATE "C" NOT NULL,
    size          bigint NOT NULL,
    subject       text COLLATE "C",
    artifact_type text COLLATE "C" NOT NULL,
    annotations   text COLLATE "C" NOT NULL, -- a JSON object, or ''
    pushed        bigint NOT NULL,
    content       bytea NOT NULL,
    PRIMARY KEY (repository_id, digest)
);
CREATE INDEX manifest_subject ON manifest (repository_id, subject, digest) WHERE subject IS NOT NULL;

-- A manifest's blobs must stay while it does: the database itself sees to it.
CREATE TABLE manifest_blob (
    repository_id bigint NOT NULL,
    manifest      text COLLATE "C" NOT NULL,
    digest        text COLLATE "C" NOT NULL,
    PRIMARY KEY (repository_id, manifest, digest),
    FOREIGN KEY (repository_id, manifest) REFERENCES manifest (repository_id, digest) ON DELETE CASCADE,
    FOREIGN KEY (repository_id, digest) REFERENCES blob_link (repository_id, digest)
);
CREATE INDEX manifest_blob_digest ON manifest_blob (repository_id, digest);

-- Layers that may be absent; when present the sweep keeps them.
CREATE TABLE manifest_optional (
    repository_id bigint NOT NULL,
    manifest      text COLLATE "C" NOT NULL,
    digest        text COLLATE "C" NOT NULL,
    PRIMARY KEY (repository_id, manifest, digest),
    FOREIGN KEY (repository_id, manifest) REFERENCES manifest (repository_id, digest) ON DELETE CASCADE
);
CREATE INDEX manifest_optional_digest ON manifest_optional (repository_id, digest);

CREATE TABLE manifest_child (
    repository_id bigint NOT NULL,
    manifest      text COLLATE "C" NOT NULL,
    digest        text COLLATE "C" NOT NULL,
    PRIMARY KEY (repository_id, manifest, digest),
    FOREIGN KEY (repository_id, manifest) REFERENCES manifest (repository_id, digest) ON DELETE CASCADE,
    FOREIGN KEY (repository_id, digest) REFERENCES manifest (repository_id, digest)
);
CREATE INDEX manifest_child_digest ON manifest_child (repository_id, digest);

CREATE TABLE tag (
    repository_id bigint NOT NULL,
    name          text COLLATE "C" NOT NULL,
    digest        text COLLATE "C" NOT NULL,
    PRIMARY KEY (repository_id, name),
    FOREIGN KEY (repository_id, digest) REFERENCES manifest (repository_id, digest) ON DELETE CASCADE
);
CREATE INDEX tag_digest ON tag (repository_id, digest);

-- Push sessions. A start does not create the repository, so this holds a name.
CREATE TABLE upload (
    id         text COLLATE "C" PRIMARY KEY,
    repository text COLLATE "C" NOT NULL,
    owner      text COLLATE "C" NOT NULL,
    token      text COLLATE "C" NOT NULL,
    started    bigint NOT NULL,
    finished   bigint NOT NULL -- 0 while open
);
CREATE INDEX upload_owner ON upload (owner, started) WHERE finished = 0;
CREATE INDEX upload_token ON upload (token, repository);
CREATE INDEX upload_finished ON upload (finished, started);

CREATE TABLE account (
    uid           text COLLATE "C" PRIMARY KEY,
    name          text COLLATE "C" NOT NULL UNIQUE,
    kind          text COLLATE "C" NOT NULL CHECK (kind IN ('user', 'robot')),
    password_hash text COLLATE "C" NOT NULL,
    password_set  bigint NOT NULL, -- grows with each new password; a rehash is none
    disabled      boolean NOT NULL,
    created       bigint NOT NULL
);
CREATE INDEX account_kind ON account (kind, name);

CREATE TABLE retired_name (
    name text COLLATE "C" PRIMARY KEY
);

CREATE TABLE member (
    group_name  text COLLATE "C" NOT NULL,
    account_uid text COLLATE "C" NOT NULL REFERENCES account (uid) ON DELETE CASCADE,
    PRIMARY KEY (group_name, account_uid)
);
CREATE INDEX member_account ON member (account_uid, group_name);

CREATE TABLE access_key (
    id          text COLLATE "C" PRIMARY KEY,
    account_uid text COLLATE "C" NOT NULL REFERENCES account (uid) ON DELETE CASCADE,
    label       text COLLATE "C" NOT NULL,
    sum         bytea NOT NULL UNIQUE, -- SHA-256 of the secret
    narrowing   text COLLATE "C" NOT NULL,        -- JSON
    created     bigint NOT NULL,
    expires     bigint NOT NULL,
    revoked     bigint NOT NULL,
    last_used   bigint NOT NULL
);
CREATE INDEX access_key_account ON access_key (account_uid, created);

-- Identity tokens of docker login.
CREATE TABLE session (
    id          text COLLATE "C" PRIMARY KEY,
    account_uid text COLLATE "C" NOT NULL REFERENCES account (uid) ON DELETE CASCADE,
    key_id      text COLLATE "C" NOT NULL, -- '' without a key
    sum         bytea NOT NULL UNIQUE, -- SHA-256 of the token
    service     text COLLATE "C" NOT NULL,
    client      text COLLATE "C" NOT NULL,
    created     bigint NOT NULL,
    expires     bigint NOT NULL,
    last_used   bigint NOT NULL,
    revoked     bigint NOT NULL
);
CREATE INDEX session_account ON session (account_uid, created);
CREATE INDEX session_key ON session (key_id);

CREATE TABLE signing_key (
    id      text COLLATE "C" PRIMARY KEY,
    pkcs8   bytea NOT NULL,
    created bigint NOT NULL
);

CREATE TABLE policy (
    version  bigint PRIMARY KEY,
    document text COLLATE "C" NOT NULL,
    author   text COLLATE "C" NOT NULL,
    applied  bigint NOT NULL
);

CREATE TABLE generation (
    id    bigint PRIMARY KEY CHECK (id = 1),
    value bigint NOT NULL
);
INSERT INTO generation (id, value) VALUES (1, 1);

CREATE TABLE sweep (
    started bigint PRIMARY KEY,
    report  text COLLATE "C" NOT NULL -- JSON
);
