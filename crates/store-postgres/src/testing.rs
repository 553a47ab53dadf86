//! A server for tests: the one that `TEST_POSTGRES` names, or else one of the test's process, if a server is
//! installed. Where there is none, tests say so and pass, unless `REQUIRE_POSTGRES` is 1.

use std::env;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::QueueOptions;
use crate::connection::{Connection, Target};

/// A server.
#[derive(Debug)]
pub struct TestServer {
    url: String,
    /// If it is ours. It ends when the pipe to it is closed, which the end of this process does in any case.
    own: Option<(Child, PathBuf)>,
}

/// A schema that no other test uses.
#[derive(Debug)]
pub struct TestSchema {
    options: QueueOptions,
    /// Of a server that outlives the tests.
    drops: bool,
}

/// The server of this process's tests; `None` if they are to be skipped.
pub fn server() -> Option<&'static TestServer> {
    static SERVER: OnceLock<Option<TestServer>> = OnceLock::new();
    let start = || match env::var("TEST_POSTGRES") {
        Ok(url) => Some(TestServer { url, own: None }),
        Err(_) => own_server(),
    };
    SERVER.get_or_init(start).as_ref()
}

/// A server that this test may restart; `None` if it is to be skipped.
///
/// # Panics
///
/// If there must be one and is not.
pub fn own_server() -> Option<TestServer> {
    match TestServer::start() {
        Ok(server) => Some(server),
        Err(reason) => {
            let required = env::var("REQUIRE_POSTGRES").is_ok_and(|required| required == "1");
            assert!(!required, "PostgreSQL is required: {reason}");
            // Past the capture of output: who reads the log is to know. Nobody may be reading.
            drop(writeln!(std::io::stderr(), "SKIP postgres: {reason}"));
            None
        }
    }
}

fn script() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/postgres"))
}

impl TestServer {
    fn start() -> Result<Self, String> {
        let found = script().arg("bin").output().map_err(|error| format!("scripts/postgres: {error}"))?;
        if !found.status.success() {
            return Err("no server of version 15 or later is installed".to_owned());
        }
        let told = "echo \"$TEST_POSTGRES\"; echo \"$TEST_POSTGRES_DIR\"; cat >/dev/null";
        let mut child = script()
            .args(["run", "sh", "-c", told])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("scripts/postgres: {error}"))?;
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        match (lines.next(), lines.next()) {
            (Some(Ok(url)), Some(Ok(directory))) => {
                Ok(Self { url, own: Some((child, PathBuf::from(directory))) })
            }
            _ => Err("the server did not start".to_owned()),
        }
    }

    /// What leads to it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A schema for one store.
    pub fn schema(&self) -> TestSchema {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        // Others may use the same server.
        let random = RandomState::new().build_hasher().finish();
        let schema = format!("test {random:x}.{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let options = QueueOptions { schema, ..QueueOptions::new(self.url.as_str()) };
        TestSchema { options, drops: self.own.is_none() }
    }

    /// Where its files are.
    ///
    /// # Panics
    ///
    /// If it is not ours.
    pub fn directory(&self) -> &Path {
        &self.own.as_ref().expect("somebody else's server is left alone").1
    }

    /// Restarts it as after a crash.
    ///
    /// # Panics
    ///
    /// If it is not ours or does not come back.
    pub fn restart(&self) {
        let status = script().arg("restart").arg(self.directory()).status().expect("the script starts");
        assert!(status.success(), "the server comes back");
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.own {
            drop(child.stdin.take());
            drop(child.wait());
        }
    }
}

impl TestSchema {
    /// Of a store there.
    pub fn options(&self) -> &QueueOptions {
        &self.options
    }

    /// Runs statements there that a store would not.
    ///
    /// # Panics
    ///
    /// If they fail.
    pub fn script(&self, sql: &str) {
        let target = Target::parse(&self.options.url, &self.options.schema).expect("a URL");
        let connection = Connection::new(target, std::time::Duration::from_mins(1)).expect("a runtime");
        connection.call(async |session| session.script(sql).await).expect("the statements");
    }
}

impl Drop for TestSchema {
    fn drop(&mut self) {
        if self.drops && !std::thread::panicking() {
            self.script(&format!("DROP SCHEMA IF EXISTS \"{}\" CASCADE", self.options.schema));
        }
    }
}
