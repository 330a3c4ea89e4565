//! Connections to the server, and whether a pooler such as PgBouncer shares the server's sessions among its clients.
//!
//! Where sessions are shared by transaction, two statements of one connection may meet two server processes. A prepared
//! statement is then unknown, or is another client's statement of the same name; a `SET` changes other clients' sessions.
//! So every call on such a connection is one transaction that begins with its settings ([`BEGIN`]), and nothing is
//! prepared. This is right behind any pooler, and costs two round trips a call.
//!
//! A connection counts as shared until the opposite is proven: it passes a random mark to the server as a startup option. A
//! server sets it in the session that it starts; a pooler refuses startup options or drops them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use diesel::connection::{AnsiTransactionManager, CacheSize, SimpleConnection, TransactionManager};
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::r2d2::{Error, ManageConnection, R2D2Connection};
use diesel::sql_query;
use diesel::sql_types::{Integer, Nullable, Text};

use super::super::failures;
use super::super::types::{Pooling, QueueError};
use super::url;

/// The settings that every statement relies on, since roles and databases may have other defaults: times are UTC and written
/// ISO, and a statement sees what was committed before it. The time-outs keep a call from hanging on a lock or on a bad plan;
/// counting ten million rows takes seconds. A transaction whose client is cut off between two statements holds its row no longer than
/// a claim waits for a lock.
macro_rules! settings {
    ($set:literal) => {
        concat!(
            $set,
            " TIME ZONE 'UTC'; ",
            $set,
            " datestyle = 'ISO, YMD'; ",
            $set,
            " statement_timeout = '60s'; ",
            $set,
            " lock_timeout = '5s'; ",
            $set,
            " idle_in_transaction_session_timeout = '5s'"
        )
    };
}

/// The first statements on a connection with a session of its own.
pub(super) const SESSION: &str = concat!(settings!("SET"), "; SET default_transaction_isolation = 'read committed'");

/// The first statements of a call on a shared connection, in one message: one round trip.
const BEGIN: &str = concat!("BEGIN ISOLATION LEVEL READ COMMITTED; ", settings!("SET LOCAL"));

/// Words in a pooler's refusal of startup options: `unsupported startup parameter: options` (PgBouncer), `currently doesn't
/// support command-line options` (RDS Proxy). PostgreSQL itself refuses neither options nor a mark.
const REFUSES_OPTIONS: [&str; 3] = ["startup parameter", "options", url::MARK];

/// How often [`keeps_sessions`] compares two connections. One comparison shows that sessions are shared unless other clients
/// take the server processes in between.
const COMPARISONS: u32 = 4;

/// Time limit for these comparisons: about twenty round trips, on slow networks too.
const COMPARING: Duration = Duration::from_secs(15);

/// How to reach the server: its URL, and what is known of poolers in between.
pub(super) struct Route {
    url: String,
    /// As jobs.toml says; `None`: to be detected.
    pooling: Option<Pooling>,
    /// Whether connections count as shared without trying to prove the opposite.
    shared: AtomicBool,
}

/// A connection of a [`Route`].
pub(super) struct Link {
    /// For statements, between [`Link::begin`] and [`Link::end`] where the connection is shared.
    pub(super) conn: PgConnection,
    /// Whether the next transaction may have another session.
    pub(super) shared: bool,
    /// The server process when the connection was opened.
    process: i32,
}

impl Route {
    pub(super) fn new(url: &str, pooling: Option<Pooling>) -> Result<Arc<Self>, QueueError> {
        let shared = AtomicBool::new(pooling == Some(Pooling::Transaction));
        Ok(Arc::new(Self { url: url::complete(url)?, pooling, shared }))
    }

    fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }

    /// From now on every new connection counts as shared.
    fn share(&self, why: &str) {
        if !self.shared.swap(true, Ordering::Relaxed) {
            log::info!(
                "database connections lead through a pooler, each call is a transaction of its own reason={why:?}"
            );
        }
    }

    /// A new connection.
    pub(super) fn open(&self) -> Result<Link, Error> {
        if self.is_shared() {
            return self.open_shared();
        }
        if self.pooling.is_some() {
            let mut conn = establish(&self.url)?;
            let process = process(&mut conn)?;
            return own(conn, process);
        }
        let mark = mark()?;
        match PgConnection::establish(&url::marked(&self.url, &mark, std::env::var("PGOPTIONS").ok().as_deref())) {
            Ok(mut conn) => {
                let started = started(&mut conn)?;
                if started.mark.as_deref() == Some(mark.as_str()) {
                    return own(conn, started.process);
                }
                self.share("startup options do not arrive");
                Ok(shared(conn))
            }
            Err(error) if REFUSES_OPTIONS.iter().any(|word| error.to_string().contains(word)) => {
                self.share("startup options are refused");
                self.open_shared()
            }
            Err(error) => Err(Error::ConnectionError(error)),
        }
    }

    fn open_shared(&self) -> Result<Link, Error> {
        establish(&self.url).map(shared)
    }

    /// Whether this connection still has its first server process. Where not, sessions are shared, whatever jobs.toml says.
    fn is_same_session(&self, link: &mut Link) -> QueryResult<bool> {
        let is_same = process(&mut link.conn)? == link.process;
        if !is_same {
            log::warn!("a database connection has met another server process: a pooler shares sessions by transaction");
            self.share("sessions change");
        }
        Ok(is_same)
    }

    /// How connections are pooled, as jobs.toml says or as two new connections show.
    pub(super) fn pooling(self: &Arc<Self>) -> Result<Pooling, QueueError> {
        if let Some(pooling) = self.pooling.filter(|_| !self.is_shared()) {
            return Ok(pooling);
        }
        if self.pooling == Some(Pooling::Transaction) {
            return Ok(Pooling::Transaction);
        }
        let unreachable = |error: Error| failures::connecting(&error.to_string());
        let first = self.open().map_err(unreachable)?;
        if !first.shared {
            return Ok(Pooling::None);
        }
        // A pooler of sessions that has none left keeps the second connection waiting for minutes.
        let (send, receive) = mpsc::channel();
        let route = Arc::clone(self);
        thread::Builder::new()
            .name("pooling".to_owned())
            .spawn(move || drop(send.send(keeps_sessions(first, &route))))
            .map_err(|error| QueueError::Unreachable(format!("cannot compare two connections: {error}")))?;
        match receive.recv_timeout(COMPARING) {
            Ok(Ok(true)) => Ok(Pooling::Session),
            Ok(Ok(false)) => Ok(Pooling::Transaction),
            Ok(Err(error)) => Err(unreachable(error)),
            Err(_) => Err(QueueError::Unreachable(
                "the pooler gives no second connection, so it cannot be seen how it pools: set [database] pooler"
                    .to_owned(),
            )),
        }
    }

    /// A connection with a session and a server process of its own, with the usual settings. `None`: sessions are shared.
    pub(super) fn session(self: &Arc<Self>) -> Result<Option<PgConnection>, QueueError> {
        if self.pooling()? == Pooling::Transaction {
            return Ok(None);
        }
        let mut conn = self.open().map_err(|error| failures::connecting(&error.to_string()))?.conn;
        conn.batch_execute(SESSION).map_err(|error| failures::statement("begin a session", &error))?;
        Ok(Some(conn))
    }
}

