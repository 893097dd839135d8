-- +goose Up

-- Everything belongs to a tenant. A quota of 0 means the default, so that a
-- release may change the defaults.
CREATE TABLE tenants (
    id                        TEXT    PRIMARY KEY,
    name                      TEXT    NOT NULL UNIQUE,
    disabled                  BOOLEAN NOT NULL DEFAULT FALSE,
    created                   BIGINT  NOT NULL, -- Unix nanoseconds
    quota_apps                BIGINT  NOT NULL DEFAULT 0,
    quota_functions           BIGINT  NOT NULL DEFAULT 0,
    quota_links               BIGINT  NOT NULL DEFAULT 0,
    quota_keys                BIGINT  NOT NULL DEFAULT 0,
    quota_version_bytes       BIGINT  NOT NULL DEFAULT 0,
    quota_requests_per_second BIGINT  NOT NULL DEFAULT 0,
    quota_burst               BIGINT  NOT NULL DEFAULT 0
);

-- The keys that work. A revoked one is deleted.
CREATE TABLE keys (
    id          TEXT    PRIMARY KEY,
    tenant      TEXT    NOT NULL REFERENCES tenants (id),
    hash        BLOB    NOT NULL UNIQUE, -- SHA-256 of the secret, which is not kept
    scopes      TEXT    NOT NULL, -- separated by spaces
    description TEXT    NOT NULL,
    bootstrap   BOOLEAN NOT NULL DEFAULT FALSE,
    created     BIGINT  NOT NULL, -- Unix nanoseconds
    last_seen   BIGINT  NOT NULL DEFAULT 0 -- Unix seconds, 0 for never
);
CREATE INDEX keys_tenant ON keys (tenant, created);

-- Bootstrap keys that were revoked through the API. They come from the
-- environment or from a file, where they still are at the next start.
CREATE TABLE revoked_bootstrap_keys (
    hash    BLOB   PRIMARY KEY,
    revoked BIGINT NOT NULL -- Unix nanoseconds
);
