-- +goose Up
-- What automatic certificates need to remember: account key, certificates with
-- their keys, answers to open challenges. Everything is sealed.
CREATE TABLE acme_state (
    name    TEXT PRIMARY KEY,
    kek     TEXT NOT NULL, -- id of the key-encryption key
    sealed  BLOB NOT NULL,
    changed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
