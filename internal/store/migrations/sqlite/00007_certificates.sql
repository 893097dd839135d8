-- +goose Up

-- What certificates are managed with: accounts, chains, private keys. Keys are
-- paths with slashes.
CREATE TABLE certificate_files (
    key      TEXT   PRIMARY KEY,
    sealed   TEXT   NOT NULL,
    size     BIGINT NOT NULL, -- bytes, before sealing
    modified BIGINT NOT NULL
);

-- Who works on what. A holder that dies stops renewing its lease.
CREATE TABLE certificate_locks (
    name    TEXT   PRIMARY KEY,
    holder  TEXT   NOT NULL,
    expires BIGINT NOT NULL
);
