//! A session: starts what is to be compared, runs the cells that are asked for, and stops it all.

use std::path::Path;

use crate::backlog::Backlog;
use crate::disk::fdatasync_p50;
use crate::durability::Reading;
use crate::options::{CONNECTIONS, Layout, Options};
use crate::rounds::{Contestant, Rounds};
use crate::server::{Server, timed};
use crate::target::Target;
use crate::{cold, endurance, fifo, first_calls, invoke, long_poll, many, memory, postgres, queues, table};

/// Runs the cells that `options` ask for and prints a table.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let directory = match &options.work_dir {
        Some(parent) => tempfile::tempdir_in(parent)?,
        None => tempfile::tempdir()?,
    };
    let session = Session::start(options, directory.path())?;
    session.introduce().await?;
    table::head();
    session.sends().await?;
    session.lives().await?;
    session.behind_a_backlog().await?;
    session.fifo().await?;
    session.long_poll().await?;
    session.functions().await?;
    for (layout, server) in [("one process", &session.one), ("two processes", &session.two)] {
        if let Some(server) = server {
            println!("memory of {layout} by now: {:.1} MiB resident", server.resident_mib()?);
        }
    }
    drop(session);
    // By themselves: they start servers of their own, and the machine has two cores.
    let (memory, restart) = (options.wants("memory at"), options.wants("restart at"));
    if options.endpoint.is_none() && (memory || restart) {
        memory::run(&fresh(directory.path(), "memory")?, options.backlog, memory, restart).await?;
    }
    if options.endpoint.is_none() {
        cold::run(options, &fresh(directory.path(), "cold")?).await?;
    }
    let (invokes, environments) = (options.wants("invokes at"), options.wants("environments at"));
    if options.endpoint.is_none() && invokes {
        endurance::run(&fresh(directory.path(), "endurance")?, options.invokes).await?;
    }
    if options.endpoint.is_none() && environments {
        many::run(&fresh(directory.path(), "many")?, options.environments).await?;
    }
    if let Some(url) = options.postgres.as_deref().filter(|_| options.wants("postgres: life c16 b10")) {
        postgres::run(options, url, &fresh(directory.path(), "postgres")?).await?;
    }
    Ok(())
}

/// Functions of other servers in a language: label, name, where they are.
fn others(options: &Options, language: invoke::Language) -> Vec<(String, String, Target)> {
    let of_language = options.invoke_peer.iter().filter(|peer| peer.language == language.name);
    of_language.map(|peer| (format!("{}: ", peer.name), peer.function(0), Target::new(&peer.url))).collect()
}

pub(crate) fn fresh(parent: &Path, name: &str) -> anyhow::Result<std::path::PathBuf> {
    let path = parent.join(name);
    std::fs::create_dir(&path)?;
    Ok(path)
}

/// What runs.
struct Session<'a> {
    options: &'a Options,
    rounds: Rounds,
    one: Option<Server>,
    two: Option<Server>,
    _bare: Option<Server>,
    target: Target,
    two_targets: Option<[Target; 2]>,
    bare_target: Option<Target>,
    peers: Vec<(String, Target)>,
}

impl<'a> Session<'a> {
    fn start(options: &'a Options, directory: &Path) -> anyhow::Result<Self> {
        let rounds = Rounds { directory: directory.to_path_buf(), seconds: options.seconds };
        let peers =
            options.peer.iter().map(|peer| (format!("{}: ", peer.name), Target::new(&peer.url))).collect();
        let (mut one, mut two, mut bare) = (None, None, None);
        let target = if let Some(endpoint) = &options.endpoint {
            Target::new(endpoint)
        } else {
            let (server, time) = timed(|| Server::lambfold(&fresh(directory, "one")?))?;
            println!("start to Ready: {} ms", time.as_millis());
            println!("idle memory: {:.1} MiB resident", server.resident_mib()?);
            let shared = ["send c16 b1", "send c16 b10", "life c16 b1", "life c16 b10"];
            if options.layout.contains(&Layout::Two) && shared.iter().any(|cell| options.wants(cell)) {
                two = Some(Server::two_processes(&fresh(directory, "two")?)?);
            }
            bare = Some(Server::reference(&fresh(directory, "reference")?)?);
            one.insert(server).target()
        };
        Ok(Self {
            options,
            rounds,
            target,
            two_targets: two.as_ref().map(|two| [two.target(), two.metrics()]),
            bare_target: bare.as_ref().map(Server::target),
            one,
            two,
            _bare: bare,
            peers,
        })
    }

    /// Prints what the figures rest on.
    async fn introduce(&self) -> anyhow::Result<()> {
        let p50 = fdatasync_p50(&self.rounds.directory)?;
        println!("fdatasync of 4 KiB appended: {:.3} ms (p50)", p50.as_secs_f64() * 1e3);
        let two = self.two_targets.as_ref().map(|[_, metrics]| metrics);
        let told = [
            ("Lambfold", Some(&self.target)),
            ("in two processes", two),
            ("the reference", self.bare_target.as_ref()),
        ];
        for (who, target) in told {
            let Some(target) = target else { continue };
            let reading = Reading::of(target).await;
            let told = reading
                .unwrap_or_else(|| Reading { synchronous: "not told".to_owned(), ..Reading::default() });
            println!("PRAGMA synchronous of {who}: {}", told.synchronous);
            if let Some(log) = told.commit_log {
                println!("commits of {who} are in its log first, durable by {log}");
            }
        }
        Ok(())
    }

