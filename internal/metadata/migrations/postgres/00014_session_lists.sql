-- +goose Up
-- Sessions are listed in parts, newest first, and those that rest on one definition
-- of an issuer are counted.
DROP INDEX session_account;
CREATE INDEX session_account ON session (account_uid, created DESC, id);
CREATE INDEX session_job ON session (outsider_uid, created DESC, id) WHERE outsider_uid IS NOT NULL;
CREATE INDEX session_created ON session (created DESC, id);
DROP INDEX session_trust;
CREATE INDEX session_trust ON session (trust, expires) WHERE trust <> '' AND revoked = 0;
