-- +goose Up
-- One-time codes with which people set a password: the newest of each account.
CREATE TABLE password_reset (
    account_uid text COLLATE "C" PRIMARY KEY REFERENCES account (uid) ON DELETE CASCADE,
    sum         bytea NOT NULL UNIQUE, -- SHA-256 of the code
    expires     bigint NOT NULL
);
