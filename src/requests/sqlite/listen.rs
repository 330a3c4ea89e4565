//! Notifications of changes: SQLite counts, for each connection, the commits of all others.

use diesel::prelude::*;
use diesel::r2d2::Error;
use diesel::sql_query;
use diesel::sql_types::BigInt;
use diesel::sqlite::SqliteConnection;

use super::super::failures;
use super::super::listener::Listener;
use super::super::types::QueueError;

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = BigInt)]
    data_version: i64,
}

/// A listener with its own connection. It notices every change of the file, also those of this process.
pub(super) fn listen(connection: Result<SqliteConnection, Error>) -> Result<Listener, QueueError> {
    let mut conn = connection.map_err(|error| QueueError::Unreachable(error.to_string()))?;
    let mut seen = version(&mut conn)?;
    Ok(Listener::new(move || {
        let version = version(&mut conn)?;
        Ok(std::mem::replace(&mut seen, version) != version)
    }))
}

/// Reads shared memory: takes no lock and does not read the file.
fn version(conn: &mut SqliteConnection) -> Result<i64, QueueError> {
    let version: QueryResult<Version> = sql_query("PRAGMA data_version").get_result(conn);
    version.map(|version| version.data_version).map_err(|error| failures::statement("listen for changes", &error))
}
