-- FIFO queues: `queues.kind` 1 (deduplication in the queue) and 2 (in each message group), and what they have taken
-- lately.

-- Keyed as the messages are, which these rows outlive: they are dropped after five minutes.
CREATE TABLE deduplications (
    key        BIGINT PRIMARY KEY,
    sent_at    BIGINT NOT NULL,
    id         UUID   NOT NULL,             -- a digest of the deduplication id within its scope: any 16 bytes
    message_id UUID   NOT NULL
);
