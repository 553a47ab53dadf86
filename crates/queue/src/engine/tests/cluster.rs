//! Two nodes that share a store, each with a clock of its own beside the one by which leases are judged.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lambfold_api::CallContext;
use lambfold_api::queue::{AdoptRequest, AdoptResponse, QueuePeers};
use lambfold_api::rpc::PassOnError;
use lambfold_clock::{ManualClock, SeededEntropy};
use lambfold_types::{PlainSealer, Scope, Timestamp};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::queue::{CreateOutcome, DeduplicationScope, NewQueue, Queue, QueueKind, Redrive};
use crate::store::{Fault, FaultyStore, MemoryCluster, MemoryNode};
use crate::{
    Carrier, Member, NewMessage, Options, QueueHandle, QueuePeersService, QueueService, ReceiveParams,
    Received,
};

use super::harness::{Gate, messages, name, params, secs};

const LEASE: Duration = Duration::from_secs(5);

/// The way from node to node. Clients ask each node itself; but messages travel.
#[derive(Clone, Default)]
struct Ways(Arc<Mutex<BTreeMap<String, QueueHandle>>>);

#[async_trait::async_trait]
impl Carrier for Ways {
    async fn adopt(
        &self,
        address: &str,
        ctx: &CallContext,
        request: AdoptRequest,
    ) -> Result<AdoptResponse, PassOnError> {
        let there = self.0.lock().unwrap().get(address).cloned().ok_or(PassOnError::NotSent)?;
        QueuePeersService::new(there).adopt(ctx, request).await.map_err(PassOnError::Answered)
    }
}

struct Nodes {
    cluster: MemoryCluster,
    judge: ManualClock,
    ways: Ways,
}

struct Node {
    handle: QueueHandle,
    store: Arc<FaultyStore<MemoryNode>>,
    gate: Gate,
    clock: ManualClock,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl Nodes {
    fn new() -> Self {
        let judge = clock();
        Self { cluster: MemoryCluster::new(Arc::new(judge.clone()), LEASE), judge, ways: Ways::default() }
    }

    async fn start(&self, address: &str) -> Node {
        let clock = clock();
        let (store, gate) = (Arc::new(FaultyStore::new(self.cluster.node())), Gate::default());
        let service = QueueService::build_on(
            Arc::new(gate.clone()),
            Options::default(),
            Arc::<FaultyStore<MemoryNode>>::clone(&store),
            Arc::new(clock.clone()),
            Arc::new(SeededEntropy::new(address.len() as u64)),
            Arc::new(PlainSealer),
            Some(Member { address: address.to_owned(), carrier: Arc::new(self.ways.clone()) }),
        );
        let service = service.unwrap();
        let (handle, shutdown) = (service.handle(), CancellationToken::new());
        self.ways.0.lock().unwrap().insert(address.to_owned(), handle.clone());
        let running = tokio::spawn(service.run(shutdown.clone()));
        let node = Node { handle, store, gate, clock, shutdown, running };
        calm().await;
        node
    }

    /// Lets time pass for all but those that are not named: they are stopped.
    async fn pass(&self, time: Duration, nodes: &[&Node]) {
        let step = Duration::from_millis(500);
        for _ in 0..time.as_millis() / step.as_millis() {
            self.judge.advance(step);
            for node in nodes {
                node.clock.advance(step);
            }
            calm().await;
        }
    }
}

impl Node {
    async fn queue(&self, text: &str) -> Queue {
        let kind = if name(text).is_fifo() {
            QueueKind::Fifo(DeduplicationScope::Queue)
        } else {
            QueueKind::Standard
        };
        let new = NewQueue { kind, ..NewQueue::default() };
        match self.handle.create_queue(Scope::default(), name(text), new).await.unwrap() {
            CreateOutcome::Created(queue) | CreateOutcome::Exists(queue) => queue,
        }
    }

