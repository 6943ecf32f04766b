-- +goose Up
-- People whom providers outside vouch for.
CREATE TABLE outside_identity (
    issuer      text COLLATE "C" NOT NULL,
    subject     text COLLATE "C" NOT NULL,
    account_uid text COLLATE "C" NOT NULL REFERENCES account (uid) ON DELETE CASCADE,
    provider    text COLLATE "C" NOT NULL, -- its name when it vouched last
    checked     bigint NOT NULL,           -- when that was; 0: never
    asked       bigint NOT NULL,           -- when it began to be asked again
    renewal     bytea NOT NULL,            -- what it is asked with, sealed; empty: nothing
    kek         text COLLATE "C" NOT NULL, -- id of the key-encryption key
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX outside_identity_account ON outside_identity (account_uid);

-- Whose word a membership is; '' for our own.
ALTER TABLE member ADD COLUMN issuer text COLLATE "C" NOT NULL DEFAULT '';
