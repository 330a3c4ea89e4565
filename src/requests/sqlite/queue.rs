//! The queue in one SQLite file: which statement answers which verb, and under which name a failure is reported.

mod clients;
mod housekeeping;
mod work;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, PooledConnection};
use diesel::sqlite::SqliteConnection;

use super::super::clock::Clock;
use super::super::failures;
use super::super::text::{SHOWN_DATA, can_exist};
use super::super::times::sqlite_text;
use super::super::types::{QueueError, RequestKey, WriteBack};
use super::connect::{self, Connections};

/// The queue in a SQLite file.
pub struct SqliteQueue {
    name: String,
    pool: Connections,
    /// Bytes; see [`ClientQueue::limit_request_data`](super::super::queue::ClientQueue::limit_request_data).
    shown_data: AtomicU64,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for SqliteQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteQueue").finish_non_exhaustive()
    }
}

/// The queue in this file. The file and the directories above it are created if they are missing.
///
/// # Errors
/// [`QueueError::Refused`] where the file can never be used, or is something else. A transient failure is not an error here:
/// each call returns [`QueueError::Unreachable`] until it is over.
pub fn open_sqlite(path: &Path, clock: Arc<dyn Clock>, connections: u32) -> Result<SqliteQueue, QueueError> {
    let (name, pool) = connect::open(path, connections)?;
    Ok(SqliteQueue { name, pool, shown_data: AtomicU64::new(SHOWN_DATA), clock })
}

impl SqliteQueue {
    pub(super) fn connection(&self) -> Result<PooledConnection<ConnectionManager<SqliteConnection>>, QueueError> {
        self.pool.get().map_err(|e| failures::connection(&e))
    }

    fn run<T>(
        &self,
        what: impl fmt::Display,
        statement: impl FnOnce(&mut SqliteConnection) -> QueryResult<T>,
    ) -> Result<T, QueueError> {
        statement(&mut *self.connection()?).map_err(|e| failures::statement(&what.to_string(), &e))
    }

    /// A fenced write. A key that cannot exist is held under no token.
    fn write_back(
        &self,
        what: &str,
        key: &RequestKey,
        statement: impl FnOnce(&mut SqliteConnection) -> QueryResult<usize>,
    ) -> Result<WriteBack, QueueError> {
        let changed = if can_exist(key) { self.run(format_args!("{what} {key}"), statement)? } else { 0 };
        Ok(WriteBack::of(changed))
    }

    /// The answer of a statement that shows whether the file can be written.
    fn written(&self, tried: QueryResult<()>) -> Result<(), QueueError> {
        tried.map_err(|error| match error.to_string() {
            message if message.contains("is locked") => {
                QueueError::Unreachable("database not writable: another process has been writing for 5 s".to_owned())
            }
            message => failures::not_writable(&format!("{}: {message}{}", self.name, connect::owner(&self.name))),
        })
    }

    fn shown_data(&self) -> u64 {
        self.shown_data.load(Ordering::Relaxed)
    }

    /// Now, in the form of rows.
    fn now(&self) -> String {
        sqlite_text(self.clock.now())
    }
}