/// Whether two open connections never have the same server process, and each always the same one. With sessions of their own
/// that is always so. A pooler of transactions gives the second one what the first one has just released, or gives the first
/// one two different processes in turn.
fn keeps_sessions(mut first: Link, route: &Route) -> Result<bool, Error> {
    let mut second = route.open()?;
    let known = (process(&mut first.conn)?, process(&mut second.conn)?);
    for _ in 0..COMPARISONS {
        // Each twice: a pooler that hands out its server processes in turn may give the same one to every second transaction.
        let met = (process(&mut first.conn)?, process(&mut first.conn)?, process(&mut second.conn)?);
        if known.0 == known.1 || met != (known.0, known.0, known.1) || process(&mut second.conn)? != known.1 {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Link {
    /// Before a call: checks the connection; on a shared one, begins the call's transaction.
    pub(super) fn begin(&mut self, route: &Route) -> QueryResult<()> {
        if !self.shared {
            return if route.is_same_session(self)? {
                Ok(())
            } else {
                Err(diesel::result::Error::BrokenTransactionManager)
            };
        }
        let begun = AnsiTransactionManager::begin_transaction_sql(&mut self.conn, BEGIN);
        if begun.is_err() {
            // A setting may have failed inside the transaction; a connection that is gone needs no rollback.
            let _ = self.conn.batch_execute("ROLLBACK");
        }
        begun
    }

    /// After a call: ends its transaction. The answer counts only if that committed.
    pub(super) fn end<T>(&mut self, answer: QueryResult<T>) -> QueryResult<T> {
        if !self.shared {
            return answer;
        }
        match answer {
            Ok(answer) => AnsiTransactionManager::commit_transaction(&mut self.conn).map(|()| answer),
            Err(error) => {
                // Where the rollback fails the connection is gone, or counts as broken and is dropped.
                let _ = AnsiTransactionManager::rollback_transaction(&mut self.conn);
                Err(error)
            }
        }
    }

    /// Whether the connection does not answer any more; asked after a call that failed.
    pub(super) fn is_gone(&mut self) -> bool {
        if self.shared { self.conn.is_broken() } else { self.conn.ping().is_err() }
    }
}

/// A shared connection: no setting is made in the session, and no statement gets a name in it.
fn shared(mut conn: PgConnection) -> Link {
    conn.set_prepared_statement_cache_size(CacheSize::Disabled);
    Link { conn, shared: true, process: 0 }
}

fn own(mut conn: PgConnection, process: i32) -> Result<Link, Error> {
    conn.batch_execute(SESSION).map_err(Error::QueryError)?;
    Ok(Link { conn, shared: false, process })
}

fn establish(url: &str) -> Result<PgConnection, Error> {
    PgConnection::establish(url).map_err(Error::ConnectionError)
}

#[derive(QueryableByName)]
struct Started {
    #[diesel(sql_type = Nullable<Text>)]
    mark: Option<String>,
    #[diesel(sql_type = Integer)]
    process: i32,
}

/// The mark with which the session was started, if any, and the server process.
fn started(conn: &mut PgConnection) -> QueryResult<Started> {
    sql_query(concat!("SELECT current_setting('", url::mark!(), "', true) AS mark, pg_backend_pid() AS process"))
        .get_result(conn)
}

fn process(conn: &mut PgConnection) -> QueryResult<i32> {
    started(conn).map(|started| started.process)
}

/// Random, so that it differs from the marks of other clients.
fn mark() -> Result<String, Error> {
    let random = getrandom::u64().map_err(|error| {
        let what = format!("no random number for a connection: {error}");
        Error::ConnectionError(ConnectionError::BadConnection(what))
    })?;
    Ok(format!("{random:016x}"))
}

/// Opens the connections of the pool.
pub(super) struct Manager(pub(super) Arc<Route>);

impl ManageConnection for Manager {
    type Connection = Link;
    type Error = Error;

    fn connect(&self) -> Result<Link, Error> {
        self.0.open()
    }

    fn is_valid(&self, link: &mut Link) -> Result<(), Error> {
        link.conn.ping().map_err(Error::QueryError)
    }

    fn has_broken(&self, link: &mut Link) -> bool {
        // Once one connection of the route turned out to be shared, those that count as not shared are dropped.
        thread::panicking() || link.conn.is_broken() || (self.0.is_shared() && !link.shared)
    }
}
