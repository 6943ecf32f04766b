-- +goose Up
-- People whom providers outside vouch for. Keep in step with ../postgres.
CREATE TABLE outside_identity (
    issuer      TEXT NOT NULL,
    subject     TEXT NOT NULL,
    account_uid TEXT NOT NULL REFERENCES account (uid) ON DELETE CASCADE,
    provider    TEXT NOT NULL,    -- its name when it vouched last
    checked     INTEGER NOT NULL, -- when that was; 0: never
    asked       INTEGER NOT NULL, -- when it began to be asked again
    renewal     BLOB NOT NULL,    -- what it is asked with, sealed; empty: nothing
    kek         TEXT NOT NULL,    -- id of the key-encryption key
    PRIMARY KEY (issuer, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX outside_identity_account ON outside_identity (account_uid);

-- Whose word a membership is; '' for our own.
ALTER TABLE member ADD COLUMN issuer TEXT NOT NULL DEFAULT '';
