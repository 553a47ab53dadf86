//! A connection for callers that block, which comes back by itself.
//!
//! The driver is asynchronous: each connection has a small runtime that runs on the thread of whoever calls, for as long
//! as the call lasts. A call during which the connection is lost fails, and its outcome is unknown; the next one
//! connects again.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lambfold_queue::store::{Result, StoreError};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::{DbError, Severity, SqlState};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row, Statement};

use crate::tls::Tls;

/// What a parameter of a statement is.
pub(crate) type Param<'a> = &'a (dyn ToSql + Sync);

const CONNECT: Duration = Duration::from_secs(10);

/// A server that has gone silent is given up after about this, by either side.
const SILENCE: Duration = Duration::from_secs(10);

/// `server_version_num` of the oldest release that we know to do.
const OLDEST: i32 = 150_000;

/// What we rely on, whatever the server's or the user's defaults are. Tables here grow from nothing to millions of rows
/// and shrink again faster than statistics follow, while plans are kept: there is one right plan, by index.
const SETTINGS: &str = "
    SET default_transaction_isolation TO 'read committed';
    SET default_transaction_read_only TO off;
    SET plan_cache_mode TO force_generic_plan;
    SET enable_seqscan TO off;
    SET enable_bitmapscan TO off;
    SET enable_hashjoin TO off;
    SET enable_mergejoin TO off;
    SET jit TO off;
    SET statement_timeout TO 0;
    SET idle_in_transaction_session_timeout TO '5s';
    SET tcp_keepalives_idle TO 5;
    SET tcp_keepalives_interval TO 2;
    SET tcp_keepalives_count TO 3;
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply');
";

/// Where and how to connect.
#[derive(Clone)]
pub(crate) struct Target {
    config: Config,
    tls: Option<Tls>,
    schema: String,
}

/// Why it is impossible to connect there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("a PostgreSQL URL begins with postgresql:// or postgres://")]
    NoUrl,
    #[error(transparent)]
    Config(#[from] tokio_postgres::Error),
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    #[error("the server is PostgreSQL {0}; 15 is the oldest that will do")]
    TooOld(i32),
    #[error("the server did not answer within {0:?}")]
    Silent(Duration),
    #[error("the runtime of a connection could not be made")]
    Runtime(#[source] std::io::Error),
}

/// Where connections to the server of that URL may be made, as `host:port`; sockets in the file system are none.
///
/// # Errors
///
/// When it is no URL of a PostgreSQL server.
pub fn endpoints(url: &str) -> std::result::Result<Vec<String>, Box<dyn StdError + Send + Sync>> {
    let (config, _) = read(url)?;
    let ports = config.get_ports();
    // One port is everybody's.
    let port = |number: usize| ports.get(number).or(ports.first()).copied().unwrap_or(5432);
    let names = config.get_hosts().iter().enumerate().filter_map(|(number, host)| match host {
        Host::Tcp(name) => match name.parse::<IpAddr>() {
            Ok(address) => Some(SocketAddr::new(address, port(number)).to_string()),
            Err(_) => Some(format!("{name}:{}", port(number))),
        },
        #[cfg(unix)]
        Host::Unix(_) => None,
    });
    let addresses = config.get_hostaddrs().iter().enumerate();
    let addresses = addresses.map(|(number, address)| SocketAddr::new(*address, port(number)).to_string());
    Ok(names.chain(addresses).collect())
}

/// What the driver makes of a URL, and the file of root certificates in it, which it does not know.
fn read(url: &str) -> std::result::Result<(Config, Option<String>), TargetError> {
    if !url.starts_with("postgresql://") && !url.starts_with("postgres://") {
        return Err(TargetError::NoUrl);
    }
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let mut roots = None;
    let mut kept = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslrootcert", path)) => roots = Some(path.replace("%2F", "/").replace("%2f", "/")),
            Some(("sslmode", "verify-full")) => kept.push("sslmode=require"),
            _ => kept.push(pair),
        }
    }
    Ok((Config::from_str(&format!("{base}?{}", kept.join("&")))?, roots))
}

