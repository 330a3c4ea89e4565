//! A server that takes everything and never answers: behind a proxy that falls silent without closing.

use std::collections::HashSet;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::sleep;
use std::time::{Duration, Instant};

use exhaust::sources::postgres::PostgresSource;
use exhaust::sources::{ScanStats, Source, SourceError};
use exhaust::tables::plan::Scan;
use exhaust::tables::schema::{Column, Kind, Table};
use rayon::prelude::*;

use super::read::read;
use super::{scan, settings};
use crate::databases::TestDatabase;
use crate::proxy::Proxy;

/// How long silence is borne where it is what comes.
const BOUND: Duration = Duration::from_secs(1);
/// And where answers come: more than a loaded machine takes for one.
const PATIENT: Duration = Duration::from_secs(4);
/// What a loaded machine may take on top of it.
const SLACK: Duration = Duration::from_mins(2);

/// A database with some tables, and a source that reads it through a proxy.
struct Place {
    database: TestDatabase,
    proxy: Arc<Proxy>,
    source: Arc<PostgresSource>,
    /// The same, as in production.
    patient: PostgresSource,
}

impl Place {
    fn new(tables: &str) -> Option<Self> {
        let database = TestDatabase::postgres()?;
        database.execute(&format!("CREATE SCHEMA platform; {tables}"));
        let (proxy, url) = Proxy::before(&database.url());
        let source = || PostgresSource::new(&url, "platform", settings()).unwrap();
        let (source, patient) = (Arc::new(source().with_silence(BOUND)), source());
        Some(Self { database, proxy: Arc::new(proxy), source, patient })
    }

    /// What `work` comes to on a thread of its own, which must be soon.
    fn soon<T: Send + 'static>(&self, work: impl FnOnce(&PostgresSource) -> T + Send + 'static) -> T {
        let (sender, receiver) = mpsc::channel();
        let source = Arc::clone(&self.source);
        let thread = std::thread::spawn(move || drop(sender.send(work(&source))));
        let done = receiver.recv_timeout(BOUND + SLACK).unwrap_or_else(|error| panic!("it is still waiting: {error}"));
        thread.join().unwrap();
        done
    }

    /// Reads until the silence ends it.
    fn fails(&self, scan: &Scan) {
        let (scan, start) = (scan.clone(), Instant::now());
        assert_silent(&self.soon(move |source| source.read(&scan, &|_| {})), start);
    }

    /// Once the way is healed, everything is there.
    fn heals(&self, scan: &Scan, rows: usize) {
        self.proxy.heal();
        assert_eq!(read(&self.patient, scan).unwrap().0.len(), rows);
    }
}

fn assert_silent(outcome: &Result<ScanStats, SourceError>, start: Instant) {
    let error = outcome.as_ref().unwrap_err();
    assert_eq!(error.message, format!("table {}: the PostgreSQL server has not answered for 1 s", error.table));
    assert!(error.detail.contains("has not answered for 1 s"), "{}", error.detail);
    assert!(error.may_pass);
    assert!(start.elapsed() >= BOUND);
}

