-- The control plane's records: whole objects as JSON documents that start with their format version, under the keys
-- that they are looked up by. Every change takes the next revision of its scope in its own transaction.

CREATE TABLE scopes (
    account  TEXT NOT NULL,
    region   TEXT NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (account, region)
) STRICT, WITHOUT ROWID;

CREATE TABLE functions (
    account  TEXT NOT NULL,
    region   TEXT NOT NULL,
    name     TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (account, region, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE event_source_mappings (
    account          TEXT NOT NULL,
    region           TEXT NOT NULL,
    uuid             TEXT NOT NULL,
    event_source_arn TEXT NOT NULL,
    function_name    TEXT NOT NULL,
    -- '' for the unqualified function: NULLs would not be unique.
    qualifier        TEXT NOT NULL,
    document         TEXT NOT NULL,
    PRIMARY KEY (account, region, uuid)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX event_source_mappings_by_source
    ON event_source_mappings (account, region, event_source_arn, function_name, qualifier);

-- The last changes of each scope, for watchers that come back: kind is function, function_removed, mapping or
-- mapping_removed; the document is absent where the object is gone.
CREATE TABLE changes (
    account  TEXT NOT NULL,
    region   TEXT NOT NULL,
    revision INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    key      TEXT NOT NULL,
    document TEXT,
    PRIMARY KEY (account, region, revision)
) STRICT, WITHOUT ROWID;
