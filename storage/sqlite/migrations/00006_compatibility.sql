-- +goose Up

-- Which version of the schema a build must know at least to run on this one. A migration that takes away what earlier
-- builds need raises it.
CREATE TABLE compatibility (
    oldest INTEGER NOT NULL
) STRICT;

INSERT INTO compatibility (oldest) VALUES (5);

-- +goose Down
DROP TABLE compatibility;
