//! A started sandbox with all that belongs to it: its Runtime API, its output, its way to Lambfold.

use lambfold_sandbox::{Exit, RunningSandbox};
use lambfold_types::{Clock, SleepFuture};
use std::time::Duration;
use tokio::net::unix::pipe;
use tokio::task::yield_now;

use crate::log::FunctionLog;
use crate::packages::Package;
use crate::relay::Relay;
use crate::runtime_api::{ApiEvent, Delivery, RuntimeApi};

/// What is read from the pipe before others get their turn: in the worst case every byte of it is a line.
const CHUNK_BYTES: usize = 4 << 10;
/// What is drained at the end: no pipe holds more.
const MOST_DRAINED: usize = 1 << 20;
/// How long an answer may still come in after its sender has gone.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// What happened in an environment.
#[derive(Debug)]
pub(crate) enum Happening {
    /// The runtime said something.
    Api(ApiEvent),
    /// The process has ended.
    Exited(Exit),
    /// The time that was given is over.
    Deadline,
}

/// A sandbox at work. Ends with all its processes and connections when dropped.
pub(crate) struct Running {
    pub(crate) sandbox: Box<dyn RunningSandbox>,
    pub(crate) output: Option<pipe::Receiver>,
    pub(crate) api: RuntimeApi,
    /// Held, not used.
    pub(crate) _relay: Option<Relay>,
    /// Code and layers.
    pub(crate) _packages: (Package, Option<Package>),
}

impl Running {
    /// Waits for the next thing to happen, passing on what is printed meanwhile. Cancel-safe.
    pub(crate) async fn happening(
        &mut self,
        log: &mut FunctionLog,
        deadline: &mut SleepFuture,
        clock: &dyn Clock,
    ) -> Happening {
        loop {
            let Self { sandbox, output, api, .. } = self;
            let printed = async {
                match output {
                    Some(pipe) => pipe.readable().await,
                    None => std::future::pending().await,
                }
            };
            // In this order: an answer counts even if its process has ended meanwhile, or its time has.
            tokio::select! {
                biased;
                event = api.event() => return Happening::Api(event),
                exit = sandbox.wait() => {
                    self.drain(log).await;
                    if let Some(event) = self.last_words(clock).await {
                        return Happening::Api(event);
                    }
                    return Happening::Exited(exit);
                }
                () = &mut *deadline => return Happening::Deadline,
                readable = printed => {
                    if readable.is_err() {
                        self.output = None;
                    }
                    self.read_ready(log);
                    // A function that prints without end must not keep a thread from other environments.
                    yield_now().await;
                }
            }
        }
    }

    /// What was said before the end and is still being read.
    async fn last_words(&mut self, clock: &dyn Clock) -> Option<ApiEvent> {
        if !self.api.is_answering() {
            return self.api.try_event();
        }
        tokio::select! {
            event = self.api.event() => Some(event),
            () = clock.sleep_until(clock.now() + LAST_WORDS) => None,
        }
    }

    pub(crate) fn deliver(&self, delivery: Delivery) -> bool {
        self.api.deliver(delivery)
    }

    fn read_ready(&mut self, log: &mut FunctionLog) {
        let Some(pipe) = &self.output else { return };
        let mut buffer = [0; CHUNK_BYTES];
        match pipe.try_read(&mut buffer) {
            Ok(length) if length > 0 => log.output(&buffer[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => self.output = None,
        }
    }

    /// Takes what is in the pipe at this moment. Past tokio, which reads only after its poll has seen the bytes: what
    /// a function printed before it answered must be there now.
    pub(crate) async fn drain(&mut self, log: &mut FunctionLog) {
        let Some(pipe) = &self.output else { return };
        let mut buffer = [0; CHUNK_BYTES];
        let mut total = 0;
        while total < MOST_DRAINED {
            match rustix::io::read(pipe, &mut buffer) {
                // At the end tokio's own read sees it, too.
                Ok(0) | Err(_) => return,
                Ok(length) => {
                    log.output(&buffer[..length]);
                    total += length;
                    yield_now().await;
                }
            }
        }
    }
}
