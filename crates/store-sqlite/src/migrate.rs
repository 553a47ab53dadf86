//! Numbered migrations, forward only. The number of the last one is the format of the schema (`user_version`).

use rusqlite::{Connection, TransactionBehavior};

/// Why a database could not be brought to this release's format.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MigrateError {
    #[error("the database has format {found}, this release knows up to {supported}")]
    FromTheFuture { found: i64, supported: i64 },
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// Applies what is missing of `migrations`, each once, all in one transaction that no one else can be in.
pub(crate) fn migrate(connection: &mut Connection, migrations: &[&str]) -> Result<(), MigrateError> {
    let supported = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > supported || found < 0 {
        return Err(MigrateError::FromTheFuture { found, supported });
    }
    let done = usize::try_from(found).unwrap_or(0);
    for migration in &migrations[done..] {
        transaction.execute_batch(migration)?;
    }
    if found < supported {
        transaction.pragma_update(None, "user_version", supported)?;
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_migration_runs_once_and_the_future_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        let first = "CREATE TABLE a (x) STRICT";
        migrate(&mut connection, &["CREATE TABLE a (x INTEGER) STRICT"]).unwrap();
        migrate(&mut connection, &[first, "CREATE TABLE b (x INTEGER) STRICT"]).unwrap();
        migrate(&mut connection, &[first, "not run again"]).unwrap();
        let future = migrate(&mut connection, &[first]);
        assert!(matches!(future, Err(MigrateError::FromTheFuture { found: 2, supported: 1 })));
        let broken = migrate(&mut connection, &[first, "", "CREATE TABLE c (x INTEGER) STRICT", "nonsense"]);
        assert!(matches!(broken, Err(MigrateError::Sqlite(_))));
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'c'", [], |row| row.get(0))
            .unwrap();
        assert_eq!(tables, 0, "a migration that fails leaves nothing");
    }
}
