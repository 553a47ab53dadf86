//! Removing what purged and deleted queues left behind, a little at a time.

use lambfold_queue::store::Result;
use lambfold_queue::store::stored::{int, key, slot_start, uint};
use lambfold_types::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::driver;

/// Whether there may be something to remove.
#[derive(Debug)]
pub(super) struct Garbage {
    suspected: bool,
}

/// A shard with rows that nobody can see.
struct Shard {
    slot: i64,
    /// The key above them.
    end: i64,
    deleted: bool,
}

impl Garbage {
    pub(super) fn suspected() -> Self {
        Self { suspected: true }
    }

    pub(super) fn suspect(&mut self) {
        self.suspected = true;
    }

    /// Removes up to `limit` rows; whether there may be more.
    pub(super) fn collect(
        &mut self,
        connection: &mut Connection,
        limit: usize,
        forget_before: Timestamp,
    ) -> Result<bool> {
        if !self.suspected {
            return Ok(false);
        }
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(driver)?;
        let (more, waits) = collect(&transaction, limit, forget_before).map_err(driver)?;
        transaction.commit().map_err(driver)?;
        self.suspected = more || waits;
        Ok(more)
    }
}

/// Whether there may be more now, and whether there will be later.
fn collect(
    transaction: &Transaction<'_>,
    limit: usize,
    forget_before: Timestamp,
) -> rusqlite::Result<(bool, bool)> {
    let mut left = limit;
    while let Some(shard) = next(transaction)? {
        for table in ["deliveries", "deduplications", "messages"] {
            left -= remove(transaction, table, slot_start(shard.slot), shard.end, left)?;
        }
        if left == 0 {
            return Ok((true, true));
        }
        if shard.deleted {
            transaction.execute("DELETE FROM shards WHERE slot = ?1", (shard.slot,))?;
        } else {
            transaction.execute(
                "UPDATE shards SET collected_before = purged_before WHERE slot = ?1",
                (shard.slot,),
            )?;
        }
    }
    let forget = "DELETE FROM queues WHERE deleted_at < ?1";
    transaction.execute(forget, (forget_before.millis(),))?;
    let remembered = "SELECT EXISTS (SELECT 1 FROM queues WHERE deleted_at IS NOT NULL)";
    Ok((false, transaction.query_row(remembered, [], |row| row.get(0))?))
}

fn next(transaction: &Transaction<'_>) -> rusqlite::Result<Option<Shard>> {
    let sql = "SELECT slot, purged_before, deleted_at IS NOT NULL FROM shards JOIN queues USING (incarnation) \
               WHERE deleted_at IS NOT NULL OR collected_before < purged_before LIMIT 1";
    transaction
        .query_row(sql, [], |row| {
            let (slot, purged_before, deleted): (i64, i64, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let end = if deleted { key(slot, u64::MAX) } else { key(slot, uint(purged_before)) };
            Ok(Shard { slot, end, deleted })
        })
        .optional()
}

fn remove(
    transaction: &Transaction<'_>,
    table: &str,
    from: i64,
    end: i64,
    limit: usize,
) -> rusqlite::Result<usize> {
    let sql = format!(
        "DELETE FROM {table} WHERE key IN (SELECT key FROM {table} WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3)"
    );
    transaction.prepare_cached(&sql)?.execute((from, end, int(limit as u64)))
}
