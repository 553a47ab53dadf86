//! Contestants in turn, so that what the machine does meanwhile meets all of them, and what their rounds come to.

use std::path::PathBuf;
use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::cell::{Cell, median};
use crate::disk::fdatasync_p50;
use crate::durability::Reading;
use crate::queues::settle;
use crate::table;
use crate::target::Target;

/// A run under way.
pub type Run<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Cell>> + 'a>>;

/// One who runs a cell.
pub struct Contestant<'a> {
    label: String,
    metrics: Option<&'a Target>,
    base: Option<(usize, &'static str)>,
    may_fail: bool,
    run: Box<dyn Fn() -> Run<'a> + 'a>,
}

impl<'a> Contestant<'a> {
    /// A contestant whose rows begin with `label`.
    pub fn new(label: &str, run: impl Fn() -> Run<'a> + 'a) -> Self {
        Self { label: label.to_owned(), metrics: None, base: None, may_fail: false, run: Box::new(run) }
    }

    /// `target` tells of its commits.
    pub fn told_by(mut self, target: &'a Target) -> Self {
        self.metrics = Some(target);
        self
    }

    /// Compared with another contestant, by its place, round by round.
    pub fn against(mut self, base: usize, of_what: &'static str) -> Self {
        self.base = Some((base, of_what));
        self
    }

    /// Somebody else's server: that it fails is a result, not our failure.
    pub fn may_fail(mut self) -> Self {
        self.may_fail = true;
        self
    }

    async fn measure(&self, limit: Duration) -> anyhow::Result<Measured> {
        let reading = async || match self.metrics {
            Some(target) => Reading::of(target).await,
            None => None,
        };
        let (before, began) = (reading().await, Instant::now());
        let cell = tokio::time::timeout(limit, (self.run)()).await;
        let elapsed = began.elapsed();
        let cell = cell.context("it did not come to an end")??;
        if cell.per_second <= 0.0 {
            bail!("nothing succeeded, {} requests failed", cell.errors);
        }
        let store = before.zip(reading().await).map(|(before, after)| {
            let commits = u32::try_from(after.commits.saturating_sub(before.commits)).unwrap_or(u32::MAX);
            (f64::from(commits) / elapsed.as_secs_f64(), after.synchronous)
        });
        Ok(Measured { cell, store })
    }
}

/// A run that is over.
struct Measured {
    cell: Cell,
    /// Commits a second, and what each outlasts.
    store: Option<(f64, String)>,
}

/// Has contestants run in turn and prints what came of it.
#[derive(Debug)]
pub struct Rounds {
    /// Where the disk is asked how long fdatasync takes.
    pub directory: PathBuf,
    /// How long a run is to take; one that takes far longer is given up.
    pub seconds: f64,
}

impl Rounds {
    /// `count` rounds of everybody, every other one in reverse. A row each: the run whose rate is the median, the medians
    /// of commits a second and of fdatasync, and the median of the rounds' ratios to the contestant's base.
    pub async fn hold(&self, count: usize, contestants: &[Contestant<'_>]) -> anyhow::Result<()> {
        let limit = Duration::from_secs_f64(self.seconds * 10.0 + 120.0);
        let mut runs: Vec<Vec<anyhow::Result<Measured>>> = contestants.iter().map(|_| Vec::new()).collect();
        let mut fdatasync = Vec::new();
        for round in 0..count {
            let mut order: Vec<usize> = (0..contestants.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            fdatasync.push(fdatasync_p50(&self.directory)?.as_secs_f64() * 1e3);
            for place in order {
                let (Some(contestant), Some(runs)) = (contestants.get(place), runs.get_mut(place)) else {
                    continue;
                };
                // A boxed future: runs are large, and only one is held at a time.
                runs.push(Box::pin(contestant.measure(limit)).await);
                settle().await;
            }
        }
        let rates: Vec<Vec<Option<f64>>> = runs
            .iter()
            .map(|runs| runs.iter().map(|run| run.as_ref().ok().map(|run| run.cell.per_second)).collect())
            .collect();
        let fdatasync_ms = middle(fdatasync);
        let mut failed = None;
        for ((contestant, runs), own) in contestants.iter().zip(runs).zip(&rates) {
            let ratio = contestant.base.and_then(|(place, of_what)| {
                let pairs = own.iter().zip(rates.get(place)?);
                let ratios = pairs.filter_map(|(own, base)| Some((*own)? / (*base)?)).collect();
                Some(format!("{:.3} {of_what}", middle(ratios)?))
            });
            let (mut cells, mut commits, mut synchronous, mut failures) =
                (Vec::new(), Vec::new(), None, Vec::new());
            for run in runs {
                match run {
                    Ok(Measured { cell, store }) => {
                        cells.push(cell);
                        if let Some((per_second, level)) = store {
                            commits.push(per_second);
                            synchronous = Some(level);
                        }
                    }
                    Err(error) => failures.push(error),
                }
            }
            let errors = cells.iter().map(|cell| cell.errors).sum();
            if let Some(mut cell) = median(cells) {
                cell.errors = errors;
                cell.name = format!("{}{}", contestant.label, cell.name);
                let store = middle(commits).zip(synchronous);
                table::row(&cell, store.as_ref(), fdatasync_ms, ratio.as_deref());
            }
            if let Some(error) = failures.first() {
                println!(
                    "  {}: {} of {count} runs failed: {error:#}",
                    contestant.label.trim(),
                    failures.len()
                );
                if !contestant.may_fail {
                    failed = failures.into_iter().next();
                }
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// The median, by the upper of the two in the middle.
pub fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
