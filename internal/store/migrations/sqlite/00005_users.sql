-- +goose Up

-- The users of tenants' products. Every row belongs to a tenant; a name or an
-- address is taken within one tenant only.
CREATE TABLE accounts (
    tenant   TEXT   NOT NULL,
    id       TEXT   NOT NULL,
    username TEXT,            -- as compared: lower case; NULL when there is none
    email    TEXT   NOT NULL, -- as compared: lower case
    password TEXT   NOT NULL, -- argon2id in PHC format
    profile  TEXT   NOT NULL, -- a JSON object of strings
    created  BIGINT NOT NULL, -- Unix nanoseconds, as all times here
    updated  BIGINT NOT NULL,
    verified BIGINT NOT NULL, -- when the address was verified; 0 when it was not
    PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX accounts_email ON accounts (tenant, email);
CREATE UNIQUE INDEX accounts_username ON accounts (tenant, username);
CREATE INDEX accounts_created ON accounts (tenant, created, id);

CREATE TABLE sessions (
    hash    TEXT   PRIMARY KEY, -- SHA-256 of the id, which is not kept
    tenant  TEXT   NOT NULL,
    account TEXT   NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    FOREIGN KEY (tenant, account) REFERENCES accounts (tenant, id) ON DELETE CASCADE
);
CREATE INDEX sessions_account ON sessions (tenant, account, created);
CREATE INDEX sessions_expires ON sessions (expires);

-- Tokens of verification mails. A row outlives its token, and even its account,
-- until "forget", because an expired link must still lead to the right place.
CREATE TABLE verifications (
    hash     TEXT   PRIMARY KEY, -- SHA-256 of the token
    tenant   TEXT   NOT NULL,
    account  TEXT   NOT NULL, -- emptied, as is email, when the account is deleted
    email    TEXT   NOT NULL, -- the address the mail went to: no other is verified
    success  TEXT   NOT NULL, -- where the link leads when it worked, or empty
    failure  TEXT   NOT NULL, -- and when it did not
    expires  BIGINT NOT NULL,
    forget   BIGINT NOT NULL
);
CREATE INDEX verifications_account ON verifications (tenant, account);
CREATE INDEX verifications_forget ON verifications (forget);

-- Tokens of magic links; redeeming one deletes it.
CREATE TABLE login_tokens (
    hash    TEXT   PRIMARY KEY, -- SHA-256 of the token
    tenant  TEXT   NOT NULL,
    account TEXT   NOT NULL,
    expires BIGINT NOT NULL,
    forget  BIGINT NOT NULL, -- until then an expired token is told from an unknown one
    FOREIGN KEY (tenant, account) REFERENCES accounts (tenant, id) ON DELETE CASCADE
);
CREATE INDEX login_tokens_account ON login_tokens (tenant, account);
CREATE INDEX login_tokens_forget ON login_tokens (forget);

-- The code that allows a new password: one for each account, the newest.
CREATE TABLE reset_codes (
    tenant   TEXT    NOT NULL,
    account  TEXT    NOT NULL,
    code     TEXT    NOT NULL, -- argon2id in PHC format: a code is short enough to guess from a plain hash
    attempts INTEGER NOT NULL,
    expires  BIGINT  NOT NULL,
    PRIMARY KEY (tenant, account),
    FOREIGN KEY (tenant, account) REFERENCES accounts (tenant, id) ON DELETE CASCADE
);
CREATE INDEX reset_codes_expires ON reset_codes (expires);
