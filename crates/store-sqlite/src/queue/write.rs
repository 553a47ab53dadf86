//! A batch of decisions as one transaction of few statements.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use lambfold_queue::store::stored::{BatchRows, attempt_bytes, int, key, slot_start};
use lambfold_queue::store::{FencedWrite, Result, ShardHead, StoreError};
use lambfold_types::Timestamp;
use rusqlite::{Connection, OptionalExtension, ToSql, Transaction, TransactionBehavior};

use super::{driver, read};

/// From so many keys on a run of them is deleted by its ends.
const RUN: usize = 8;

/// Rows per statement, largest first. Few sizes, so that all statements stay prepared.
const SIZES: [usize; 5] = [256, 64, 16, 4, 1];

const INSERT: &str = "INSERT INTO messages (key, sent_at, record) VALUES ";
const DELIVER: &str = "INSERT OR REPLACE INTO deliveries \
    (key, sent_at, visible_at, receive_count, first_received_at, last_received_at, attempt) VALUES ";
const DEDUPLICATE: &str = "INSERT INTO deduplications (key, sent_at, id, message_id) VALUES ";
const FORGET: &str = "DELETE FROM deduplications WHERE key >= ?1 AND key < ?2";
const HEAD: &str =
    "SELECT epoch, next_sequence, purged_before, purged_at, live, clock FROM shards WHERE slot = ?1";
const ADVANCE: &str = "UPDATE shards SET next_sequence = ?2, purged_before = ?3, purged_at = ?4, live = ?5, clock = ?6 \
    WHERE slot = ?1";
const APPLIED: &str = "UPDATE commit_log SET applied = ?1";

/// The texts of the statements that write many rows, by [`SIZES`].
#[derive(Debug)]
pub(super) struct Statements {
    insert: [String; SIZES.len()],
    deliver: [String; SIZES.len()],
    deduplicate: [String; SIZES.len()],
    delete: [Delete; 2],
}

/// The same of one table's deletes.
#[derive(Debug)]
struct Delete {
    keys: [String; SIZES.len()],
    /// Of keys that follow each other.
    run: String,
}

impl Delete {
    fn from(table: &str) -> Self {
        Self {
            keys: SIZES
                .map(|size| format!("DELETE FROM {table} WHERE key IN ({})", vec!["?"; size].join(","))),
            run: format!("DELETE FROM {table} WHERE key BETWEEN ?1 AND ?2"),
        }
    }
}

impl Statements {
    pub(super) fn new() -> Self {
        let rows = |start: &str, row: &str| SIZES.map(|size| format!("{start}{}", vec![row; size].join(",")));
        Self {
            insert: rows(INSERT, "(?,?,?)"),
            deduplicate: rows(DEDUPLICATE, "(?,?,?,?)"),
            deliver: rows(DELIVER, "(?,?,?,?,?,?,?)"),
            delete: ["messages", "deliveries"].map(Delete::from),
        }
    }

    /// Applies the batch; `slots` are those of its shards. `through` is how far the commit log is applied with it, where there is
    /// one: then epochs have been looked at.
    pub(super) fn apply(
        &self,
        connection: &mut Connection,
        batch: &[FencedWrite],
        slots: &[i64],
        through: Option<i64>,
    ) -> Result<()> {
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(driver)?;
        let mut heads: BTreeMap<i64, ShardHead> = BTreeMap::new();
        for (FencedWrite { shard, epoch, write }, slot) in batch.iter().zip(slots) {
            let head = match heads.entry(*slot) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => {
                    let found = head(&transaction, *slot).map_err(driver)?;
                    unknown.insert(found.ok_or(StoreError::Fenced(*shard))?)
                }
            };
            // Of what the log had that was looked at before it was answered.
            if head.epoch != *epoch && through.is_none() {
                return Err(StoreError::Fenced(*shard));
            }
            head.live = write.live_change(head.purged_before).apply(head.live);
            head.next_sequence = head.next_sequence.max(write.next_sequence);
            head.clock = write.clock;
            if let Some((before, at)) = write.purge {
                (head.purged_before, head.purged_at) = (before, Some(at));
            }
        }
        for (slot, head) in &heads {
            advance(&transaction, *slot, head).map_err(driver)?;
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
        let (runs, single) = runs(&deletes);
        for delete in &self.delete {
            for run in &runs {
                transaction.prepare_cached(&delete.run)?.execute(*run)?;
            }
            write(transaction, &delete.keys, &single, |bind, key| bind(key))?;
        }
        Ok(())
    }
}

/// What the database knows of a shard.
fn head(transaction: &Transaction<'_>, slot: i64) -> rusqlite::Result<Option<ShardHead>> {
    transaction.prepare_cached(HEAD)?.query_row((slot,), read::head).optional()
}

fn advance(transaction: &Transaction<'_>, slot: i64, head: &ShardHead) -> rusqlite::Result<usize> {
    transaction.prepare_cached(ADVANCE)?.execute((
        slot,
        int(head.next_sequence),
        int(head.purged_before),
        head.purged_at.map(Timestamp::millis),
        int(head.live),
        head.clock.millis(),
    ))
}

/// Rising keys, as runs of such as follow each other (first and last), and those that are in none. A queue that is worked off
/// from its head is deleted in long ones, each of which costs two searches instead of two for each message.
fn runs(keys: &[i64]) -> (Vec<(i64, i64)>, Vec<i64>) {
    let (mut runs, mut single) = (Vec::new(), Vec::new());
    for run in keys.chunk_by(|one, next| one + 1 == *next) {
        match run {
            [first, .., last] if run.len() >= RUN => runs.push((*first, *last)),
            _ => single.extend_from_slice(run),
        }
    }
    (runs, single)
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