impl Target {
    /// Reads the URL. `sslmode` may be `disable`, `prefer` (the default: plain speech, since a certificate would not be
    /// checked), or `require` and `verify-full`, which both check it, against `sslrootcert` or else the system's roots.
    pub(crate) fn parse(url: &str, schema: &str) -> std::result::Result<Self, TargetError> {
        let (mut config, roots) = read(url)?;
        let tls = match config.get_ssl_mode() {
            SslMode::Disable | SslMode::Prefer => None,
            _ => Some(Tls::new(roots.as_deref())?),
        };
        if tls.is_none() {
            config.ssl_mode(SslMode::Disable);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        if config.get_application_name().is_none() {
            config.application_name("lambfold");
        }
        config.keepalives_idle(SILENCE / 2).keepalives_interval(SILENCE / 5).keepalives_retries(3);
        config.tcp_user_timeout(SILENCE);
        Ok(Self { config, tls, schema: schema.to_owned() })
    }

    /// The schema's name as it stands in statements.
    pub(crate) fn schema(&self) -> String {
        format!("\"{}\"", self.schema.replace('"', "\"\""))
    }

    async fn connect(&self) -> Result<Session> {
        let client = match &self.tls {
            None => {
                let (client, connection) = self.config.connect(NoTls).await.map_err(driver)?;
                tokio::spawn(connection);
                client
            }
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await.map_err(driver)?;
                tokio::spawn(connection);
                client
            }
        };
        client.batch_execute(SETTINGS).await.map_err(driver)?;
        client.batch_execute(&format!("SET search_path TO {}", self.schema())).await.map_err(driver)?;
        let version = "SELECT current_setting('server_version_num')::int, current_setting('fsync')";
        let row = client.query_one(version, &[]).await.map_err(driver)?;
        let number: i32 = row.get(0);
        if number < OLDEST {
            return Err(failed(TargetError::TooOld(number / 10_000)));
        }
        if row.get::<_, &str>(1) == "off" {
            tracing::warn!(
                "the PostgreSQL server has fsync=off: it will lose or break data when its machine fails"
            );
        }
        Ok(Session { client, statements: HashMap::new() })
    }
}

/// See the module.
pub(crate) struct Connection {
    target: Target,
    /// No call takes longer.
    patience: Duration,
    link: Mutex<Link>,
}

struct Link {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    session: Option<Session>,
}

/// A connection that is there, with the statements that were prepared on it.
pub(crate) struct Session {
    client: Client,
    statements: HashMap<&'static str, Statement>,
}

