-- +goose Up
-- What chooses the hash that is computed for a name without account, by every
-- process alike. It is as secret as the accounts beside it. Keep in step with
-- ../postgres.
CREATE TABLE decoy_key (
    id  INTEGER PRIMARY KEY CHECK (id = 1),
    key BLOB NOT NULL
) STRICT;
INSERT INTO decoy_key (id, key) VALUES (1, randomblob(32));
