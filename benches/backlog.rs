//! Whether a backlog costs anything: the same load in a queue that is empty and in one that is far behind.

use tokio::sync::OnceCell;

use crate::cell::Cell;
use crate::queues::{Load, available, fill, life_in, unique};
use crate::target::Target;

/// A queue with many messages. It is filled when it is first used, and then serves run after run: filling takes longer
/// than a run.
#[derive(Debug)]
pub struct Backlog<'a> {
    target: &'a Target,
    messages: u64,
    url: OnceCell<String>,
}

impl<'a> Backlog<'a> {
    /// One of `messages`.
    pub fn new(target: &'a Target, messages: u64) -> Self {
        Self { target, messages, url: OnceCell::new() }
    }

    /// Makes it and fills it, or fills it up to what earlier runs took beyond what they sent.
    pub async fn ready(&self) -> anyhow::Result<&str> {
        let create = async || self.target.create_queue(&unique("bench-backlog")).await;
        let url = self.url.get_or_try_init(create).await?;
        let missing = self.messages.saturating_sub(available(self.target, url).await?);
        fill(self.target, url, missing).await?;
        Ok(url)
    }

    /// Sends, receives and deletes behind the backlog.
    pub async fn whole_life(&self, load: Load) -> anyhow::Result<Cell> {
        let url = self.ready().await?;
        let mut cell = life_in(self.target, url, load).await?;
        cell.name = format!("{} at {}", cell.name, self.messages);
        Ok(cell)
    }

    /// Deletes the queue.
    pub async fn remove(self) -> anyhow::Result<()> {
        match self.url.into_inner() {
            Some(url) => self.target.delete_queue(&url).await,
            None => Ok(()),
        }
    }
}
