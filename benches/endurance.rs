//! Whether many invocations leave anything in memory: Lambfold's own, and the kernel's.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::invoke::{Language, PAYLOAD, PYTHON};
use crate::queues::unique;
use crate::server::Server;
use crate::target::{Target, pause, zip_of};
use crate::usage::{Slab, children, resident_mib};

const CONNECTIONS: usize = 16;
/// Before memory is looked at: logs are delivered, the environments stand still.
const REST_MS: u64 = 5_000;
/// What is resident goes up and down by a tenth while invocations go on, so it is looked at so many times, between which there are
/// invocations; the median counts.
const LOOKS: usize = 11;
const BETWEEN_LOOKS: i64 = 1_000;
const SHORT_REST_MS: u64 = 500;

/// Invokes a warm function `invocations` times on a server of its own under `directory`, and prints what is resident after
/// a tenth of them and after all.
pub async fn run(directory: &Path, invocations: u64) -> anyhow::Result<()> {
    let server = Server::lambfold(directory)?;
    let target = server.target();
    let Language { runtime, file, source, name: language, .. } = PYTHON;
    let name = unique("bench-endurance");
    target.create_function(&name, runtime, "index.handler", &zip_of(&[(file, source.as_bytes())])?).await?;
    let (mut done, mut first) = (0, None);
    for count in [invocations / 10, invocations] {
        let portion = i64::try_from(count - done)?;
        let (elapsed, errors) = invoke(&target, &name, portion).await?;
        done = count;
        pause(REST_MS).await;
        let mut looks = vec![Reading::of(&server)?];
        while looks.len() < LOOKS {
            invoke(&target, &name, BETWEEN_LOOKS).await?;
            pause(SHORT_REST_MS).await;
            looks.push(Reading::of(&server)?);
        }
        let reading = Reading::median(&looks);
        println!(
            "{:<38} {:.1} MiB resident ({:.1} no file's), the spawner {:.1} ({:.1}); slab {:.1} MiB, reclaimable {:.1} beside it; \
             {:.0} per second, {errors} errors ({language})",
            format!("invokes at {count}"),
            reading.server.0,
            reading.server.1,
            reading.spawner.0,
            reading.spawner.1,
            reading.slab.unreclaimable_mib,
            reading.slab.reclaimable_mib,
            f64::from(u32::try_from(portion)?) / elapsed.as_secs_f64(),
        );
        match first {
            None => first = Some(reading),
            Some(first) => println!(
                "{:<38} {:.3} resident, {:.3} no file's, {:.3} slab",
                format!("ratio to {}", invocations / 10),
                (reading.server.0 + reading.spawner.0) / (first.server.0 + first.spawner.0),
                (reading.server.1 + reading.spawner.1) / (first.server.1 + first.spawner.1),
                reading.slab.unreclaimable_mib / first.slab.unreclaimable_mib,
            ),
        }
    }
    target.delete_function(&name).await?;
    server.stop()
}

/// Memory in MiB: resident in all, and what of it is no file's.
#[derive(Clone, Copy)]
struct Reading {
    server: (f64, f64),
    spawner: (f64, f64),
    slab: Slab,
}

impl Reading {
    fn of(server: &Server) -> anyhow::Result<Self> {
        let process = server.process()?;
        let mut spawner = (0.0, 0.0);
        for child in children(process) {
            let (all, own) = resident_mib(child)?;
            spawner = (spawner.0 + all, spawner.1 + own);
        }
        Ok(Self { server: resident_mib(process)?, spawner, slab: Slab::now()? })
    }

    /// Of each figure by itself.
    fn median(looks: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| {
            let mut figures: Vec<f64> = looks.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            figures[figures.len() / 2]
        };
        Self {
            server: (of(|it| it.server.0), of(|it| it.server.1)),
            spawner: (of(|it| it.spawner.0), of(|it| it.spawner.1)),
            slab: Slab {
                unreclaimable_mib: of(|it| it.slab.unreclaimable_mib),
                reclaimable_mib: of(|it| it.slab.reclaimable_mib),
            },
        }
    }
}

/// So many invocations, over all connections; how long they took, and how many failed.
async fn invoke(target: &Target, name: &str, count: i64) -> anyhow::Result<(Duration, u64)> {
    let left = Arc::new(AtomicI64::new(count));
    let began = Instant::now();
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (mut connection, name, left) = (target.connection(), name.to_owned(), Arc::clone(&left));
            tokio::spawn(async move {
                let mut errors = 0;
                while left.fetch_sub(1, Ordering::Relaxed) > 0 {
                    match connection.invoke(&name, Bytes::from_static(PAYLOAD), false).await {
                        Ok(answer) if answer.header("x-amz-function-error").is_none() => {}
                        _ => errors += 1,
                    }
                }
                errors
            })
        })
        .collect();
    let mut errors = 0;
    for client in clients {
        errors += client.await?;
    }
    Ok((began.elapsed(), errors))
}
