-- +goose Up

-- Everything a cache may hold announces its changes here, in the transaction
-- that makes them. AUTOINCREMENT, so that a pruned version is never used again.
CREATE TABLE changes (
    version INTEGER PRIMARY KEY AUTOINCREMENT,
    kind    TEXT   NOT NULL,
    id      TEXT   NOT NULL,
    at      BIGINT NOT NULL -- Unix nanoseconds
);
CREATE INDEX changes_at ON changes (at);

-- Settings changed while running; flags, environment and file override them.
CREATE TABLE settings (
    name    TEXT PRIMARY KEY,
    value   TEXT   NOT NULL,
    updated BIGINT NOT NULL -- Unix nanoseconds
);
