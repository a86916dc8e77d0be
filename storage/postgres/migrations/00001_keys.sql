-- +goose Up

-- Which version of the schema a build must know at least to run on this one. A migration that takes away what earlier
-- builds need raises it.
CREATE TABLE compatibility (
    oldest BIGINT NOT NULL
);
INSERT INTO compatibility (oldest) VALUES (1);

-- The feed of changes: positions, audit trail and metrics in one.
CREATE TABLE events (
    seq            BIGINT PRIMARY KEY,
    network        BYTEA  NOT NULL CHECK (octet_length(network) = 16),
    key_id         TEXT   NOT NULL,
    key_kind       BIGINT NOT NULL,
    actor_id       TEXT   NOT NULL, -- the key's
    kind           BIGINT NOT NULL,
    time           BIGINT NOT NULL, -- Unix microseconds, as all times
    reason         BIGINT NOT NULL,
    related_key_id TEXT   NOT NULL, -- of a rotation: the other key's
    caller_kind    BIGINT NOT NULL,
    caller_id      TEXT   NOT NULL,
    caller_user    TEXT   NOT NULL,
    request_id     TEXT   NOT NULL
);

-- id: the name of the feed. origin: the server, timeline and database that it was written on; empty: not known;
-- 'copying …': a copy into this database has not been completed.
-- awaited: until when somebody waits for the nodes to say at once what they have applied.
CREATE TABLE feed (
    id      TEXT   NOT NULL,
    origin  TEXT   NOT NULL,
    awaited BIGINT NOT NULL
);
INSERT INTO feed (id, origin, awaited) VALUES (replace(gen_random_uuid()::text, '-', ''), '', 0);

-- The position of the last event. Its row is locked from a transaction's last statement to the end of its commit.
CREATE TABLE feed_last (
    last BIGINT NOT NULL
) WITH (fillfactor = 10);
INSERT INTO feed_last (last) VALUES (0);

CREATE SEQUENCE keys_created_seq;

CREATE TABLE keys (
    network                BYTEA  NOT NULL CHECK (octet_length(network) = 16),
    key_id                 TEXT   COLLATE "C" NOT NULL,
    created_seq            BIGINT NOT NULL, -- orders keys by creation
    kind                   BIGINT NOT NULL,
    name                   TEXT   NOT NULL,
    actor_id               TEXT   COLLATE "C" NOT NULL,
    scopes                 TEXT   NOT NULL, -- JSON array, or ''
    metadata               TEXT   NOT NULL, -- JSON object, or ''
    visibility             BIGINT NOT NULL,
    allowed_cidrs          TEXT   NOT NULL, -- JSON array, or ''
    request_id             TEXT   COLLATE "C" NOT NULL, -- or ''
    rate_quota             BIGINT NOT NULL, -- 0: no limit
    rate_unit              TEXT   NOT NULL,
    rate_window            BIGINT NOT NULL, -- microseconds
    status                 BIGINT NOT NULL,
    revocation_reason      BIGINT NOT NULL,
    revocation_description TEXT   NOT NULL,
    create_time            BIGINT NOT NULL,
    update_time            BIGINT NOT NULL,
    expire_time            BIGINT,          -- NULL: never
    prefix                 TEXT   NOT NULL, -- or ''
    suspend_time           BIGINT,          -- of a revoked key that can be resumed
    predecessor_key_id     TEXT   NOT NULL,
    successor_key_id       TEXT   NOT NULL,
    lineage_id             TEXT   COLLATE "C" NOT NULL, -- the first predecessor of all; '': the key itself
    last_used_time         BIGINT,
    PRIMARY KEY (network, key_id)
) WITH (fillfactor = 90); -- last_used_time changes often, and is in no index

CREATE UNIQUE INDEX keys_request ON keys (network, kind, request_id) WHERE request_id <> '';

-- The orders in which keys are listed, see sqlstore. keys_by_status also counts what a quota counts.
CREATE INDEX keys_by_kind ON keys (network, kind, created_seq);
CREATE INDEX keys_by_status ON keys (network, kind, status, created_seq, expire_time);
CREATE INDEX keys_by_actor ON keys (network, kind, actor_id, created_seq, status, expire_time);

-- The keys that are about to expire. status 1: active.
CREATE INDEX keys_by_expiry ON keys (expire_time, key_id) WHERE expire_time IS NOT NULL AND status = 1;

-- The keys of a lineage but for the first.
CREATE INDEX keys_by_lineage ON keys (network, lineage_id) WHERE lineage_id <> '';

-- How many issued keys are not revoked, by prefix.
CREATE TABLE issued_prefixes (
    network BYTEA  NOT NULL CHECK (octet_length(network) = 16),
    prefix  TEXT   COLLATE "C" NOT NULL,
    keys    BIGINT NOT NULL CHECK (keys >= 0),
    PRIMARY KEY (network, prefix)
) WITH (fillfactor = 50);

-- A row is locked while keys are created within a network's quota.
CREATE TABLE quotas (
    network BYTEA PRIMARY KEY CHECK (octet_length(network) = 16)
);

-- What tells whether a node has the HMAC secret that the keys of a network were made with.
CREATE TABLE secrets (
    network     BYTEA PRIMARY KEY CHECK (octet_length(network) = 16),
    check_value TEXT  NOT NULL
);

-- The readers of the feed that deliver to external receivers. One process at a time, the owner, reads under a name.
CREATE TABLE feed_readers (
    name          TEXT   COLLATE "C" PRIMARY KEY,
    position      BIGINT NOT NULL, -- of the last event that is done, and with it all before
    notices_until BIGINT NOT NULL, -- up to which moment keys were looked for that are about to expire
    owner         TEXT   NOT NULL, -- or ''
    lease_until   BIGINT NOT NULL  -- until when the owner owns it
);

-- The processes that use this database, with the edges that read from them.
CREATE TABLE nodes (
    id       TEXT   COLLATE "C" PRIMARY KEY,
    address  TEXT   NOT NULL,
    version  TEXT   NOT NULL,
    position BIGINT NOT NULL, -- up to which it has applied all changes
    edges    TEXT   NOT NULL, -- JSON array, or ''
    seen     BIGINT NOT NULL
) WITH (fillfactor = 50);

-- The networks that are not in the nodes' configurations.
CREATE TABLE networks (
    id          BYTEA  PRIMARY KEY CHECK (octet_length(id) = 16),
    hosts       TEXT   NOT NULL, -- JSON array
    settings    TEXT   NOT NULL, -- JSON object
    suspended   BIGINT NOT NULL,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL
);

CREATE TABLE network_hosts (
    host    TEXT  COLLATE "C" PRIMARY KEY,
    network BYTEA NOT NULL
);

-- +goose Down
DROP TABLE network_hosts;
DROP TABLE networks;
DROP TABLE nodes;
DROP TABLE feed_readers;
DROP TABLE secrets;
DROP TABLE quotas;
DROP TABLE issued_prefixes;
DROP TABLE keys;
DROP SEQUENCE keys_created_seq;
DROP TABLE feed_last;
DROP TABLE feed;
DROP TABLE events;
DROP TABLE compatibility;
