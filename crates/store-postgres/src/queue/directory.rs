//! Queues and keys: small, rare, written by themselves.

use lambfold_queue::store::stored::{QueueColumns, SLOT_END, inconsistent, int, mac_key, uint};
use lambfold_queue::store::{
    Directory, DirectoryChange, DirectoryNews, QueueRow, Result, ShardKey, StoreError,
};
use tokio_postgres::Row;

use crate::connection::{Param, Session, has_state};

use super::move_tasks;

/// Locks the counter until the transaction ends: so the order of revisions is the order of commits.
const REVISE: &str = "UPDATE counters SET value = value + 1 WHERE name = 'revision' RETURNING value";

const UNIQUE_VIOLATION: &str = "23505";

pub(super) async fn load(session: &mut Session) -> Result<Directory> {
    session
        .transaction_of("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", async |session| {
            let mut directory =
                Directory { move_tasks: move_tasks::load(session).await?, ..Directory::default() };
            let revision = "SELECT value FROM counters WHERE name = 'revision'";
            let revision = session.row(revision, &[]).await?;
            directory.revision = revision.map_or(0, |row| uint(row.get(0)));
            let sql = "SELECT incarnation, account, region, name, kind, created_at, modified_at, deleted_at, properties \
                       FROM queues WHERE forgotten_at IS NULL ORDER BY incarnation";
            for row in session.rows(sql, &[]).await? {
                columns(&row).add_to(&mut directory)?;
            }
            for row in session.rows("SELECT id, secret FROM mac_keys ORDER BY id", &[]).await? {
                let id = u32::try_from(row.get::<_, i64>(0))
                    .map_err(|_| inconsistent("mac_keys", "an impossible id"))?;
                directory.mac_keys.push(mac_key(id, row.get(1))?);
            }
            Ok(directory)
        })
        .await
}

/// One statement, and so one moment.
pub(super) async fn news(session: &mut Session, revision: u64) -> Result<DirectoryNews> {
    let sql = "SELECT incarnation, account, region, name, kind, created_at, modified_at, deleted_at, properties, \
                   revisions.latest, revisions.complete \
               FROM (SELECT latest.value AS latest, $1 < forgotten.value AS complete \
                   FROM counters AS latest, counters AS forgotten \
                   WHERE latest.name = 'revision' AND forgotten.name = 'forgotten_revision') AS revisions \
               LEFT JOIN queues ON queues.revision > $1 OR (complete AND deleted_at IS NULL) ORDER BY incarnation";
    let mut news = DirectoryNews::default();
    for row in session.rows(sql, &[&int(revision)]).await? {
        news.revision = uint(row.get(9));
        news.complete = row.get(10);
        let Some(incarnation) = row.get::<_, Option<i64>>(0) else { continue };
        match row.get::<_, Option<i64>>(7) {
            None => news.queues.push(columns(&row).try_into()?),
            Some(_) => news.deleted.push(uint(incarnation)),
        }
    }
    Ok(news)
}

