-- +goose Up

-- What runs here is in versions, and the state is theirs. A workload with a
-- backend is registered and always ready.
ALTER TABLE workloads DROP COLUMN state;
ALTER TABLE workloads DROP COLUMN reason;
ALTER TABLE workloads ADD COLUMN current_version BIGINT NOT NULL DEFAULT 0; -- the one that answers, or 0
ALTER TABLE workloads ADD COLUMN wanted_version BIGINT NOT NULL DEFAULT 0; -- the one asked for last, or 0
ALTER TABLE workloads ADD COLUMN asked BIGINT NOT NULL DEFAULT 0; -- how often a version was asked for
ALTER TABLE workloads ADD COLUMN revision BIGINT NOT NULL DEFAULT 0; -- of environment and settings
ALTER TABLE workloads ADD COLUMN current_revision BIGINT NOT NULL DEFAULT 0; -- the one in force
ALTER TABLE workloads ADD COLUMN tried_revision BIGINT NOT NULL DEFAULT 0; -- the last that could not be put in force
ALTER TABLE workloads ADD COLUMN health_path TEXT NOT NULL DEFAULT '';
ALTER TABLE workloads ADD COLUMN idle_timeout BIGINT NOT NULL DEFAULT -1; -- nanoseconds, -1 for the operator's
ALTER TABLE workloads ADD COLUMN concurrency BIGINT NOT NULL DEFAULT 0;
ALTER TABLE workloads ADD COLUMN events BIGINT NOT NULL DEFAULT 0; -- how many were ever recorded

-- Numbers go on when a workload is deleted and made again, so that what is left
-- of an old version on disk or in a process is never taken for the new one.
ALTER TABLE workload_ids ADD COLUMN last_version BIGINT NOT NULL DEFAULT 0;

CREATE TABLE workload_versions (
    kind        TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    number      BIGINT  NOT NULL,
    tenant      TEXT    NOT NULL,
    asked       BIGINT  NOT NULL, -- the place in the order in which versions were asked for
    asked_at    BIGINT  NOT NULL, -- Unix nanoseconds, as all times here
    state       TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    source      TEXT    NOT NULL, -- a JSON object, inline files without their content
    files       TEXT    NOT NULL, -- a JSON object: name to content of inline files, or ''
    upload      TEXT    NOT NULL, -- the archive it is made of, or ''
    program     TEXT    NOT NULL, -- a JSON object
    commit_hash TEXT    NOT NULL,
    size        BIGINT  NOT NULL, -- bytes on disk
    quota       BIGINT  NOT NULL, -- bytes the tenant might have when it was asked for
    artifact    TEXT    NOT NULL, -- a JSON object, or '' until it is built
    steps       TEXT    NOT NULL, -- a JSON array
    available   BOOLEAN NOT NULL, -- its folder was not pruned
    good        BOOLEAN NOT NULL, -- it once was the current one
    created     BIGINT  NOT NULL,
    PRIMARY KEY (kind, id, number),
    FOREIGN KEY (kind, id) REFERENCES workloads (kind, id) ON DELETE CASCADE
);
CREATE INDEX workload_versions_tenant ON workload_versions (tenant);
CREATE INDEX workload_versions_state ON workload_versions (kind, state);
CREATE INDEX workload_versions_upload ON workload_versions (upload) WHERE upload <> '';

CREATE TABLE workload_events (
    kind    TEXT   NOT NULL,
    id      TEXT   NOT NULL,
    event   BIGINT NOT NULL,
    version BIGINT NOT NULL, -- 0: the workload itself
    state   TEXT   NOT NULL,
    reason  TEXT   NOT NULL,
    at      BIGINT NOT NULL,
    PRIMARY KEY (kind, id, event),
    FOREIGN KEY (kind, id) REFERENCES workloads (kind, id) ON DELETE CASCADE
);

-- Numbers of users and groups. The row of the owner '' has the last one given:
-- none is given twice.
CREATE TABLE identities (
    owner  TEXT   PRIMARY KEY,
    number BIGINT NOT NULL
);

-- What a tenant's repositories are fetched with: sealed as a whole.
CREATE TABLE credentials (
    tenant  TEXT   NOT NULL,
    host    TEXT   NOT NULL,
    sealed  TEXT   NOT NULL,
    updated BIGINT NOT NULL,
    PRIMARY KEY (tenant, host)
);

-- Archives that wait for their deploy. While one is received its size is what
-- was set aside for it.
CREATE TABLE uploads (
    id       TEXT    PRIMARY KEY,
    tenant   TEXT    NOT NULL,
    size     BIGINT  NOT NULL,
    complete BOOLEAN NOT NULL,
    created  BIGINT  NOT NULL
);
CREATE INDEX uploads_tenant ON uploads (tenant);
