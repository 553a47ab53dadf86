-- Published versions of functions: whole objects, as functions are, and watched as they are (kind `version`). What a
-- function remembers of them, its aliases and its concurrency are in the function's document.

CREATE TABLE function_versions (
    account  TEXT NOT NULL,
    region   TEXT NOT NULL,
    name     TEXT NOT NULL,
    version  INTEGER NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (account, region, name, version)
) STRICT, WITHOUT ROWID;
