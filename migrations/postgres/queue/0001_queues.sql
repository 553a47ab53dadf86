-- Queues, their shards, and messages.
--
-- All times in BIGINT are milliseconds since the Unix epoch. The format of the schema is the number of its last
-- migration, kept in the one row of `format`.

-- One row per incarnation of a queue. A deleted one stays until its messages are collected and its name is free
-- again. Incarnations are never reused: see `counters`.
CREATE TABLE queues (
    incarnation BIGINT   PRIMARY KEY,
    account     TEXT     NOT NULL,
    region      TEXT     NOT NULL,
    name        TEXT     NOT NULL,
    kind        BIGINT   NOT NULL,          -- 0: standard
    created_at  BIGINT   NOT NULL,
    modified_at BIGINT   NOT NULL,
    deleted_at  BIGINT,
    properties  TEXT     NOT NULL           -- JSON, with its own format version
);

CREATE UNIQUE INDEX queues_by_name ON queues (account, region, name) WHERE deleted_at IS NULL;
CREATE INDEX queues_deleted ON queues (incarnation) WHERE deleted_at IS NOT NULL;

-- One row per shard. `slot` is where its messages are kept: a message's key is slot << 43 | sequence, so that one
-- number is all that the messages need. A slot is used again only when nothing of its last shard is left.
--
-- The row of a busy shard is updated by every commit: room on its page keeps that out of the indexes.
CREATE TABLE shards (
    slot             BIGINT  PRIMARY KEY,
    incarnation      BIGINT  NOT NULL REFERENCES queues,
    shard            INTEGER NOT NULL,
    epoch            BIGINT  NOT NULL,      -- of its owner; rises whenever the shard is taken
    next_sequence    BIGINT  NOT NULL,
    purged_before    BIGINT  NOT NULL,      -- messages below are gone
    collected_before BIGINT  NOT NULL,      -- and below this their rows are, too
    purged_at        BIGINT,
    live             BIGINT  NOT NULL,      -- messages stored and not purged
    clock            BIGINT  NOT NULL,      -- the time of the last decision
    UNIQUE (incarnation, shard)
) WITH (fillfactor = 25, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

CREATE INDEX shards_purged ON shards (slot) WHERE collected_before < purged_before;

-- Written once, removed once. Records stay on their page up to 8 KB, and are never compressed: sealed ones cannot be.
CREATE TABLE messages (
    key     BIGINT PRIMARY KEY,
    sent_at BIGINT NOT NULL,
    record  BYTEA  NOT NULL                 -- sealed
) WITH (toast_tuple_target = 8160);

ALTER TABLE messages ALTER COLUMN record SET STORAGE EXTERNAL;

-- For messages that are delayed (receive_count = 0) or were received.
CREATE TABLE deliveries (
    key               BIGINT PRIMARY KEY,
    sent_at           BIGINT NOT NULL,
    visible_at        BIGINT NOT NULL,
    receive_count     BIGINT NOT NULL,
    first_received_at BIGINT NOT NULL,
    last_received_at  BIGINT NOT NULL
) WITH (fillfactor = 70);

-- Keys for the MAC of receipt handles.
CREATE TABLE mac_keys (
    id     BIGINT PRIMARY KEY,
    secret BYTEA  NOT NULL
);

CREATE TABLE counters (
    name  TEXT   PRIMARY KEY,
    value BIGINT NOT NULL
);

INSERT INTO counters VALUES ('next_incarnation', 1);
