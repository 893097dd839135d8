-- +goose Up

-- Host names of tenants' own, and what they lead to. A row without an id leads
-- nowhere any more; it remembers whose the name was.
CREATE TABLE domains (
    host    TEXT   PRIMARY KEY,
    tenant  TEXT   NOT NULL,
    kind    TEXT   NOT NULL,
    id      TEXT   NOT NULL,
    changed BIGINT NOT NULL -- when it came to lead there, or nowhere
);
CREATE INDEX domains_by_workload ON domains (kind, id);
CREATE INDEX domains_by_tenant ON domains (tenant, id, changed);
