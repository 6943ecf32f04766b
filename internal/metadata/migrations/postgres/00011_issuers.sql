-- +goose Up
-- Issuers whose tokens are believed, as their definitions.
CREATE TABLE trusted_issuer (
    name     text COLLATE "C" PRIMARY KEY,
    document bytea NOT NULL, -- YAML
    author   text COLLATE "C" NOT NULL, -- "user:admin"
    changed  bigint NOT NULL
);
