-- +goose Up
-- Identity tokens of jobs: sessions of principals without an account. Keep in step
-- with ../postgres.
CREATE TABLE session_new (
    id              TEXT PRIMARY KEY,
    account_uid     TEXT REFERENCES account (uid) ON DELETE CASCADE,
    outsider_uid    TEXT, -- of who has no account
    outsider_issuer TEXT NOT NULL,
    outsider_name   TEXT NOT NULL,
    trust           TEXT NOT NULL, -- what an outsider was verified with
    claims          TEXT NOT NULL, -- a JSON object, or ''
    key_id          TEXT NOT NULL, -- '' without a key
    sum             BLOB NOT NULL UNIQUE, -- SHA-256 of the token
    service         TEXT NOT NULL,
    client          TEXT NOT NULL,
    created         INTEGER NOT NULL,
    expires         INTEGER NOT NULL,
    last_used       INTEGER NOT NULL,
    last_address    TEXT NOT NULL,
    last_agent      TEXT NOT NULL,
    revoked         INTEGER NOT NULL,
    CHECK ((account_uid IS NULL) <> (outsider_uid IS NULL))
) STRICT, WITHOUT ROWID;
INSERT INTO session_new (id, account_uid, outsider_issuer, outsider_name, trust, claims, key_id, sum, service, client, created, expires, last_used, last_address, last_agent, revoked)
    SELECT id, account_uid, '', '', '', '', key_id, sum, service, client, created, expires, last_used, last_address, last_agent, revoked FROM session;
DROP TABLE session;
ALTER TABLE session_new RENAME TO session;
CREATE INDEX session_account ON session (account_uid, created);
CREATE INDEX session_outsider ON session (outsider_uid, expires) WHERE outsider_uid IS NOT NULL;
CREATE INDEX session_job_expires ON session (expires) WHERE outsider_uid IS NOT NULL;
CREATE INDEX session_trust ON session (trust) WHERE trust <> '';
CREATE INDEX session_key ON session (key_id);
CREATE INDEX session_expires ON session (expires) WHERE revoked = 0;
CREATE INDEX session_revoked ON session (revoked) WHERE revoked > 0;
