-- One table for each kind of record: the key, the small integer, the version, the record as JSON (body), and the
-- columns that lists filter and order by. crates/store/src/schema.rs names the same columns; a test compares them.
-- Indexes end in id, because every list breaks ties by it. What must be unique is told by the name of its index: the
-- table, then the column that is reported. Text is compared by bytes, whatever the database's language is.

CREATE TABLE machine (
    id uuid NOT NULL PRIMARY KEY, number bigint NOT NULL UNIQUE, rev bigint NOT NULL, body text NOT NULL,
    name text COLLATE "C" NOT NULL, life text COLLATE "C" NOT NULL, wanted text COLLATE "C" NOT NULL,
    observed text COLLATE "C" NOT NULL,
    owner uuid NOT NULL, cluster uuid NOT NULL, host uuid NOT NULL, template uuid NOT NULL, task uuid,
    vcpus bigint NOT NULL, memory_mib bigint NOT NULL, created_at bigint NOT NULL, updated_at bigint NOT NULL
);
-- A machine that is gone leaves its name to the next.
CREATE UNIQUE INDEX machine_name_taken ON machine (name) WHERE life <> 'gone';
CREATE INDEX machine_name ON machine (name, id);
CREATE INDEX machine_life ON machine (life, id);
CREATE INDEX machine_observed ON machine (observed, id);
CREATE INDEX machine_owner ON machine (owner, id);
CREATE INDEX machine_cluster ON machine (cluster, id);
CREATE INDEX machine_task ON machine (task) WHERE task IS NOT NULL;
CREATE INDEX machine_host ON machine (host, id);
CREATE INDEX machine_template ON machine (template, id);

CREATE TABLE template (
    id uuid NOT NULL PRIMARY KEY, number bigint NOT NULL UNIQUE, rev bigint NOT NULL, body text NOT NULL,
    name text COLLATE "C" NOT NULL, version bigint NOT NULL, state text COLLATE "C" NOT NULL,
    owner uuid NOT NULL, storage uuid NOT NULL, task uuid, created_at bigint NOT NULL
);
CREATE UNIQUE INDEX template_name ON template (name, version);
CREATE INDEX template_task ON template (task) WHERE task IS NOT NULL;
CREATE INDEX template_state ON template (state, id);
CREATE INDEX template_owner ON template (owner, id);
CREATE INDEX template_storage ON template (storage, id);

CREATE TABLE volume (
    id uuid NOT NULL PRIMARY KEY, number bigint NOT NULL UNIQUE, rev bigint NOT NULL, body text NOT NULL,
    name text COLLATE "C" NOT NULL, owner uuid NOT NULL, storage uuid NOT NULL, template uuid, machine uuid,
    state text COLLATE "C" NOT NULL, task uuid, size_mib bigint NOT NULL, created_at bigint NOT NULL
);
CREATE INDEX volume_name ON volume (name, id);
CREATE INDEX volume_owner ON volume (owner, id);
CREATE INDEX volume_storage ON volume (storage, id);
CREATE INDEX volume_template ON volume (template, id);
CREATE INDEX volume_machine ON volume (machine, id);
CREATE INDEX volume_task ON volume (task) WHERE task IS NOT NULL;
CREATE INDEX volume_state ON volume (state, id);

CREATE TABLE storage (
    id uuid NOT NULL PRIMARY KEY, number bigint NOT NULL UNIQUE, rev bigint NOT NULL, body text NOT NULL,
    name text COLLATE "C" NOT NULL, host uuid NOT NULL, created_at bigint NOT NULL
);
CREATE UNIQUE INDEX storage_name ON storage (name);
CREATE INDEX storage_host ON storage (host, id);

CREATE TABLE network (
    id uuid NOT NULL PRIMARY KEY, number bigint NOT NULL UNIQUE, rev bigint NOT NULL, body text NOT NULL,
    name text COLLATE "C" NOT NULL, cluster uuid NOT NULL, created_at bigint NOT NULL
);
CREATE UNIQUE INDEX network_name ON network (name);
CREATE INDEX network_cluster ON network (cluster, id);

CREATE TABLE address (
    id uuid NOT NULL PRIMARY KEY, number bigint NOT NULL UNIQUE, rev bigint NOT NULL, body text NOT NULL,
    network uuid NOT NULL, ip text COLLATE "C" NOT NULL, machine uuid, owner uuid NOT NULL, created_at bigint NOT NULL
);
CREATE UNIQUE INDEX address_ip_taken ON address (network, ip);
CREATE INDEX address_ip ON address (ip, id);
CREATE INDEX address_machine ON address (machine, id);
CREATE INDEX address_owner ON address (owner, id);

