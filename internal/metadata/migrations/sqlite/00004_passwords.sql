-- +goose Up
-- Where people proved their passwords from; a few of each account are kept.
CREATE TABLE known_network (
    account_uid TEXT NOT NULL REFERENCES account (uid) ON DELETE CASCADE,
    network     TEXT NOT NULL, -- "192.0.2.7/32"
    noted       INTEGER NOT NULL,
    PRIMARY KEY (account_uid, network)
) STRICT, WITHOUT ROWID;
CREATE INDEX known_network_network ON known_network (network, noted);
