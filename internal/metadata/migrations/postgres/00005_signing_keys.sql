-- +goose Up
-- Signing keys rest sealed, and follow each other. Keep in step with ../sqlite.
ALTER TABLE signing_key RENAME COLUMN pkcs8 TO private;
-- The key-encryption key that private is sealed under; '' for one that is still plain.
ALTER TABLE signing_key ADD COLUMN kek text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE signing_key ADD COLUMN activates bigint NOT NULL DEFAULT 0;
ALTER TABLE signing_key ADD COLUMN retires bigint NOT NULL DEFAULT 0; -- 0: no other follows yet
UPDATE signing_key SET activates = created;
