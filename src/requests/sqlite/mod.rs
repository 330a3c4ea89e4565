//! The queue in one SQLite file: a daemon, an API and a command line on one machine.
//!
//! WAL, so that readers never wait for the writer; writes are immediate transactions or single statements, which wait
//! their turn for the busy time-out. The clock that is handed in judges leases: all processes share the machine's.
//!
//! `synchronous = FULL`, not the NORMAL that is usual with WAL: NORMAL may lose the last commits when the power fails.
//! A submission that was answered with OK would be gone, and a COMPLETED that a client has seen would be taken back. Our
//! commits are few (a claim, a renewal, an end), so an fsync each costs nothing that anybody notices.
//!
//! Columns hold whatever was put into them, so every column is read as bytes (`stored`) and times are compared in SQL
//! only where we alone write them.

/// Whether a column has a time, in the form that we write or one that sorts like it. Of what is none (a blob sorts behind
/// every time) nobody should wait for the end.
macro_rules! is_time {
    ($column:literal) => {
        concat!(
            "(typeof(",
            $column,
            ") = 'text' AND ",
            $column,
            " GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*' AND datetime(",
            $column,
            ") IS NOT NULL)"
        )
    };
}

mod claim;
mod clients;
mod daemons;
mod finished;
mod lease;
mod listen;
mod migrate;
#[cfg(test)]
mod query_plans;
mod reading;
mod slots;
mod write_back;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, ManageConnection, NopErrorHandler, Pool, PooledConnection};
use diesel::sql_query;
use diesel::sqlite::SqliteConnection;

use super::text::{can_exist, token};
use super::times::sqlite_text;
use super::{
    Bookmark, Claim, ClaimWish, ClaimedText, Client, Clock, Completion, Daemon, Entry, Failure, FinishedPage, Found,
    Heartbeat, Listener, NewRequest, Overview, Page, Patience, Pooling, Progress, Queue, QueueError, Reader,
    RequestKey, RequestRow, Retried, SHOWN_DATA, Search, Submitted, Unclaimable, Waiting, WriteBack, failures, stored,
};

pub(super) const MIGRATIONS: [&str; 10] = [
    include_str!("../../../migrations/sqlite/2026-11-24-000001_original_table/up.sql"),
    include_str!("../../../migrations/sqlite/2026-11-24-000002_our_columns/up.sql"),
    include_str!("../../../migrations/sqlite/2026-11-24-000003_indexes/up.sql"),
    include_str!("../../../migrations/sqlite/2026-11-24-000004_slots/up.sql"),
    include_str!("../../../migrations/sqlite/2026-11-24-000005_allowed_channels/up.sql"),
    include_str!("../../../migrations/sqlite/2026-11-24-000006_finished/up.sql"),
    include_str!("../../../migrations/sqlite/2026-11-28-000007_line/up.sql"),
    include_str!("../../../migrations/sqlite/2026-11-28-000008_encryption_mark/up.sql"),
    include_str!("../../../migrations/sqlite/2026-11-30-000011_daemons/up.sql"),
    include_str!("../../../migrations/sqlite/2026-11-30-000012_finished_elsewhere/up.sql"),
];

/// How long a call waits for a connection. Longer than the busy time-out, so that a busy file is called busy.
const PATIENCE: Duration = Duration::from_secs(10);
/// The busy time-out comes first: the statements after it may need it.
/// Eight megabytes of pages are kept, so that a claim finds the inner pages of large indexes. The log goes into the file
/// only every sixteen megabytes: that writes pages once which many commits have changed.
const SESSION: &str = "PRAGMA busy_timeout = 5000; PRAGMA synchronous = FULL; PRAGMA cache_size = -8000; \
    PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 4000";
/// Switching a new file to WAL does not wait for others who are at it, whatever the busy time-out: try again.
const TRIES: u32 = 100;
const APART: Duration = Duration::from_millis(20);

