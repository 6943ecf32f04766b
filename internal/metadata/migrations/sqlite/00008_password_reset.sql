-- +goose Up
-- One-time codes with which people set a password: the newest of each account.
CREATE TABLE password_reset (
    account_uid TEXT PRIMARY KEY REFERENCES account (uid) ON DELETE CASCADE,
    sum         BLOB NOT NULL UNIQUE, -- SHA-256 of the code
    expires     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
