-- +goose Up
-- Issuers whose tokens are believed, as their definitions. Keep in step with
-- ../postgres.
CREATE TABLE trusted_issuer (
    name     TEXT PRIMARY KEY,
    document BLOB NOT NULL, -- YAML
    author   TEXT NOT NULL, -- "user:admin"
    changed  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
