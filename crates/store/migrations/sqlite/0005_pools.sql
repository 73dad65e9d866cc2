-- Pools, requests of machines, the figures of a day; and what a machine of a pool carries.

ALTER TABLE machine ADD COLUMN pool blob;
ALTER TABLE machine ADD COLUMN stock text;
ALTER TABLE machine ADD COLUMN stocked_at bigint;
ALTER TABLE machine ADD COLUMN lent_until bigint;
-- The machine that has stood ready longest is lent first.
CREATE INDEX machine_stock ON machine (pool, stock, stocked_at, id) WHERE pool IS NOT NULL;
CREATE INDEX machine_pool ON machine (pool, stocked_at) WHERE pool IS NOT NULL;
CREATE INDEX machine_stocked_at ON machine (stocked_at, id) WHERE stocked_at IS NOT NULL;
CREATE INDEX machine_lent_until ON machine (lent_until) WHERE lent_until IS NOT NULL;

CREATE TABLE pool (
    id blob NOT NULL PRIMARY KEY, number bigint NOT NULL UNIQUE, rev bigint NOT NULL, body text NOT NULL,
    name text NOT NULL, created_at bigint NOT NULL
);
CREATE UNIQUE INDEX pool_name ON pool (name);

CREATE TABLE request (
    id blob NOT NULL PRIMARY KEY, number bigint NOT NULL UNIQUE, rev bigint NOT NULL, body text NOT NULL,
    key text NOT NULL, state text NOT NULL, owner blob NOT NULL, created_at bigint NOT NULL
);
CREATE UNIQUE INDEX request_key ON request (key);
CREATE INDEX request_state ON request (state, id);
CREATE INDEX request_owner ON request (owner, id);

CREATE TABLE demand (
    id blob NOT NULL PRIMARY KEY, number bigint NOT NULL UNIQUE, rev bigint NOT NULL, body text NOT NULL,
    pool text NOT NULL, day bigint NOT NULL, created_at bigint NOT NULL
);
CREATE UNIQUE INDEX demand_day ON demand (day, pool);

INSERT INTO counter (kind, next) VALUES ('pool', 1), ('request', 1), ('demand', 1);
