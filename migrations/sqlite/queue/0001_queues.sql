-- Queues, their shards, and messages.
--
-- All times are milliseconds since the Unix epoch. The format of the schema is the number of its last migration,
-- kept in PRAGMA user_version.

-- One row per incarnation of a queue. A deleted one stays until its messages are collected and its name is free
-- again. Incarnations are never reused: see `counters`.
CREATE TABLE queues (
    incarnation INTEGER PRIMARY KEY,
    account     TEXT    NOT NULL,
    region      TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    kind        INTEGER NOT NULL,           -- 0: standard
    created_at  INTEGER NOT NULL,
    modified_at INTEGER NOT NULL,
    deleted_at  INTEGER,
    properties  TEXT    NOT NULL            -- JSON, with its own format version
) STRICT;

CREATE UNIQUE INDEX queues_by_name ON queues (account, region, name) WHERE deleted_at IS NULL;

-- One row per shard. `slot` is where its messages are kept: a message's key is slot << 43 | sequence, so that one
-- integer primary key is all that the messages need. A slot is used again only when nothing of its last shard is
-- left.
CREATE TABLE shards (
    slot             INTEGER PRIMARY KEY,
    incarnation      INTEGER NOT NULL REFERENCES queues,
    shard            INTEGER NOT NULL,
    epoch            INTEGER NOT NULL,      -- of its owner; rises whenever the shard is taken
    next_sequence    INTEGER NOT NULL,
    purged_before    INTEGER NOT NULL,      -- messages below are gone
    collected_before INTEGER NOT NULL,      -- and below this their rows are, too
    purged_at        INTEGER,
    live             INTEGER NOT NULL,      -- messages stored and not purged
    clock            INTEGER NOT NULL,      -- the time of the last decision
    UNIQUE (incarnation, shard)
) STRICT;

-- Written once, removed once.
CREATE TABLE messages (
    key     INTEGER PRIMARY KEY,
    sent_at INTEGER NOT NULL,
    record  BLOB    NOT NULL                -- sealed
) STRICT;

-- For messages that are delayed (receive_count = 0) or were received.
CREATE TABLE deliveries (
    key               INTEGER PRIMARY KEY,
    sent_at           INTEGER NOT NULL,
    visible_at        INTEGER NOT NULL,
    receive_count     INTEGER NOT NULL,
    first_received_at INTEGER NOT NULL,
    last_received_at  INTEGER NOT NULL
) STRICT;

-- Keys for the MAC of receipt handles.
CREATE TABLE mac_keys (
    id     INTEGER PRIMARY KEY,
    secret BLOB NOT NULL
) STRICT;

CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO counters VALUES ('next_incarnation', 1);
