-- Media that can be inserted into machines, and snapshots of machines.

CREATE TABLE medium (
    id uuid NOT NULL PRIMARY KEY, number bigint NOT NULL UNIQUE, rev bigint NOT NULL, body text NOT NULL,
    name text COLLATE "C" NOT NULL, owner uuid NOT NULL, storage uuid NOT NULL, state text COLLATE "C" NOT NULL,
    task uuid, created_at bigint NOT NULL
);
CREATE UNIQUE INDEX medium_name ON medium (name);
CREATE INDEX medium_owner ON medium (owner, id);
CREATE INDEX medium_storage ON medium (storage, id);
CREATE INDEX medium_state ON medium (state, id);
CREATE INDEX medium_task ON medium (task) WHERE task IS NOT NULL;

CREATE TABLE snapshot (
    id uuid NOT NULL PRIMARY KEY, number bigint NOT NULL UNIQUE, rev bigint NOT NULL, body text NOT NULL,
    name text COLLATE "C" NOT NULL, owner uuid NOT NULL, machine uuid NOT NULL, state text COLLATE "C" NOT NULL,
    task uuid, created_at bigint NOT NULL
);
CREATE INDEX snapshot_name ON snapshot (name, id);
CREATE INDEX snapshot_owner ON snapshot (owner, id);
CREATE INDEX snapshot_machine ON snapshot (machine, id);
CREATE INDEX snapshot_state ON snapshot (state, id);
CREATE INDEX snapshot_task ON snapshot (task) WHERE task IS NOT NULL;

INSERT INTO counter (kind, next) VALUES ('medium', 1), ('snapshot', 1);
