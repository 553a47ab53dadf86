//! Cold starts: one after another, by an environment that waited, on the plain path and from nothing; two hundred at once;
//! and what an idle environment takes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;

use crate::cell::{Cell, latencies, note};
use crate::interpreter;
use crate::invoke::{Language, NODE, PAYLOAD, PROVIDED, PYTHON};
use crate::options::Options;
use crate::queues::unique;
use crate::server::Server;
use crate::session::fresh;
use crate::table;
use crate::target::{Target, pause};
use crate::usage::proportional_kib;

/// Cold starts of a cell.
const STARTS: u32 = 200;
/// Between them, in milliseconds: a burst is a cell of its own.
const GAP_MS: u64 = 100;
/// At once.
const BURST: usize = 200;

/// Runs the cells that are asked for on servers of their own below `directory`.
pub async fn run(options: &Options, directory: &Path) -> anyhow::Result<()> {
    let languages: Vec<Language> = [PYTHON, NODE]
        .into_iter()
        .filter(|it| {
            ["cold", "cold plain", "cold from nothing", "idle"]
                .iter()
                .any(|what| options.wants(&format!("{what} {}", it.name)))
        })
        .collect();
    let provided = options.wants("cold provided");
    let burst = options.wants("cold 200 at once");
    if languages.is_empty() && !provided && !burst {
        return Ok(());
    }
    // 200 functions of 128 MB at once must be let in, whatever the machine has.
    let memory = ("LAMBFOLD_WORKER__MEMORY_MIB", "32768");
    let waiting = Server::lambfold_with(&fresh(directory, "waiting")?, &[memory])?;
    let target = waiting.target();
    for language in &languages {
        show(&managed(options, &target, *language, "cold", &[]).await?);
        idle(&waiting, language.name);
        // Read when the interpreter starts: it cannot be one that waits.
        let plain = managed(options, &target, *language, "cold plain", &[("LANG", "C.UTF-8")]).await?;
        match interpreter::alone(*language, directory, STARTS, GAP_MS).await {
            Ok(alone) => {
                let ratio = format!("{:.2} of the interpreter by itself", plain.p50_ms / alone.p50_ms);
                table::row(&alone, None, None, None);
                table::row(&plain, None, None, Some(&ratio));
            }
            Err(error) => {
                println!("{} by itself: {error:#}", language.name);
                show(&plain);
            }
        }
    }
    if provided {
        match provided_cell(options, &target, "cold plain provided").await {
            Ok(cell) => show(&cell),
            // A result, too: see docs/gaps.md.
            Err(error) => println!("cold plain provided: {error:#}"),
        }
    }
    if burst {
        show(&at_once(options, &target, PYTHON).await?);
    }
    drop(waiting);
    let plain = Server::lambfold_with(
        &fresh(directory, "plain")?,
        &[memory, ("LAMBFOLD_WORKER__POOL_MEMORY_MIB", "0")],
    )?;
    for language in &languages {
        show(&managed(options, &plain.target(), *language, "cold from nothing", &[]).await?);
    }
    if provided {
        match provided_cell(options, &plain.target(), "cold provided").await {
            Ok(cell) => show(&cell),
            Err(error) => println!("cold provided: {error:#}"),
        }
    }
    Ok(())
}

fn show(cell: &Cell) {
    table::row(cell, None, None, None);
}

/// The first call of functions made for it, one after another.
async fn managed(
    options: &Options,
    target: &Target,
    language: Language,
    what: &str,
    variables: &[(&str, &str)],
) -> anyhow::Result<Cell> {
    let zip = language.package(options)?;
    let name = unique("bench-cold");
    target.create_function(&name, language.runtime, "index.handler", &zip).await?;
    cold_calls(target, &name, &format!("{what} {}", language.name), variables).await
}

/// The same of a native program.
async fn provided_cell(options: &Options, target: &Target, what: &str) -> anyhow::Result<Cell> {
    let zip = PROVIDED.package(options)?;
    let name = unique("bench-cold");
    target.create_function(&name, PROVIDED.runtime, "index.handler", &zip).await?;
    cold_calls(target, &name, what, &[]).await
}

