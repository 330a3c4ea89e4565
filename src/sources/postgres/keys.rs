//! A scan's set of keys on its way to the server.
//!
//! Not here: the statement that uses them.

use std::io::Write;

use postgres::Transaction;
use postgres::error::SqlState;

use crate::reports::schema::KeySet;

use super::connect::Failure;
use super::copy::{array_literal, encode};
use super::query::Keys;

/// More keys than this are joined: a list that long would be gone through for every row by servers before 14.
const LISTED: usize = 1_000;
/// Bytes that are sent at once.
const CHUNK: usize = 64 * 1024;

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
/// that lets us make none (a read replica, a role without TEMPORARY) gets a long literal.
pub(super) fn place(transaction: &mut Transaction<'_>, keys: Option<&KeySet>) -> Result<Placed, Failure> {
    let Some(keys) = keys else { return Ok(Placed::All) };
    if keys.len() <= LISTED {
        return Ok(Placed::Listed(array_literal(possible(keys))));
    }
    if !make_table(transaction).map_err(|e| Failure::statement(&e))? {
        return Ok(Placed::Joined(format!("unnest({})", array_literal(possible(keys)))));
    }
    fill_table(transaction, keys)?;
    // So that the server knows whether to hash or to look up.
    transaction.batch_execute("ANALYZE pg_temp.exhaustd_keys").map_err(|e| Failure::statement(&e))?;
    Ok(Placed::Joined("pg_temp.exhaustd_keys".to_owned()))
}

/// No text of PostgreSQL holds a NUL.
fn possible(keys: &KeySet) -> impl Iterator<Item = &str> {
    keys.iter().map(String::as_str).filter(|key| !key.contains('\0'))
}

/// `false` if the server does not let us.
fn make_table(transaction: &mut Transaction<'_>) -> Result<bool, postgres::Error> {
    let mut savepoint = transaction.transaction()?;
    match savepoint.batch_execute("CREATE TEMPORARY TABLE exhaustd_keys (key text) ON COMMIT DROP") {
        Ok(()) => savepoint.commit().map(|()| true),
        Err(error) => {
            let refused = [SqlState::READ_ONLY_SQL_TRANSACTION, SqlState::INSUFFICIENT_PRIVILEGE];
            if error.code().is_some_and(|code| refused.contains(code)) {
                savepoint.rollback().map(|()| false)
            } else {
                Err(error)
            }
        }
    }
}

fn fill_table(transaction: &mut Transaction<'_>, keys: &KeySet) -> Result<(), Failure> {
    let mut writer =
        transaction.copy_in("COPY pg_temp.exhaustd_keys FROM STDIN").map_err(|e| Failure::statement(&e))?;
    let mut chunk = Vec::with_capacity(CHUNK + 1024);
    for key in possible(keys) {
        encode(key, &mut chunk);
        if chunk.len() >= CHUNK {
            writer.write_all(&chunk).map_err(|e| Failure::reading(&e))?;
            chunk.clear();
        }
    }
    writer.write_all(&chunk).map_err(|e| Failure::reading(&e))?;
    writer.finish().map(drop).map_err(|e| Failure::statement(&e))
}
