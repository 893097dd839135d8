-- +goose Up

-- Short links, and the ids of deleted ones, which other tenants cannot have for
-- a while. Ids are compared byte by byte.
CREATE TABLE links (
    id          TEXT   PRIMARY KEY,
    tenant      TEXT   NOT NULL,
    destination TEXT   NOT NULL, -- empty once deleted
    created     BIGINT NOT NULL, -- Unix nanoseconds
    hits        BIGINT NOT NULL DEFAULT 0,
    deleted     BIGINT NOT NULL DEFAULT 0 -- Unix nanoseconds, 0 while it works
);
CREATE INDEX links_tenant ON links (tenant, created, id) WHERE deleted = 0;
CREATE INDEX links_deleted ON links (deleted) WHERE deleted <> 0;

-- How many links each tenant has, so that checking the quota counts nothing.
CREATE TABLE link_counts (
    tenant TEXT   PRIMARY KEY,
    links  BIGINT NOT NULL
);
