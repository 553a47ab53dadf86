//! First calls of functions, Lambfold's and others' in turn: each function is called once.

use std::time::Instant;

use bytes::Bytes;

use crate::cell::{Cell, latencies, note};
use crate::invoke::{Language, PAYLOAD};
use crate::options::InvokePeer;
use crate::queues::unique;
use crate::rounds::middle;
use crate::table;
use crate::target::{Target, pause};

/// First calls of each.
const STARTS: usize = 20;
/// Before each, in milliseconds.
const GAP_MS: u64 = 200;

/// One whose functions are called.
struct Contestant<'a> {
    label: String,
    target: Target,
    /// Where functions are there already; otherwise they are made.
    given: Option<&'a InvokePeer>,
    /// In milliseconds; `None` for a call that failed.
    times: Vec<Option<f64>>,
}

/// Calls in rounds, every other one in reverse, and prints a row each: the ratio is the median of the rounds' ratios.
pub(crate) async fn run(
    lambfold: &Target,
    peers: &[(String, Target)],
    given: &[InvokePeer],
    (language, package): (Language, &[u8]),
) -> anyhow::Result<()> {
    let contestant = |label: &str, target: Target, given| Contestant {
        label: label.to_owned(),
        target,
        given,
        times: Vec::new(),
    };
    let mut all = vec![contestant("", lambfold.clone(), None)];
    all.extend(peers.iter().map(|(label, target)| contestant(label, target.clone(), None)));
    // Those that have one function only have one first call only.
    let numbered = given.iter().filter(|peer| peer.language == language.name && peer.function.contains("{}"));
    all.extend(
        numbered.map(|peer| contestant(&format!("{}: ", peer.name), Target::new(&peer.url), Some(peer))),
    );
    for start in 0..STARTS {
        let mut order: Vec<usize> = (0..all.len()).collect();
        if start % 2 == 1 {
            order.reverse();
        }
        for place in order {
            let Some(contestant) = all.get_mut(place) else { continue };
            // The first function of others was called to measure warm ones.
            let time = match contestant.given {
                Some(peer) => call(&contestant.target, &peer.function(start + 1)).await,
                None => call_new(&contestant.target, language, package).await,
            };
            contestant.times.push(time.ok());
        }
    }
    let base: Vec<Option<f64>> = all.first().map(|lambfold| lambfold.times.clone()).unwrap_or_default();
    for Contestant { label, times, .. } in &all {
        let (mut noted, mut failed) = (latencies(), 0);
        for time in times {
            match time {
                Some(time) => note(&mut noted, std::time::Duration::from_secs_f64(time / 1e3)),
                None => failed += 1,
            }
        }
        let sum = times.iter().flatten().sum::<f64>() / 1e3;
        let name = format!("{label}first call {}", language.name);
        let elapsed = std::time::Duration::from_secs_f64(sum);
        let cell = Cell::new(&name, noted.len(), elapsed, &noted, failed);
        let ratios = times.iter().zip(&base).filter_map(|(own, base)| Some((*own)? / (*base)?)).collect();
        let ratio = middle(ratios).filter(|_| !label.is_empty());
        let ratio = ratio.map(|ratio| format!("{ratio:.1} times Lambfold's time"));
        table::row(&cell, None, None, ratio.as_deref());
    }
    Ok(())
}

async fn call_new(target: &Target, language: Language, package: &[u8]) -> anyhow::Result<f64> {
    let name = unique("bench-first");
    target.create_function(&name, language.runtime, "index.handler", package).await?;
    let time = call(target, &name).await;
    target.delete_function(&name).await?;
    time
}

/// How long one call takes, over a new connection, in milliseconds.
async fn call(target: &Target, function: &str) -> anyhow::Result<f64> {
    pause(GAP_MS).await;
    let began = Instant::now();
    let answer = target.connection().invoke(function, Bytes::from_static(PAYLOAD), false).await?;
    let time = began.elapsed().as_secs_f64() * 1e3;
    anyhow::ensure!(answer.header("x-amz-function-error").is_none(), "the function failed");
    Ok(time)
}
