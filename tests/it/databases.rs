//! Databases for tests: a fresh SQLite file, a fresh PostgreSQL database on the server that `EXHAUST_TEST_POSTGRES` names
//! (`scripts/with-postgres` starts one), and one that is reached through the PgBouncer that `EXHAUST_TEST_PGBOUNCER` names
//! (`scripts/with-pgbouncer`). All are empty; a test migrates them where it wants that.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use diesel::connection::SimpleConnection;
use diesel::deserialize::FromSql;
use diesel::prelude::*;
use diesel::row::{Field, NamedRow, Row};
use diesel::sql_types::Binary;
use diesel::sqlite::{Sqlite, SqliteConnection};
use exhaust::requests::{Clock, DAEMON_CONNECTIONS, PostgresOptions, Queue, open_postgres, open_sqlite};
use postgres::{Client, NoTls, SimpleQueryMessage};

/// Names the server: `postgres://user@host:port/database`, a role that may create databases.
const SERVER: &str = "EXHAUST_TEST_POSTGRES";

/// Names a PgBouncer before that server, which pools by transaction.
const POOLER: &str = "EXHAUST_TEST_PGBOUNCER";

/// An empty database, removed when it is dropped.
pub(crate) struct TestDatabase(Place);

enum Place {
    Sqlite { directory: tempfile::TempDir },
    Postgres { server: String, name: String, pooler: Option<String> },
}

/// Runs `test` as [`each`], and where there is a PgBouncer on a database behind it: what the queue does in every way that
/// leads to it.
pub(crate) fn each_way(test: impl Fn(&TestDatabase)) {
    each(&test);
    if let Some(database) = TestDatabase::pooled() {
        eprintln!("on PostgreSQL through PgBouncer");
        test(&database);
    }
}

/// Runs `test` on a fresh SQLite file, and where there is a server on a fresh PostgreSQL database.
pub(crate) fn each(test: impl Fn(&TestDatabase)) {
    eprintln!("on SQLite");
    test(&TestDatabase::sqlite());
    if let Some(database) = TestDatabase::postgres() {
        eprintln!("on PostgreSQL");
        test(&database);
    }
}

/// What this variable names; `None`, said loudly, where it is not set. With CI=true that is a failure.
fn named(variable: &str, what: &str, script: &str) -> Option<String> {
    let value = std::env::var(variable).ok();
    if value.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{variable} is not set: no test on {what}");
        eprintln!("skipped: this test on {what}: {variable} is not set ({script} sets it)");
    }
    value
}

impl TestDatabase {
    /// A file that is not there yet.
    pub(crate) fn sqlite() -> Self {
        Self(Place::Sqlite { directory: tempfile::tempdir().unwrap() })
    }

    /// `None`, said loudly, where there is no server; with CI=true that is a failure.
    pub(crate) fn postgres() -> Option<Self> {
        named(SERVER, "PostgreSQL", "scripts/with-postgres").map(Self::on)
    }

    /// On the same server, reached through PgBouncer. `None` as for [`Self::postgres`].
    pub(crate) fn pooled() -> Option<Self> {
        let pooler = named(POOLER, "PgBouncer", "scripts/with-pgbouncer")?;
        let mut database = Self::on(named(SERVER, "PostgreSQL", "scripts/with-postgres")?);
        if let Place::Postgres { pooler: place, .. } = &mut database.0 {
            *place = Some(pooler);
        }
        Some(database)
    }

    /// On this server.
    pub(crate) fn on(server: String) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("exhaust_test_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut client = Client::connect(&server, NoTls).unwrap();
        client.simple_query(&format!("DROP DATABASE IF EXISTS {name}")).unwrap();
        client.simple_query(&format!("CREATE DATABASE {name} TEMPLATE template0")).unwrap();
        Self(Place::Postgres { server, name, pooler: None })
    }

    /// What goes into jobs.toml as `url`: the way through the pooler, where there is one.
    pub(crate) fn url(&self) -> String {
        match &self.0 {
            Place::Sqlite { .. } => format!("sqlite://{}", self.file().display()),
            Place::Postgres { server, name, pooler } => at(pooler.as_ref().unwrap_or(server), name),
        }
    }

    /// The way past the pooler, if there is one.
    pub(crate) fn direct_url(&self) -> Option<String> {
        match &self.0 {
            Place::Postgres { server, name, pooler: Some(_) } => Some(at(server, name)),
            _ => None,
        }
    }

    /// The lines of `[database]` in jobs.toml.
    pub(crate) fn settings(&self) -> String {
        let direct = self.direct_url().map_or(String::new(), |url| format!("direct_url = \"{url}\"\n"));
        format!("url = \"{}\"\n{direct}", self.url())
    }