    /// A queue with a message that the next receive finds to be a dead letter, for the queue `dead` at the node `two`.
    async fn queue_with_a_letter(&self) -> Queue {
        let queue = self.queue("jobs").await;
        let redrive = |properties: &mut crate::QueueProperties| {
            let redrive = Redrive { dead_letter_queue: name("dead"), max_receive_count: 1 };
            properties.settings.redrive = Some(redrive);
            Ok::<_, ()>(())
        };
        self.handle.update_queue(&queue, redrive).await.unwrap().unwrap();
        self.handle.send(&queue, messages(&["a"])).await.unwrap();
        // So that it need not ask the store where the letter goes.
        assert!(is_elsewhere(&self.receive(&self.find("dead").await.unwrap()).await, "two"));
        let once = ReceiveParams { visibility_timeout: Some(Duration::ZERO), ..params(1, 0) };
        assert_eq!(self.handle.receive(&queue, once).await.unwrap().len(), 1);
        queue
    }

    /// The queue of that name, by what other nodes did until now.
    async fn find(&self, text: &str) -> Result<Queue, Error> {
        self.handle.catch_up().await?;
        self.handle.queue(&Scope::default(), &name(text))
    }

    async fn receive(&self, queue: &Queue) -> Result<Vec<Received>, Error> {
        self.handle.receive(queue, params(1, 0)).await
    }
}

fn clock() -> ManualClock {
    ManualClock::at(Timestamp::from_millis(1_700_000_000_000))
}

async fn calm() {
    for _ in 0..300 {
        tokio::task::yield_now().await;
        // Leases are renewed on threads of their own.
        std::thread::yield_now();
    }
}

fn in_order(id: &str) -> Vec<NewMessage> {
    let mut message = messages(&[id]).remove(0);
    message.system.message_group_id = Some("g".into());
    message.system.message_deduplication_id = Some(id.into());
    vec![message]
}

fn is_elsewhere<T>(result: &Result<T, Error>, address: &str) -> bool {
    matches!(result, Err(Error::OwnedElsewhere(owner)) if **owner == *address)
}

#[tokio::test]
async fn a_queue_is_its_first_owners_until_that_one_leaves() {
    let nodes = Nodes::new();
    let (one, two) = (nodes.start("one").await, nodes.start("two").await);
    let mine = one.queue("jobs").await;
    one.handle.send(&mine, messages(&["a"])).await.unwrap();
    let theirs = two.find("jobs").await.unwrap();
    assert!(is_elsewhere(&two.receive(&theirs).await, "one"));
    nodes.pass(secs(20), &[&one, &two]).await;
    assert!(is_elsewhere(&two.receive(&theirs).await, "one"), "the lease is renewed");
    assert_eq!(one.receive(&mine).await.unwrap().len(), 1);
    one.shutdown.cancel();
    one.running.await.unwrap();
    nodes.pass(secs(1), &[&two]).await;
    let left = two.handle.queue_info(&theirs).await.unwrap().counts;
    assert_eq!((left.visible, left.in_flight), (0, 1), "what it was handed out stays in flight");
}

#[tokio::test]
async fn a_stopped_node_writes_and_hands_out_nothing_after_its_lease() {
    let nodes = Nodes::new();
    let (one, two) = (nodes.start("one").await, nodes.start("two").await);
    let (mine, ordered) = (one.queue("jobs").await, one.queue("jobs.fifo").await);
    one.handle.send(&mine, messages(&["a", "b"])).await.unwrap();
    one.handle.send(&ordered, in_order("1")).await.unwrap();
    let poll = ReceiveParams { wait_time: Some(secs(20)), ..params(1, 0) };
    let empty = one.queue("empty").await;
    let waiting = {
        let (handle, empty) = (one.handle.clone(), empty.clone());
        tokio::spawn(async move { handle.receive(&empty, poll).await })
    };
    calm().await;
    // Past the lease of the first, which is stopped.
    nodes.pass(secs(6), &[&two]).await;
    let (theirs, their_ordered) = (two.find("jobs").await.unwrap(), two.find("jobs.fifo").await.unwrap());
    assert_eq!(two.receive(&theirs).await.unwrap().len(), 1);
    assert_eq!(two.receive(&their_ordered).await.unwrap().len(), 1);

    // Its clock stands still, so that it does not know: the fence holds all the same.
    let refused = one.handle.send(&mine, messages(&["late"])).await;
    assert!(matches!(refused, Err(Error::Store(_))), "{refused:?}");
    let refused = one.receive(&ordered).await;
    assert!(matches!(refused, Err(Error::Store(_))), "{refused:?}");

    // It goes on, and knows by its own clock.
    one.clock.advance(secs(6));
    calm().await;
    assert!(is_elsewhere(&one.receive(&mine).await, "two"));
    nodes.pass(secs(1), &[&one, &two]).await;
    assert!(is_elsewhere(&one.handle.send(&ordered, in_order("2")).await, "two"));
    assert_eq!(two.handle.queue_info(&theirs).await.unwrap().counts.visible, 1, "nothing came in late");
    // What nobody else took it may take again, as a new node.
    nodes.pass(secs(1), &[&one, &two]).await;
    one.handle.send(&empty, messages(&["x"])).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().len(), 1, "who waited there still does");
}