    fn lambfold<'s>(&'s self, run: impl Fn(&'s Target) -> crate::rounds::Run<'s> + 's) -> Contestant<'s> {
        Contestant::new("", move || run(&self.target)).told_by(&self.target)
    }

    /// Lambfold in one process and in two, and every peer; `run` is what all of them do. Compared with those before
    /// them, or with Lambfold.
    fn everybody<'s>(
        &'s self,
        mut before: Vec<Contestant<'s>>,
        split: bool,
        run: impl Fn(&'s Target) -> crate::rounds::Run<'s> + Copy + 's,
    ) -> Vec<Contestant<'s>> {
        let own = before.len();
        let lambfold = self.lambfold(run);
        before.push(if own == 0 { lambfold } else { lambfold.against(0, "of the reference") });
        if let Some([target, metrics]) = self.two_targets.as_ref().filter(|_| split) {
            let two = Contestant::new("two processes: ", move || run(target));
            before.push(two.told_by(metrics).against(own, "of one process"));
        }
        for (label, target) in &self.peers {
            let peer = Contestant::new(label, move || run(target));
            before.push(peer.against(own, "of Lambfold").may_fail());
        }
        before
    }

    async fn sends(&self) -> anyhow::Result<()> {
        for batch in [1, 10] {
            if !self.options.wants(&format!("send c16 b{batch}")) {
                continue;
            }
            let reference = self.bare_target.iter().map(|bare| {
                Contestant::new("", move || Box::pin(queues::send_to_reference(bare, self.options.load(1))))
                    .told_by(bare)
            });
            let contestants = self.everybody(reference.collect(), true, |target| {
                Box::pin(queues::send(target, self.options.load(batch)))
            });
            self.rounds.hold(self.options.runs(), &contestants).await?;
        }
        Ok(())
    }

    async fn lives(&self) -> anyhow::Result<()> {
        for batch in [1, 10] {
            if self.options.wants(&format!("life c16 b{batch}")) {
                let contestants = self.everybody(Vec::new(), true, |target| {
                    Box::pin(queues::whole_life(target, self.options.load(batch)))
                });
                self.rounds.hold(self.options.runs(), &contestants).await?;
            }
        }
        Ok(())
    }

    async fn behind_a_backlog(&self) -> anyhow::Result<()> {
        let messages = self.options.backlog;
        let backlog = Backlog::new(&self.target, messages);
        for batch in [1, 10] {
            if self.options.wants(&format!("life c16 b{batch} at {messages}")) {
                // Outside of the rounds, which give a run only so long.
                backlog.ready().await?;
                queues::settle().await;
                let empty =
                    self.lambfold(|target| Box::pin(queues::whole_life(target, self.options.load(batch))));
                let full = self.lambfold(|_| Box::pin(backlog.whole_life(self.options.load(batch))));
                let pair = [empty, full.against(0, "of the empty queue")];
                self.rounds.hold(self.options.backlog_runs(), &pair).await?;
            }
        }
        backlog.remove().await
    }

    async fn fifo(&self) -> anyhow::Result<()> {
        for batch in [1, 10] {
            if self.options.wants(&format!("fifo c16 g64 b{batch}")) {
                let contestants = self.everybody(Vec::new(), false, |target| {
                    Box::pin(fifo::whole_life(target, self.options.load(batch), 64))
                });
                self.rounds.hold(self.options.runs(), &contestants).await?;
            }
        }
        Ok(())
    }

    async fn long_poll(&self) -> anyhow::Result<()> {
        let seconds = self.options.seconds;
        if self.options.wants("long poll at 100/s") {
            let contestants =
                self.everybody(Vec::new(), false, |target| Box::pin(long_poll::run(target, 100, seconds)));
            self.rounds.hold(self.options.runs(), &contestants).await?;
        }
        Ok(())
    }

    async fn functions(&self) -> anyhow::Result<()> {
        let seconds = self.options.seconds;
        for language in invoke::LANGUAGES {
            let others = others(self.options, language);
            for connections in [1, CONNECTIONS] {
                if !self.options.wants(&format!("warm {} c{connections}", language.name)) {
                    continue;
                }
                let package = &language.package(self.options)?;
                let mut contestants = self.everybody(Vec::new(), false, |target| {
                    Box::pin(invoke::warm(target, language, package, connections, seconds))
                });
                for (label, function, target) in &others {
                    let other = Contestant::new(label, move || {
                        Box::pin(invoke::warm_of(target, function, language, connections, seconds))
                    });
                    contestants.push(other.against(0, "of Lambfold").may_fail());
                }
                self.rounds.hold(self.options.runs(), &contestants).await?;
            }
            let peers = !(self.peers.is_empty() && others.is_empty());
            if peers && self.options.wants(&format!("first call {}", language.name)) {
                let function = (language, &*language.package(self.options)?);
                first_calls::run(&self.target, &self.peers, &self.options.invoke_peer, function).await?;
            }
        }
        Ok(())
    }
}