    /// A queue of its own on this database, not migrated.
    pub(crate) fn queue(&self, clock: Arc<dyn Clock>) -> Arc<dyn Queue> {
        match &self.0 {
            Place::Sqlite { .. } => Arc::new(open_sqlite(&self.file(), clock, DAEMON_CONNECTIONS).unwrap()),
            Place::Postgres { .. } => {
                let (url, direct) = (self.url(), self.direct_url());
                let place = PostgresOptions { url: &url, pooling: None, direct_url: direct.as_deref() };
                Arc::new(open_postgres(place, clock, DAEMON_CONNECTIONS).unwrap())
            }
        }
    }

    /// Runs statements, separated by semicolons.
    pub(crate) fn execute(&self, sql: &str) {
        match &self.0 {
            Place::Sqlite { .. } => self.connect().batch_execute(sql).unwrap_or_else(|e| panic!("{e}: {sql}")),
            Place::Postgres { .. } => self.client().batch_execute(sql).unwrap_or_else(|e| panic!("{e:?}: {sql}")),
        }
    }

    /// Whether anybody can write now: on SQLite one process holds the lock at a time, even if it sleeps.
    pub(crate) fn is_writable(&self) -> bool {
        match &self.0 {
            Place::Sqlite { .. } => {
                let mut conn = SqliteConnection::establish(self.file().to_str().unwrap()).unwrap();
                conn.batch_execute("PRAGMA busy_timeout = 200; BEGIN IMMEDIATE; ROLLBACK").is_ok()
            }
            Place::Postgres { .. } => true,
        }
    }

    /// The rows of a query, every value as the text that the database makes of it.
    pub(crate) fn query_text(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        match &self.0 {
            Place::Sqlite { .. } => {
                let rows: Vec<Texts> = diesel::sql_query(sql).load(&mut self.connect()).unwrap();
                rows.into_iter().map(|row| row.0).collect()
            }
            Place::Postgres { .. } => {
                let messages = self.client().simple_query(sql).unwrap_or_else(|e| panic!("{e:?}: {sql}"));
                let row = |message: SimpleQueryMessage| match message {
                    SimpleQueryMessage::Row(row) => {
                        Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect())
                    }
                    _ => None,
                };
                messages.into_iter().filter_map(row).collect()
            }
        }
    }

    /// Whether it is PostgreSQL, for what the two spell differently.
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.0, Place::Postgres { .. })
    }

    fn file(&self) -> PathBuf {
        match &self.0 {
            Place::Sqlite { directory } => directory.path().join("exhaust.db"),
            Place::Postgres { .. } => unreachable!("PostgreSQL has no file"),
        }
    }

    fn connect(&self) -> SqliteConnection {
        let mut conn = SqliteConnection::establish(self.file().to_str().unwrap()).unwrap();
        conn.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
        conn
    }

    pub(crate) fn client(&self) -> Client {
        let mut client = Client::connect(&self.direct_url().unwrap_or_else(|| self.url()), NoTls).unwrap();
        client.batch_execute("SET TIME ZONE 'UTC'").unwrap();
        client
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Place::Postgres { server, name, .. } = &self.0 {
            // Not worth a panic, which inside another one would hide it.
            let dropped = Client::connect(server, NoTls)
                .and_then(|mut client| client.simple_query(&format!("DROP DATABASE {name} WITH (FORCE)")).map(drop));
            if let Err(error) = dropped {
                eprintln!("{name} is left over: {error}");
            }
        }
    }
}

/// The database of this name, where the URL leads.
fn at(server: &str, name: &str) -> String {
    let (base, parameters) = server.split_once('?').map_or((server, None), |(b, p)| (b, Some(p)));
    let host = base.rfind('/').unwrap();
    parameters.map_or(format!("{}/{name}", &base[..host]), |p| format!("{}/{name}?{p}", &base[..host]))
}

/// A row of SQLite, whatever its columns are.
struct Texts(Vec<Option<String>>);

impl QueryableByName<Sqlite> for Texts {
    fn build<'a>(row: &impl NamedRow<'a, Sqlite>) -> diesel::deserialize::Result<Self> {
        let mut texts = Vec::new();
        for index in 0..row.field_count() {
            let field = Row::get(row, index).ok_or("no such column")?;
            let bytes = field.value().map(<Vec<u8> as FromSql<Binary, Sqlite>>::from_sql).transpose()?;
            texts.push(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
        }
        Ok(Self(texts))
    }
}
