//! What to measure, and how often.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::invoke::LANGUAGES;
use crate::queues::Load;

/// Connections of a cell, in all.
pub(crate) const CONNECTIONS: usize = 16;

/// What to measure, and how often.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// A running Lambfold (host:port); without it one is started on a temporary directory, and the reference too.
    #[arg(long)]
    pub endpoint: Option<String>,
    /// Only the cells whose name contains this.
    #[arg(long, default_value = "")]
    pub only: String,
    /// Seconds of each run.
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// Runs of each cell, of which the medians are shown [default: 7, and 9 for pairs with a backlog].
    #[arg(long)]
    pub runs: Option<usize>,
    /// Messages queued before the cells that show whether a backlog costs, and before a restart.
    #[arg(long, default_value_t = 1_000_000)]
    pub backlog: u64,
    /// Invocations after which memory is looked at, and after a tenth of them.
    #[arg(long, default_value_t = 1_000_000)]
    pub invokes: u64,
    /// Environments that are to be alive at once.
    #[arg(long, default_value_t = 1_000)]
    pub environments: usize,
    /// How many requests' worth of messages senders may be ahead of deletes in the cells of whole lives; 0: they run free.
    #[arg(long, default_value_t = 256)]
    pub lead: usize,
    /// Layouts to measure: one process, and gateway and queue as two.
    #[arg(long, value_delimiter = ',', default_value = "one,two")]
    pub layout: Vec<Layout>,
    /// Another server to run the same cells, in turn with Lambfold: NAME=URL. May be repeated.
    #[arg(long, value_parser = peer)]
    pub peer: Vec<Peer>,
    /// Another server's function to invoke, in turn with Lambfold's: LANGUAGE:NAME=URL/FUNCTION, where POST of
    /// URL/2015-03-31/functions/FUNCTION/invocations invokes it and LANGUAGE is python, node or provided. With {} in
    /// FUNCTION there are as many as it takes, numbered from 0, none of which has been called. May be repeated.
    #[arg(long, value_parser = invoke_peer)]
    pub invoke_peer: Vec<InvokePeer>,
    /// A bootstrap to be the function of `provided.al2023`, a real one: `cargo build --release -p lambfold-rust-function` makes
    /// target/release/bootstrap [default: this executable, which takes a shell and some ms to start].
    #[arg(long)]
    pub native: Option<PathBuf>,
    /// A Postgres database (URL) for a Lambfold that keeps its queues there, and for the raw loop beside it. Both make
    /// tables of their own in it: give it an empty one.
    #[arg(long)]
    pub postgres: Option<String>,
    /// Where the directories of what is started are made, on the disk to measure [default: the system's].
    #[arg(long)]
    pub work_dir: Option<PathBuf>,
    /// Be the bootstrap of a function that is measured: called inside a sandbox.
    #[arg(long, hide = true)]
    pub bootstrap: bool,
    /// Serve the reference on this address and do nothing else.
    #[arg(long, hide = true)]
    pub reference: Option<String>,
}

/// How roles are spread over processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// All in one.
    One,
    /// The gateway apart from the queue service.
    Two,
}

/// Another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// For the table.
    pub name: String,
    /// Where it listens.
    pub url: String,
}

/// Functions of another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvokePeer {
    /// The name of their [`Language`](crate::invoke::Language).
    pub language: String,
    /// For the table.
    pub name: String,
    /// Where it listens.
    pub url: String,
    /// What they are called, with `{}` for a number.
    pub function: String,
}

impl InvokePeer {
    /// The name of one of its functions; the same for all numbers if it has one only.
    pub fn function(&self, number: usize) -> String {
        self.function.replace("{}", &number.to_string())
    }
}

fn invoke_peer(text: &str) -> Result<InvokePeer, String> {
    let parse = || {
        let (who, at) = text.split_once('=')?;
        let (language, name) = who.split_once(':')?;
        let (url, function) = at.rsplit_once('/')?;
        let known = LANGUAGES.iter().any(|it| it.name == language);
        let all = [language, name, url, function].map(str::to_owned);
        (known && all.iter().all(|it| !it.is_empty())).then_some(all)
    };
    match parse() {
        Some([language, name, url, function]) => Ok(InvokePeer { language, name, url, function }),
        None => Err("it is LANGUAGE:NAME=URL/FUNCTION".to_owned()),
    }
}

fn peer(text: &str) -> Result<Peer, String> {
    match text.split_once('=') {
        Some((name, url)) if !name.is_empty() && !url.is_empty() => {
            Ok(Peer { name: name.to_owned(), url: url.to_owned() })
        }
        _ => Err("it is NAME=URL".to_owned()),
    }
}

impl Options {
    /// Whether a cell of that name is asked for.
    pub fn wants(&self, name: &str) -> bool {
        name.contains(&self.only)
    }

    /// The load of a cell with `batch` messages a request.
    pub fn load(&self, batch: usize) -> Load {
        Load { connections: CONNECTIONS, batch, seconds: self.seconds, lead: self.lead }
    }

    /// How many runs a cell gets.
    pub fn runs(&self) -> usize {
        self.runs.unwrap_or(7)
    }

    /// How many pairs of an empty queue and one with a backlog.
    pub fn backlog_runs(&self) -> usize {
        self.runs.unwrap_or(9)
    }
}

#[cfg(test)]
mod tests {
    use super::{InvokePeer, invoke_peer};

    #[test]
    fn peers_of_invocations() {
        let peer = invoke_peer("node:offline=http://127.0.0.1:3002/peer-dev-f{}").unwrap();
        let own = |text: &str| text.to_owned();
        assert_eq!(
            peer,
            InvokePeer {
                language: own("node"),
                name: own("offline"),
                url: own("http://127.0.0.1:3002"),
                function: own("peer-dev-f{}"),
            }
        );
        assert_eq!(peer.function(7), "peer-dev-f7");
        for text in
            ["offline=http://host/f", "cobol:offline=http://host/f", "node:=http://host/f", "node:offline=f"]
        {
            assert!(invoke_peer(text).is_err(), "{text}");
        }
    }
}
