//! The network between nodes: a call goes to any of them, which passes it on to the one that owns the queue, by the
//! engine's own rules ([`lambfold_queue::routing`]). What travels may never arrive, nor its answer.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lambfold_api::CallContext;
use lambfold_api::queue::{AdoptRequest, AdoptResponse, QueuePeers};
use lambfold_api::rpc::PassOnError;
use lambfold_queue::routing::{NotPassedOn, Route, Unrouted};
use lambfold_queue::{Carrier, Error, NewMessage, QueueHandle, QueuePeersService, Spawn};
use lambfold_types::{Clock, Scope};
use tokio::sync::oneshot;

use crate::calls::{Answer, Call, perform};
use crate::clock::VirtualClock;
use crate::dice::Dice;
use crate::history::History;

/// After so long a connection that brings nothing is given up: the clients of peers ask every ten seconds whether the
/// other end is there, and wait for five.
pub(crate) const GIVE_UP: Duration = Duration::from_secs(15);

/// What the nodes share. Clones are the same network.
#[derive(Clone)]
pub(crate) struct Network(Arc<Mutex<State>>);

struct State {
    dice: Dice,
    history: History,
    /// Once in so many times something is lost; zero is never.
    loss: usize,
    peers: BTreeMap<String, Peer>,
}

/// A node, as the others and clients reach it.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) handle: QueueHandle,
    pub(crate) spawn: Arc<dyn Spawn>,
    pub(crate) clock: VirtualClock,
}

/// What becomes of something that travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Arrives,
    /// There is no connection, and the sender knows.
    NotSent,
    /// It is never heard of again.
    Hangs,
    /// It arrives, and its answer does not.
    AnswerHangs,
}

