-- +goose Up
-- Codes with which programs log in for people, who approve on a page.
CREATE TABLE login_grant (
    sum          bytea PRIMARY KEY, -- SHA-256 of the code
    user_sum     bytea NOT NULL,    -- of what is typed; empty for an authorization code
    agent        text COLLATE "C" NOT NULL,
    address      text COLLATE "C" NOT NULL,
    network      text COLLATE "C" NOT NULL,
    redirect     text COLLATE "C" NOT NULL,
    challenge    text COLLATE "C" NOT NULL,
    created      bigint NOT NULL,
    expires      bigint NOT NULL,
    account_uid  text COLLATE "C" NOT NULL, -- who approved; '' while nobody has
    method       text COLLATE "C" NOT NULL, -- the proof
    password_set bigint NOT NULL,
    issuer       text COLLATE "C" NOT NULL,
    subject      text COLLATE "C" NOT NULL,
    ends         bigint NOT NULL,           -- when the proof does; 0: never
    denied       boolean NOT NULL,
    session_id   text COLLATE "C" NOT NULL  -- what it was given for; '' before
);
CREATE UNIQUE INDEX login_grant_user ON login_grant (user_sum) WHERE length(user_sum) > 0;
CREATE INDEX login_grant_open ON login_grant (expires, network) WHERE account_uid = '';
CREATE INDEX login_grant_expires ON login_grant (expires);

-- Who vouched for whom at the login.
ALTER TABLE session ADD COLUMN sso_issuer text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN sso_subject text COLLATE "C" NOT NULL DEFAULT '';
