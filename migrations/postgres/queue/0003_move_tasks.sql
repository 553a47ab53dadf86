-- Tasks that move messages out of dead-letter queues: those that run, and the last ones that did.
CREATE TABLE move_tasks (
    id             UUID   PRIMARY KEY,
    account        TEXT   NOT NULL,
    region         TEXT   NOT NULL,
    source         TEXT   NOT NULL,         -- the name of the queue that is emptied
    destination    TEXT,                    -- of the same account and region; NULL: back to where each message came from
    per_second     BIGINT,
    status         BIGINT NOT NULL,         -- 0 running, 1 completed, 2 cancelling, 3 cancelled, 4 failed
    failure_reason TEXT,
    moved          BIGINT NOT NULL,
    to_move        BIGINT NOT NULL,
    started_at     BIGINT NOT NULL
);

CREATE INDEX move_tasks_by_source ON move_tasks (account, region, source);