/// Calls a function that is another one each time: an environment serves one configuration.
async fn cold_calls(
    target: &Target,
    name: &str,
    cell: &str,
    variables: &[(&str, &str)],
) -> anyhow::Result<Cell> {
    let (mut times, mut errors, started) = (latencies(), 0, Instant::now());
    let mut connection = target.connection();
    let path = format!("/2015-03-31/functions/{name}/configuration");
    // The first ones are not counted: the package is unpacked, the pool learns what is wanted.
    for start in 0..STARTS + 5 {
        let start_number = start.to_string();
        let variables: BTreeMap<&str, &str> =
            variables.iter().copied().chain([("START", start_number.as_str())]).collect();
        let change = json!({ "Environment": { "Variables": variables } });
        connection.lambda(http::Method::PUT, &path, Some(&change)).await?;
        pause(GAP_MS).await;
        let began = Instant::now();
        let answer = connection.invoke(name, Bytes::from_static(PAYLOAD), false).await;
        let elapsed = began.elapsed();
        match answer {
            Ok(answer) if answer.header("x-amz-function-error").is_none() => {
                if start >= 5 {
                    note(&mut times, elapsed);
                }
            }
            _ => errors += 1,
        }
    }
    let cell = Cell::new(cell, times.len(), started.elapsed(), &times, errors);
    target.delete_function(name).await?;
    Ok(cell)
}

/// Two hundred functions that are called for the first time at the same moment.
async fn at_once(options: &Options, target: &Target, language: Language) -> anyhow::Result<Cell> {
    let zip = language.package(options)?;
    let mut names = Vec::new();
    for _ in 0..BURST {
        let name = unique("bench-burst");
        target.create_function(&name, language.runtime, "index.handler", &zip).await?;
        names.push(name);
    }
    let started = Instant::now();
    let calls: Vec<_> = names
        .iter()
        .map(|name| {
            let (target, name) = (target.clone(), name.clone());
            tokio::spawn(async move {
                let began = Instant::now();
                let answer = target.connection().invoke(&name, Bytes::from_static(PAYLOAD), false).await;
                let sound = answer.is_ok_and(|answer| answer.header("x-amz-function-error").is_none());
                sound.then(|| began.elapsed())
            })
        })
        .collect();
    let (mut times, mut errors) = (latencies(), 0);
    for call in calls {
        match call.await? {
            Some(time) => note(&mut times, time),
            None => errors += 1,
        }
    }
    let elapsed: Duration = started.elapsed();
    for name in &names {
        target.delete_function(name).await?;
    }
    println!("{BURST} functions called at once: all answered after {:.2} s", elapsed.as_secs_f64());
    Ok(Cell::new(&format!("cold {BURST} at once {}", language.name), times.len(), elapsed, &times, errors))
}

/// Proportional memory of the idle environments of a language: of the interpreter, and of the sandbox's first process.
fn idle(server: &Server, name: &str) {
    let (mut interpreters, mut inits) = (Vec::new(), Vec::new());
    for pid in server.processes() {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        if !line.contains("/var/runtime/bootstrap") || !line.contains(name) {
            continue;
        }
        // One may end meanwhile.
        let (Ok(own), Ok(stat)) =
            (proportional_kib(pid), std::fs::read_to_string(format!("/proc/{pid}/stat")))
        else {
            continue;
        };
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        let Ok(init) = proportional_kib(parent.unwrap_or_default()) else { continue };
        interpreters.push(own);
        inits.push(init);
    }
    let mean = |of: &[u32]| {
        f64::from(of.iter().sum::<u32>()) / 1024.0 / f64::from(u32::try_from(of.len()).unwrap_or(1).max(1))
    };
    println!(
        "idle {name}: {:.2} MiB proportional, and {:.2} of the sandbox's first process (mean of {})",
        mean(&interpreters),
        mean(&inits),
        interpreters.len()
    );
}
