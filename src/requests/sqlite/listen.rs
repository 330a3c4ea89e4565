//! Hearing of changes: SQLite counts, for each connection, the commits of all others.

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

/// A listener by a connection of its own. It hears whatever changes in the file, this process' own work included.
pub(super) fn listen(connection: Result<SqliteConnection, Error>) -> Result<Listener, QueueError> {
    let mut conn = connection.map_err(|error| QueueError::Unreachable(error.to_string()))?;
    let mut seen = version(&mut conn)?;
    Ok(Listener::new(move || {
        let version = version(&mut conn)?;
        Ok(std::mem::replace(&mut seen, version) != version)
    }))
}

/// A look into shared memory: no lock, no reading of the file.
fn version(conn: &mut SqliteConnection) -> Result<i64, QueueError> {
    let version: QueryResult<Version> = sql_query("PRAGMA data_version").get_result(conn);
    version.map(|version| version.data_version).map_err(|error| failures::statement("listen for changes", &error))
}
