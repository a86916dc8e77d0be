-- +goose Up

-- The feed of changes: positions, audit trail and metrics in one. AUTOINCREMENT: a position is never given twice.
CREATE TABLE events (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    network BLOB    NOT NULL CHECK (length(network) = 16),
    key_id  TEXT    NOT NULL,
    kind    INTEGER NOT NULL,
    time    INTEGER NOT NULL, -- Unix microseconds
    actor   TEXT    NOT NULL,
    reason  INTEGER NOT NULL
) STRICT;

-- created_seq, the position of the event that created the key, is the row id: rows lie in the order of creation, and a
-- look-up is one search in a small index and one in a table whose inner pages are few. As a table without a row id,
-- whose inner pages would hold whole keys, it would be deeper.
CREATE TABLE keys (
    created_seq            INTEGER PRIMARY KEY,
    network                BLOB    NOT NULL CHECK (length(network) = 16),
    key_id                 TEXT    NOT NULL,
    kind                   INTEGER NOT NULL,
    name                   TEXT    NOT NULL,
    actor_id               TEXT    NOT NULL,
    scopes                 TEXT    NOT NULL, -- JSON array, or ''
    metadata               TEXT    NOT NULL, -- JSON object, or ''
    visibility             INTEGER NOT NULL,
    allowed_cidrs          TEXT    NOT NULL, -- JSON array, or ''
    request_id             TEXT    NOT NULL, -- or ''
    status                 INTEGER NOT NULL,
    revocation_reason      INTEGER NOT NULL,
    revocation_description TEXT    NOT NULL,
    create_time            INTEGER NOT NULL, -- Unix microseconds, as all times
    update_time            INTEGER NOT NULL,
    expire_time            INTEGER,          -- NULL: never
    UNIQUE (network, key_id)
) STRICT;

CREATE UNIQUE INDEX keys_request ON keys (network, kind, request_id) WHERE request_id <> '';

-- What tells whether a node has the HMAC secret that the keys of a network were made with.
CREATE TABLE secrets (
    network     BLOB PRIMARY KEY CHECK (length(network) = 16),
    check_value TEXT NOT NULL
) STRICT;

-- +goose Down
DROP TABLE secrets;
DROP TABLE keys;
DROP TABLE events;
