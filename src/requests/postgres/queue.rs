//! The queue on PostgreSQL: which statement answers which verb, by which kind of connection, and under which name a failure
//! is reported.

mod parts;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::pg::PgConnection;
use diesel::r2d2::{NopErrorHandler, Pool, PooledConnection};
use diesel::result::QueryResult;

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
use super::super::times::microseconds;
use super::super::types::{
    Claim, ClaimOptions, Completion, DeferredText, Failure, NewRequest, Overview, Pooling, QueueError, RequestKey,
    RequestProgress, RequestRow, Resubmitted, Submitted, Unclaimable, WaitingRequest, WriteBack,
};
use super::super::verbs::{client_verbs, housekeeping_verbs, work_verbs};
use super::super::{deferred, failures, stored};
use super::connect::{Manager, Route};
use super::{
    backlog, claim, daemons, finished, installation, lease, list, listen, migrate, page_start, rights, rows, search,
    slots, statement_timeout, submit, write_back,
};

/// How long a call waits for a connection before the database counts as unreachable.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(4);

/// What a migration needs a session for, as the beginning of an error message.
const TO_MIGRATE: &str = "migrate: job_request lacks something, and adding it";

type Connections = Pool<Manager>;
type Connection = PooledConnection<Manager>;

/// The queue on PostgreSQL.
pub struct PostgresQueue {
    route: Arc<Route>,
    /// For calls that need a session of their own, where `route` may not give one.
    direct: Option<Arc<Route>>,
    /// Replaced by [`Housekeeping::reconnect`](super::super::queue::Housekeeping::reconnect).
    pool: RwLock<Connections>,
    /// Bytes; see [`ClientQueue::limit_request_data`](super::super::queue::ClientQueue::limit_request_data).
    shown_data: AtomicU64,
    clock: Arc<dyn Clock>,
}

/// How to reach the PostgreSQL database of a queue.
#[derive(Clone, Copy)]
pub struct PostgresOptions<'a> {
    /// `postgres://…`
    pub url: &'a str,
    /// How connections to `url` are pooled; `None`: it is detected.
    pub pooling: Option<Pooling>,
    /// A URL of the same database that keeps sessions, for migrations and for listening.
    pub direct_url: Option<&'a str>,
}

/// The queue in this database. Nothing is connected yet: while the database is down, each call returns
/// [`QueueError::Unreachable`] after four seconds, and the first call after that works.
///
/// # Errors
/// [`QueueError::Refused`] for a URL that cannot be used.
pub fn open_postgres(
    place: PostgresOptions<'_>,
    clock: Arc<dyn Clock>,
    connections: u32,
) -> Result<PostgresQueue, QueueError> {
    let route = Route::new(place.url, place.pooling)?;
    let direct = place.direct_url.map(|url| Route::new(url, None)).transpose()?;
    let pool = RwLock::new(open_pool(&route, connections));
    Ok(PostgresQueue { route, direct, pool, shown_data: AtomicU64::new(SHOWN_DATA), clock })
}

