//! The queue on PostgreSQL: any number of daemons on one table.
//!
//! The database's clock judges leases and back-offs, since the daemons' clocks may differ; `$1` of most statements is
//! what a test's clock has been moved ahead, in microseconds. Every column comes back as text (`stored`).

mod claim;
mod clients;
mod connect;
mod daemons;
mod finished;
mod lease;
mod listen;
mod migrate;
mod patience;
mod reading;
mod rights;
mod slots;
mod url;
mod write_back;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::pg::PgConnection;
use diesel::r2d2::{NopErrorHandler, Pool, PooledConnection};
use diesel::result::QueryResult;

use connect::{Manager, Route};

use super::failures;
use super::text::{can_exist, token};
use super::times::microseconds;
use super::{
    Bookmark, Claim, ClaimWish, ClaimedText, Client, Clock, Completion, Daemon, Entry, Failure, FinishedPage, Found,
    Heartbeat, Listener, NewRequest, Overview, Page, Patience, Pooling, Progress, Queue, QueueError, Reader,
    RequestKey, RequestRow, Retried, SHOWN_DATA, Search, Submitted, Unclaimable, Waiting, WriteBack, stored,
};

pub(super) const MIGRATIONS: [&str; 12] = [
    include_str!("../../../migrations/postgres/2026-11-24-000001_original_table/up.sql"),
    include_str!("../../../migrations/postgres/2026-11-24-000002_our_columns/up.sql"),
    include_str!("../../../migrations/postgres/2026-11-24-000003_indexes/up.sql"),
    include_str!("../../../migrations/postgres/2026-11-24-000004_slots/up.sql"),
    include_str!("../../../migrations/postgres/2026-11-24-000005_allowed_channels/up.sql"),
    include_str!("../../../migrations/postgres/2026-11-24-000006_finished/up.sql"),
    include_str!("../../../migrations/postgres/2026-11-28-000007_line/up.sql"),
    include_str!("../../../migrations/postgres/2026-11-28-000008_encryption_mark/up.sql"),
    include_str!("../../../migrations/postgres/2026-11-28-000009_room/up.sql"),
    include_str!("../../../migrations/postgres/2026-11-28-000010_newest_by_state/up.sql"),
    include_str!("../../../migrations/postgres/2026-11-30-000011_daemons/up.sql"),
    include_str!("../../../migrations/postgres/2026-11-30-000012_finished_elsewhere/up.sql"),
];

/// How long a call waits for a connection before it says that the database cannot be reached.
const PATIENCE: Duration = Duration::from_secs(4);

/// What a migration needs a session for, at the beginning of a sentence.
const TO_MIGRATE: &str = "migrate: job_request lacks something, and adding it";

/// The database's time in UTC with the test's shift (`$1`), for statements.
macro_rules! now {
    () => {
        "((clock_timestamp() AT TIME ZONE 'UTC') + $1::bigint * interval '1 microsecond')"
    };
}

/// What [`stored::StoredRow`] reads, of the table under the name `j` and of [`rows`]. No column is read beyond a bound;
/// [`within`](super::text::within) says what `{most}` and `{urls}` are. A list of channels that is cut is no JSON, and then
/// allows none; files and statistics are left out whole.
macro_rules! columns {
    () => {
        concat!(protected!("j."), ", j.tag::text AS tag, j.request_id::text AS request_id, j.job_id::text AS job_id, j.status::text AS status, \
         CASE WHEN octet_length(l.data) <= {most} THEN l.data END AS request_data, \
         CASE WHEN octet_length(l.data) > {most} THEN octet_length(l.data)::text END AS unread_data, \
         CASE WHEN octet_length(l.urls) > {urls} OR octet_length(l.stats) > 2097152 \
            THEN '1' END AS truncated, \
         j.requested_by::text AS requested_by, j.requested_channel::text AS requested_channel, \
         CASE WHEN octet_length(l.urls) <= {urls} THEN l.urls END \
            AS download_urls, \
         j.dt_file_created::text AS dt_file_created, j.dt_job_submitted::text AS dt_job_submitted, \
         j.dt_job_processing::text AS dt_job_processing, j.dt_job_completed::text AS dt_job_completed, \
         j.execution_time::text AS execution_time, j.err_message::text AS err_message, \
         left(j.err_detail, 100000) AS err_detail, j.iteration::text AS iteration, j.crashes::text AS crashes, \
         j.lease_owner::text AS lease_owner, j.lease_expires_at::text AS lease_expires_at, \
         j.next_attempt_at::text AS next_attempt_at, left(j.processed_batches, 4096) AS processed_batches, \
         CASE WHEN octet_length(l.stats) <= 2097152 THEN l.stats END AS job_stats, \
         left(j.allowed_channels, 65536) AS allowed_channels")
    };
}

