-- Log groups, streams and events. Ids are never given twice, so that what is deleted cannot come back under a name that
-- is used again; its events are removed step by step (deleted). Sizes are as AWS counts them: text and 26 bytes.

CREATE TABLE groups (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    account        TEXT NOT NULL,
    region         TEXT NOT NULL,
    name           TEXT NOT NULL,
    created_ms     INTEGER NOT NULL,
    -- JSON that starts with its format version.
    settings       TEXT NOT NULL,
    -- Also in the settings; here for who removes what has expired.
    retention_days INTEGER,
    stored_bytes   INTEGER NOT NULL,
    UNIQUE (account, region, name)
) STRICT;

CREATE INDEX groups_with_retention ON groups (id) WHERE retention_days IS NOT NULL;

CREATE TABLE streams (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    group_id    INTEGER NOT NULL,
    name        TEXT NOT NULL,
    created_ms  INTEGER NOT NULL,
    first_ms    INTEGER,
    -- 0 while there is no event: the order of DescribeLogStreams.
    last_ms     INTEGER NOT NULL,
    ingested_ms INTEGER,
    UNIQUE (group_id, name)
) STRICT;

CREATE INDEX streams_by_last_event ON streams (group_id, last_ms, name);

CREATE TABLE events (
    -- The order of arrival over all groups: what is evicted first.
    sequence    INTEGER PRIMARY KEY,
    group_id    INTEGER NOT NULL,
    stream_id   INTEGER NOT NULL,
    time_ms     INTEGER NOT NULL,
    ingested_ms INTEGER NOT NULL,
    message     TEXT NOT NULL
) STRICT;

CREATE INDEX events_by_stream ON events (stream_id, time_ms, sequence);
CREATE INDEX events_by_group ON events (group_id, time_ms, sequence);

-- Groups ('group') and streams ('stream') whose events are still to be removed.
CREATE TABLE deleted (
    kind TEXT NOT NULL,
    id   INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

-- One row. The next sequence, and the size of all events.
CREATE TABLE totals (
    only          INTEGER PRIMARY KEY CHECK (only = 1),
    next_sequence INTEGER NOT NULL,
    stored_bytes  INTEGER NOT NULL
) STRICT;

INSERT INTO totals VALUES (1, 1, 0);
