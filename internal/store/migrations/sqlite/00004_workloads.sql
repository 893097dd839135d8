-- +goose Up

-- Who an app's or a function's id belongs to: because it is in use, because it
-- was until lately, or because its name is reserved. A row whose two deadlines
-- have passed holds nothing. Deadlines are Unix nanoseconds.
CREATE TABLE workload_ids (
    kind           TEXT   NOT NULL, -- 'app' or 'function'
    id             TEXT   NOT NULL, -- the label in front of the domain
    tenant         TEXT   NOT NULL,
    name           TEXT   NOT NULL, -- what the tenant calls it: the id without its suffix
    used_until     BIGINT NOT NULL, -- 0: never used; the largest number: in use
    reserved       BIGINT NOT NULL, -- when the name was reserved, or 0
    reserved_until BIGINT NOT NULL, -- or 0
    token_hash     TEXT   NOT NULL, -- SHA-256 of the reservation's token, or ''
    PRIMARY KEY (kind, id)
);
CREATE INDEX workload_ids_tenant ON workload_ids (kind, tenant, name);

-- The apps and functions themselves.
CREATE TABLE workloads (
    kind    TEXT   NOT NULL,
    id      TEXT   NOT NULL,
    tenant  TEXT   NOT NULL,
    name    TEXT   NOT NULL,
    state   TEXT   NOT NULL,
    reason  TEXT   NOT NULL, -- why the state is 'failed', or ''
    region  TEXT   NOT NULL,
    backend TEXT   NOT NULL, -- the URL of a registered backend
    env     TEXT   NOT NULL, -- a JSON object: name to sealed value
    created BIGINT NOT NULL, -- Unix nanoseconds
    updated BIGINT NOT NULL, -- Unix nanoseconds
    PRIMARY KEY (kind, id),
    UNIQUE (kind, tenant, name)
);
