-- Tasks that move messages out of dead-letter queues: those that run, and the last ones that did.
CREATE TABLE move_tasks (
    id             BLOB PRIMARY KEY,         -- 16 bytes
    account        TEXT    NOT NULL,
    region         TEXT    NOT NULL,
    source         TEXT    NOT NULL,         -- the name of the queue that is emptied
    destination    TEXT,                     -- of the same account and region; NULL: back to where each message came from
    per_second     INTEGER,
    status         INTEGER NOT NULL,         -- 0 running, 1 completed, 2 cancelling, 3 cancelled, 4 failed
    failure_reason TEXT,
    moved          INTEGER NOT NULL,
    to_move        INTEGER NOT NULL,
    started_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
