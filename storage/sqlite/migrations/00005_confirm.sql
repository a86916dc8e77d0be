-- +goose Up

-- suspend_time: of a revoked key that can be resumed. lineage_id: the first predecessor of all; empty: the key itself.
ALTER TABLE keys ADD COLUMN suspend_time       INTEGER;
ALTER TABLE keys ADD COLUMN predecessor_key_id TEXT NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN successor_key_id   TEXT NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN lineage_id         TEXT NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN last_used_time     INTEGER;

-- The keys that are about to expire. status 1: active.
CREATE INDEX keys_by_expiry ON keys (expire_time) WHERE expire_time IS NOT NULL AND status = 1;

-- The keys of a lineage but for the first.
CREATE INDEX keys_by_lineage ON keys (network, lineage_id) WHERE lineage_id <> '';

-- The readers of the feed that deliver to external receivers, and their positions. One process at a time, the owner,
-- reads under a name.
CREATE TABLE feed_readers (
    name          TEXT    PRIMARY KEY,
    position      INTEGER NOT NULL, -- of the last event that is done, and with it all before
    notices_until INTEGER NOT NULL, -- up to which moment keys were looked for that are about to expire
    owner         TEXT    NOT NULL, -- or ''
    lease_until   INTEGER NOT NULL  -- until when the owner owns it
) STRICT, WITHOUT ROWID;

-- The processes that have this database open, with the edges that read from them.
CREATE TABLE nodes (
    id       TEXT    PRIMARY KEY,
    address  TEXT    NOT NULL,
    version  TEXT    NOT NULL,
    position INTEGER NOT NULL, -- up to which it has applied all changes
    edges    TEXT    NOT NULL, -- JSON array, or ''
    seen     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Up to which position somebody waits for the nodes to have applied the feed: they then say so at once.
ALTER TABLE feed ADD COLUMN awaited INTEGER NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE feed DROP COLUMN awaited;
DROP TABLE nodes;
DROP TABLE feed_readers;
DROP INDEX keys_by_lineage;
DROP INDEX keys_by_expiry;
ALTER TABLE keys DROP COLUMN last_used_time;
ALTER TABLE keys DROP COLUMN lineage_id;
ALTER TABLE keys DROP COLUMN successor_key_id;
ALTER TABLE keys DROP COLUMN predecessor_key_id;
ALTER TABLE keys DROP COLUMN suspend_time;
