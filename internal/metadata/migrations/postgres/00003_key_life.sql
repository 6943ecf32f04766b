-- Access keys have names and rotate; a last use has an address and an agent.

-- +goose Up
ALTER TABLE access_key RENAME COLUMN label TO name;
ALTER TABLE access_key ADD COLUMN creator text COLLATE "C" NOT NULL DEFAULT '';     -- "user:admin"
ALTER TABLE access_key ADD COLUMN creator_key text COLLATE "C" NOT NULL DEFAULT ''; -- the key the creator came with, or ''
ALTER TABLE access_key ADD COLUMN life bigint NOT NULL DEFAULT 0;           -- microseconds
ALTER TABLE access_key ADD COLUMN family text COLLATE "C" NOT NULL DEFAULT '';      -- the first key of the line
ALTER TABLE access_key ADD COLUMN successor text COLLATE "C" NOT NULL DEFAULT '';   -- the key it was rotated to, or ''
ALTER TABLE access_key ADD COLUMN last_address text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE access_key ADD COLUMN last_agent text COLLATE "C" NOT NULL DEFAULT '';
UPDATE access_key SET life = expires - created, family = id;
CREATE INDEX access_key_family ON access_key (family);
CREATE INDEX access_key_expires ON access_key (expires) WHERE revoked = 0;
CREATE INDEX access_key_revoked ON access_key (revoked) WHERE revoked > 0;
ALTER TABLE session ADD COLUMN last_address text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN last_agent text COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX session_expires ON session (expires) WHERE revoked = 0;
CREATE INDEX session_revoked ON session (revoked) WHERE revoked > 0;