/// What [`stored::StoredRow`] reads, of the table under its own name. [`within`](super::text::within) says what `{most}` and `{urls}`
/// are. No column is
/// read beyond a bound: SQLite holds up to a gigabyte in any of them. A list of channels that is cut is no JSON, and then allows
/// none; files and statistics are left out whole.
macro_rules! columns {
    () => {
        concat!(protected!(""), ", substr(tag, 1, 1000) AS tag, substr(request_id, 1, 1000) AS request_id, substr(job_id, 1, 1000) AS \
         job_id, substr(status, 1, 1000) AS status, substr(requested_by, 1, 1000) AS requested_by, \
         substr(requested_channel, 1, 1000) AS requested_channel, substr(dt_file_created, 1, 1000) AS \
         dt_file_created, substr(dt_job_submitted, 1, 1000) AS dt_job_submitted, substr(dt_job_processing, 1, \
         1000) AS dt_job_processing, substr(dt_job_completed, 1, 1000) AS dt_job_completed, \
         substr(execution_time, 1, 1000) AS execution_time, substr(err_message, 1, 1000) AS err_message, \
         substr(iteration, 1, 1000) AS iteration, substr(crashes, 1, 1000) AS crashes, substr(lease_owner, 1, \
         1000) AS lease_owner, substr(lease_expires_at, 1, 1000) AS lease_expires_at, substr(next_attempt_at, \
         1, 1000) AS next_attempt_at, \
         CASE WHEN octet_length(request_data) <= {most} THEN request_data END AS request_data, \
         CASE WHEN octet_length(request_data) > {most} THEN octet_length(request_data) END AS unread_data, \
         CASE WHEN octet_length(download_urls) <= {urls} THEN download_urls END AS download_urls, \
         CASE WHEN octet_length(job_stats) <= 2097152 THEN job_stats END AS job_stats, \
         CASE WHEN octet_length(download_urls) > {urls} OR octet_length(job_stats) > 2097152 THEN 1 END AS truncated, \
         substr(err_detail, 1, 100000) AS err_detail, substr(processed_batches, 1, 4096) AS processed_batches, \
         substr(allowed_channels, 1, 65536) AS allowed_channels")
    };
}
use columns;

/// The queue in a SQLite file.
pub struct SqliteQueue {
    name: String,
    pool: Pool<ConnectionManager<SqliteConnection>>,
    /// [`Queue::show_request_data`]
    shown_data: AtomicU64,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for SqliteQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteQueue").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Session;

impl CustomizeConnection<SqliteConnection, diesel::r2d2::Error> for Session {
    fn on_acquire(&self, conn: &mut SqliteConnection) -> Result<(), diesel::r2d2::Error> {
        conn.batch_execute(SESSION)
            .and_then(|()| write_ahead(conn))
            .and_then(|()| reading::know_functions(conn))
            .map_err(diesel::r2d2::Error::QueryError)
    }
}

/// WAL is kept in the file, so only its first user switches. A file system that cannot do it leaves the old journal,
/// which is slower and otherwise as good.
fn write_ahead(conn: &mut SqliteConnection) -> QueryResult<()> {
    let mut tries = 0;
    loop {
        match sql_query("PRAGMA journal_mode = WAL").execute(conn) {
            Err(error) if tries < TRIES && error.to_string().contains("is locked") => {
                tries += 1;
                thread::sleep(APART);
            }
            other => return other.map(drop),
        }
    }
}

/// The queue in this file; the file and the directories above it are made where they are missing.
///
/// # Errors
/// [`QueueError::Refused`] where that will never be possible, or the file is something else. What may pass is no error:
/// each call says [`QueueError::Unreachable`] until it has.
pub fn open_sqlite(path: &Path, clock: Arc<dyn Clock>, connections: u32) -> Result<SqliteQueue, QueueError> {
    let name = path
        .to_str()
        .filter(|name| !name.is_empty() && !name.contains('\0'))
        .ok_or_else(|| QueueError::Refused(format!("{} cannot be the name of a database", path.display())))?;
    if let Some(directory) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(directory)
            .map_err(|e| failures::not_writable(&format!("cannot make the directory {}: {e}", directory.display())))?;
    }
    make_private(path);
    // Not by the pool, which would try again for as long as a caller waits.
    let first =
        ConnectionManager::<SqliteConnection>::new(name).connect().and_then(|mut conn| Session.on_acquire(&mut conn));
    match first.map_err(|error| failures::connecting(&error.to_string())) {
        Err(QueueError::Refused(why)) => return Err(QueueError::Refused(format!("{}: {why}", path.display()))),
        Err(QueueError::Unfit(why)) => return Err(QueueError::Unfit(format!("{why}: {name}{}", owner(name)))),
        Err(QueueError::Unreachable(_)) if is_denied(path) => {
            return Err(failures::not_writable(&format!("{name}: permission denied{}", owner(name))));
        }
        // A full disk, a lock: each call says so until it has passed.
        Err(_) | Ok(()) => {}
    }
    let pool = Pool::builder()
        .max_size(connections)
        .min_idle(Some(0))
        .connection_timeout(PATIENCE)
        // A file does not go away under its connection as a network does.
        .test_on_check_out(false)
        .connection_customizer(Box::new(Session))
        .error_handler(Box::new(NopErrorHandler))
        .build_unchecked(ConnectionManager::new(name));
    Ok(SqliteQueue { name: name.to_owned(), pool, shown_data: AtomicU64::new(SHOWN_DATA), clock })
}

