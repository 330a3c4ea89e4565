//! A scan's set of keys on its way to the server.
//!
//! Not here: the statement that uses them.

use tokio_postgres::error::SqlState;

use crate::tables::keys::Keys as WantedKeys;

use super::connection::Connection;
use super::copy::{array_literal, encode};
use super::failure::Failure;
use super::query::Keys;

/// More keys than this are joined: a list that long would be gone through for every row by servers before 14.
const LISTED: usize = 1_000;
/// Bytes that are sent at once.
const CHUNK: usize = 64 * 1024;

/// The temporary table for the keys of a scan.
pub(super) const SCAN_KEYS: &str = "exhaustd_keys";
/// The one for the keys of the table that a scan follows from.
pub(super) const ORIGIN_KEYS: &str = "exhaustd_origin_keys";

/// Keys as they stand in a statement.
pub(super) enum Placed {
    All,
    Listed(String),
    Joined(String),
}

impl Placed {
    /// For [`select`](super::query::select).
    pub(super) fn keys(&self) -> Keys<'_> {
        match self {
            Self::All => Keys::All,
            Self::Listed(array) => Keys::Listed(array),
            Self::Joined(from) => Keys::Joined(from),
        }
    }
}

/// Brings the keys to the server: few as a literal, many in a temporary table that goes with the transaction. A server
/// that lets us make none (a read replica, a role without TEMPORARY) gets a long literal. `table`: the temporary table's
/// name, one for each set of keys of a transaction.
pub(super) fn place(
    connection: &mut Connection,
    keys: Option<&dyn WantedKeys>,
    table: &str,
) -> Result<Placed, Failure> {
    let Some(keys) = keys else { return Ok(Placed::All) };
    if keys.len() <= LISTED {
        return Ok(Placed::Listed(array_literal(possible(keys))));
    }
    if !make_table(connection, table)? {
        return Ok(Placed::Joined(format!("unnest({})", array_literal(possible(keys)))));
    }
    connection.copy_in(&format!("COPY pg_temp.{table} FROM STDIN"), chunks(keys))?;
    // So that the server knows whether to hash or to look up. Of keys, which are all different, a few hundred tell as much as
    // the usual thirty thousand, which it would sort.
    connection.execute(&format!("SET LOCAL default_statistics_target = 1; ANALYZE pg_temp.{table}"))?;
    Ok(Placed::Joined(format!("pg_temp.{table}")))
}

/// No text of PostgreSQL holds a NUL.
fn possible(keys: &dyn WantedKeys) -> impl Iterator<Item = &str> {
    keys.iter().filter(|key| !key.contains('\0'))
}

/// `false` if the server does not let us.
fn make_table(connection: &mut Connection, table: &str) -> Result<bool, Failure> {
    connection.execute("SAVEPOINT before_keys")?;
    // A scan before this one may have left its keys.
    let made = connection.execute(&format!(
        "DROP TABLE IF EXISTS pg_temp.{table}; CREATE TEMPORARY TABLE {table} (key text) ON COMMIT DROP"
    ));
    let Err(failure) = made else { return Ok(true) };
    let refused = [SqlState::READ_ONLY_SQL_TRANSACTION, SqlState::INSUFFICIENT_PRIVILEGE];
    if failure.code.as_ref().is_some_and(|code| refused.contains(code)) {
        return connection.execute("ROLLBACK TO SAVEPOINT before_keys").map(|()| false);
    }
    Err(failure)
}

/// The keys as COPY takes them.
fn chunks(keys: &dyn WantedKeys) -> impl Iterator<Item = Vec<u8>> {
    let mut keys = possible(keys);
    std::iter::from_fn(move || {
        let mut chunk = Vec::with_capacity(CHUNK + 1024);
        for key in keys.by_ref() {
            encode(key, &mut chunk);
            if chunk.len() >= CHUNK {
                break;
            }
        }
        (!chunk.is_empty()).then_some(chunk)
    })
}
