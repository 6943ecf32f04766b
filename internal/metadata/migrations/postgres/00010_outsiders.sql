-- +goose Up
-- Identity tokens of jobs: sessions of principals without an account.
ALTER TABLE session ALTER COLUMN account_uid DROP NOT NULL;
ALTER TABLE session ADD COLUMN outsider_uid text COLLATE "C"; -- of who has no account
ALTER TABLE session ADD COLUMN outsider_issuer text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN outsider_name text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN trust text COLLATE "C" NOT NULL DEFAULT '';  -- what an outsider was verified with
ALTER TABLE session ADD COLUMN claims text COLLATE "C" NOT NULL DEFAULT ''; -- a JSON object, or ''
ALTER TABLE session ADD CHECK ((account_uid IS NULL) <> (outsider_uid IS NULL));
CREATE INDEX session_outsider ON session (outsider_uid, expires) WHERE outsider_uid IS NOT NULL;
CREATE INDEX session_job_expires ON session (expires) WHERE outsider_uid IS NOT NULL;
CREATE INDEX session_trust ON session (trust) WHERE trust <> '';
