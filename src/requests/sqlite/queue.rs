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
use super::super::queue::Housekeeping as _;
use super::super::text::{SHOWN_DATA, can_exist};
use super::super::times::sqlite_text;
use super::super::types::{QueueError, RequestKey, WriteBack};
use super::connect::{self, Connections};

/// The queue in a SQLite file.
pub struct SqliteQueue {
    name: String,
    pool: Connections,
    /// [`ClientQueue::limit_request_data`](super::super::queue::ClientQueue::limit_request_data)
    shown_data: AtomicU64,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for SqliteQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteQueue").finish_non_exhaustive()
    }
}

/// The queue in this file; the file and the directories above it are made where they are missing.
///
/// # Errors
/// [`QueueError::Refused`] where that will never be possible, or the file is something else. What may pass is no error:
/// each call says [`QueueError::Unreachable`] until it has.
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

    /// What a statement answered. Where it was refused and the tables lack something, that is the reason.
    fn whole<T>(&self, answer: Result<T, QueueError>) -> Result<T, QueueError> {
        match answer {
            Err(error) if !error.may_pass() => match self.migrate(true)?.as_slice() {
                [] => Err(error),
                missing => Err(failures::older(missing)),
            },
            answer => answer,
        }
    }

    /// A fenced write; a key that cannot exist is held by nobody.
    fn write_back(
        &self,
        what: &str,
        key: &RequestKey,
        statement: impl FnOnce(&mut SqliteConnection) -> QueryResult<usize>,
    ) -> Result<WriteBack, QueueError> {
        let changed = if can_exist(key) { self.run(format_args!("{what} {key}"), statement)? } else { 0 };
        Ok(if changed == 1 { WriteBack::Done } else { WriteBack::Lost })
    }

    /// What became of a statement that was to show whether the file can be written.
    fn written(&self, tried: QueryResult<()>) -> Result<(), QueueError> {
        tried.map_err(|error| match error.to_string() {
            told if told.contains("is locked") => {
                QueueError::Unreachable("database not writable: another process has been writing for 5 s".to_owned())
            }
            told => failures::not_writable(&format!("{}: {told}{}", self.name, connect::owner(&self.name))),
        })
    }

    fn shown_data(&self) -> u64 {
        self.shown_data.load(Ordering::Relaxed)
    }

    /// Now, as rows hold it.
    fn now(&self) -> String {
        sqlite_text(self.clock.now())
    }
}