/// What [`columns`] are selected from: each long column is made text once, however often it is looked at (OFFSET keeps the
/// planner from writing the expression into all these places).
macro_rules! rows {
    ($from:literal) => {
        concat!(
            $from,
            " CROSS JOIN LATERAL (SELECT j.request_data::text AS data, to_json(j.download_urls)::text AS urls, \
             j.job_stats::text AS stats OFFSET 0) AS l"
        )
    };
}
use {columns, now, rows};

type Connections = Pool<Manager>;
type Connection = PooledConnection<Manager>;

/// The queue on PostgreSQL.
pub struct PostgresQueue {
    route: Arc<Route>,
    /// For what needs a session of its own, where `route` may have none.
    direct: Option<Arc<Route>>,
    /// Replaced by [`Queue::reconnect`].
    pool: RwLock<Connections>,
    /// [`Queue::show_request_data`]
    shown_data: AtomicU64,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for PostgresQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresQueue").field("route", &self.route).finish_non_exhaustive()
    }
}

/// Where a queue on PostgreSQL is.
#[derive(Clone, Copy)]
pub struct PostgresPlace<'a> {
    /// `postgres://…`
    pub url: &'a str,
    /// How connections by `url` are pooled; `None`: it is recognised.
    pub pooling: Option<Pooling>,
    /// The same database by a way that keeps sessions: for migrations and for listening.
    pub direct_url: Option<&'a str>,
}

impl fmt::Debug for PostgresPlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the URLs: they know passwords.
        f.debug_struct("PostgresPlace").field("pooling", &self.pooling).finish_non_exhaustive()
    }
}

/// The queue at this place. Nothing is connected yet: while the database is down, each call says
/// [`QueueError::Unreachable`] after four seconds, and the first one after that works.
///
/// # Errors
/// [`QueueError::Refused`] for a URL that no connection can come of.
pub fn open_postgres(
    place: PostgresPlace<'_>,
    clock: Arc<dyn Clock>,
    connections: u32,
) -> Result<PostgresQueue, QueueError> {
    let route = Route::new(place.url, place.pooling)?;
    let direct = place.direct_url.map(|url| Route::new(url, None)).transpose()?;
    let pool = RwLock::new(pool(&route, connections));
    Ok(PostgresQueue { route, direct, pool, shown_data: AtomicU64::new(SHOWN_DATA), clock })
}

fn pool(route: &Arc<Route>, connections: u32) -> Connections {
    Pool::builder()
        .max_size(connections)
        .min_idle(Some(0))
        .connection_timeout(PATIENCE)
        // A round trip for each call; `ready` makes it where it is needed.
        .test_on_check_out(false)
        // Errors come back from the calls; logged here as well they would be told twice.
        .error_handler(Box::new(NopErrorHandler))
        .build_unchecked(Manager(Arc::clone(route)))
}

