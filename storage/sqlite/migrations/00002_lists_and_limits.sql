-- +goose Up

ALTER TABLE keys ADD COLUMN rate_quota  INTEGER NOT NULL DEFAULT 0; -- 0: no limit
ALTER TABLE keys ADD COLUMN rate_unit   TEXT    NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN rate_window INTEGER NOT NULL DEFAULT 0; -- microseconds

-- The orders in which keys are listed: creation, of all, of those in a state, of an actor's. A list walks one of them
-- from its last key on, and what else it asks for stands in the index. keys_by_status also counts what a quota counts.
CREATE INDEX keys_by_kind ON keys (network, kind, created_seq);
CREATE INDEX keys_by_status ON keys (network, kind, status, created_seq, expire_time);
CREATE INDEX keys_by_actor ON keys (network, kind, actor_id, created_seq, status, expire_time);

-- +goose Down
DROP INDEX keys_by_actor;
DROP INDEX keys_by_status;
DROP INDEX keys_by_kind;
ALTER TABLE keys DROP COLUMN rate_window;
ALTER TABLE keys DROP COLUMN rate_unit;
ALTER TABLE keys DROP COLUMN rate_quota;
