//! The queue in one SQLite file: which statement answers which verb, and under which name a failure is reported.

mod parts;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, ManageConnection, PooledConnection};
use diesel::sqlite::SqliteConnection;

use super::super::access::{Client, Reader};
use super::super::backlog::Backlog;
use super::super::clock::Clock;
use super::super::daemons::{self as heartbeats, Daemon, Heartbeat};
use super::super::filter::{Filter, SearchResult};
use super::super::finished::{FinishedCursor, FinishedPage};
use super::super::listener::Listener;
use super::super::paging::{Page, PageEntry};
use super::super::parts::{PartsOverview, parts_overview};
use super::super::queue::{ClientQueue, Housekeeping, WorkQueue};
use super::super::statement_timeout::StatementTimeout;
use super::super::text::{SHOWN_DATA, can_exist, token};
use super::super::types::{
    Claim, ClaimOptions, Completion, DeferredText, Failure, NewRequest, Overview, Pooling, QueueError, RequestKey,
    RequestProgress, RequestRow, Resubmitted, Submitted, Unclaimable, WaitingRequest, WriteBack,
};
use super::super::verbs::{client_verbs, housekeeping_verbs, work_verbs};
use super::super::{deferred, failures, stored};
use super::connect::{self, Connections};
use super::{
    backlog, claim, daemons, finished, functions, installation, lease, list, listen, migrate, page_start, rows, search,
    slots, submit, write_back,
};

/// The queue in a SQLite file.
pub struct SqliteQueue {
    name: String,
    pool: Connections,
    /// Bytes; see [`ClientQueue::limit_request_data`](super::super::queue::ClientQueue::limit_request_data).
    shown_data: AtomicU64,
    clock: Arc<dyn Clock>,
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

    /// As `run`: a file answers or fails, and nothing has to be repeated.
    fn read<T>(
        &self,
        what: impl fmt::Display,
        statement: impl FnOnce(&mut SqliteConnection) -> QueryResult<T>,
    ) -> Result<T, QueueError> {
        self.run(what, statement)
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

    /// Now.
    fn at(&self) -> DateTime<Utc> {
        self.clock.now()
    }
}

impl WorkQueue for SqliteQueue {
    work_verbs!();

    fn now(&self) -> Result<DateTime<Utc>, QueueError> {
        Ok(self.at())
    }

    fn listen(&self) -> Result<Option<Listener>, QueueError> {
        let connection = ManageConnection::connect(&ConnectionManager::<SqliteConnection>::new(self.name.as_str()));
        listen::listen(connection).map(Some)
    }
}

impl ClientQueue for SqliteQueue {
    client_verbs!();

    fn search(
        &self,
        search: &Filter,
        reader: &Reader,
        page: &Page,
        timeout: &StatementTimeout,
    ) -> Result<SearchResult, QueueError> {
        let begin = page_start::begin(page.after.as_ref())?;
        let mut conn = self.connection()?;
        let found = functions::with_timeout(timeout, || {
            let total = search::count(&mut conn, search, reader)?;
            let entries = search::search(&mut conn, search, reader, (begin, page.limit, total))?;
            Ok(SearchResult { total, entries })
        });
        found.map_err(|error| match failures::statement("search job_request", &error) {
            // The statement ended because its time-out is over; its error only shows how it was ended.
            _ if timeout.is_over() => QueueError::TimedOut,
            error => error,
        })
    }
}

impl Housekeeping for SqliteQueue {
    housekeeping_verbs!();

    fn migrate(&self, dry_run: bool) -> Result<Vec<String>, QueueError> {
        if !dry_run {
            self.may_migrate()?;
        }
        migrate::migrate(&mut *self.connection()?, dry_run)
    }

    fn may_migrate(&self) -> Result<(), QueueError> {
        if self.migrate(true)?.is_empty() {
            return Ok(());
        }
        let mut conn = self.connection()?;
        let tried = conn.batch_execute("BEGIN IMMEDIATE; CREATE TABLE exhaust_probe (x); ROLLBACK");
        if tried.is_err() {
            // Where the transaction has not begun there is nothing to roll back.
            let _ = conn.batch_execute("ROLLBACK");
        }
        self.written(tried)
    }

    /// Takes the write lock and changes no row: no page is written. Waits for another writer up to the busy time-out.
    fn check_writable(&self, _removes: bool) -> Result<(), QueueError> {
        self.written(self.connection()?.batch_execute("UPDATE job_request SET tag = tag WHERE 0"))
    }

    /// A file answers or fails: no call hangs.
    fn reconnect(&self) {}

    fn pooling(&self) -> Result<Pooling, QueueError> {
        Ok(Pooling::None)
    }

    fn can_listen(&self) -> Result<bool, QueueError> {
        Ok(true)
    }
}