impl PostgresQueue {
    fn pool(&self) -> Connections {
        self.pool.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn connection(&self) -> Result<Connection, QueueError> {
        self.pool().get().map_err(|e| failures::connection(&e))
    }

    /// A connection that has just answered; a shared one is in its call's transaction. A server that restarted has cut all
    /// of the pool's; one that does not answer counts as broken, and the pool drops it.
    fn ready(&self) -> Result<Connection, QueueError> {
        let mut why = String::new();
        for _ in 0..=self.pool().max_size() {
            let mut link = self.connection()?;
            match link.begin(&self.route) {
                Ok(()) => return Ok(link),
                Err(error) => why = error.to_string(),
            }
        }
        Err(QueueError::Unreachable(format!("no connection answers: {}", why.trim_end())))
    }

    /// For statements that change rows: one that may have been done must not be done again, so its connection is tested
    /// first.
    fn run<T>(
        &self,
        what: impl fmt::Display,
        statement: impl FnOnce(&mut PgConnection) -> QueryResult<T>,
    ) -> Result<T, QueueError> {
        let mut link = self.ready()?;
        let answer = statement(&mut link.conn);
        link.end(answer).map_err(|e| failures::statement(&what.to_string(), &e))
    }

    /// For statements that only read: they test the connection themselves, and are asked again where it was gone.
    fn read<T>(
        &self,
        what: impl fmt::Display,
        statement: impl Fn(&mut PgConnection) -> QueryResult<T>,
    ) -> Result<T, QueueError> {
        let mut link = self.connection()?;
        if link.shared {
            drop(link);
            link = self.ready()?;
        }
        let answer = statement(&mut link.conn);
        let answer = match link.end(answer) {
            // The failure itself does not always tell diesel, and so the pool, that the connection is gone.
            Err(_) if link.is_gone() => {
                drop(link);
                let mut link = self.ready()?;
                let answer = statement(&mut link.conn);
                link.end(answer)
            }
            answer => answer,
        };
        answer.map_err(|e| failures::statement(&what.to_string(), &e))
    }

    /// A connection with a session of its own: by the direct way where there is one. The error says what would have to be
    /// done with it, and what is to be changed in jobs.toml.
    fn session(&self, what: &str) -> Result<PgConnection, QueueError> {
        let (route, key) = self.direct.as_ref().map_or((&self.route, "url"), |direct| (direct, "direct_url"));
        route.session()?.ok_or_else(|| {
            QueueError::Unfit(format!(
                "{what} needs a connection of its own, and [database] {key} leads through a pooler of transactions; set \
                 [database] direct_url to the server itself"
            ))
        })
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
        statement: impl FnOnce(&mut PgConnection) -> QueryResult<usize>,
    ) -> Result<WriteBack, QueueError> {
        let changed = if can_exist(key) { self.run(format_args!("{what} {key}"), statement)? } else { 0 };
        Ok(if changed == 1 { WriteBack::Done } else { WriteBack::Lost })
    }

    /// What ends the statement of a server process, by another connection. A pooler gives the process to nobody else while the
    /// transaction lasts in which it is asked.
    fn canceller(&self) -> impl Fn(i32) + Send + 'static {
        let (pool, route) = (self.pool(), Arc::clone(&self.route));
        move |process| {
            // Where there is none the statement ends by its time-out.
            let Ok(mut link) = pool.get() else { return };
            if link.begin(&route).is_ok() {
                let asked = patience::cancel(&mut link.conn, process);
                if let Err(error) = link.end(asked) {
                    log::debug!("a search could not be ended early error={error}");
                }
            }
        }
    }

    fn shown_data(&self) -> u64 {
        self.shown_data.load(Ordering::Relaxed)
    }

    /// What the test's clock has been moved ahead, in microseconds.
    fn shift(&self) -> i64 {
        microseconds(self.clock.shift())
    }
}

impl Queue for PostgresQueue {
    fn migrate(&self, dry_run: bool) -> Result<Vec<String>, QueueError> {
        // What is missing can be read by any connection.
        let missing = self.read(migrate::LOOK, migrate::look)?;
        if dry_run || missing.is_empty() {
            return Ok(missing);
        }
        let mut session = self.session(TO_MIGRATE)?;
        rights::may_migrate(&mut session, &missing)?;
        let done = migrate::migrate(&mut session)?;
        match self.read(migrate::LOOK, migrate::look)?.first() {
            None => Ok(done),
            Some(left) => Err(QueueError::Unfit(format!(
                "migrate: ran by [database] direct_url, and [database] url still lacks this: {left}; do both lead to the \
                 same database?"
            ))),
        }
    }

    fn pooling(&self) -> Result<Pooling, QueueError> {
        self.route.pooling()
    }

    fn hears(&self) -> Result<bool, QueueError> {
        Ok(self.direct.as_ref().unwrap_or(&self.route).pooling()? != Pooling::Transaction)
    }

    fn may_migrate(&self) -> Result<(), QueueError> {
        let missing = self.migrate(true)?;
        // By the connection that would do it: it may be another role's.
        if missing.is_empty() { Ok(()) } else { rights::may_migrate(&mut self.session(TO_MIGRATE)?, &missing) }
    }