/// The threads of this process, where this test has it for itself.
fn threads() -> HashSet<String> {
    if std::env::var_os("NEXTEST").is_none() {
        return HashSet::new();
    }
    let names = fs::read_dir("/proc/self/task").unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn assert_none_left(before: &HashSet<String>) {
    let deadline = Instant::now() + SLACK;
    while threads().len() > before.len() {
        assert!(Instant::now() < deadline, "{} threads, and before {}", threads().len(), before.len());
        sleep(Duration::from_millis(20));
    }
}

fn users(only: Option<(&'static str, &[&str])>) -> Scan {
    scan(Table::User, &[Column::key("userid"), Column::optional("firstname", Kind::Text)], only)
}

const THREE: &str =
    "CREATE TABLE platform.user AS SELECT 'u' || i AS userid, 'name' AS firstname FROM generate_series(1, 3) AS i";

#[test]
fn during_the_handshake() {
    let Some(place) = Place::new(THREE) else { return };
    place.heals(&users(None), 3);
    let before = threads();
    place.proxy.silence();
    place.fails(&users(None));
    let told = place.soon(|source| source.tables().unwrap_err());
    assert_eq!(told, "the PostgreSQL server has not answered for 1 s");
    assert_none_left(&before);
    place.heals(&users(None), 3);
}

#[test]
fn at_a_query_of_the_catalog() {
    let Some(place) = Place::new(THREE) else { return };
    place.heals(&users(None), 3);
    let before = threads();
    place.proxy.silence_at("pg_catalog.pg_class");
    place.fails(&users(None));
    assert_none_left(&before);
    place.heals(&users(None), 3);
    place.proxy.silence_at("pg_catalog.pg_class");
    let told = place.soon(|source| source.tables().unwrap_err());
    assert_eq!(told, "the PostgreSQL server has not answered for 1 s");
    assert_none_left(&before);
    place.proxy.heal();
    assert_eq!(place.patient.tables().unwrap(), [Table::User]);
}

#[test]
fn while_keys_are_sent() {
    let Some(place) = Place::new(THREE) else { return };
    // 20 MB: more than the systems on the way take from us while nobody reads them.
    let others = (0..100_000).map(|i| format!("another-{i:0200}"));
    let keys: Vec<String> = (1..4).map(|i| format!("u{i}")).chain(others).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let scan = users(Some(("userid", &keys)));
    place.heals(&users(None), 3);
    let before = threads();
    for word in ["BEGIN", "SAVEPOINT", "FROM STDIN", "another-", "ANALYZE", "TO STDOUT"] {
        place.proxy.silence_at(word);
        place.fails(&scan);
        assert_none_left(&before);
        place.proxy.heal();
    }
    place.heals(&scan, 3);
}

#[test]
fn in_the_middle_of_the_rows_and_for_all_readers() {
    // Far more than chunks and the systems on the way hold.
    let Some(place) = Place::new(
        "CREATE TABLE platform.user AS
         SELECT 'u' || i AS userid, repeat('name', 5000) AS firstname FROM generate_series(1, 4000) AS i",
    ) else {
        return;
    };
    place.heals(&users(None), 4000);
    let before = threads();
    let proxy = Arc::clone(&place.proxy);
    let start = Instant::now();
    let (outcomes, rows) = place.soon(move |source| {
        let rows = AtomicUsize::new(0);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let outcomes: Vec<_> = pool.install(|| {
            let each = (0..4).into_par_iter().map(|_| {
                source.read(&users(None), &|chunk| {
                    proxy.silence();
                    rows.fetch_add(chunk.rows().count(), Ordering::Relaxed);
                })
            });
            each.collect()
        });
        (outcomes, rows.into_inner())
    });
    assert!(rows > 0);
    for outcome in &outcomes {
        assert_silent(outcome, start);
    }
    assert_none_left(&before);
    place.heals(&users(None), 4000);
}

#[test]
fn the_next_host_is_tried() {
    let Some(place) = Place::new(THREE) else { return };
    place.proxy.silence();
    let url = place.database.url();
    let at = url.find('@').unwrap() + 1;
    let both = format!("{}{},{}", &url[..at], place.proxy.address(), &url[at..]);
    let source = PostgresSource::new(&both, "platform", settings()).unwrap().with_silence(PATIENT);
    let start = Instant::now();
    let (rows, _) = place.soon(move |_| read(&source, &users(None))).unwrap();
    assert_eq!(rows, ["u1|name", "u2|name", "u3|name"]);
    assert!(start.elapsed() >= PATIENT);
}

#[test]
fn slow_is_not_silent() {
    // A row is sent at once when it is large.
    let Some(place) = Place::new(
        "CREATE VIEW platform.user AS
         SELECT 'u' || i AS userid, repeat('name', 5000) || pg_sleep(0.8)::text AS firstname
         FROM generate_series(1, 6) AS i",
    ) else {
        return;
    };
    let (source, start) = (place.patient.with_silence(PATIENT), Instant::now());
    assert_eq!(read(&source, &users(None)).unwrap().0.len(), 6);
    assert!(start.elapsed() > PATIENT);
}

#[test]
fn time_that_we_take_is_not_silence() {
    let Some(place) = Place::new(
        "CREATE TABLE platform.user AS
         SELECT 'u' || i AS userid, repeat('name', 5000) AS firstname FROM generate_series(1, 1000) AS i",
    ) else {
        return;
    };
    let rows = AtomicUsize::new(0);
    let stats = place.patient.with_silence(PATIENT).read(&users(None), &|chunk| {
        if rows.fetch_add(chunk.rows().count(), Ordering::Relaxed) == 0 {
            sleep(PATIENT * 3 / 2);
        }
    });
    assert_eq!(stats.unwrap().rows, 1000);
}
