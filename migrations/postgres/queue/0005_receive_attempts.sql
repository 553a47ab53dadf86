-- The receive that a message of a FIFO queue is in flight by, if it can be repeated (`ReceiveRequestAttemptId`): a digest
-- of its name (16 bytes), how many messages it got (one byte) and the owner's epoch (eight bytes).
ALTER TABLE deliveries ADD COLUMN attempt BYTEA;

DROP FUNCTION apply_batch;

-- Applies a batch: all of it, or it fails with LF001 if a shard has not the epoch that its owner decided under. The
-- first arrays have an element for each shard, in the order of slots, in which their rows are locked; `purges` has NULL
-- for a shard that is not purged. A deleted queue's shards have epochs that no owner knows.
CREATE FUNCTION apply_batch(
    slots BIGINT[], incarnations BIGINT[], epochs BIGINT[],
    next_sequences BIGINT[], clocks BIGINT[], lives BIGINT[], purges BIGINT[], purge_times BIGINT[],
    message_keys BIGINT[], message_times BIGINT[], records BYTEA[],
    delivery_keys BIGINT[], delivery_times BIGINT[], visible_ats BIGINT[], receive_counts BIGINT[],
    first_received_ats BIGINT[], last_received_ats BIGINT[], attempts BYTEA[],
    deduplication_keys BIGINT[], deduplication_times BIGINT[], deduplication_ids UUID[], message_ids UUID[],
    forget_from BIGINT[], forget_before BIGINT[],
    deletes BIGINT[]
) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    changed BIGINT;
BEGIN
    IF cardinality(slots) > 1 THEN
        PERFORM 1 FROM shards WHERE slot = ANY (slots) ORDER BY slot FOR NO KEY UPDATE;
    END IF;
    UPDATE shards SET
        next_sequence = greatest(shards.next_sequence, new.next_sequence),
        clock = new.clock,
        live = greatest(CASE WHEN new.purge IS NULL THEN shards.live ELSE 0 END + new.live, 0),
        purged_before = coalesce(new.purge, shards.purged_before),
        purged_at = coalesce(new.purge_time, shards.purged_at)
    FROM unnest(slots, incarnations, epochs, next_sequences, clocks, lives, purges, purge_times)
        AS new (slot, incarnation, epoch, next_sequence, clock, live, purge, purge_time)
    WHERE shards.slot = new.slot AND shards.incarnation = new.incarnation AND shards.epoch = new.epoch;
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed <> cardinality(slots) THEN
        RAISE EXCEPTION 'a shard has a newer owner' USING ERRCODE = 'LF001';
    END IF;
    IF cardinality(message_keys) > 0 THEN
        INSERT INTO messages (key, sent_at, record) SELECT * FROM unnest(message_keys, message_times, records);
    END IF;
    IF cardinality(delivery_keys) > 0 THEN
        INSERT INTO deliveries (key, sent_at, visible_at, receive_count, first_received_at, last_received_at,
            attempt)
        SELECT * FROM unnest(delivery_keys, delivery_times, visible_ats, receive_counts, first_received_ats,
            last_received_ats, attempts)
        ON CONFLICT (key) DO UPDATE SET
            sent_at = excluded.sent_at,
            visible_at = excluded.visible_at,
            receive_count = excluded.receive_count,
            first_received_at = excluded.first_received_at,
            last_received_at = excluded.last_received_at,
            attempt = excluded.attempt;
    END IF;
    IF cardinality(deduplication_keys) > 0 THEN
        INSERT INTO deduplications (key, sent_at, id, message_id)
        SELECT * FROM unnest(deduplication_keys, deduplication_times, deduplication_ids, message_ids);
    END IF;
    FOR number IN 1 .. cardinality(forget_from) LOOP
        DELETE FROM deduplications WHERE key >= forget_from[number] AND key < forget_before[number];
    END LOOP;
    IF cardinality(deletes) > 0 THEN
        DELETE FROM messages WHERE key = ANY (deletes);
        DELETE FROM deliveries WHERE key = ANY (deletes);
    END IF;
END
$$;
