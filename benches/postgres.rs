//! Queues in Postgres, beside a raw loop of the same three steps in statements over arrays.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio_postgres::{Client, NoTls, Statement};

use crate::answers::Sample;
use crate::cell::{Cell, latencies, note};
use crate::options::Options;
use crate::queues::{BODY_BYTES, whole_life};
use crate::rounds::{Contestant, Rounds};
use crate::server::Server;
use crate::table;

/// Messages of a statement.
const ROWS: i64 = 100;

/// The tables of the raw loop are dropped with it.
const SCHEMA: &str = "\
    DROP SCHEMA IF EXISTS lambfold_bench CASCADE;
    CREATE SCHEMA lambfold_bench;
    CREATE TABLE lambfold_bench.messages (seq bigint PRIMARY KEY, sent_at bigint NOT NULL, record bytea NOT NULL);
    CREATE TABLE lambfold_bench.deliveries
        (seq bigint PRIMARY KEY, visible_at bigint NOT NULL, receive_count int NOT NULL)";
const SEND: &str = "INSERT INTO lambfold_bench.messages (seq, sent_at, record) \
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[])";
const RECEIVE: &str = "INSERT INTO lambfold_bench.deliveries (seq, visible_at, receive_count) \
    SELECT seq, 0, 1 FROM unnest($1::bigint[]) AS given (seq)";
const DELETE: &str = "WITH gone AS (DELETE FROM lambfold_bench.deliveries WHERE seq = ANY($1)) \
    DELETE FROM lambfold_bench.messages WHERE seq = ANY($1)";

/// Whole lives over a Lambfold that keeps its queues in the database at `url`, in turn with the raw loop.
pub async fn run(options: &Options, url: &str, directory: &Path) -> anyhow::Result<()> {
    let raw = RawLoop::connect(url).await?;
    let server = Server::lambfold_on_postgres(directory, url).context("Lambfold on Postgres");
    let target = server.as_ref().ok().map(Server::target);
    println!("Postgres: {}", raw.settings().await?);
    table::head();
    let (seconds, load) = (options.seconds, options.load(10));
    let mut contestants = vec![Contestant::new("", || Box::pin(raw.lives(seconds)))];
    if let Some(target) = &target {
        let lambfold = Contestant::new("postgres: ", move || Box::pin(whole_life(target, load)));
        contestants.push(lambfold.told_by(target).against(0, "of the raw loop"));
    }
    // Of the disk of the work directory, which Postgres may not share.
    let rounds = Rounds { directory: directory.to_path_buf(), seconds };
    rounds.hold(options.runs(), &contestants).await?;
    raw.client.batch_execute("DROP SCHEMA lambfold_bench CASCADE").await?;
    server.map(drop)
}

/// One connection that sends, receives and deletes a hundred messages at a time, each step a statement and a commit. It
/// knows the sequences, as a queue's owner does: what it measures is what the database charges for making them last.
struct RawLoop {
    client: Client,
    send: Statement,
    receive: Statement,
    delete: Statement,
}

impl RawLoop {
    async fn connect(url: &str) -> anyhow::Result<Self> {
        let (client, connection) =
            tokio_postgres::connect(url, NoTls).await.context("connect to Postgres")?;
        // Ends with the client; what breaks it shows at the next statement.
        tokio::spawn(connection);
        client.batch_execute(SCHEMA).await?;
        let (send, receive) = (client.prepare(SEND).await?, client.prepare(RECEIVE).await?);
        let delete = client.prepare(DELETE).await?;
        Ok(Self { client, send, receive, delete })
    }

    /// What a commit of this database outlasts.
    async fn settings(&self) -> anyhow::Result<String> {
        let mut settings = Vec::new();
        for name in ["server_version", "synchronous_commit", "fsync", "wal_sync_method"] {
            let row = self.client.query_one(&format!("SHOW {name}"), &[]).await?;
            settings.push(format!("{name}={}", row.get::<_, &str>(0)));
        }
        Ok(settings.join(", "))
    }

    /// Lives for `seconds`; the latency is that of the three steps together.
    async fn lives(&self, seconds: f64) -> anyhow::Result<Cell> {
        let body = Sample::of(BODY_BYTES).body;
        let rows = usize::try_from(ROWS)?;
        let (records, times_sent) = (vec![body.as_bytes(); rows], vec![0_i64; rows]);
        self.client.batch_execute("TRUNCATE lambfold_bench.messages, lambfold_bench.deliveries").await?;
        let (mut times, mut lives, mut next, started) = (latencies(), 0, 0_i64, Instant::now());
        while started.elapsed() < Duration::from_secs_f64(seconds) {
            let began = Instant::now();
            let sequences: Vec<i64> = (next..next + ROWS).collect();
            self.client.execute(&self.send, &[&sequences, &times_sent, &records]).await?;
            self.client.execute(&self.receive, &[&sequences]).await?;
            lives += self.client.execute(&self.delete, &[&sequences]).await?;
            note(&mut times, began.elapsed());
            next += ROWS;
        }
        Ok(Cell::new("raw loop on Postgres, arrays of 100", lives, started.elapsed(), &times, 0))
    }
}
