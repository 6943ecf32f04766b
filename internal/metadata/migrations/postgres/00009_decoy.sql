-- +goose Up
-- What chooses the hash that is computed for a name without account, by every
-- process alike. It is as secret as the accounts beside it.
CREATE TABLE decoy_key (
    id  integer PRIMARY KEY CHECK (id = 1),
    key bytea NOT NULL
);
INSERT INTO decoy_key (id, key) VALUES (1, decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'));