impl Network {
    pub(crate) fn new(seed: u64, history: History) -> Self {
        let state = State { dice: Dice::new(seed, 3), history, loss: 0, peers: BTreeMap::new() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Sets how much is lost from now on: once in `loss` times; zero is never.
    pub(crate) fn set_loss(&self, loss: usize) {
        self.state().loss = loss;
    }

    /// A process listens at `address`.
    pub(crate) fn listens(&self, address: &str, peer: Peer) {
        self.state().peers.insert(address.to_owned(), peer);
    }

    /// Nobody listens at `address` any more.
    pub(crate) fn is_gone(&self, address: &str) {
        let peer = self.state().peers.remove(address);
        drop(peer);
    }

    /// Everybody is gone: what the peers hold leads back here.
    pub(crate) fn close(&self) {
        let peers = std::mem::take(&mut self.state().peers);
        drop(peers);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the process at `address` answer something; `None` if it ended before it did.
    async fn ask<T, F>(
        &self,
        address: &str,
        what: impl fmt::Display,
        question: impl FnOnce(Peer) -> F,
    ) -> Result<Option<T>, NotSent>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (fate, peer) = {
            let mut state = self.state();
            let loss = state.loss;
            let fate = if state.dice.one_in(loss) {
                state.dice.pick(&[Fate::NotSent, Fate::Hangs, Fate::AnswerHangs])
            } else {
                Fate::Arrives
            };
            let peer = state.peers.get(address).cloned();
            let is_there = if peer.is_some() { "" } else { ", where nobody is" };
            state.history.note(format_args!("  {what} to {address}{is_there}: {fate:?}"));
            (fate, peer)
        };
        let peer = peer.filter(|_| fate != Fate::NotSent).ok_or(NotSent)?;
        let clock = peer.clock.clone();
        if fate == Fate::Hangs {
            clock.sleep_until(clock.now() + GIVE_UP).await;
            return Ok(None);
        }
        let (mut reply, answer) = oneshot::channel();
        let spawn = Arc::clone(&peer.spawn);
        let asked = question(peer);
        let task = async move {
            // Who hangs up is heard of, as by a stream that is reset: what was begun is dropped where it waits.
            let answer = tokio::select! {
                biased;
                () = reply.closed() => return,
                answer = asked => answer,
            };
            drop(reply.send(answer));
        };
        spawn.spawn("peer call", Box::pin(task));
        let answer = answer.await.ok();
        if fate == Fate::AnswerHangs && answer.is_some() {
            clock.sleep_until(clock.now() + GIVE_UP).await;
            return Ok(None);
        }
        Ok(answer)
    }

    /// Puts a call of a client to the node `here`, which passes it on if another one owns its queue.
    pub(crate) async fn perform(self, here: Peer, call: Call, messages: Vec<NewMessage>) -> Answer {
        let Some(queue) = call.queue().cloned() else { return perform(here.handle, call, messages).await };
        let (scope, name) = (Scope::default(), queue.name().clone());
        let route = Route {
            scope: &scope,
            name: &name,
            deadline: None,
            passed_on: false,
            repeatable: call.is_repeatable(),
        };
        let pass_on = |address: Arc<str>| {
            let (network, call, messages) = (self.clone(), call.clone(), messages.clone());
            async move {
                let what = format!("{} passed on", call.verb());
                let asked = network.ask(&address, what, |peer| answer_passed_on(peer, call, messages)).await;
                match asked {
                    Ok(Some(answer)) => answer,
                    Ok(None) => Err(NotPassedOn::Lost),
                    Err(NotSent) => Err(NotPassedOn::NotSent),
                }
            }
        };
        match route.answer(&here.handle, &here.clock, pass_on).await {
            Ok(Some(answer)) => answer,
            Ok(None) => perform_here(&here.handle, call, messages).await,
            Err(Unrouted::Engine(error)) => call.failed(error),
            Err(Unrouted::Lost) => call.failed(Error::Stopping),
            Err(Unrouted::Refused(never)) => match never {},
        }
    }
}

/// Nobody got it.
struct NotSent;

/// Answers a call that another node passed on.
async fn answer_passed_on(
    here: Peer,
    call: Call,
    messages: Vec<NewMessage>,
) -> Result<Answer, NotPassedOn<Infallible>> {
    let Some(queue) = call.queue().cloned() else { return Err(NotPassedOn::NotSent) };
    let (scope, name) = (Scope::default(), queue.name().clone());
    let route = Route { scope: &scope, name: &name, deadline: None, passed_on: true, repeatable: false };
    let nowhere = async |_: Arc<str>| Err::<Infallible, NotPassedOn<Infallible>>(NotPassedOn::NotSent);
    let answer = match route.answer(&here.handle, &here.clock, nowhere).await {
        Ok(Some(never)) => match never {},
        Ok(None) => perform_here(&here.handle, call, messages).await,
        Err(Unrouted::Engine(error)) => call.failed(error),
        Err(Unrouted::Lost | Unrouted::Refused(_)) => return Err(NotPassedOn::Lost),
    };
    match answer.error() {
        Some(Error::OwnedElsewhere(_) | Error::OwnerChanges) => Err(NotPassedOn::OwnerChanges),
        _ => Ok(answer),
    }
}

/// As the operations of SQS do: what is about queues goes by the latest that any node did. The queue is found by its
/// name, and has to be the one that was meant.
async fn perform_here(handle: &QueueHandle, call: Call, messages: Vec<NewMessage>) -> Answer {
    let Some(queue) = call.queue().cloned() else { return perform(handle.clone(), call, messages).await };
    if (call.is_of_directory() || matches!(call, Call::Purge { .. }))
        && let Err(error) = handle.catch_up().await
    {
        return call.failed(error);
    }
    match handle.queue(&Scope::default(), queue.name()) {
        Ok(found) if found == queue => perform(handle.clone(), call.about(found), messages).await,
        Ok(_) => call.failed(Error::NoSuchQueue),
        Err(error) => call.failed(error),
    }
}

#[async_trait::async_trait]
impl Carrier for Network {
    async fn adopt(
        &self,
        address: &str,
        ctx: &CallContext,
        request: AdoptRequest,
    ) -> Result<AdoptResponse, PassOnError> {
        let ctx = ctx.clone();
        let what = format!("{} messages for {}", request.letters.len(), request.queue);
        let question =
            |peer: Peer| async move { QueuePeersService::new(peer.handle).adopt(&ctx, request).await };
        match self.ask(address, what, question).await {
            Ok(Some(answer)) => answer.map_err(PassOnError::Answered),
            Ok(None) => Err(PassOnError::Lost),
            Err(NotSent) => Err(PassOnError::NotSent),
        }
    }
}
