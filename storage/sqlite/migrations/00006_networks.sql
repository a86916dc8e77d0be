-- +goose Up

-- Which version of the schema a build must know at least to run on this one. A migration that takes away what earlier
-- builds need raises it.
CREATE TABLE compatibility (
    oldest INTEGER NOT NULL
) STRICT;

INSERT INTO compatibility (oldest) VALUES (5);

-- The networks that are not in the nodes' configurations.
CREATE TABLE networks (
    id          BLOB    PRIMARY KEY CHECK (length(id) = 16),
    hosts       TEXT    NOT NULL, -- JSON array
    settings    TEXT    NOT NULL, -- JSON object
    suspended   INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE network_hosts (
    host    TEXT PRIMARY KEY,
    network BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE network_hosts;
DROP TABLE networks;
DROP TABLE compatibility;
