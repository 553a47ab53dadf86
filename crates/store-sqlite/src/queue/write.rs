//! A batch of decisions as one transaction of few statements.

use lambfold_queue::store::stored::{BatchRows, attempt_bytes, int, key, slot_start};
use lambfold_queue::store::{FencedWrite, Result, StoreError};
use rusqlite::{Connection, ToSql, Transaction, TransactionBehavior};

use super::driver;

/// Rows per statement, largest first. Few sizes, so that all statements stay prepared.
const SIZES: [usize; 5] = [256, 64, 16, 4, 1];

const INSERT: &str = "INSERT INTO messages (key, sent_at, record) VALUES ";
const DELIVER: &str = "INSERT OR REPLACE INTO deliveries \
    (key, sent_at, visible_at, receive_count, first_received_at, last_received_at, attempt) VALUES ";
const DEDUPLICATE: &str = "INSERT INTO deduplications (key, sent_at, id, message_id) VALUES ";
const FORGET: &str = "DELETE FROM deduplications WHERE key >= ?1 AND key < ?2";
const ADVANCE: &str = "UPDATE shards SET next_sequence = max(next_sequence, ?3), clock = ?4, \
    live = max(live + ?5 - CASE WHEN ?7 < purged_before THEN 0 ELSE ?6 END, 0) WHERE slot = ?1 AND epoch = ?2";
const PURGE: &str = "UPDATE shards SET next_sequence = max(next_sequence, ?3), clock = ?4, \
    live = max(?5 - ?6, 0), purged_before = ?7, purged_at = ?8 WHERE slot = ?1 AND epoch = ?2";

const APPLIED: &str = "UPDATE commit_log SET applied = ?1";

/// The texts of the statements that write many rows, by [`SIZES`].
#[derive(Debug)]
pub(super) struct Statements {
    insert: [String; SIZES.len()],
    deliver: [String; SIZES.len()],
    deduplicate: [String; SIZES.len()],
    delete_messages: [String; SIZES.len()],
    delete_deliveries: [String; SIZES.len()],
}

impl Statements {
    pub(super) fn new() -> Self {
        let rows = |start: &str, row: &str| SIZES.map(|size| format!("{start}{}", vec![row; size].join(",")));
        let keys = |table: &str| {
            SIZES.map(|size| format!("DELETE FROM {table} WHERE key IN ({})", vec!["?"; size].join(",")))
        };
        Self {
            insert: rows(INSERT, "(?,?,?)"),
            deduplicate: rows(DEDUPLICATE, "(?,?,?,?)"),
            deliver: rows(DELIVER, "(?,?,?,?,?,?,?)"),
            delete_messages: keys("messages"),
            delete_deliveries: keys("deliveries"),
        }
    }

    /// Applies the batch; `slots` are those of its shards. `through` is how far the commit log is applied with it.
    pub(super) fn apply(
        &self,
        connection: &mut Connection,
        batch: &[FencedWrite],
        slots: &[i64],
        through: Option<i64>,
    ) -> Result<()> {
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(driver)?;
        for (FencedWrite { shard, epoch, write }, slot) in batch.iter().zip(slots) {
            // What one write removes lies on one side of any purge.
            let live = write.live_change(0);
            let lowest = write.deletes.iter().min().copied().unwrap_or(u64::MAX);
            let common = (*slot, int(*epoch), int(write.next_sequence), write.clock.millis());
            let changed = match write.purge {
                None => transaction.prepare_cached(ADVANCE).and_then(|mut s| {
                    let (added, removed) = (int(live.added), int(live.removed));
                    s.execute((common.0, common.1, common.2, common.3, added, removed, int(lowest)))
                }),
                Some((before, at)) => transaction.prepare_cached(PURGE).and_then(|mut s| {
                    let (added, removed) = (int(live.added), int(live.removed));
                    s.execute((
                        common.0,
                        common.1,
                        common.2,
                        common.3,
                        added,
                        removed,
                        int(before),
                        at.millis(),
                    ))
                }),
            };
            if changed.map_err(driver)? == 0 {
                return Err(StoreError::Fenced(*shard));
            }
        }
        self.write_rows(&transaction, batch, slots).map_err(driver)?;
        if let Some(through) = through {
            transaction.prepare_cached(APPLIED).and_then(|mut s| s.execute((through,))).map_err(driver)?;
        }
        transaction.commit().map_err(driver)
    }

    fn write_rows(
        &self,
        transaction: &Transaction<'_>,
        batch: &[FencedWrite],
        slots: &[i64],
    ) -> rusqlite::Result<()> {
        let BatchRows { inserts, deliveries, deduplications, deletes } = BatchRows::of(batch, slots);
        write(transaction, &self.insert, &inserts, |bind, (key, row)| {
            bind(key)?;
            bind(&row.sent_at.millis())?;
            bind(&&row.record[..])
        })?;
        write(transaction, &self.deliver, &deliveries, |bind, (key, row)| {
            bind(key)?;
            bind(&row.sent_at.millis())?;
            bind(&row.visible_at.millis())?;
            bind(&row.receive_count)?;
            bind(&row.first_received_at.millis())?;
            bind(&row.last_received_at.millis())?;
            bind(&row.attempt.map(attempt_bytes))
        })?;
        write(transaction, &self.deduplicate, &deduplications, |bind, (key, row)| {
            bind(key)?;
            bind(&row.sent_at.millis())?;
            bind(&&row.id.to_be_bytes()[..])?;
            bind(&&row.message_id.as_bytes()[..])
        })?;
        for (write, slot) in batch.iter().map(|write| &write.write).zip(slots) {
            if let Some(before) = write.deduplicated_before {
                transaction.prepare_cached(FORGET)?.execute((slot_start(*slot), key(*slot, before)))?;
            }
        }
        write(transaction, &self.delete_messages, &deletes, |bind, key| bind(key))?;
        write(transaction, &self.delete_deliveries, &deletes, |bind, key| bind(key))
    }
}

/// Runs the statements that it takes for all `rows`; `bind_row` binds the parameters of one row, in order.
fn write<T>(
    transaction: &Transaction<'_>,
    texts: &[String; SIZES.len()],
    mut rows: &[T],
    bind_row: impl Fn(&mut dyn FnMut(&dyn ToSql) -> rusqlite::Result<()>, &T) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    for (size, text) in SIZES.into_iter().zip(texts) {
        if rows.len() < size {
            continue;
        }
        let mut statement = transaction.prepare_cached(text)?;
        while let Some((these, rest)) = rows.split_at_checked(size) {
            let mut index = 0;
            let mut bind = |value: &dyn ToSql| {
                index += 1;
                statement.raw_bind_parameter(index, value)
            };
            for row in these {
                bind_row(&mut bind, row)?;
            }
            statement.raw_execute()?;
            rows = rest;
        }
    }
    Ok(())
}
