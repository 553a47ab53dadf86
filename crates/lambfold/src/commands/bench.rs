//! `lambfold bench`: measures a running Lambfold, or one that it starts beside the bare durable reference.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args;
use lambfold_benches::{Cell, Target, fifo, invoke, long_poll, median, queues, reference};
use tokio::net::TcpListener;

#[derive(Clone, Debug, Args)]
pub(crate) struct BenchOptions {
    /// A running Lambfold (host:port); without it one is started on a temporary directory, and the reference too.
    #[arg(long)]
    endpoint: Option<String>,
    /// Only the cells whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Seconds of each run.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Runs of each cell; the median is shown.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Messages queued before the cell that shows whether a backlog costs.
    #[arg(long, default_value_t = 100_000)]
    backlog: u64,
    /// Serve the reference on this address and do nothing else.
    #[arg(long, hide = true)]
    reference: Option<String>,
    /// Where the reference keeps its file.
    #[arg(long, hide = true, default_value = ".")]
    directory: std::path::PathBuf,
}

/// Measures and prints a table.
pub(crate) fn run(options: &BenchOptions) -> anyhow::Result<()> {
    if let Some(address) = &options.reference {
        return super::block_on(async {
            let listener = TcpListener::bind(address).await?;
            println!("Ready.");
            reference::serve(listener, &options.directory).await
        });
    }
    // One thread: the generator shares the machine with what it measures.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(options))
}

async fn measure(options: &BenchOptions) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut started = None;
    let (target, bare) = if let Some(endpoint) = &options.endpoint {
        (Target::new(endpoint), None)
    } else {
        let began = Instant::now();
        let server = Process::lambfold(directory.path())?;
        println!("start to Ready: {} ms", began.elapsed().as_millis());
        println!("idle memory: {:.1} MiB resident", server.resident_mib()?);
        let bare = Process::reference(directory.path())?;
        let targets = (Target::new(&server.address), Some(Target::new(&bare.address)));
        started = Some((server, bare));
        targets
    };
    println!("{:<28} {:>12} {:>10} {:>10} {:>8}  ratio", "cell", "per second", "p50 ms", "p99 ms", "errors");
    let wanted = |name: &str| name.contains(&options.only);
    let seconds = options.seconds;
    if wanted("send c16 b1") {
        let ours = async || queues::send(&target, 16, 1, seconds).await;
        match &bare {
            Some(bare) => {
                let floor = async || queues::send_to_reference(bare, 16, seconds).await;
                pairs(options, floor, ours, "of the reference").await?;
            }
            None => repeat(options, ours).await?,
        }
    }
    if wanted("send c16 b10") {
        repeat(options, async || queues::send(&target, 16, 10, seconds).await).await?;
    }
    for batch in [1, 10] {
        if wanted(&format!("life c16 b{batch} at")) {
            let empty = async || queues::whole_life(&target, 16, batch, seconds, 0).await;
            let full = async || queues::whole_life(&target, 16, batch, seconds, options.backlog).await;
            pairs(options, empty, full, "of the empty queue").await?;
        }
    }
    for batch in [1, 10] {
        if wanted(&format!("fifo c16 g64 b{batch}")) {
            repeat(options, async || fifo::whole_life(&target, 16, 64, batch, seconds).await).await?;
        }
    }
    if wanted("long poll") {
        repeat(options, async || long_poll::run(&target, 100, seconds).await).await?;
    }
    for language in [invoke::PYTHON, invoke::NODE] {
        for connections in [1, 16] {
            if wanted("warm") {
                repeat(options, async || invoke::warm(&target, language, connections, seconds).await).await?;
            }
        }
        if wanted("cold") {
            repeat(options, async || invoke::cold(&target, language, 20).await).await?;
        }
    }
    if let Some((server, _)) = &started {
        println!("memory after: {:.1} MiB resident", server.resident_mib()?);
    }
    Ok(())
}

/// Two measurements in turn, so that what the machine does meanwhile meets both; the ratio is the median of the pairs'.
async fn pairs(
    options: &BenchOptions,
    one: impl AsyncFn() -> anyhow::Result<Cell>,
    other: impl AsyncFn() -> anyhow::Result<Cell>,
    of_what: &str,
) -> anyhow::Result<()> {
    let (mut ones, mut others, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.runs {
        let first = one().await?;
        queues::settle().await;
        let second = other().await?;
        queues::settle().await;
        ratios.push(second.per_second / first.per_second);
        ones.push(first);
        others.push(second);
    }
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios.get(ratios.len() / 2).map(|ratio| format!("{ratio:.2} {of_what}"));
    print(median(ones), "");
    print(median(others), &ratio.unwrap_or_default());
    Ok(())
}

async fn repeat(options: &BenchOptions, run: impl AsyncFn() -> anyhow::Result<Cell>) -> anyhow::Result<()> {
    let mut cells = Vec::new();
    for _ in 0..options.runs {
        cells.push(run().await?);
        queues::settle().await;
    }
    print(median(cells), "");
    Ok(())
}

fn print(cell: Option<Cell>, ratio: &str) {
    let Some(cell) = cell else { return };
    println!(
        "{:<28} {:>12.0} {:>10.3} {:>10.3} {:>8}  {ratio}",
        cell.name, cell.per_second, cell.p50_ms, cell.p99_ms, cell.errors
    );
}

/// A child of this process; killed with it.
pub(crate) struct Process {
    child: Child,
    /// Where it listens: host:port.
    pub(crate) address: String,
}

impl Process {
    /// A Lambfold of its own under `directory`.
    pub(crate) fn lambfold(directory: &Path) -> anyhow::Result<Self> {
        let (address, grpc) = (free_address()?, free_address()?);
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["up", "--listen", &address, "--grpc-listen", &grpc, "--data-dir"])
            .arg(directory.join("data"));
        Self::start(command, address, &directory.join("lambfold.log"))
    }

    fn reference(directory: &Path) -> anyhow::Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "--reference", &address, "--directory"]).arg(directory);
        Self::start(command, address, &directory.join("reference.log"))
    }

    fn start(mut command: Command, address: String, log: &Path) -> anyhow::Result<Self> {
        use std::io::{BufRead, BufReader};
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(log)?)
            .spawn()
            .context("start it")?;
        let output = child.stdout.take().context("its output is piped")?;
        for line in BufReader::new(output).lines() {
            if line?.ends_with("Ready.") {
                return Ok(Self { child, address });
            }
        }
        let _ = child.wait();
        bail!("it ended before it was ready:\n{}", std::fs::read_to_string(log).unwrap_or_default())
    }

    /// Memory that is resident now.
    fn resident_mib(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the kernel tells VmRSS")?;
        Ok(kib.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> anyhow::Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
