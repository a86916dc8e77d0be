-- +goose Up

-- The name of this database's feed of changes. One that is restored from a backup gets another.
CREATE TABLE feed (
    id TEXT NOT NULL
) STRICT;

INSERT INTO feed (id) VALUES (lower(hex(randomblob(16))));

ALTER TABLE events ADD COLUMN key_kind       INTEGER NOT NULL DEFAULT 0;
ALTER TABLE events ADD COLUMN actor_id       TEXT    NOT NULL DEFAULT ''; -- the key's
ALTER TABLE events ADD COLUMN related_key_id TEXT    NOT NULL DEFAULT ''; -- of a rotation: the other key's
ALTER TABLE events ADD COLUMN caller_kind    INTEGER NOT NULL DEFAULT 0;  -- 0: not recorded
ALTER TABLE events ADD COLUMN caller_id      TEXT    NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN caller_user    TEXT    NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN request_id     TEXT    NOT NULL DEFAULT '';

-- What is known of earlier events. The id of an issued key is a UUID, that of an imported one is longer. caller_kind 5:
-- its holder.
UPDATE events SET
    key_kind    = CASE length(key_id) WHEN 0 THEN 0 WHEN 36 THEN 1 ELSE 2 END,
    caller_kind = CASE actor WHEN 'holder' THEN 5 ELSE 0 END,
    actor_id    = COALESCE((SELECT actor_id FROM keys
        WHERE keys.network = events.network AND keys.key_id = events.key_id), '');

ALTER TABLE events DROP COLUMN actor;

-- +goose Down
ALTER TABLE events ADD COLUMN actor TEXT NOT NULL DEFAULT 'operator';
UPDATE events SET actor = 'holder' WHERE caller_kind = 5;
ALTER TABLE events DROP COLUMN request_id;
ALTER TABLE events DROP COLUMN caller_user;
ALTER TABLE events DROP COLUMN caller_id;
ALTER TABLE events DROP COLUMN caller_kind;
ALTER TABLE events DROP COLUMN related_key_id;
ALTER TABLE events DROP COLUMN actor_id;
ALTER TABLE events DROP COLUMN key_kind;
DROP TABLE feed;
