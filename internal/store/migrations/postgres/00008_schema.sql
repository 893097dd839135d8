-- +goose Up

-- What the files in ../sqlite made step by step up to this number, in one: there is
-- no older database. Columns mean what they mean there. All text is compared byte by
-- byte, as Go and SQLite do. Times are Unix nanoseconds.

-- The change feed. A version is given when a row is written, and seen when its
-- transaction commits, so that a later one can be seen first; xid, the number of
-- the transaction, is what readers go by (follow.go).
CREATE TABLE changes (
    version BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    xid     BIGINT           NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    kind    TEXT COLLATE "C" NOT NULL,
    id      TEXT COLLATE "C" NOT NULL,
    at      BIGINT           NOT NULL
);
CREATE INDEX changes_xid ON changes (xid);
CREATE INDEX changes_at ON changes (at);

-- What all nodes must agree on, such as the secret key, of which only a proof is kept.
CREATE TABLE cluster (
    name  TEXT COLLATE "C" PRIMARY KEY,
    value TEXT COLLATE "C" NOT NULL
);

-- What must be written once, whoever tries again (WriteOnce).
CREATE TABLE receipts (
    id TEXT COLLATE "C" PRIMARY KEY,
    at BIGINT           NOT NULL
);
CREATE INDEX receipts_at ON receipts (at);

-- The processes on the database, each of which writes its own row every second and no
-- other: how often it was asked for what by which key, so that all share a key's rate.
-- Who was not seen for a while is gone; seen is by the server's clock, because those of
-- nodes differ. A row is worth nothing a second later, so that the table is neither
-- logged nor replicated, and empty after a crash.
CREATE UNLOGGED TABLE nodes (
    id      TEXT COLLATE "C"   PRIMARY KEY,
    seen    TIMESTAMPTZ        NOT NULL,
    keys    TEXT[] COLLATE "C" NOT NULL,
    demands DOUBLE PRECISION[] NOT NULL -- requests a second, of the key at the same place
);

CREATE TABLE settings (
    name    TEXT COLLATE "C" PRIMARY KEY,
    value   TEXT COLLATE "C" NOT NULL,
    updated BIGINT           NOT NULL
);

CREATE TABLE tenants (
    id                        TEXT COLLATE "C" PRIMARY KEY,
    name                      TEXT COLLATE "C" NOT NULL UNIQUE,
    disabled                  BOOLEAN          NOT NULL DEFAULT FALSE,
    created                   BIGINT           NOT NULL,
    quota_apps                BIGINT           NOT NULL DEFAULT 0,
    quota_functions           BIGINT           NOT NULL DEFAULT 0,
    quota_links               BIGINT           NOT NULL DEFAULT 0,
    quota_keys                BIGINT           NOT NULL DEFAULT 0,
    quota_version_bytes       BIGINT           NOT NULL DEFAULT 0,
    quota_requests_per_second BIGINT           NOT NULL DEFAULT 0,
    quota_burst               BIGINT           NOT NULL DEFAULT 0
);

CREATE TABLE keys (
    id          TEXT COLLATE "C" PRIMARY KEY,
    tenant      TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
    hash        BYTEA            NOT NULL UNIQUE,
    scopes      TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C" NOT NULL,
    bootstrap   BOOLEAN          NOT NULL DEFAULT FALSE,
    created     BIGINT           NOT NULL,
    last_seen   BIGINT           NOT NULL DEFAULT 0 -- Unix seconds
);
CREATE INDEX keys_tenant ON keys (tenant, created);

CREATE TABLE revoked_bootstrap_keys (
    hash    BYTEA  PRIMARY KEY,
    revoked BIGINT NOT NULL
);

CREATE TABLE links (
    id          TEXT COLLATE "C" PRIMARY KEY,
    tenant      TEXT COLLATE "C" NOT NULL,
    destination TEXT COLLATE "C" NOT NULL,
    created     BIGINT           NOT NULL,
    hits        BIGINT           NOT NULL DEFAULT 0,
    deleted     BIGINT           NOT NULL DEFAULT 0
);
CREATE INDEX links_tenant ON links (tenant, created, id) WHERE deleted = 0;
CREATE INDEX links_deleted ON links (deleted) WHERE deleted <> 0;

CREATE TABLE link_counts (
    tenant TEXT COLLATE "C" PRIMARY KEY,
    links  BIGINT           NOT NULL
);