fn open_pool(route: &Arc<Route>, connections: u32) -> Connections {
    Pool::builder()
        .max_size(connections)
        .min_idle(Some(0))
        .connection_timeout(CONNECTION_TIMEOUT)
        // It would cost a round trip for each call; `ready` does it where it is needed.
        .test_on_check_out(false)
        // The calls return the errors; here they would be logged a second time.
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

    /// A connection that has just answered; a shared one is in the transaction of its call. A server that restarted has closed all
    /// connections of the pool; one that does not answer counts as broken, and the pool drops it.
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

    /// For statements that change rows: they cannot be repeated after a failure, since they may have been run. So the connection is
    /// checked first.
    fn run<T>(
        &self,
        what: impl fmt::Display,
        statement: impl FnOnce(&mut PgConnection) -> QueryResult<T>,
    ) -> Result<T, QueueError> {
        let mut link = self.ready()?;
        let answer = statement(&mut link.conn);
        link.end(answer).map_err(|e| failures::statement(&what.to_string(), &e))
    }

    /// For statements that only read: they are repeated where the connection was gone.
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
            // The failure alone does not always show diesel, and so the pool, that the connection is gone.
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

    /// A connection with a session of its own, by `direct_url` where there is one. The error says what it was needed for, and what
    /// to change in jobs.toml.
    fn session(&self, what: &str) -> Result<PgConnection, QueueError> {
        let (route, key) = self.direct.as_ref().map_or((&self.route, "url"), |direct| (direct, "direct_url"));
        route.session()?.ok_or_else(|| {
            QueueError::Unfit(format!(
                "{what} needs a connection of its own, and [database] {key} leads through a pooler of transactions; set \
                 [database] direct_url to the server itself"
            ))
        })
    }

    /// A fenced write. A key that cannot exist is held under no token.
    fn write_back(
        &self,
        what: &str,
        key: &RequestKey,
        statement: impl FnOnce(&mut PgConnection) -> QueryResult<usize>,
    ) -> Result<WriteBack, QueueError> {
        let changed = if can_exist(key) { self.run(format_args!("{what} {key}"), statement)? } else { 0 };
        Ok(WriteBack::of(changed))
    }

    /// Ends the statement of a server process through another connection. A pooler gives the process to no other client while the
    /// transaction lasts in which this is called.
    fn canceller(&self) -> impl Fn(i32) + Send + 'static {
        let (pool, route) = (self.pool(), Arc::clone(&self.route));
        move |process| {
            // Without a connection the statement ends by its time-out.
            let Ok(mut link) = pool.get() else { return };
            if link.begin(&route).is_ok() {
                let asked = statement_timeout::cancel(&mut link.conn, process);
                if let Err(error) = link.end(asked) {
                    log::debug!("a search could not be ended early error={error}");
                }
            }
        }
    }

    fn shown_data(&self) -> u64 {
        self.shown_data.load(Ordering::Relaxed)
    }

    /// The shift of a test's clock, in microseconds.
    fn at(&self) -> i64 {
        microseconds(self.clock.shift())
    }
}

impl WorkQueue for PostgresQueue {
    work_verbs!();

    fn now(&self) -> Result<DateTime<Utc>, QueueError> {
        self.read("ask for the time", |conn| rows::now(conn, self.at()))?
            .ok_or_else(|| QueueError::Refused("the database's time does not read".to_owned()))
    }

    fn listen(&self) -> Result<Option<Listener>, QueueError> {
        self.direct.as_ref().unwrap_or(&self.route).session()?.map(listen::listen).transpose()
    }
}

impl ClientQueue for PostgresQueue {
    client_verbs!();

    fn search(
        &self,
        search: &Filter,
        reader: &Reader,
        page: &Page,
        timeout: &StatementTimeout,
    ) -> Result<SearchResult, QueueError> {
        let begin = page_start::begin(page.after.as_ref())?;
        let found = self.read("search job_request", |conn| {
            statement_timeout::bounded(conn, timeout, self.canceller(), |conn| {
                let total = search::count(conn, search, reader)?;
                statement_timeout::set(conn, timeout)?;
                let entries = search::search(conn, search, reader, (&begin, page.limit, total))?;
                Ok(SearchResult { total, entries })
            })
        });
        found.map_err(|error| if timeout.is_over() { QueueError::TimedOut } else { error })
    }
}

impl Housekeeping for PostgresQueue {
    housekeeping_verbs!();

    fn migrate(&self, dry_run: bool) -> Result<Vec<String>, QueueError> {
        // Any connection can read what is missing.
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

    fn may_migrate(&self) -> Result<(), QueueError> {
        let missing = self.migrate(true)?;
        // On the connection that would run them: it may be another role's.
        if missing.is_empty() { Ok(()) } else { rights::may_migrate(&mut self.session(TO_MIGRATE)?, &missing) }
    }

    fn check_writable(&self, removes: bool) -> Result<(), QueueError> {
        failures::hindrances(&self.read("look at rights", |conn| rights::hindrances(conn, removes))?)
    }

    /// Calls that hang keep the old connections until they end.
    fn reconnect(&self) {
        let mut pool = self.pool.write().unwrap_or_else(PoisonError::into_inner);
        *pool = open_pool(&self.route, pool.max_size());
    }

    fn pooling(&self) -> Result<Pooling, QueueError> {
        self.route.pooling()
    }

    fn can_listen(&self) -> Result<bool, QueueError> {
        Ok(self.direct.as_ref().unwrap_or(&self.route).pooling()? != Pooling::Transaction)
    }
}
