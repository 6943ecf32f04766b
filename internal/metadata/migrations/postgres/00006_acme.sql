-- +goose Up
-- What automatic certificates need to remember: account key, certificates with
-- their keys, answers to open challenges. Everything is sealed.
CREATE TABLE acme_state (
    name    text COLLATE "C" PRIMARY KEY,
    kek     text COLLATE "C" NOT NULL, -- id of the key-encryption key
    sealed  bytea NOT NULL,
    changed bigint NOT NULL
);