impl Connection {
    /// Connects when it is first used.
    pub(crate) fn new(target: Target, patience: Duration) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = Some(runtime.map_err(|error| failed(TargetError::Runtime(error)))?);
        Ok(Self { target, patience, link: Mutex::new(Link { runtime, session: None }) })
    }

    /// Calls `work` once.
    pub(crate) fn call<T: Send>(
        &self,
        work: impl AsyncFnOnce(&mut Session) -> Result<T> + Send,
    ) -> Result<T> {
        let call = || self.link().call(&self.target, self.patience, work);
        if Handle::try_current().is_err() {
            return call();
        }
        // A runtime's thread cannot run another one. Only the start of a service comes here.
        std::thread::scope(|scope| match scope.spawn(call).join() {
            Ok(answer) => answer,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Calls `work`, which changes nothing, once more if the connection was lost.
    pub(crate) fn read<T: Send>(&self, work: impl AsyncFn(&mut Session) -> Result<T> + Sync) -> Result<T> {
        match self.call(async |session| work(session).await) {
            Err(StoreError::Driver(_)) if !self.is_connected() => {
                self.call(async |session| work(session).await)
            }
            answer => answer,
        }
    }

    fn is_connected(&self) -> bool {
        self.link().session.is_some()
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Link {
    fn call<T>(
        &mut self,
        target: &Target,
        patience: Duration,
        work: impl AsyncFnOnce(&mut Session) -> Result<T>,
    ) -> Result<T> {
        let Self { runtime, session } = self;
        let runtime = runtime.as_ref().expect("it is there until the end");
        let answer = runtime.block_on(async {
            tokio::time::timeout(patience, async {
                // Lets the driver notice what happened since the last call.
                tokio::task::yield_now().await;
                if session.as_ref().is_none_or(|session| session.client.is_closed()) {
                    *session = None;
                    *session = Some(target.connect().await?);
                }
                let live = session.as_mut().expect("just connected");
                let answer = work(live).await;
                if live.client.is_closed() || answer.as_ref().is_err_and(is_fatal) {
                    *session = None;
                }
                answer
            })
            .await
        });
        answer.unwrap_or_else(|_| {
            // What it is about to answer must not be taken for the answer to the next call.
            self.session = None;
            Err(failed(TargetError::Silent(patience)))
        })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Also on a runtime's thread.
            runtime.shutdown_background();
        }
    }
}

impl Session {
    async fn prepared(&mut self, sql: &'static str) -> Result<Statement> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await.map_err(driver)?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    /// All rows.
    pub(crate) async fn rows(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<Vec<Row>> {
        let statement = self.prepared(sql).await?;
        self.client.query(&statement, params).await.map_err(driver)
    }

    /// The only row, if there is one.
    pub(crate) async fn row(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<Option<Row>> {
        let statement = self.prepared(sql).await?;
        self.client.query_opt(&statement, params).await.map_err(driver)
    }

    /// The number of rows that it changed.
    pub(crate) async fn execute(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<u64> {
        let statement = self.prepared(sql).await?;
        self.client.execute(&statement, params).await.map_err(driver)
    }

    /// Statements without parameters.
    pub(crate) async fn script(&mut self, sql: &str) -> Result<()> {
        self.client.batch_execute(sql).await.map_err(driver)
    }

    /// Commits what `work` did if it succeeds.
    pub(crate) async fn transaction<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.transaction_of("BEGIN", work).await
    }

    /// The same with a `BEGIN` that says more.
    pub(crate) async fn transaction_of<T>(
        &mut self,
        begin: &str,
        work: impl AsyncFnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.script(begin).await?;
        let answer = work(self).await;
        if answer.is_ok() {
            self.script("COMMIT").await?;
        } else if self.script("ROLLBACK").await.is_err() {
            tracing::debug!("the connection was lost before a rollback");
        }
        answer
    }
}

/// The error of a statement.
pub(crate) fn driver(error: tokio_postgres::Error) -> StoreError {
    match error.code() {
        Some(&SqlState::DISK_FULL) => StoreError::Full,
        _ => StoreError::Driver(Box::new(error)),
    }
}

/// Another error of the connection.
pub(crate) fn failed(error: impl StdError + Send + Sync + 'static) -> StoreError {
    StoreError::Driver(Box::new(error))
}

/// Whether the server gave the error as its state.
pub(crate) fn has_state(error: &StoreError, state: &str) -> bool {
    postgres_error(error).and_then(tokio_postgres::Error::code).is_some_and(|code| code.code() == state)
}

/// Whether the server closes the connection after it.
fn is_fatal(error: &StoreError) -> bool {
    let severity =
        postgres_error(error).and_then(tokio_postgres::Error::as_db_error).and_then(DbError::parsed_severity);
    matches!(severity, Some(Severity::Fatal | Severity::Panic))
}

fn postgres_error(error: &StoreError) -> Option<&tokio_postgres::Error> {
    match error {
        StoreError::Driver(error) => error.downcast_ref(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::endpoints;

    #[test]
    fn endpoints_are_those_that_the_driver_connects_to() {
        for (url, expected) in [
            (
                "postgres://user:p%40ss@one,two:6000,[2001:db8::1]/lambfold?sslmode=require",
                &["one:5432", "two:6000", "[2001:db8::1]:5432"][..],
            ),
            ("postgresql:///lambfold?host=one&host=two&port=6000", &["one:6000", "two:6000"]),
            ("postgresql:///lambfold?host=one&hostaddr=192.0.2.7&port=6000", &["one:6000", "192.0.2.7:6000"]),
            ("postgresql:///lambfold?hostaddr=2001:db8::7", &["[2001:db8::7]:5432"]),
            ("postgres:///lambfold?host=/run/postgresql", &[]),
            ("postgres://%2Frun%2Fpostgresql/lambfold?sslrootcert=/not/there", &[]),
        ] {
            assert_eq!(endpoints(url).unwrap(), expected, "{url}");
        }
        assert!(endpoints("host=one").is_err() && endpoints("postgres://one:port/").is_err());
    }
}
