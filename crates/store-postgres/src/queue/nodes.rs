//! Nodes, their leases, and who owns which shard. Time is the server's, as of the statement: `clock_timestamp()`.

use std::time::Duration;

use lambfold_queue::store::stored::int;
use lambfold_queue::store::{Result, ShardHead, ShardKey, StoreError};
use uuid::Uuid;

use crate::connection::{Param, Session};

use super::read;

/// What this process is to the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Membership {
    /// The only process, as far as it knows.
    #[default]
    Single,
    /// One of several.
    Node(Uuid),
    /// It was one, and gave up its lease.
    Left,
}

/// Only one process at a time can listen at an address: whoever joined from there before has ended.
const SUCCEED: &str = "DELETE FROM nodes WHERE address = $1";

const JOIN: &str = "INSERT INTO nodes (id, address, expires_at) \
    VALUES (gen_random_uuid(), $1, clock_timestamp() + make_interval(secs => $2)) RETURNING id";

/// Nobody needs the row of a lease that has run out: a shard's owner that has none may be replaced, too.
const CLEAN: &str = "DELETE FROM nodes WHERE id IN (SELECT id FROM nodes \
    WHERE expires_at < clock_timestamp() - interval '1 minute' FOR UPDATE SKIP LOCKED)";

const RENEW: &str = "UPDATE nodes SET expires_at = clock_timestamp() + make_interval(secs => $2) \
    WHERE id = $1 AND expires_at > clock_timestamp()";

/// Becomes a new node.
pub(super) async fn join(session: &mut Session, address: &str, lease: Duration) -> Result<Uuid> {
    session.execute(CLEAN, &[]).await?;
    session.execute(SUCCEED, &[&address]).await?;
    let row = session.row(JOIN, &[&address, &lease.as_secs_f64()]).await?;
    row.map(|row| row.get(0)).ok_or(StoreError::LeaseLost)
}

pub(super) async fn renew(session: &mut Session, id: Uuid, lease: Duration) -> Result<()> {
    match session.execute(RENEW, &[&id, &lease.as_secs_f64()]).await? {
        0 => Err(StoreError::LeaseLost),
        _ => Ok(()),
    }
}

pub(super) async fn leave(session: &mut Session, id: Uuid) -> Result<()> {
    session
        .transaction(async |session| {
            // In the order in which a commit locks them.
            session
                .rows("SELECT slot FROM shards WHERE owner = $1 ORDER BY slot FOR NO KEY UPDATE", &[&id])
                .await?;
            session.execute("UPDATE shards SET owner = NULL WHERE owner = $1", &[&id]).await?;
            session.execute("DELETE FROM nodes WHERE id = $1", &[&id]).await?;
            Ok(())
        })
        .await
}

/// Raises the epoch, and makes this node the owner. Returns the shard's slot, too.
pub(super) async fn take(
    session: &mut Session,
    shard: ShardKey,
    membership: Membership,
) -> Result<(i64, ShardHead)> {
    let me = match membership {
        Membership::Single => None,
        Membership::Node(id) => Some(id),
        Membership::Left => return Err(StoreError::LeaseLost),
    };
    let lock = "SELECT slot, owner FROM shards WHERE incarnation = $1 AND shard = $2 FOR NO KEY UPDATE";
    // By a statement of its own, which sees what was committed while that one waited for the lock.
    let exists = "SELECT 1 FROM queues WHERE incarnation = $1 AND deleted_at IS NULL";
    let take = "UPDATE shards SET epoch = epoch + 1, owner = $2 WHERE slot = $1 \
                RETURNING epoch, next_sequence, purged_before, purged_at, live, clock";
    let (incarnation, number) = (int(shard.incarnation), i32::from(shard.shard));
    let missing = || StoreError::NoSuchShard(shard);
    session
        .transaction(async |session| {
            let key: [Param<'_>; 2] = [&incarnation, &number];
            let row = session.row(lock, &key).await?.ok_or_else(missing)?;
            let (slot, owner): (i64, Option<Uuid>) = (row.get(0), row.get(1));
            session.row(exists, &[&incarnation]).await?.ok_or_else(missing)?;
            if let Some(me) = me {
                if let Some(owner) = owner.filter(|owner| *owner != me)
                    && let Some(address) = holder(session, owner).await?
                {
                    return Err(StoreError::OwnedElsewhere { shard, address });
                }
                let holds = "SELECT 1 FROM nodes WHERE id = $1 AND expires_at > clock_timestamp()";
                session.row(holds, &[&me]).await?.ok_or(StoreError::LeaseLost)?;
            }
            let row = session.row(take, &[&slot, &me]).await?.ok_or_else(missing)?;
            Ok((slot, read::head(&row)))
        })
        .await
}

/// Where the node is reached, if its lease holds. Waits for a renewal that is under way, and keeps later ones waiting.
async fn holder(session: &mut Session, node: Uuid) -> Result<Option<String>> {
    session.row("SELECT 1 FROM nodes WHERE id = $1 FOR UPDATE", &[&node]).await?;
    let holds = "SELECT address FROM nodes WHERE id = $1 AND expires_at > clock_timestamp()";
    Ok(session.row(holds, &[&node]).await?.map(|row| row.get(0)))
}
