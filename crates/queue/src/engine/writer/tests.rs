use lambfold_types::{Scope, Timestamp};

use crate::queue::{QueueKind, QueueProperties};
use crate::store::{DirectoryChange, Fault, FaultyStore, MemoryStore, NewMessageRow, QueueRow, ShardWrite};

use super::*;

struct Bench {
    store: Arc<FaultyStore<MemoryStore>>,
    writer: Writer,
    events: mpsc::UnboundedSender<Event>,
    answers: mpsc::UnboundedReceiver<Event>,
}

impl Bench {
    fn new() -> Self {
        let store = Arc::new(FaultyStore::new(MemoryStore::new()));
        let (events, answers) = mpsc::unbounded_channel();
        let writer = Writer::new(Arc::<FaultyStore<MemoryStore>>::clone(&store), Arc::default());
        Self { store, writer, events, answers }
    }

    fn shard(&self, number: u64) -> (ShardKey, u64) {
        let row = QueueRow {
            scope: Scope::default(),
            name: format!("queue-{number}").parse().unwrap(),
            incarnation: 0,
            kind: QueueKind::Standard,
            created_at: Timestamp::default(),
            modified_at: Timestamp::default(),
            properties: QueueProperties::default(),
        };
        let incarnation = self.store.create_queue(&row).unwrap().incarnation;
        let key = ShardKey { incarnation, shard: 0 };
        (key, self.store.take_shard(key).unwrap().epoch)
    }

    fn send(&self, (shard, epoch): (ShardKey, u64), sequence: u64) -> Submission {
        let row = NewMessageRow {
            sequence,
            sent_at: Timestamp::default(),
            delayed_until: None,
            record: "x".into(),
        };
        let write = ShardWrite { inserts: vec![row], next_sequence: sequence + 1, ..ShardWrite::default() };
        Submission {
            write: FencedWrite { shard, epoch, write },
            departures: Vec::new(),
            events: self.events.clone(),
        }
    }

    fn answers(&mut self) -> Vec<std::result::Result<Applied, Arc<StoreError>>> {
        let mut all = Vec::new();
        while let Ok(event) = self.answers.try_recv() {
            let Event::Committed(result) = event else { panic!("the writer only tells of commits") };
            all.push(result);
        }
        all
    }

    fn stored(&self, (shard, _): (ShardKey, u64)) -> usize {
        self.store.load_page(shard, 0..100, 100, 100).unwrap().0.len()
    }
}

#[test]
fn after_a_failure_nothing_of_that_epoch_is_applied() {
    let mut bench = Bench::new();
    let shard = bench.shard(1);
    bench.store.set(Some(Fault::Refuse));
    bench.writer.commit(vec![bench.send(shard, 1)]);
    bench.writer.commit(vec![bench.send(shard, 2)]);
    let answers = bench.answers();
    assert!(matches!(answers[0].as_ref().unwrap_err().as_ref(), StoreError::Driver(_)));
    assert!(matches!(answers[1].as_ref().unwrap_err().as_ref(), StoreError::Void));
    assert_eq!(bench.stored(shard), 0);

    let (_link, mut queue) = WriterLink::new();
    let (reply, mut taken) = oneshot::channel();
    assert!(bench.writer.turn(Request::Take { shard: shard.0, reply }, &mut queue.requests).is_continue());
    let epoch = taken.try_recv().unwrap().unwrap().epoch;
    bench.writer.commit(vec![bench.send((shard.0, epoch), 3)]);
    assert!(bench.answers()[0].is_ok());
    assert_eq!(bench.stored(shard), 1);
}

#[test]
fn a_stale_owner_does_not_hold_up_the_others() {
    let mut bench = Bench::new();
    let (stale, fresh, gone) = (bench.shard(1), bench.shard(2), bench.shard(3));
    bench.store.take_shard(stale.0).unwrap();
    let delete = DirectoryChange::Delete { incarnation: 3, deleted_at: Timestamp::default() };
    bench.store.change_directory(&delete).unwrap();
    bench.writer.commit(vec![
        bench.send(stale, 1),
        bench.send(fresh, 1),
        bench.send(gone, 1),
        bench.send(stale, 2),
    ]);
    let answers = bench.answers();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    let fenced = |answer: &&std::result::Result<_, Arc<StoreError>>| {
        answer.as_ref().is_err_and(|error| matches!(**error, StoreError::Fenced(key) if key == stale.0))
    };
    assert_eq!(answers.iter().filter(fenced).count(), 2);
    assert_eq!(bench.stored(fresh), 1);
    assert_eq!(bench.stored(stale), 0);
}

#[test]
fn a_full_store_takes_what_makes_room() {
    let mut bench = Bench::new();
    let shard = bench.shard(1);
    bench.writer.commit(vec![bench.send(shard, 1)]);
    bench.store.set(Some(Fault::Full));
    let mut delete = bench.send(shard, 2);
    delete.write.write.deletes.push(1);
    bench.writer.commit(vec![delete]);
    let answers = bench.answers();
    assert!(matches!(answers[..], [Ok(Applied::Whole), Ok(Applied::WithoutInserts)]));
    assert_eq!(bench.stored(shard), 0);
}

#[test]
fn what_waits_goes_together() {
    let bench = Bench::new();
    let shard = bench.shard(1);
    let (link, mut queue) = WriterLink::new();
    for sequence in 2..=10 {
        link.requests.try_send(Request::Write(bench.send(shard, sequence))).ok().unwrap();
    }
    link.requests.try_send(Request::Stop).ok().unwrap();
    let (batch, next) = collect(bench.send(shard, 1), &mut queue.requests);
    assert_eq!(batch.len(), 10);
    assert!(matches!(next, Some(Request::Stop)), "in order");
}
