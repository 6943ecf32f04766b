-- The record of what happened. Events are numbered through both tables; what
-- is hashed is canonical. See ../../../ledger.

-- +goose Up
CREATE TABLE audit_event (
    seq        bigint PRIMARY KEY,
    time       bigint NOT NULL,
    kind       text COLLATE "C" NOT NULL,
    principal  text COLLATE "C" NOT NULL,
    repository text COLLATE "C" NOT NULL,
    request    text COLLATE "C" NOT NULL,
    denied     boolean NOT NULL, -- or failed
    canonical  text COLLATE "C" NOT NULL, -- JSON
    prev       bytea NOT NULL,
    hash       bytea NOT NULL
);
CREATE INDEX audit_event_time ON audit_event (time);
CREATE INDEX audit_event_principal ON audit_event (principal, seq);
CREATE INDEX audit_event_repository ON audit_event (repository, seq) WHERE repository <> '';
CREATE INDEX audit_event_request ON audit_event (request) WHERE request <> '';
CREATE INDEX audit_event_denied ON audit_event (seq) WHERE denied;

-- Pulls, many in a row, for their number.
CREATE TABLE audit_batch (
    last      bigint PRIMARY KEY, -- the seq of the last event
    first     bigint NOT NULL,
    since     bigint NOT NULL,    -- the earliest time, and the latest
    until     bigint NOT NULL,
    canonical text COLLATE "C" NOT NULL, -- JSON, a line each
    prev      bytea NOT NULL,     -- of the first event
    hash      bytea NOT NULL      -- of the last event
);
CREATE INDEX audit_batch_until ON audit_batch (until);

-- Row 1 is the end of the chain, row 0 what stands for the events removed from
-- its beginning.
CREATE TABLE audit_link (
    id   bigint PRIMARY KEY CHECK (id IN (0, 1)),
    seq  bigint NOT NULL,
    hash bytea NOT NULL
);
INSERT INTO audit_link (id, seq, hash) VALUES
    (0, 0, decode(repeat('00', 32), 'hex')), (1, 0, decode(repeat('00', 32), 'hex'));
