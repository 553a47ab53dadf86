//! Very many environments alive at once: what they take, how soon they answer, and that they go away.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use bytes::Bytes;

use crate::cell::{Cell, latencies, note};
use crate::invoke::{PAYLOAD, PYTHON};
use crate::queues::unique;
use crate::server::Server;
use crate::table;
use crate::target::{Target, pause, zip_of};
use crate::usage::{Slab, Usage, children, mounts};

/// Calls at the same moment, at most: each takes a connection.
const MOST_CALLS: usize = 1_000;
/// Functions that are made or deleted at the same time.
const CHANGES: usize = 16;
/// Memory of a function, in MiB.
const MEMORY_MIB: usize = 128;

/// Makes `count` functions on a server of its own under `directory` and calls each twice, all at once; prints what their
/// environments take, and what is left when the functions have been deleted.
pub async fn run(directory: &Path, count: usize) -> anyhow::Result<()> {
    let settings = [
        ("LAMBFOLD_WORKER__MAX_ENVIRONMENTS", count.to_string()),
        // The functions' sizes are let in; what they really take is told below.
        ("LAMBFOLD_WORKER__MEMORY_MIB", (count * MEMORY_MIB).to_string()),
        ("LAMBFOLD_WORKER__IDLE_SECONDS", "3600".to_owned()),
        ("LAMBFOLD_DISPATCHER__ACCOUNT_CONCURRENCY", count.max(MOST_CALLS).to_string()),
        ("LAMBFOLD_DISPATCHER__PLACEMENT_WAIT_MS", "120000".to_owned()),
    ];
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let server = Server::lambfold_with(directory, &settings)?;
    let target = server.target();
    pause(2_000).await;
    tell("before", &server)?;

    let names: Arc<Vec<String>> = Arc::new((0..count).map(|_| unique("bench-many")).collect());
    let zip: Arc<Vec<u8>> = Arc::new(zip_of(&[(PYTHON.file, PYTHON.source.as_bytes())])?);
    let began = Instant::now();
    for_all(&names, CHANGES, |name| {
        let (target, zip) = (target.clone(), Arc::clone(&zip));
        async move { target.create_function(&name, PYTHON.runtime, "index.handler", &zip).await }
    })
    .await?;
    println!("{count} functions made in {:.1} s", began.elapsed().as_secs_f64());

    for what in ["first calls", "second calls"] {
        call_all(&target, &names, what).await?;
    }
    let alive = environments(&target).await?;
    if alive < count {
        bail!("only {alive} environments are alive, of {count}");
    }
    // Until they stand still.
    pause(1_000).await;
    tell(&format!("{alive} environments alive"), &server)?;

    let began = Instant::now();
    for_all(&names, CHANGES, |name| {
        let target = target.clone();
        async move { target.delete_function(&name).await.map(|_| ()) }
    })
    .await?;
    let deleted = began.elapsed();
    // Those that wait for functions follow the cold starts of the last minutes; what is looked for are the functions'.
    while environments(&target).await? > 0 {
        if began.elapsed() > Duration::from_mins(5) {
            bail!("{} environments outlive their functions", environments(&target).await?);
        }
        pause(50).await;
    }
    println!(
        "functions deleted in {:.1} s, all environments gone {:.1} s later",
        deleted.as_secs_f64(),
        began.elapsed().saturating_sub(deleted).as_secs_f64()
    );
    pause(5_000).await;
    tell("after", &server)?;
    server.stop()
}

/// Calls each function once, and prints how long each took, and all of them.
async fn call_all(target: &Target, names: &Arc<Vec<String>>, what: &str) -> anyhow::Result<()> {
    let (next, began) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let callers: Vec<_> = (0..names.len().min(MOST_CALLS))
        .map(|_| {
            let (mut connection, names, next) = (target.connection(), Arc::clone(names), Arc::clone(&next));
            tokio::spawn(async move {
                let mut times = Vec::new();
                let mut failures = Vec::new();
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let began = Instant::now();
                    match connection.invoke(name, Bytes::from_static(PAYLOAD), false).await {
                        Ok(answer) if answer.header("x-amz-function-error").is_none() => {
                            times.push(began.elapsed());
                        }
                        Ok(answer) => failures.push(String::from_utf8_lossy(&answer.body).into_owned()),
                        Err(error) => failures.push(error.to_string()),
                    }
                }
                (times, failures)
            })
        })
        .collect();
    let (mut all, mut errors) = (latencies(), Vec::new());
    for caller in callers {
        let (times, failures) = caller.await?;
        for time in times {
            note(&mut all, time);
        }
        errors.extend(failures);
    }
    let elapsed = began.elapsed();
    if let Some(error) = errors.first() {
        println!("{} calls failed; the first: {error}", errors.len());
    }
    println!("{what} of {} functions: all answered after {:.2} s", names.len(), elapsed.as_secs_f64());
    let name = format!("environments at {}: {what}", names.len());
    let cell = Cell::new(&name, all.len(), elapsed, &all, u64::try_from(errors.len())?);
    table::row(&cell, None, None, None);
    Ok(())
}

/// Does something for each name, so many at once.
async fn for_all<F: Future<Output = anyhow::Result<()>> + 'static>(
    names: &Arc<Vec<String>>,
    at_once: usize,
    act: impl Fn(String) -> F,
) -> anyhow::Result<()> {
    use futures_util::{StreamExt, TryStreamExt};
    let all = futures_util::stream::iter(names.iter().cloned().map(act));
    all.buffer_unordered(at_once).try_collect().await
}

/// How many environments the worker counts.
async fn environments(target: &Target) -> anyhow::Result<usize> {
    let page = target.connection().get("/metrics").await?.body;
    let page = String::from_utf8_lossy(&page);
    let count = page.lines().find_map(|line| line.strip_prefix("lambfold_worker_environments "));
    Ok(count.and_then(|it| it.trim().parse().ok()).unwrap_or(0))
}

fn tell(when: &str, server: &Server) -> anyhow::Result<()> {
    let process = server.process()?;
    let all = server.processes();
    let own = children(process);
    let inside: Vec<u32> = all.iter().copied().filter(|it| *it != process && !own.contains(it)).collect();
    let (lambfold, spawner, inside_usage) = (Usage::of(&[process]), Usage::of(&own), Usage::of(&inside));
    let slab = Slab::now()?;
    println!(
        "{when}: proportional memory {:.1} MiB (server {:.1}, spawner {:.1}, {} processes in sandboxes {:.1}); slab {:.1} MiB \
         and {:.1} reclaimable; mounts {}; threads {} + {} + {}; descriptors {} + {} + {}",
        lambfold.proportional_mib + spawner.proportional_mib + inside_usage.proportional_mib,
        lambfold.proportional_mib,
        spawner.proportional_mib,
        inside_usage.processes,
        inside_usage.proportional_mib,
        slab.unreclaimable_mib,
        slab.reclaimable_mib,
        mounts(&all),
        lambfold.threads,
        spawner.threads,
        inside_usage.threads,
        lambfold.descriptors,
        spawner.descriptors,
        inside_usage.descriptors,
    );
    Ok(())
}