    fn check(&self) -> Result<(), QueueError> {
        self.whole(self.read("check job_request", clients::check))
    }

    fn writable(&self, removes: bool) -> Result<(), QueueError> {
        failures::hindrances(&self.read("look at rights", |conn| rights::hindrances(conn, removes))?)
    }

    fn now(&self) -> Result<DateTime<Utc>, QueueError> {
        self.read("ask for the time", |conn| clients::now(conn, self.shift()))?
            .ok_or_else(|| QueueError::Refused("the database's time does not read".to_owned()))
    }

    /// Calls that hang keep the old connections, each until its end.
    fn reconnect(&self) {
        let mut pool = self.pool.write().unwrap_or_else(PoisonError::into_inner);
        *pool = self::pool(&self.route, pool.max_size());
    }

    fn listen(&self) -> Result<Option<Listener>, QueueError> {
        self.direct.as_ref().unwrap_or(&self.route).session()?.map(listen::listen).transpose()
    }

    fn reclaim(
        &self,
        job_ids: &[String],
        lease: Duration,
        adopt_after: Option<Duration>,
    ) -> Result<Vec<RequestKey>, QueueError> {
        let what = "take back rows of job_request";
        self.run(what, |conn| lease::reclaim(conn, self.shift(), job_ids, lease, adopt_after))
    }

    fn claim(&self, wish: &ClaimWish) -> Result<Claim, QueueError> {
        let token = token(&wish.owner)?;
        let rows = self.run("claim from job_request", |conn| claim::claim(conn, self.shift(), wish, &token))?;
        Ok(stored::claim(token, rows))
    }

    fn claimed_text(&self, key: &RequestKey, which: ClaimedText, most: u64) -> Result<Option<String>, QueueError> {
        let what = format!("read {} of {key}", which.column());
        if can_exist(key) { self.read(what, |conn| lease::text_of(conn, key, which, most)) } else { Ok(None) }
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
        self.run("renew leases in job_request", |conn| lease::renew(conn, self.shift(), token, rows, lease))
    }

    fn note_progress(&self, token: &str, rows: &[(RequestKey, Progress)]) -> Result<(), QueueError> {
        self.run("note progress in job_request", |conn| lease::note_progress(conn, token, rows))
    }

    fn complete_all(&self, token: &str, rows: &[(RequestKey, Completion)]) -> Result<Vec<WriteBack>, QueueError> {
        self.run(stored::completing(rows), |conn| write_back::complete_all(conn, self.shift(), token, rows))
    }

    fn retry_later(
        &self,
        token: &str,
        key: &RequestKey,
        failure: &Failure,
        delay: Duration,
    ) -> Result<WriteBack, QueueError> {
        self.write_back("put back", key, |conn| write_back::retry_later(conn, self.shift(), token, key, failure, delay))
    }

    fn fail(&self, token: &str, key: &RequestKey, failure: &Failure) -> Result<WriteBack, QueueError> {
        self.write_back("fail", key, |conn| write_back::fail(conn, self.shift(), token, key, failure))
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
        self.run(format_args!("submit {}", request.key), |conn| clients::submit(conn, self.shift(), request, client))
    }

    fn mark_made(&self, key: &RequestKey) -> Result<Option<String>, QueueError> {
        if !can_exist(key) {
            return Ok(None);
        }
        self.read(format_args!("look at {key}"), |conn| clients::mark_made(conn, key))
    }

    fn is_full(&self, client: &Client) -> Result<bool, QueueError> {
        self.read("count open rows of job_request", |conn| clients::is_full(conn, client))
    }

    fn cancel(&self, key: &RequestKey, by: &str) -> Result<bool, QueueError> {
        let what = format!("cancel {key}");
        Ok(can_exist(key) && self.run(what, |conn| clients::cancel(conn, self.shift(), key, by))?)
    }

    fn resubmit_for(&self, key: &RequestKey, client: &Client) -> Result<Retried, QueueError> {
        if !can_exist(key) {
            return Ok(Retried::NotFailed);
        }
        self.run(format_args!("resubmit {key}"), |conn| clients::resubmit(conn, self.shift(), key, client))
    }