#[tokio::test]
async fn a_standard_receive_is_refused_by_the_own_clock() {
    let nodes = Nodes::new();
    let (one, two) = (nodes.start("one").await, nodes.start("two").await);
    let mine = one.queue("jobs").await;
    one.handle.send(&mine, messages(&["a"])).await.unwrap();
    nodes.pass(secs(6), &[&two]).await;
    assert_eq!(two.receive(&two.find("jobs").await.unwrap()).await.unwrap().len(), 1);
    // On again, before it has asked for its lease or anybody has told it anything: a standard receive is answered before
    // its commit, so that no fence would have been asked.
    one.clock.advance(secs(6));
    let received = one.receive(&mine).await;
    assert!(received.is_err(), "{received:?}");
}

#[tokio::test]
async fn what_one_node_does_to_queues_holds_at_the_others() {
    let nodes = Nodes::new();
    let (one, two) = (nodes.start("one").await, nodes.start("two").await);
    let mine = one.queue("jobs").await;
    let theirs = two.find("jobs").await.unwrap();
    assert_eq!(mine, theirs);
    let created = two.handle.create_queue(Scope::default(), name("jobs"), NewQueue::default()).await.unwrap();
    assert!(matches!(created, CreateOutcome::Exists(queue) if queue == mine));
    let change = |properties: &mut crate::QueueProperties| {
        properties.settings.delay = secs(7);
        Ok::<_, ()>(())
    };
    one.handle.update_queue(&mine, change).await.unwrap().unwrap();
    two.find("jobs").await.unwrap();
    assert_eq!(theirs.properties().settings.delay, secs(7));
    one.handle.delete_queue(&mine).await.unwrap();
    assert!(matches!(two.find("jobs").await, Err(Error::NoSuchQueue)));
    assert!(matches!(two.receive(&theirs).await, Err(Error::NoSuchQueue)));
    let again = two.queue("jobs").await;
    assert_ne!(again, mine);
    assert_eq!(one.find("jobs").await.unwrap(), again);
    // Without being asked, too, by and by.
    two.handle.delete_queue(&again).await.unwrap();
    nodes.pass(secs(2), &[&one, &two]).await;
    assert!(matches!(one.handle.queue(&Scope::default(), &name("jobs")), Err(Error::NoSuchQueue)));
}

