//! What a receipt handle is good for: deleting, and changing the visibility timeout.

use std::time::Duration;

use crate::error::{ChangeVisibilityError, HandleError};
use crate::message::HandleParts;

use super::Shard;
use super::index::{Entry, State};
use super::lane::End;

/// For how long a message may stay invisible since it was received, changes included.
const TOTAL_SECS: u64 = 43_200;

impl Shard {
    /// Whether the message of a handle is on its way to another queue. It cannot be deleted here meanwhile: it may come
    /// back, or be gone from here.
    pub(crate) fn is_leaving(&self, handle: HandleParts) -> bool {
        self.is_ours(handle) && self.is_leaving_now(handle.sequence)
    }

    /// Deletes a message, by any of its handles; one that is gone counts as deleted. To be called when it is not
    /// [leaving](Shard::is_leaving).
    pub(crate) fn delete(&mut self, handle: HandleParts) -> Result<(), HandleError> {
        if !self.is_ours(handle) {
            return Err(HandleError::OtherQueue);
        }
        let sequence = handle.sequence;
        if self.has_expired(handle) {
            return Err(HandleError::Expired);
        }
        if self.index.contains(sequence) {
            self.forget_indexed(sequence);
            self.write.deletes.push(sequence);
        } else if self.forget_fresh(sequence) {
            // Handed out before a crash that cut off the receive's commit.
            self.write.deletes.push(sequence);
        }
        Ok(())
    }

    /// Makes a message invisible for `timeout` from now, or visible at once; by any of its handles, also when its
    /// visibility timeout is over (facts: SQS §5.5).
    pub(crate) fn change_visibility(
        &mut self,
        handle: HandleParts,
        timeout: Duration,
    ) -> Result<(), ChangeVisibilityError> {
        if !self.is_ours(handle) {
            return Err(ChangeVisibilityError::OtherQueue);
        }
        let sequence = handle.sequence;
        if let Some(fresh) = self.leave_backlog(sequence) {
            let entry = self.index.entry(Entry::unreceived(fresh.sent_at), &fresh.record, true);
            self.index.insert_due(sequence, entry, End::Front);
        }
        let available =
            self.index.get(sequence).filter(|entry| !entry.is_apart() && !self.has_expired(handle));
        let entry = available.ok_or(ChangeVisibilityError::NotAvailable)?;
        if entry.receive_count == 0 {
            // The handle proves a receive that a crash cut off.
            let now = self.now;
            self.index.edit(sequence, |entry| {
                entry.count_receive(now);
                entry.receive_count = entry.receive_count.max(handle.receive_number);
            });
        }
        let entry = self.index.get(sequence).ok_or(ChangeVisibilityError::NotAvailable)?;
        let elapsed = self.now.since(entry.last_received_at).as_secs();
        if !timeout.is_zero() && elapsed + timeout.as_secs() > TOTAL_SECS {
            return Err(ChangeVisibilityError::TotalExceeded);
        }
        match (entry.state(), timeout.is_zero()) {
            (State::Due(_), true) => {}
            (_, true) => self.index.make_due(sequence, End::Back),
            (_, false) => self.index.make_in_flight(sequence, self.now + timeout),
        }
        self.write_delivery(sequence);
        Ok(())
    }

    /// Whether the receive of the handle has its message still.
    pub(crate) fn has_in_flight(&self, handle: HandleParts) -> bool {
        let entry = self.index.get(handle.sequence).filter(|_| self.is_ours(handle));
        entry.is_some_and(|entry| {
            matches!(entry.state(), State::InFlight(_)) && entry.receive_count == handle.receive_number
        })
    }

    /// Whether a handle of a FIFO queue is good no longer, though its message is there: the visibility timeout is over,
    /// or somebody else has received the message since (facts, SQS §6.4).
    fn has_expired(&self, handle: HandleParts) -> bool {
        self.kind.is_fifo() && self.index.contains(handle.sequence) && !self.has_in_flight(handle)
    }

    fn is_ours(&self, handle: HandleParts) -> bool {
        handle.incarnation == self.key.incarnation && handle.shard == self.key.shard
    }
}
