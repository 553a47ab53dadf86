//! Queues and keys for receipt handles as columns.

use lambfold_types::{QueueName, Scope, Timestamp};

use crate::mac::MacKey;
use crate::queue::{DeduplicationScope, QueueKind};
use crate::store::{DeletedQueue, Directory, QueueRow, Result, StoreError};

use super::{inconsistent, properties, uint};

const STANDARD: i64 = 0;
const FIFO: i64 = 1;
const FIFO_BY_GROUP: i64 = 2;

/// A row of `queues` as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueColumns {
    /// The key.
    pub incarnation: i64,
    /// Twelve digits.
    pub account: String,
    /// The region's name.
    pub region: String,
    /// The queue's name.
    pub name: String,
    /// 0: standard, 1: FIFO, 2: FIFO with deduplication in each message group.
    pub kind: i64,
    /// Milliseconds since the epoch, as all times are.
    pub created_at: i64,
    /// When the properties were last changed.
    pub modified_at: i64,
    /// Of a queue that is deleted.
    pub deleted_at: Option<i64>,
    /// JSON, with its own format version.
    pub properties: String,
}

impl QueueColumns {
    /// A queue's columns, under `incarnation`.
    pub fn of(row: &QueueRow, incarnation: i64) -> Self {
        Self {
            incarnation,
            account: row.scope.account.to_string(),
            region: row.scope.region.as_str().to_owned(),
            name: row.name.as_str().to_owned(),
            kind: match row.kind {
                QueueKind::Standard => STANDARD,
                QueueKind::Fifo(DeduplicationScope::Queue) => FIFO,
                QueueKind::Fifo(DeduplicationScope::MessageGroup) => FIFO_BY_GROUP,
            },
            created_at: row.created_at.millis(),
            modified_at: row.modified_at.millis(),
            deleted_at: None,
            properties: properties::encode(&row.properties),
        }
    }

    /// The column `properties`.
    pub fn properties(properties: &crate::queue::QueueProperties) -> String {
        properties::encode(properties)
    }

    /// Adds the queue to the ones that are there, or to the deleted ones.
    pub fn add_to(self, directory: &mut Directory) -> Result<()> {
        let deleted_at = self.deleted_at.map(Timestamp::from_millis);
        let queue = QueueRow::try_from(self)?;
        match deleted_at {
            None => directory.queues.push(queue),
            Some(deleted_at) => {
                directory.deleted.push(DeletedQueue { scope: queue.scope, name: queue.name, deleted_at });
            }
        }
        Ok(())
    }
}

impl TryFrom<QueueColumns> for QueueRow {
    type Error = StoreError;

    fn try_from(columns: QueueColumns) -> Result<Self> {
        let wrong =
            |detail: String| inconsistent("queues", format!("queue {}: {detail}", columns.incarnation));
        let scope = Scope {
            account: columns.account.parse().map_err(|error| wrong(format!("{error}")))?,
            region: columns.region.parse().map_err(|error| wrong(format!("{error}")))?,
        };
        let name: QueueName =
            columns.name.parse().map_err(|_| wrong(format!("{:?} is no name", columns.name)))?;
        let kind = match columns.kind {
            STANDARD => QueueKind::Standard,
            FIFO => QueueKind::Fifo(DeduplicationScope::Queue),
            FIFO_BY_GROUP => QueueKind::Fifo(DeduplicationScope::MessageGroup),
            other => return Err(wrong(format!("kind {other} is unknown"))),
        };
        let properties = properties::decode(&columns.properties).map_err(wrong)?;
        Ok(Self {
            scope,
            name,
            incarnation: uint(columns.incarnation),
            kind,
            created_at: Timestamp::from_millis(columns.created_at),
            modified_at: Timestamp::from_millis(columns.modified_at),
            properties,
        })
    }
}

/// A row of `mac_keys`.
pub fn mac_key(id: u32, secret: Vec<u8>) -> Result<MacKey> {
    let secret =
        secret.try_into().map_err(|_| inconsistent("mac_keys", format!("key {id} is not of 32 bytes")))?;
    Ok(MacKey { id, secret })
}