/// Found by the simulation: the renewals' answers were lost. By its own clock the node has no lease, and the store would
/// let it take its shards all the same, over and over.
#[tokio::test]
async fn a_node_without_a_lease_by_its_own_clock_takes_nothing() {
    let nodes = Nodes::new();
    let one = nodes.start("one").await;
    let mine = one.queue("jobs").await;
    one.handle.send(&mine, messages(&["a"])).await.unwrap();
    one.store.set(Some(Fault::Unrenewed));
    nodes.pass(secs(8), &[&one]).await;
    let (handle, queue) = (one.handle.clone(), mine.clone());
    let asked = tokio::spawn(async move { handle.receive(&queue, params(1, 0)).await });
    calm().await;
    assert!(asked.is_finished(), "its owner does nothing but take it");
    let refused = asked.await.unwrap();
    assert!(matches!(refused, Err(Error::OwnerChanges)), "{refused:?}");
    one.store.set(None);
    nodes.pass(secs(3), &[&one]).await;
    let received = one.receive(&mine).await.unwrap();
    assert_eq!(received[0].handle.epoch, 2, "it was taken once more");
}

/// Found by the simulation: the node has joined and does not know it, so that its renewals succeed.
#[tokio::test]
async fn a_node_whose_joining_seemed_to_fail_joins_again() {
    let nodes = Nodes::new();
    let one = nodes.start("one").await;
    let mine = one.queue("jobs").await;
    one.handle.send(&mine, messages(&["a"])).await.unwrap();
    // Its lease runs out while it is stopped.
    nodes.pass(secs(6), &[]).await;
    one.store.set(Some(Fault::Unknown));
    nodes.pass(secs(6), &[&one]).await;
    assert_eq!(one.receive(&mine).await.unwrap().len(), 1);
}

/// Found by the simulation: another node's writer is not behind this one's. What this node has decided about a message has
/// to be in the store before its departure is, or it is written about a message that is gone.
#[tokio::test]
async fn a_message_leaves_for_another_node_after_what_was_decided_about_it() {
    let nodes = Nodes::new();
    let (one, two) = (nodes.start("one").await, nodes.start("two").await);
    let dead = two.queue("dead").await;
    two.receive(&dead).await.unwrap();
    let mine = one.queue_with_a_letter().await;
    // It leaves while the receive is on its way to the store.
    one.gate.holds_up_commits.store(true, Ordering::Relaxed);
    let (handle, queue) = (one.handle.clone(), mine.clone());
    let looking = tokio::spawn(async move { handle.receive(&queue, params(1, 20)).await });
    calm().await;
    one.gate.holds_up_commits.store(false, Ordering::Relaxed);
    calm().await;
    looking.abort();
    assert_eq!(two.handle.queue_info(&dead).await.unwrap().counts.visible, 1);
    one.shutdown.cancel();
    one.running.await.unwrap();
    let theirs = two.find("jobs").await.unwrap();
    nodes.pass(secs(1), &[&two]).await;
    let left = two.handle.queue_info(&theirs).await.unwrap().counts;
    assert_eq!((left.visible, left.in_flight), (0, 0), "nothing is left behind");
}

/// Found by the simulation: that a node takes nothing any more was taken for not knowing whether it had, after which the
/// shard is read anew; and it was asked again at once.
#[tokio::test]
async fn a_node_that_has_stopped_is_asked_to_take_a_message_once() {
    let nodes = Nodes::new();
    let (one, two) = (nodes.start("one").await, nodes.start("two").await);
    let dead = two.queue("dead").await;
    two.receive(&dead).await.unwrap();
    let mine = one.queue_with_a_letter().await;
    two.shutdown.cancel();
    two.running.await.unwrap();
    assert!(one.receive(&mine).await.unwrap().is_empty(), "it has become a letter");
    calm().await;
    one.handle.send(&mine, messages(&["b"])).await.unwrap();
    let received = one.receive(&mine).await.unwrap();
    assert_eq!(received[0].handle.epoch, 1, "the shard is not taken again");
    nodes.pass(secs(3), &[&one]).await;
    assert!(one.receive(&mine).await.unwrap().is_empty(), "the next receive finds it");
    calm().await;
    let theirs = one.find("dead").await.unwrap();
    assert_eq!(one.receive(&theirs).await.unwrap().len(), 1, "it arrives where the queue is now");
}
