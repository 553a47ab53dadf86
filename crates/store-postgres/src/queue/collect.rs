//! Removing what purged and deleted queues left behind, a little at a time, by one node at a time.

use lambfold_queue::store::Result;
use lambfold_queue::store::stored::{int, key, sequence, uint};
use lambfold_types::Timestamp;

use crate::connection::Session;

/// Whether there is anything to do, now or later.
const ANY: &str = "SELECT 1 WHERE EXISTS (SELECT 1 FROM queues WHERE deleted_at IS NOT NULL) \
    OR EXISTS (SELECT 1 FROM shards WHERE collected_before < purged_before)";

/// No row if another node collects.
const COLLECTOR: &str = "SELECT 1 FROM counters WHERE name = 'collector' FOR UPDATE SKIP LOCKED";

const DELETED: &str = "SELECT slot, collected_before FROM queues JOIN shards USING (incarnation) \
    WHERE deleted_at IS NOT NULL LIMIT 1";

const PURGED: &str =
    "SELECT slot, collected_before, purged_before FROM shards WHERE collected_before < purged_before LIMIT 1";

const DELIVERIES: &str = "DELETE FROM deliveries WHERE key = ANY (ARRAY(SELECT key FROM deliveries \
    WHERE key >= $1 AND key < $2 ORDER BY key LIMIT $3))";

const DEDUPLICATIONS: &str = "DELETE FROM deduplications WHERE key = ANY (ARRAY(SELECT key FROM deduplications \
    WHERE key >= $1 AND key < $2 ORDER BY key LIMIT $3))";

const MESSAGES: &str = "WITH gone AS (DELETE FROM messages WHERE key = ANY (ARRAY(SELECT key FROM messages \
    WHERE key >= $1 AND key < $2 ORDER BY key LIMIT $3)) RETURNING key) SELECT count(*), max(key) FROM gone";

/// A deleted queue is forgotten, but its row stays for ten minutes more, so that others hear of it.
const FORGET: &str = "UPDATE queues SET forgotten_at = clock_timestamp() WHERE deleted_at < $1 \
    AND forgotten_at IS NULL AND NOT EXISTS (SELECT 1 FROM shards WHERE shards.incarnation = queues.incarnation)";

const REMOVE: &str = "WITH gone AS (DELETE FROM queues \
        WHERE deleted_at IS NOT NULL AND forgotten_at < clock_timestamp() - interval '10 minutes' RETURNING revision) \
    UPDATE counters SET value = greatest(value, (SELECT max(revision) FROM gone)) \
    WHERE name = 'forgotten_revision' AND EXISTS (SELECT 1 FROM gone)";

/// A shard with rows that nobody can see.
struct Shard {
    slot: i64,
    /// Its keys from here on...
    start: i64,
    /// ...to below here are to go.
    end: i64,
    /// If it is purged only, up to which sequence.
    purged_before: Option<i64>,
}

/// What came of a step.
enum Step {
    /// Nothing is left of that shard.
    Shard,
    /// The rows that may be removed at once were.
    Limit,
    /// Nothing is left.
    All,
}

/// Removes up to `limit` rows; whether there may be more.
pub(super) async fn collect(session: &mut Session, limit: usize, forget_before: Timestamp) -> Result<bool> {
    if session.row(ANY, &[]).await?.is_none() {
        return Ok(false);
    }
    let mut left = limit;
    loop {
        // One shard in a transaction: a commit that waits for it never has what the next one would wait for.
        let step = session
            .transaction(async |session| {
                if session.row(COLLECTOR, &[]).await?.is_none() {
                    return Ok(Step::All);
                }
                if let Some(shard) = next(session).await? {
                    return remove(session, &shard, &mut left).await;
                }
                session.execute(FORGET, &[&forget_before.millis()]).await?;
                session.execute(REMOVE, &[]).await?;
                Ok(Step::All)
            })
            .await?;
        match step {
            Step::Shard => {}
            Step::Limit => return Ok(true),
            Step::All => return Ok(false),
        }
    }
}

async fn next(session: &mut Session) -> Result<Option<Shard>> {
    if let Some(row) = session.row(DELETED, &[]).await? {
        let slot = row.get(0);
        let (start, end) = (key(slot, uint(row.get(1))), key(slot, u64::MAX));
        return Ok(Some(Shard { slot, start, end, purged_before: None }));
    }
    Ok(session.row(PURGED, &[]).await?.map(|row| {
        let (slot, purged_before): (i64, i64) = (row.get(0), row.get(2));
        let (start, end) = (key(slot, uint(row.get(1))), key(slot, uint(purged_before)));
        Shard { slot, start, end, purged_before: Some(purged_before) }
    }))
}

async fn remove(session: &mut Session, shard: &Shard, left: &mut usize) -> Result<Step> {
    let Shard { slot, start, end, purged_before } = shard;
    for sql in [DELIVERIES, DEDUPLICATIONS] {
        let removed = session.execute(sql, &[start, end, &int(*left as u64)]).await?;
        *left = left.saturating_sub(usize::try_from(removed).unwrap_or(usize::MAX));
    }
    let (removed, last): (i64, Option<i64>) =
        match session.row(MESSAGES, &[start, end, &int(*left as u64)]).await? {
            Some(row) => (row.get(0), row.get(1)),
            None => (0, None),
        };
    *left = left.saturating_sub(usize::try_from(removed).unwrap_or(usize::MAX));
    let collected = "UPDATE shards SET collected_before = $2 WHERE slot = $1";
    if *left == 0 {
        if let Some(last) = last {
            // The next step need not pass what is gone.
            session.execute(collected, &[slot, &int(sequence(last) + 1)]).await?;
        }
        return Ok(Step::Limit);
    }
    match purged_before {
        Some(purged_before) => session.execute(collected, &[slot, purged_before]).await?,
        None => session.execute("DELETE FROM shards WHERE slot = $1", &[slot]).await?,
    };
    Ok(Step::Shard)
}
