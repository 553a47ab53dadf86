//! Warm invocations.

use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;

use crate::cell::{Cell, latencies, note};
use crate::options::Options;
use crate::queues::unique;
use crate::target::{Target, zip_of};

/// A language to measure: identifier, handler, file and source of a function that returns its event's length.
#[derive(Clone, Copy, Debug)]
pub struct Language {
    /// For the table.
    pub name: &'static str,
    /// The runtime identifier.
    pub runtime: &'static str,
    pub(crate) file: &'static str,
    pub(crate) source: &'static str,
    /// Commands by which an interpreter tells where it is, and then, from there, loads the file and ends. Empty for a
    /// program of its own.
    pub(crate) whereabouts: &'static [&'static str],
    pub(crate) alone: &'static [&'static str],
}

impl Language {
    /// A package with the function.
    pub(crate) fn package(self, options: &Options) -> anyhow::Result<Vec<u8>> {
        if !self.source.is_empty() {
            return zip_of(&[(self.file, self.source.as_bytes())]);
        }
        if let Some(native) = &options.native {
            let program = std::fs::read(native).with_context(|| native.display().to_string())?;
            return zip_of(&[(self.file, &program)]);
        }
        let program = std::fs::read(std::env::current_exe()?)?;
        let start = b"#!/bin/sh\nexec \"$LAMBDA_TASK_ROOT/program\" bench --bootstrap\n";
        zip_of(&[(self.file, start), ("program", &program)])
    }
}

/// Python.
pub const PYTHON: Language = Language {
    name: "python",
    runtime: "python3.11",
    file: "index.py",
    source: "def handler(event, context):\n    return {'ok': True, 'n': len(event)}\n",
    whereabouts: &["python3.11", "-c", "import sys; print(sys.executable)"],
    alone: &["-S", "-c", "import index"],
};

/// Node.
pub const NODE: Language = Language {
    name: "node",
    runtime: "nodejs20.x",
    file: "index.mjs",
    source: "export const handler = async (event) => ({ ok: true, n: Object.keys(event).length });\n",
    whereabouts: &["node", "-e", "console.log(process.execPath)"],
    alone: &["-e", "import('./index.mjs')"],
};

/// A native program.
pub const PROVIDED: Language = Language {
    name: "provided",
    runtime: "provided.al2023",
    file: "bootstrap",
    source: "",
    whereabouts: &[],
    alone: &[],
};

/// Every one.
pub const LANGUAGES: [Language; 3] = [PYTHON, NODE, PROVIDED];

pub(crate) const PAYLOAD: &[u8] = br#"{"greeting":"hello","from":"the load generator","padding":"0123"}"#;

/// Warm calls for `seconds` over `connections`, of a function that is made for them from `package`.
pub async fn warm(
    target: &Target,
    language: Language,
    package: &[u8],
    connections: usize,
    seconds: f64,
) -> anyhow::Result<Cell> {
    let name = unique("bench-warm");
    target.create_function(&name, language.runtime, "index.handler", package).await?;
    let cell = warm_of(target, &name, language, connections, seconds).await;
    target.delete_function(&name).await?;
    cell
}

/// The same of a function that is there.
pub async fn warm_of(
    target: &Target,
    name: &str,
    language: Language,
    connections: usize,
    seconds: f64,
) -> anyhow::Result<Cell> {
    let warm_up: Vec<_> =
        (0..connections).map(|_| tokio::spawn(calls(target.clone(), name.to_owned(), 0.3))).collect();
    for call in warm_up {
        call.await?;
    }
    let started = Instant::now();
    let loops: Vec<_> =
        (0..connections).map(|_| tokio::spawn(calls(target.clone(), name.to_owned(), seconds))).collect();
    let (mut all, mut done, mut errors) = (latencies(), 0, 0);
    for one in loops {
        let (times, failed) = one.await?;
        done += times.len();
        errors += failed;
        all.add(times)?;
    }
    Ok(Cell::new(&format!("warm {} c{connections}", language.name), done, started.elapsed(), &all, errors))
}

async fn calls(target: Target, name: String, seconds: f64) -> (hdrhistogram::Histogram<u64>, u64) {
    let (mut connection, mut times, mut errors) = (target.connection(), latencies(), 0);
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < until {
        let began = Instant::now();
        match connection.invoke(&name, Bytes::from_static(PAYLOAD), false).await {
            Ok(answer) if answer.header("x-amz-function-error").is_none() => {
                note(&mut times, began.elapsed());
            }
            _ => errors += 1,
        }
    }
    (times, errors)
}
