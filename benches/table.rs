//! The table that a bench prints.

use crate::cell::Cell;

/// Prints the head.
pub(crate) fn head() {
    println!(
        "\n{:<38} {:>10} {:>9} {:>9} {:>7} {:>9} {:>6} {:>9}  ratio",
        "cell", "per second", "p50 ms", "p99 ms", "errors", "commits/s", "sync", "fdatasync"
    );
}

/// Prints a row: what was measured, commits a second and what each outlasts, and fdatasync's median at that time.
pub(crate) fn row(
    cell: &Cell,
    store: Option<&(f64, String)>,
    fdatasync_ms: Option<f64>,
    ratio: Option<&str>,
) {
    let (commits, synchronous) = match store {
        Some((commits, synchronous)) => (format!("{commits:.0}"), synchronous.as_str()),
        None => ("-".to_owned(), "-"),
    };
    println!(
        "{:<38} {:>10.0} {:>9.3} {:>9.3} {:>7} {commits:>9} {synchronous:>6} {:>9.3}  {}",
        cell.name,
        cell.per_second,
        cell.p50_ms,
        cell.p99_ms,
        cell.errors,
        fdatasync_ms.unwrap_or_default(),
        ratio.unwrap_or_default()
    );
}
