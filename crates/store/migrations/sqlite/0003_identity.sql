-- Groups and their members, every kind of credential in one table, SSH keys, grants, quotas, the audit trail, and
-- settings.

CREATE TABLE "group" (
    id blob NOT NULL PRIMARY KEY, number bigint NOT NULL UNIQUE, rev bigint NOT NULL, body text NOT NULL,
    name text NOT NULL, created_at bigint NOT NULL
);
CREATE UNIQUE INDEX group_name ON "group" (name);

CREATE TABLE member (
    id blob NOT NULL PRIMARY KEY, number bigint NOT NULL UNIQUE, rev bigint NOT NULL, body text NOT NULL,
    in_group blob NOT NULL, account blob NOT NULL, created_at bigint NOT NULL
);
CREATE UNIQUE INDEX member_account_taken ON member (in_group, account);
CREATE INDEX member_account ON member (account, id);

-- Tokens have become one kind of credential; their documents say what they said.
ALTER TABLE token RENAME TO credential;
DROP INDEX token_hash;
DROP INDEX token_account;
ALTER TABLE credential ADD COLUMN kind text NOT NULL DEFAULT 'token';
ALTER TABLE credential ADD COLUMN description text NOT NULL DEFAULT '';
ALTER TABLE credential ADD COLUMN expires_at bigint;
ALTER TABLE credential ADD COLUMN used_at bigint;
UPDATE credential SET description = body->>'description', expires_at = body->>'expires_at';
UPDATE counter SET kind = 'credential' WHERE kind = 'token';
CREATE UNIQUE INDEX credential_hash ON credential (hash);
CREATE INDEX credential_account ON credential (account, id);
CREATE INDEX credential_kind ON credential (kind, id);
CREATE INDEX credential_expires_at ON credential (expires_at, id);

CREATE TABLE ssh_key (
    id blob NOT NULL PRIMARY KEY, number bigint NOT NULL UNIQUE, rev bigint NOT NULL, body text NOT NULL,
    account blob NOT NULL, name text NOT NULL, fingerprint text NOT NULL, created_at bigint NOT NULL
);
CREATE UNIQUE INDEX ssh_key_name ON ssh_key (account, name);
CREATE INDEX ssh_key_fingerprint ON ssh_key (fingerprint, id);

CREATE TABLE "grant" (
    id blob NOT NULL PRIMARY KEY, number bigint NOT NULL UNIQUE, rev bigint NOT NULL, body text NOT NULL,
    object_kind text NOT NULL, object blob NOT NULL, subject blob NOT NULL, subject_kind text NOT NULL,
    created_at bigint NOT NULL
);
CREATE UNIQUE INDEX grant_subject_taken ON "grant" (object, subject);
CREATE INDEX grant_subject ON "grant" (subject, object);

CREATE TABLE quota (
    id blob NOT NULL PRIMARY KEY, number bigint NOT NULL UNIQUE, rev bigint NOT NULL, body text NOT NULL,
    subject blob NOT NULL, subject_kind text NOT NULL, created_at bigint NOT NULL
);
CREATE UNIQUE INDEX quota_subject ON quota (subject);

CREATE TABLE deed (
    id blob NOT NULL PRIMARY KEY, number bigint NOT NULL UNIQUE, rev bigint NOT NULL, body text NOT NULL,
    account blob, login text NOT NULL, action text NOT NULL, object blob, object_kind text NOT NULL,
    door text NOT NULL, outcome text NOT NULL, created_at bigint NOT NULL
);
CREATE INDEX deed_account ON deed (account, id);
CREATE INDEX deed_action ON deed (action, id);
CREATE INDEX deed_object ON deed (object, id);
CREATE INDEX deed_created_at ON deed (created_at, id);

CREATE TABLE setting (
    id blob NOT NULL PRIMARY KEY, number bigint NOT NULL UNIQUE, rev bigint NOT NULL, body text NOT NULL,
    name text NOT NULL, created_at bigint NOT NULL
);
CREATE UNIQUE INDEX setting_name ON setting (name);

INSERT INTO counter (kind, next) VALUES
    ('group', 1), ('member', 1), ('ssh_key', 1), ('grant', 1), ('quota', 1), ('deed', 1), ('setting', 1);