CREATE TABLE workload_ids (
    kind           TEXT COLLATE "C" NOT NULL,
    id             TEXT COLLATE "C" NOT NULL,
    tenant         TEXT COLLATE "C" NOT NULL,
    name           TEXT COLLATE "C" NOT NULL,
    used_until     BIGINT           NOT NULL,
    reserved       BIGINT           NOT NULL,
    reserved_until BIGINT           NOT NULL,
    token_hash     TEXT COLLATE "C" NOT NULL,
    last_version   BIGINT           NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, id)
);
CREATE INDEX workload_ids_tenant ON workload_ids (kind, tenant, name);

CREATE TABLE workloads (
    kind             TEXT COLLATE "C" NOT NULL,
    id               TEXT COLLATE "C" NOT NULL,
    tenant           TEXT COLLATE "C" NOT NULL,
    name             TEXT COLLATE "C" NOT NULL,
    region           TEXT COLLATE "C" NOT NULL,
    backend          TEXT COLLATE "C" NOT NULL,
    env              TEXT COLLATE "C" NOT NULL,
    created          BIGINT           NOT NULL,
    updated          BIGINT           NOT NULL,
    current_version  BIGINT           NOT NULL DEFAULT 0,
    wanted_version   BIGINT           NOT NULL DEFAULT 0,
    asked            BIGINT           NOT NULL DEFAULT 0,
    revision         BIGINT           NOT NULL DEFAULT 0,
    current_revision BIGINT           NOT NULL DEFAULT 0,
    tried_revision   BIGINT           NOT NULL DEFAULT 0,
    health_path      TEXT COLLATE "C" NOT NULL DEFAULT '',
    idle_timeout     BIGINT           NOT NULL DEFAULT -1,
    concurrency      BIGINT           NOT NULL DEFAULT 0,
    events           BIGINT           NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, id),
    UNIQUE (kind, tenant, name)
);

CREATE TABLE workload_versions (
    kind        TEXT COLLATE "C" NOT NULL,
    id          TEXT COLLATE "C" NOT NULL,
    number      BIGINT           NOT NULL,
    tenant      TEXT COLLATE "C" NOT NULL,
    asked       BIGINT           NOT NULL,
    asked_at    BIGINT           NOT NULL,
    state       TEXT COLLATE "C" NOT NULL,
    reason      TEXT COLLATE "C" NOT NULL,
    source      TEXT COLLATE "C" NOT NULL,
    files       TEXT COLLATE "C" NOT NULL,
    upload      TEXT COLLATE "C" NOT NULL,
    program     TEXT COLLATE "C" NOT NULL,
    commit_hash TEXT COLLATE "C" NOT NULL,
    size        BIGINT           NOT NULL,
    quota       BIGINT           NOT NULL,
    artifact    TEXT COLLATE "C" NOT NULL,
    steps       TEXT COLLATE "C" NOT NULL,
    available   BOOLEAN          NOT NULL,
    good        BOOLEAN          NOT NULL,
    created     BIGINT           NOT NULL,
    PRIMARY KEY (kind, id, number),
    FOREIGN KEY (kind, id) REFERENCES workloads (kind, id) ON DELETE CASCADE
);
CREATE INDEX workload_versions_tenant ON workload_versions (tenant);
CREATE INDEX workload_versions_state ON workload_versions (kind, state);
CREATE INDEX workload_versions_upload ON workload_versions (upload) WHERE upload <> '';

CREATE TABLE workload_events (
    kind    TEXT COLLATE "C" NOT NULL,
    id      TEXT COLLATE "C" NOT NULL,
    event   BIGINT           NOT NULL,
    version BIGINT           NOT NULL,
    state   TEXT COLLATE "C" NOT NULL,
    reason  TEXT COLLATE "C" NOT NULL,
    at      BIGINT           NOT NULL,
    PRIMARY KEY (kind, id, event),
    FOREIGN KEY (kind, id) REFERENCES workloads (kind, id) ON DELETE CASCADE
);

CREATE TABLE identities (
    owner  TEXT COLLATE "C" PRIMARY KEY,
    number BIGINT           NOT NULL
);

CREATE TABLE credentials (
    tenant  TEXT COLLATE "C" NOT NULL,
    host    TEXT COLLATE "C" NOT NULL,
    sealed  TEXT COLLATE "C" NOT NULL,
    updated BIGINT           NOT NULL,
    PRIMARY KEY (tenant, host)
);