    fn find(&self, key: &RequestKey) -> Result<Option<RequestRow>, QueueError> {
        if !can_exist(key) {
            return Ok(None);
        }
        self.read(format_args!("find {key}"), |conn| clients::find(conn, key, self.shown_data()))
    }

    fn list(&self, tag: Option<&str>, reader: &Reader, page: &Page) -> Result<Vec<Entry>, QueueError> {
        let begin = reading::begin(page.after.as_ref())?;
        if tag.is_some_and(|tag| tag.contains('\0')) {
            return Ok(Vec::new());
        }
        self.read("list job_request", |conn| reading::list(conn, tag, reader, &begin, page.limit))
    }

    fn search(&self, search: &Search, reader: &Reader, page: &Page, patience: &Patience) -> Result<Found, QueueError> {
        let begin = reading::begin(page.after.as_ref())?;
        let found = self.read("search job_request", |conn| {
            patience::bounded(conn, patience, self.canceller(), |conn| {
                let total = reading::count(conn, search, reader)?;
                patience::time_out(conn, patience)?;
                let entries = reading::search(conn, search, reader, (&begin, page.limit, total))?;
                Ok(Found { total, entries })
            })
        });
        found.map_err(|error| if patience.is_over() { QueueError::TooLong } else { error })
    }

    fn rows(&self, keys: &[RequestKey], bytes: u64) -> Result<Vec<(usize, RequestRow)>, QueueError> {
        if !keys.iter().all(can_exist) {
            return Err(QueueError::Refused("read rows: a key with a NUL character".to_owned()));
        }
        self.read("read rows of job_request", |conn| reading::rows(conn, keys, self.shown_data(), bytes))
    }

    fn waiting(&self, job_ids: &[String]) -> Result<Vec<Waiting>, QueueError> {
        let rows = self.read("read the line in job_request", |conn| reading::waiting(conn, self.shift(), job_ids))?;
        Ok(stored::waiting(rows))
    }

    fn open_by_tag(&self) -> Result<BTreeMap<String, u64>, QueueError> {
        Ok(stored::by_tag(self.read("count open rows of job_request", reading::open_by_tag)?))
    }

    fn overview(&self) -> Result<Overview, QueueError> {
        self.read("count job_request", clients::overview)
    }

    fn unclaimable(&self, job_ids: &[String]) -> Result<Unclaimable, QueueError> {
        self.read("look for rows that cannot be claimed", |conn| lease::unclaimable(conn, job_ids))
    }

    fn next_claimable(&self, job_ids: &[String]) -> Result<Option<DateTime<Utc>>, QueueError> {
        self.read("look for work in job_request", |conn| lease::next_claimable(conn, self.shift(), job_ids))
    }

    fn last_slot(&self, job_id: &str, schedule: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, QueueError> {
        let what = format!("read the last slot of {job_id}");
        self.run(&what, |conn| slots::last_slot(conn, job_id, schedule, now))?
            .ok_or_else(|| QueueError::Refused(format!("{what}: it is not a time")))
    }

    fn make_slot(&self, job_id: &str, slot: DateTime<Utc>, request: &NewRequest) -> Result<bool, QueueError> {
        let what = format!("make a slot of {job_id}");
        self.run(&what, |conn| slots::make_slot(conn, self.shift(), job_id, slot, request))?
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
        self.read(what, |conn| finished::finished(conn, self.shift(), job_id, older_than, after, limit))
    }

    fn beat(&self, heartbeat: &Heartbeat) -> Result<(), QueueError> {
        self.run("note a heartbeat in exhaust_daemon", |conn| daemons::beat(conn, self.shift(), heartbeat))
    }

    fn leave(&self, id: &str) -> Result<(), QueueError> {
        self.run("leave exhaust_daemon", |conn| daemons::leave(conn, id))
    }

    fn daemons(&self) -> Result<Vec<Daemon>, QueueError> {
        let read = self.read("read exhaust_daemon", |conn| daemons::daemons(conn, self.shift()));
        Ok(super::daemons::daemons(self.whole(read)?))
    }

    fn remove_finished(&self, key: &RequestKey, older_than: Duration) -> Result<bool, QueueError> {
        let what = format!("remove {key}");
        Ok(can_exist(key) && self.run(what, |conn| finished::remove(conn, self.shift(), key, older_than))?)
    }
}
