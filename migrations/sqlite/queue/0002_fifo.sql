-- FIFO queues: `queues.kind` 1 (deduplication in the queue) and 2 (in each message group), and what they have taken
-- lately.

-- Keyed as the messages are, which these rows outlive: they are dropped after five minutes.
CREATE TABLE deduplications (
    key        INTEGER PRIMARY KEY,
    sent_at    INTEGER NOT NULL,
    id         BLOB    NOT NULL,            -- a digest of the deduplication id within its scope, 16 bytes
    message_id BLOB    NOT NULL             -- 16 bytes
) STRICT;