CREATE TABLE uploads (
    id       TEXT COLLATE "C" PRIMARY KEY,
    tenant   TEXT COLLATE "C" NOT NULL,
    size     BIGINT           NOT NULL,
    complete BOOLEAN          NOT NULL,
    created  BIGINT           NOT NULL
);
CREATE INDEX uploads_tenant ON uploads (tenant);

CREATE TABLE accounts (
    tenant   TEXT COLLATE "C" NOT NULL,
    id       TEXT COLLATE "C" NOT NULL,
    username TEXT COLLATE "C",
    email    TEXT COLLATE "C" NOT NULL,
    password TEXT COLLATE "C" NOT NULL,
    profile  TEXT COLLATE "C" NOT NULL,
    created  BIGINT           NOT NULL,
    updated  BIGINT           NOT NULL,
    verified BIGINT           NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX accounts_email ON accounts (tenant, email);
CREATE UNIQUE INDEX accounts_username ON accounts (tenant, username);
CREATE INDEX accounts_created ON accounts (tenant, created, id);

CREATE TABLE sessions (
    hash    TEXT COLLATE "C" PRIMARY KEY,
    tenant  TEXT COLLATE "C" NOT NULL,
    account TEXT COLLATE "C" NOT NULL,
    created BIGINT           NOT NULL,
    expires BIGINT           NOT NULL,
    FOREIGN KEY (tenant, account) REFERENCES accounts (tenant, id) ON DELETE CASCADE
);
CREATE INDEX sessions_account ON sessions (tenant, account, created);
CREATE INDEX sessions_expires ON sessions (expires);

CREATE TABLE verifications (
    hash    TEXT COLLATE "C" PRIMARY KEY,
    tenant  TEXT COLLATE "C" NOT NULL,
    account TEXT COLLATE "C" NOT NULL,
    email   TEXT COLLATE "C" NOT NULL,
    success TEXT COLLATE "C" NOT NULL,
    failure TEXT COLLATE "C" NOT NULL,
    expires BIGINT           NOT NULL,
    forget  BIGINT           NOT NULL
);
CREATE INDEX verifications_account ON verifications (tenant, account);
CREATE INDEX verifications_forget ON verifications (forget);

CREATE TABLE login_tokens (
    hash    TEXT COLLATE "C" PRIMARY KEY,
    tenant  TEXT COLLATE "C" NOT NULL,
    account TEXT COLLATE "C" NOT NULL,
    expires BIGINT           NOT NULL,
    forget  BIGINT           NOT NULL,
    FOREIGN KEY (tenant, account) REFERENCES accounts (tenant, id) ON DELETE CASCADE
);
CREATE INDEX login_tokens_account ON login_tokens (tenant, account);
CREATE INDEX login_tokens_forget ON login_tokens (forget);

CREATE TABLE reset_codes (
    tenant   TEXT COLLATE "C" NOT NULL,
    account  TEXT COLLATE "C" NOT NULL,
    code     TEXT COLLATE "C" NOT NULL,
    attempts INTEGER          NOT NULL,
    expires  BIGINT           NOT NULL,
    PRIMARY KEY (tenant, account),
    FOREIGN KEY (tenant, account) REFERENCES accounts (tenant, id) ON DELETE CASCADE
);
CREATE INDEX reset_codes_expires ON reset_codes (expires);

CREATE TABLE certificate_files (
    key      TEXT COLLATE "C" PRIMARY KEY,
    sealed   TEXT COLLATE "C" NOT NULL,
    size     BIGINT           NOT NULL,
    modified BIGINT           NOT NULL
);

CREATE TABLE certificate_locks (
    name    TEXT COLLATE "C" PRIMARY KEY,
    holder  TEXT COLLATE "C" NOT NULL,
    expires BIGINT           NOT NULL
);

CREATE TABLE domains (
    host    TEXT COLLATE "C" PRIMARY KEY,
    tenant  TEXT COLLATE "C" NOT NULL,
    kind    TEXT COLLATE "C" NOT NULL,
    id      TEXT COLLATE "C" NOT NULL,
    changed BIGINT           NOT NULL
);
CREATE INDEX domains_by_workload ON domains (kind, id);
CREATE INDEX domains_by_tenant ON domains (tenant, id, changed);
