//! Numbered migrations, forward only. The number of the last one is the format of the schema, kept in the table `format`.

use lambfold_queue::store::stored::inconsistent;
use lambfold_queue::store::{Result, StoreError};

use crate::connection::Session;

/// Of all of Lambfold's migrations in a database, one at a time.
const LOCK: &str = "SELECT pg_advisory_xact_lock(4566, 1)";

/// Applies what is missing of `migrations` in `schema`, each once, all in one transaction that no one else can be in.
pub(crate) async fn migrate(session: &mut Session, schema: &str, migrations: &[&str]) -> Result<()> {
    session
        .transaction(async |session| {
            session.rows(LOCK, &[]).await?;
            // Who may not make schemas may use one that is there.
            let there = session.rows("SELECT 1 WHERE to_regnamespace($1) IS NOT NULL", &[&schema]).await?;
            if there.is_empty() {
                session.script(&format!("CREATE SCHEMA {schema}")).await?;
            }
            apply(session, migrations).await
        })
        .await
}

async fn apply(session: &mut Session, migrations: &[&str]) -> Result<()> {
    let supported = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    session.script("CREATE TABLE IF NOT EXISTS format (version BIGINT NOT NULL)").await?;
    let rows = session.rows("SELECT version FROM format", &[]).await?;
    let found: i64 = match rows.as_slice() {
        [] => 0,
        [row] => row.get(0),
        _ => return Err(inconsistent("format", "there are several formats")),
    };
    if found > supported || found < 0 {
        return Err(StoreError::FromTheFuture { found, supported });
    }
    let done = usize::try_from(found).unwrap_or(0);
    for migration in &migrations[done..] {
        session.script(migration).await?;
    }
    if found < supported {
        session.script("DELETE FROM format").await?;
        session.execute("INSERT INTO format VALUES ($1)", &[&supported]).await?;
    }
    Ok(())
}
