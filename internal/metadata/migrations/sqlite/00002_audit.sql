-- The record of what happened. Events are numbered through both tables; what
-- is hashed is canonical. See ../../../ledger.

-- +goose Up
CREATE TABLE audit_event (
    seq        INTEGER PRIMARY KEY,
    time       INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    principal  TEXT NOT NULL,
    repository TEXT NOT NULL,
    request    TEXT NOT NULL,
    denied     INTEGER NOT NULL CHECK (denied IN (0, 1)), -- or failed
    canonical  TEXT NOT NULL, -- JSON
    prev       BLOB NOT NULL,
    hash       BLOB NOT NULL
) STRICT;
CREATE INDEX audit_event_time ON audit_event (time);
CREATE INDEX audit_event_principal ON audit_event (principal, seq);
CREATE INDEX audit_event_repository ON audit_event (repository, seq) WHERE repository <> '';
CREATE INDEX audit_event_request ON audit_event (request) WHERE request <> '';
CREATE INDEX audit_event_denied ON audit_event (seq) WHERE denied;

-- Pulls, many in a row, for their number.
CREATE TABLE audit_batch (
    last      INTEGER PRIMARY KEY, -- the seq of the last event
    first     INTEGER NOT NULL,
    since     INTEGER NOT NULL,    -- the earliest time, and the latest
    until     INTEGER NOT NULL,
    canonical TEXT NOT NULL,       -- JSON, a line each
    prev      BLOB NOT NULL,       -- of the first event
    hash      BLOB NOT NULL        -- of the last event
) STRICT;
CREATE INDEX audit_batch_until ON audit_batch (until);

-- Row 1 is the end of the chain, row 0 what stands for the events removed from
-- its beginning.
CREATE TABLE audit_link (
    id   INTEGER PRIMARY KEY CHECK (id IN (0, 1)),
    seq  INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;
INSERT INTO audit_link (id, seq, hash) VALUES (0, 0, zeroblob(32)), (1, 0, zeroblob(32));