pub(super) async fn change(session: &mut Session, change: &DirectoryChange) -> Result<()> {
    session
        .transaction(async |session| match change {
            DirectoryChange::SetProperties { incarnation, properties, modified_at } => {
                let sql = "UPDATE queues SET properties = $2, modified_at = $3, revision = $4 \
                           WHERE incarnation = $1 AND deleted_at IS NULL";
                let (properties, revision) = (QueueColumns::properties(properties), revise(session).await?);
                let params: [Param<'_>; 4] =
                    [&int(*incarnation), &properties, &modified_at.millis(), &revision];
                one(*incarnation, session.execute(sql, &params).await?)
            }
            DirectoryChange::Delete { incarnation, deleted_at } => {
                let sql = "UPDATE queues SET deleted_at = $2, revision = $3 \
                           WHERE incarnation = $1 AND deleted_at IS NULL";
                let revision = revise(session).await?;
                let params: [Param<'_>; 3] = [&int(*incarnation), &deleted_at.millis(), &revision];
                one(*incarnation, session.execute(sql, &params).await?)?;
                // Fences the owners, in the order in which a commit locks its shards.
                let lock = "SELECT slot FROM shards WHERE incarnation = $1 ORDER BY slot FOR NO KEY UPDATE";
                session.rows(lock, &[&int(*incarnation)]).await?;
                let fence = "UPDATE shards SET epoch = epoch + 1, owner = NULL WHERE incarnation = $1";
                session.execute(fence, &[&int(*incarnation)]).await.map(|_| ())
            }
            DirectoryChange::AddMacKey(key) => {
                let sql = "INSERT INTO mac_keys (id, secret) VALUES ($1, $2)";
                session.execute(sql, &[&i64::from(key.id), &&key.secret[..]]).await.map(|_| ())
            }
            DirectoryChange::PutMoveTask(task) => move_tasks::put(session, task).await,
            DirectoryChange::ForgetMoveTask(id) => move_tasks::forget(session, *id).await,
        })
        .await
}

/// Returns the queue as it is stored.
pub(super) async fn create(session: &mut Session, row: &QueueRow) -> Result<QueueRow> {
    let next = "UPDATE counters SET value = value + 1 WHERE name = 'next_incarnation' RETURNING value - 1";
    let queue = "INSERT INTO queues \
                 (incarnation, account, region, name, kind, created_at, modified_at, properties, revision) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let shard = "INSERT INTO shards (slot, incarnation, shard, epoch, next_sequence, purged_before, collected_before, \
                 purged_at, live, clock) VALUES ($1, $2, 0, 0, 1, 0, 0, NULL, 0, 0)";
    let created = session
        .transaction(async |session| {
            // Also the lock under which slots are found.
            let revision = revise(session).await?;
            let incarnation = session.row(next, &[]).await?.ok_or_else(no_counter)?.get(0);
            let columns = QueueColumns::of(row, incarnation);
            let params: [Param<'_>; 9] = [
                &columns.incarnation,
                &columns.account,
                &columns.region,
                &columns.name,
                &columns.kind,
                &columns.created_at,
                &columns.modified_at,
                &columns.properties,
                &revision,
            ];
            session.execute(queue, &params).await?;
            let slot = free_slot(session).await?;
            session.execute(shard, &[&slot, &incarnation]).await?;
            Ok(QueueRow { incarnation: uint(incarnation), ..row.clone() })
        })
        .await;
    created.map_err(|error| match error {
        error if has_state(&error, UNIQUE_VIOLATION) => StoreError::NameTaken,
        error => error,
    })
}

async fn revise(session: &mut Session) -> Result<i64> {
    Ok(session.row(REVISE, &[]).await?.ok_or_else(no_counter)?.get(0))
}

fn no_counter() -> StoreError {
    inconsistent("counters", "a counter is missing")
}

/// A slot that no shard has; one behind all others as long as there is one.
async fn free_slot(session: &mut Session) -> Result<i64> {
    let behind = "SELECT coalesce(max(slot) + 1, 0) FROM shards";
    let slot = session.row(behind, &[]).await?.map_or(0, |row| row.get(0));
    if slot < SLOT_END {
        return Ok(slot);
    }
    let gap = "SELECT 0::bigint WHERE NOT EXISTS (SELECT 1 FROM shards WHERE slot = 0) UNION ALL \
               SELECT slot + 1 FROM shards AS lower WHERE slot + 1 < $1 \
               AND NOT EXISTS (SELECT 1 FROM shards WHERE slot = lower.slot + 1) LIMIT 1";
    session.row(gap, &[&SLOT_END]).await?.map(|row| row.get(0)).ok_or(StoreError::Full)
}

fn one(incarnation: u64, changed: u64) -> Result<()> {
    match changed {
        0 => Err(StoreError::NoSuchShard(ShardKey { incarnation, shard: 0 })),
        _ => Ok(()),
    }
}

fn columns(row: &Row) -> QueueColumns {
    QueueColumns {
        incarnation: row.get(0),
        account: row.get(1),
        region: row.get(2),
        name: row.get(3),
        kind: row.get(4),
        created_at: row.get(5),
        modified_at: row.get(6),
        deleted_at: row.get(7),
        properties: row.get(8),
    }
}
