-- +goose Up
-- Where people proved their passwords from; a few of each account are kept.
CREATE TABLE known_network (
    account_uid text COLLATE "C" NOT NULL REFERENCES account (uid) ON DELETE CASCADE,
    network     text COLLATE "C" NOT NULL, -- "192.0.2.7/32"
    noted       bigint NOT NULL,
    PRIMARY KEY (account_uid, network)
);
CREATE INDEX known_network_network ON known_network (network, noted);
