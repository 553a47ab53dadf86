//! How far senders may be ahead of deletes: what makes a rate of whole lives one. Senders that run free are answered by
//! the same commits as those who delete, outnumber them, and take the processors for messages that nobody receives while
//! the cell runs.

use std::time::Instant;

use tokio::sync::Semaphore;

use crate::target::before;

/// The lead that senders have.
#[derive(Debug)]
pub(crate) struct Lead {
    room: Semaphore,
}

impl Lead {
    /// Of `messages`; 0: of as many as they get sent.
    pub(crate) fn of(messages: usize) -> Self {
        let messages = if messages == 0 { Semaphore::MAX_PERMITS / 2 } else { messages };
        Self { room: Semaphore::new(messages) }
    }

    /// Waits until `messages` more may be sent; false if that is not before `until`.
    pub(crate) async fn take(&self, messages: u32, until: Instant) -> bool {
        if Instant::now() >= until {
            return false;
        }
        let permit = match self.room.try_acquire_many(messages) {
            Ok(permit) => Some(permit),
            Err(_) => before(until, self.room.acquire_many(messages)).await.and_then(Result::ok),
        };
        permit.map(tokio::sync::SemaphorePermit::forget).is_some()
    }

    /// That many were deleted, or not sent after all.
    pub(crate) fn give(&self, messages: u64) {
        self.room.add_permits(usize::try_from(messages).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Instant, Lead};

    #[tokio::test]
    async fn who_is_too_far_ahead_waits_for_a_delete() {
        let (lead, soon) = (Lead::of(2), || Instant::now() + Duration::from_millis(20));
        assert!(lead.take(2, soon()).await);
        assert!(!lead.take(1, soon()).await);
        lead.give(1);
        assert!(lead.take(1, soon()).await);
        assert!(!Lead::of(1).take(1, Instant::now()).await, "the time is over");
        assert!(Lead::of(0).take(10, soon()).await);
    }
}
