-- Golden machines, the disks that lie on theirs, and what a host must bear for a machine that shares memory.

CREATE TABLE golden (
    id uuid NOT NULL PRIMARY KEY, number bigint NOT NULL UNIQUE, rev bigint NOT NULL, body text NOT NULL,
    template uuid NOT NULL, host uuid NOT NULL, state text COLLATE "C" NOT NULL, task uuid, created_at bigint NOT NULL
);
CREATE INDEX golden_template ON golden (template, id);
CREATE INDEX golden_host ON golden (host, id);

ALTER TABLE volume ADD COLUMN golden uuid;
CREATE INDEX volume_golden ON volume (golden) WHERE golden IS NOT NULL;

ALTER TABLE machine ADD COLUMN borne_mib bigint NOT NULL DEFAULT 0;
UPDATE machine SET borne_mib = memory_mib;

INSERT INTO counter (kind, next) VALUES ('golden', 1);
