-- +goose Up
-- Codes with which programs log in for people, who approve on a page. Keep in step
-- with ../postgres.
CREATE TABLE login_grant (
    sum          BLOB PRIMARY KEY, -- SHA-256 of the code
    user_sum     BLOB NOT NULL,    -- of what is typed; empty for an authorization code
    agent        TEXT NOT NULL,
    address      TEXT NOT NULL,
    network      TEXT NOT NULL,
    redirect     TEXT NOT NULL,
    challenge    TEXT NOT NULL,
    created      INTEGER NOT NULL,
    expires      INTEGER NOT NULL,
    account_uid  TEXT NOT NULL,    -- who approved; '' while nobody has
    method       TEXT NOT NULL,    -- the proof
    password_set INTEGER NOT NULL,
    issuer       TEXT NOT NULL,
    subject      TEXT NOT NULL,
    ends         INTEGER NOT NULL, -- when the proof does; 0: never
    denied       INTEGER NOT NULL CHECK (denied IN (0, 1)),
    session_id   TEXT NOT NULL     -- what it was given for; '' before
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX login_grant_user ON login_grant (user_sum) WHERE length(user_sum) > 0;
CREATE INDEX login_grant_open ON login_grant (expires, network) WHERE account_uid = '';
CREATE INDEX login_grant_expires ON login_grant (expires);

-- Who vouched for whom at the login.
ALTER TABLE session ADD COLUMN sso_issuer TEXT NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN sso_subject TEXT NOT NULL DEFAULT '';