CREATE TABLE host (
    id uuid NOT NULL PRIMARY KEY, number bigint NOT NULL UNIQUE, rev bigint NOT NULL, body text NOT NULL,
    name text COLLATE "C" NOT NULL, cluster uuid NOT NULL, created_at bigint NOT NULL
);
CREATE UNIQUE INDEX host_name ON host (name);
CREATE INDEX host_cluster ON host (cluster, id);

CREATE TABLE cluster (
    id uuid NOT NULL PRIMARY KEY, number bigint NOT NULL UNIQUE, rev bigint NOT NULL, body text NOT NULL,
    name text COLLATE "C" NOT NULL, created_at bigint NOT NULL
);
CREATE UNIQUE INDEX cluster_name ON cluster (name);

CREATE TABLE account (
    id uuid NOT NULL PRIMARY KEY, number bigint NOT NULL UNIQUE, rev bigint NOT NULL, body text NOT NULL,
    login text COLLATE "C" NOT NULL, email text COLLATE "C" NOT NULL, role text COLLATE "C" NOT NULL,
    enabled bigint NOT NULL, created_at bigint NOT NULL
);
CREATE UNIQUE INDEX account_login ON account (login);
CREATE UNIQUE INDEX account_email ON account (email);
CREATE INDEX account_role ON account (role, id);

CREATE TABLE token (
    id uuid NOT NULL PRIMARY KEY, number bigint NOT NULL UNIQUE, rev bigint NOT NULL, body text NOT NULL,
    account uuid NOT NULL, hash text COLLATE "C" NOT NULL, created_at bigint NOT NULL
);
CREATE UNIQUE INDEX token_hash ON token (hash);
CREATE INDEX token_account ON token (account, id);

-- A task has, beside its record, the lease of the worker that carries it out and the wish to cancel it. They have
-- no version: a worker may prolong its lease while somebody else changes the record.
CREATE TABLE task (
    id uuid NOT NULL PRIMARY KEY, number bigint NOT NULL UNIQUE, rev bigint NOT NULL, body text NOT NULL,
    kind text COLLATE "C" NOT NULL, state text COLLATE "C" NOT NULL, open bigint NOT NULL, due bigint NOT NULL,
    host uuid, owner uuid NOT NULL, subject uuid NOT NULL, created_at bigint NOT NULL,
    lease_owner text COLLATE "C", lease_until bigint, lease_epoch bigint NOT NULL DEFAULT 0,
    cancel bigint NOT NULL DEFAULT 0
);
-- What workers look through: finished tasks, by far the most, are not in it.
CREATE INDEX task_due ON task (due, id) WHERE open = 1;
CREATE INDEX task_leased ON task (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX task_state ON task (state, id);
CREATE INDEX task_owner ON task (owner, id);
CREATE INDEX task_subject ON task (subject, id);
CREATE INDEX task_kind ON task (kind, id);

CREATE TABLE replay (
    id uuid NOT NULL PRIMARY KEY, number bigint NOT NULL UNIQUE, rev bigint NOT NULL, body text NOT NULL,
    account uuid NOT NULL, key text COLLATE "C" NOT NULL, created_at bigint NOT NULL
);
CREATE UNIQUE INDEX replay_key_taken ON replay (account, key);
CREATE INDEX replay_key ON replay (key, id);
CREATE INDEX replay_created_at ON replay (created_at, id);

-- The counter below allots seq, not a sequence: without gaps and in the order of commits, so that whoever has read up
-- to one event misses none that comes later with a smaller number.
CREATE TABLE event (
    seq bigint NOT NULL PRIMARY KEY, at bigint NOT NULL, kind text COLLATE "C" NOT NULL,
    change text COLLATE "C" NOT NULL, subject uuid NOT NULL, owner uuid, body text NOT NULL
);
CREATE INDEX event_at ON event (at, seq);

-- The next small integer of each kind, and of events. Clients of the foreign dialects expect the first account to be 3.
CREATE TABLE counter (kind text COLLATE "C" NOT NULL PRIMARY KEY, next bigint NOT NULL);
INSERT INTO counter (kind, next) VALUES
    ('machine', 1), ('template', 1), ('volume', 1), ('storage', 1), ('network', 1), ('address', 1),
    ('host', 1), ('cluster', 1), ('account', 3), ('token', 1), ('task', 1), ('replay', 1), ('event', 1);