/// Makes the file where there is none, for its owner alone: SQLite's own is as the umask has it, and its log and index get
/// the rights of the file. One that is there is left as it is: to open and close it would drop the locks that this process
/// may have on it. What fails here fails again, and is told, when SQLite opens it.
fn make_private(path: &Path) {
    let _ = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
}

/// Whether this user may not open the file: SQLite says so in the same words as of what may pass. Asked only where it could not
/// be opened, since closing it again would drop the locks that this process has on it.
fn is_denied(path: &Path) -> bool {
    File::open(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

impl SqliteQueue {
    fn connection(&self) -> Result<PooledConnection<ConnectionManager<SqliteConnection>>, QueueError> {
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
            told => failures::not_writable(&format!("{}: {told}{}", self.name, owner(&self.name))),
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

/// Whose the file is: the usual reason why another user cannot write it.
fn owner(name: &str) -> String {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(name).map_or_else(
        |_| String::new(),
        |file| format!(" (the file belongs to user {}, mode {:04o})", file.uid(), file.mode() & 0o7777),
    )
}

impl Queue for SqliteQueue {
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
            // Where it has not begun there is nothing to roll back.
            let _ = conn.batch_execute("ROLLBACK");
        }
        self.written(tried)
    }

    fn check(&self) -> Result<(), QueueError> {
        self.whole(self.run("check job_request", clients::check))
    }

    /// Takes the writer's place and changes no row: no page is written. It waits for another writer, for the busy time-out.
    fn writable(&self, _removes: bool) -> Result<(), QueueError> {
        self.written(self.connection()?.batch_execute("UPDATE job_request SET tag = tag WHERE 0"))
    }

    fn now(&self) -> Result<DateTime<Utc>, QueueError> {
        Ok(self.clock.now())
    }

    /// A file answers or fails: no call hangs.
    fn reconnect(&self) {}

    fn pooling(&self) -> Result<Pooling, QueueError> {
        Ok(Pooling::None)
    }

    fn hears(&self) -> Result<bool, QueueError> {
        Ok(true)
    }

    fn listen(&self) -> Result<Option<Listener>, QueueError> {
        let connection = ManageConnection::connect(&ConnectionManager::<SqliteConnection>::new(self.name.as_str()));
        listen::listen(connection).map(Some)
    }

    fn reclaim(
        &self,
        job_ids: &[String],
        lease: Duration,
        adopt_after: Option<Duration>,
    ) -> Result<Vec<RequestKey>, QueueError> {
        let what = "take back rows of job_request";
        self.run(what, |conn| lease::reclaim(conn, self.clock.now(), job_ids, lease, adopt_after))
    }

    fn claim(&self, wish: &ClaimWish) -> Result<Claim, QueueError> {
        let token = token(&wish.owner)?;
        let rows = self.run("claim from job_request", |conn| claim::claim(conn, self.clock.now(), wish, &token))?;
        Ok(stored::claim(token, rows))
    }

    fn claimed_text(&self, key: &RequestKey, which: ClaimedText, most: u64) -> Result<Option<String>, QueueError> {
        let what = format!("read {} of {key}", which.column());
        if can_exist(key) { self.run(what, |conn| lease::text_of(conn, key, which, most)) } else { Ok(None) }
    }

    fn show_request_data(&self, most: u64) {
        self.shown_data.store(most, Ordering::Relaxed);
    }

    fn renew(
        &self,
        token: &str,
        rows: &[(RequestKey, Option<String>)],
        lease: Duration,
    ) -> Result<Vec<RequestKey>, QueueError> {
        self.run("renew leases in job_request", |conn| lease::renew(conn, self.clock.now(), token, rows, lease))
    }

    fn note_progress(&self, token: &str, rows: &[(RequestKey, Progress)]) -> Result<(), QueueError> {
        self.run("note progress in job_request", |conn| lease::note_progress(conn, token, rows))
    }

    fn complete_all(&self, token: &str, rows: &[(RequestKey, Completion)]) -> Result<Vec<WriteBack>, QueueError> {
        self.run(stored::completing(rows), |conn| write_back::complete_all(conn, &self.now(), token, rows))
    }

    fn retry_later(
        &self,
        token: &str,
        key: &RequestKey,
        failure: &Failure,
        delay: Duration,
    ) -> Result<WriteBack, QueueError> {
        self.write_back("put back", key, |conn| {
            write_back::retry_later(conn, self.clock.now(), token, key, failure, delay)
        })
    }

    fn fail(&self, token: &str, key: &RequestKey, failure: &Failure) -> Result<WriteBack, QueueError> {
        self.write_back("fail", key, |conn| write_back::fail(conn, &self.now(), token, key, failure))
    }

    fn hand_back(
        &self,
        token: &str,
        key: &RequestKey,
        processed_batches: Option<&str>,
    ) -> Result<WriteBack, QueueError> {
        self.write_back("hand back", key, |conn| write_back::hand_back(conn, token, key, processed_batches))
    }

    fn submit_for(&self, request: &NewRequest, client: &Client) -> Result<Submitted, QueueError> {
        if !can_exist(&request.key) {
            return Err(QueueError::Refused("submit: a key with a NUL character".to_owned()));
        }
        self.run(format_args!("submit {}", request.key), |conn| clients::submit(conn, &self.now(), request, client))
    }

    fn mark_made(&self, key: &RequestKey) -> Result<Option<String>, QueueError> {
        if !can_exist(key) {
            return Ok(None);
        }
        self.run(format_args!("look at {key}"), |conn| clients::mark_made(conn, key))
    }

    fn is_full(&self, client: &Client) -> Result<bool, QueueError> {
        self.run("count open rows of job_request", |conn| clients::is_full(conn, client))
    }

    fn cancel(&self, key: &RequestKey, by: &str) -> Result<bool, QueueError> {
        let what = format!("cancel {key}");
        Ok(can_exist(key) && self.run(what, |conn| clients::cancel(conn, &self.now(), key, by))?)
    }

    fn resubmit_for(&self, key: &RequestKey, client: &Client) -> Result<Retried, QueueError> {
        if !can_exist(key) {
            return Ok(Retried::NotFailed);
        }
        self.run(format_args!("resubmit {key}"), |conn| clients::resubmit(conn, &self.now(), key, client))
    }

    fn find(&self, key: &RequestKey) -> Result<Option<RequestRow>, QueueError> {
        if !can_exist(key) {
            return Ok(None);
        }
        self.run(format_args!("find {key}"), |conn| clients::find(conn, key, self.shown_data()))
    }

    fn list(&self, tag: Option<&str>, reader: &Reader, page: &Page) -> Result<Vec<Entry>, QueueError> {
        let begin = reading::begin(page.after.as_ref())?;
        if tag.is_some_and(|tag| tag.contains('\0')) {
            return Ok(Vec::new());
        }
        self.run("list job_request", |conn| reading::list(conn, tag, reader, begin, page.limit))
    }

    fn search(&self, search: &Search, reader: &Reader, page: &Page, patience: &Patience) -> Result<Found, QueueError> {
        let begin = reading::begin(page.after.as_ref())?;
        let mut conn = self.connection()?;
        let found = reading::while_waiting(patience, || {
            let total = reading::count(&mut conn, search, reader)?;
            let entries = reading::search(&mut conn, search, reader, (begin, page.limit, total))?;
            Ok(Found { total, entries })
        });
        found.map_err(|error| match failures::statement("search job_request", &error) {
            // Its statement ended because nobody waits, and what it failed with is only how that is done.
            _ if patience.is_over() => QueueError::TooLong,
            error => error,
        })
    }

    fn rows(&self, keys: &[RequestKey], bytes: u64) -> Result<Vec<(usize, RequestRow)>, QueueError> {
        self.run("read rows of job_request", |conn| reading::rows(conn, keys, self.shown_data(), bytes))
    }

    fn waiting(&self, job_ids: &[String]) -> Result<Vec<Waiting>, QueueError> {
        let rows = self.run("read the line in job_request", |conn| reading::waiting(conn, &self.now(), job_ids))?;
        Ok(stored::waiting(rows))
    }

    fn open_by_tag(&self) -> Result<BTreeMap<String, u64>, QueueError> {
        Ok(stored::by_tag(self.run("count open rows of job_request", reading::open_by_tag)?))
    }

    fn overview(&self) -> Result<Overview, QueueError> {
        self.run("count job_request", clients::overview)
    }

    fn unclaimable(&self, job_ids: &[String]) -> Result<Unclaimable, QueueError> {
        self.run("look for rows that cannot be claimed", |conn| lease::unclaimable(conn, job_ids))
    }

    fn next_claimable(&self, job_ids: &[String]) -> Result<Option<DateTime<Utc>>, QueueError> {
        self.run("look for work in job_request", |conn| lease::next_claimable(conn, &self.now(), job_ids))
    }

    fn last_slot(&self, job_id: &str, schedule: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, QueueError> {
        let what = format!("read the last slot of {job_id}");
        self.run(&what, |conn| slots::last_slot(conn, job_id, schedule, now))?
            .ok_or_else(|| QueueError::Refused(format!("{what}: it is not a time")))
    }

    fn make_slot(&self, job_id: &str, slot: DateTime<Utc>, request: &NewRequest) -> Result<bool, QueueError> {
        let what = format!("make a slot of {job_id}");
        self.run(&what, |conn| slots::make_slot(conn, &self.now(), job_id, slot, request))?
            .ok_or_else(|| QueueError::Refused(format!("{what}: last_slot was never asked")))
    }

    fn finished(
        &self,
        job_id: &str,
        older_than: Duration,
        after: Option<&Bookmark>,
        limit: u32,
    ) -> Result<FinishedPage, QueueError> {
        let what = format!("read finished rows of {job_id}");
        self.run(what, |conn| finished::finished(conn, self.clock.now(), job_id, older_than, after, limit))
    }

    fn beat(&self, heartbeat: &Heartbeat) -> Result<(), QueueError> {
        self.run("note a heartbeat in exhaust_daemon", |conn| daemons::beat(conn, self.clock.now(), heartbeat))
    }

    fn leave(&self, id: &str) -> Result<(), QueueError> {
        self.run("leave exhaust_daemon", |conn| daemons::leave(conn, id))
    }

    fn daemons(&self) -> Result<Vec<Daemon>, QueueError> {
        let read = self.run("read exhaust_daemon", |conn| daemons::daemons(conn, self.clock.now()));
        Ok(super::daemons::daemons(self.whole(read)?))
    }

    fn remove_finished(&self, key: &RequestKey, older_than: Duration) -> Result<bool, QueueError> {
        let what = format!("remove {key}");
        Ok(can_exist(key) && self.run(what, |conn| finished::remove(conn, self.clock.now(), key, older_than))?)
    }
}
