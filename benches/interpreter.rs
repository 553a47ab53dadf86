//! An interpreter by itself, without Lambfold or a sandbox: what a plain start cannot be quicker than.

use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use tokio::process::Command;

use crate::cell::{Cell, latencies, note};
use crate::invoke::Language;
use crate::target::pause;

/// Has the language's interpreter load the function and end, `starts` times, `gap_ms` apart: a processor that was idle
/// is slower than one that has just done the same.
pub(crate) async fn alone(
    language: Language,
    directory: &Path,
    starts: u32,
    gap_ms: u64,
) -> anyhow::Result<Cell> {
    std::fs::write(directory.join(language.file), language.source)?;
    // What is found by its name may be a script that looks for the interpreter.
    let told = Command::new(language.whereabouts[0]).args(&language.whereabouts[1..]).output().await?;
    let program = String::from_utf8(told.stdout)?.trim().to_owned();
    anyhow::ensure!(!program.is_empty(), "{} does not tell where it is", language.whereabouts[0]);
    let (mut times, mut errors, started) = (latencies(), 0, Instant::now());
    for _ in 0..starts {
        pause(gap_ms).await;
        let began = Instant::now();
        // As functions have it: variables of whoever runs this may make an interpreter do more.
        let status = Command::new(&program)
            .args(language.alone)
            .env_clear()
            .current_dir(directory)
            .stdin(Stdio::null())
            .status()
            .await?;
        if status.success() {
            note(&mut times, began.elapsed());
        } else {
            errors += 1;
        }
    }
    Ok(Cell::new(&format!("{} by itself", language.name), times.len(), started.elapsed(), &times, errors))
}
