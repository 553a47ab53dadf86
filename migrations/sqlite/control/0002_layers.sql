-- Layer versions: whole objects, as functions are. They have no revisions: nothing watches them.

-- The last number that was given to a version of each layer; it stays when versions are deleted.
CREATE TABLE layers (
    account TEXT NOT NULL,
    region  TEXT NOT NULL,
    name    TEXT NOT NULL,
    latest  INTEGER NOT NULL,
    PRIMARY KEY (account, region, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE layer_versions (
    account  TEXT NOT NULL,
    region   TEXT NOT NULL,
    name     TEXT NOT NULL,
    version  INTEGER NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (account, region, name, version)
) STRICT, WITHOUT ROWID;
