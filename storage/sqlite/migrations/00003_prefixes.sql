-- +goose Up

ALTER TABLE keys ADD COLUMN prefix TEXT NOT NULL DEFAULT ''; -- '': of an imported key, or not recorded

-- How many issued keys are not revoked, by prefix. Each transaction that creates or revokes one keeps it right.
CREATE TABLE issued_prefixes (
    network BLOB    NOT NULL CHECK (length(network) = 16),
    prefix  TEXT    NOT NULL,
    keys    INTEGER NOT NULL CHECK (keys >= 0),
    PRIMARY KEY (network, prefix)
) STRICT, WITHOUT ROWID;

-- kind 1: issued, status 1: active. This reads keys_by_status alone.
INSERT INTO issued_prefixes (network, prefix, keys)
SELECT network, '', COUNT(*) FROM keys WHERE kind = 1 AND status = 1 GROUP BY network;

-- +goose Down
DROP TABLE issued_prefixes;
ALTER TABLE keys DROP COLUMN prefix;
