//! The program behind PgBouncer, pooled by transaction: what it recognises, what it leaves alone, what it refuses. That
//! the queue does behind it what it does anywhere is for the conformance suite (`queue`).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::fs;
use std::process::Output;
use std::sync::Arc;
use std::thread;

use exhaust::requests::{DAEMON_CONNECTIONS, ManualClock, Pooling, PostgresOptions, Queue, open_postgres};
use postgres::{Client, NoTls, SimpleQueryMessage};

use crate::daemon::Daemon;
use crate::databases::TestDatabase;
use crate::queue::{claim_options, key, request, start};
use crate::site::Site;

const JOBS: &str = "[[job]]\nid = \"course-report\"\nreport = \"course\"\n";

const REQUEST: &str = r#"{"batchFilters":["TPD"]}"#;

fn open(url: &str, pooling: Option<Pooling>, direct_url: Option<&str>) -> Box<dyn Queue> {
    let place = PostgresOptions { url, pooling, direct_url };
    Box::new(open_postgres(place, Arc::new(ManualClock::new(start())), DAEMON_CONNECTIONS).unwrap())
}

/// The first column of the first row.
fn first(client: &mut Client, sql: &str) -> String {
    let messages = client.simple_query(sql).unwrap();
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    row.unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A site whose jobs.toml has no `direct_url`.
fn without_direct_url<'a>(database: &'a TestDatabase, data: &std::path::Path) -> Site<'a> {
    let site = Site::new(database, data, JOBS, "");
    let file = site.path("jobs.toml");
    let text = fs::read_to_string(&file).unwrap();
    let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("direct_url")).collect();
    fs::write(&file, without.join("\n")).unwrap();
    site
}

fn tables() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sunbird/course")
}

#[test]
fn what_pools_is_recognised() {
    let Some(database) = TestDatabase::pooled() else { return };
    let direct = database.direct_url().unwrap();
    database.execute(
        "DO $$ BEGIN CREATE ROLE by_session LOGIN SUPERUSER; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    );
    let by_session = database.url().replacen("postgres://postgres@", "postgres://by_session@", 1);
    for (url, pooling, listens) in [
        (direct.as_str(), Pooling::None, true),
        (&by_session, Pooling::Session, true),
        (&database.url(), Pooling::Transaction, false),
    ] {
        let queue = open(url, None, None);
        assert_eq!(queue.pooling().unwrap(), pooling);
        assert_eq!(queue.can_listen().unwrap(), listens, "{pooling:?}");
        assert_eq!(queue.listen().unwrap().is_some(), listens, "{pooling:?}");
    }
    let queue = open(&database.url(), None, Some(&direct));
    assert_eq!((queue.pooling().unwrap(), queue.can_listen().unwrap()), (Pooling::Transaction, true));
    // jobs.toml is believed.
    for pooling in [Pooling::None, Pooling::Session, Pooling::Transaction] {
        assert_eq!(open(&direct, Some(pooling), None).pooling().unwrap(), pooling);
    }
}

#[test]
fn migrations_are_refused_where_sessions_are_shared_unless_there_is_nothing_to_migrate() {
    let Some(database) = TestDatabase::pooled() else { return };
    let direct = database.direct_url().unwrap();
    for pooling in [None, Some(Pooling::Transaction)] {
        let queue = open(&database.url(), pooling, None);
        assert!(!queue.migrate(true).unwrap().is_empty());
        let error = queue.migrate(false).unwrap_err();
        assert!(!error.may_pass(), "{error}");
        for part in ["[database] url", "pooler of transactions", "set [database] direct_url"] {
            assert!(error.to_string().contains(part), "{error}");
        }
    }
    // The direct way is looked at as well.
    let error = open(&database.url(), None, Some(&database.url())).migrate(false).unwrap_err();
    assert!(error.to_string().contains("[database] direct_url leads through a pooler of transactions"), "{error}");
    // One that leads elsewhere is not taken for this one.
    let other = TestDatabase::postgres().unwrap();
    let error = open(&database.url(), None, Some(&other.url())).migrate(false).unwrap_err();
    assert!(error.to_string().contains("do both lead to the same database?"), "{error}");
    assert!(!open(&database.url(), None, Some(&direct)).migrate(false).unwrap().is_empty());
    let queue = open(&database.url(), None, None);
    assert_eq!(queue.migrate(false).unwrap(), Vec::<String>::new());
    queue.check().unwrap();
}

/// A pooler of sessions serves migrations and listeners as the server itself does.
#[test]
fn a_pooler_of_sessions_needs_no_direct_url() {
    let Some(database) = TestDatabase::pooled() else { return };
    database.execute(
        "DO $$ BEGIN CREATE ROLE by_session LOGIN SUPERUSER; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    );
    let url = database.url().replacen("postgres://postgres@", "postgres://by_session@", 1);
    let queue = open(&url, None, None);
    assert!(!queue.migrate(false).unwrap().is_empty());
    assert_eq!(queue.migrate(false).unwrap(), Vec::<String>::new());
    let mut listener = queue.listen().unwrap().unwrap();
    queue.submit(&request("t", "1")).unwrap();
    assert!(listener.wait(crate::daemon::PATIENCE).unwrap());
}

/// Server sessions are other clients' as well: no setting, no prepared statement and no listener is left in them.
#[test]
fn other_clients_sessions_are_left_as_they_were() {
    let Some(database) = TestDatabase::pooled() else { return };
    let queue = open(&database.url(), None, database.direct_url().as_deref());
    queue.migrate(false).unwrap();
    let mut others: Vec<Client> = (0..4).map(|_| Client::connect(&database.url(), NoTls).unwrap()).collect();
    // Several calls at a time, so that there are several server sessions.
    thread::scope(|scope| {
        for thread in 0..4 {
            let queue = &queue;
            scope.spawn(move || {
                for number in 0..25 {
                    let id = format!("{thread}-{number}");
                    queue.submit(&request("t", &id)).unwrap();
                    queue.submit(&request("t", &id)).unwrap();
                    let claim = queue.claim(&claim_options(3)).unwrap();
                    for row in &claim.requests {
                        let _ = queue.hand_back(&claim.token, &row.key, None).unwrap();
                    }
                    assert!(queue.find(&key("t", &id)).unwrap().is_some());
                    queue.overview().unwrap();
                    queue.last_slot("nightly", "0 0 2 * * *", start()).unwrap();
                }
            });
        }
    });
    let usual = |name: &str| database.query_text(&format!("SHOW {name}"))[0][0].clone().unwrap();
    for client in &mut others {
        client.batch_execute("BEGIN").unwrap();
    }
    let mut sessions = std::collections::BTreeSet::new();
    for client in &mut others {
        sessions.insert(first(client, "SELECT pg_backend_pid()"));
        for name in [
            "statement_timeout",
            "lock_timeout",
            "idle_in_transaction_session_timeout",
            "default_transaction_isolation",
        ] {
            assert_eq!(first(client, &format!("SHOW {name}")), usual(name), "{name}");
        }
        assert_eq!(first(client, "SELECT count(*) FROM pg_prepared_statements"), "0");
        assert_eq!(first(client, "SELECT count(*) FROM pg_listening_channels()"), "0");
        assert_eq!(
            first(client, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"),
            "0"
        );
    }
    assert_eq!(sessions.len(), 4, "four sessions at a time");
}

/// What the field showed: commands in turn, each of them a client of its own that meets the sessions of those before.
#[test]
fn commands_work_in_turn() {
    let Some(database) = TestDatabase::pooled() else { return };
    let site = without_direct_url(&database, &tables());
    let refused = site.run(&["migrate"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(stderr(&refused).contains("direct_url"), "{}", stderr(&refused));
    let check = site.run(&["check"]);
    let told = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.status.code() == Some(3) && told.contains("direct_url"), "{told}");
    open(&database.url(), None, database.direct_url().as_deref()).migrate(false).unwrap();

    let done = |arguments: &[&str]| {
        let output = site.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let told = done(&["check"]);
    assert!(told.contains("ready; through a pooler of transactions; without [database] direct_url"), "{told}");
    for round in 0..3 {
        let id = format!("r{round}");
        site.insert("t", &id, "course-report", REQUEST);
        done(&["submit", "course-report", "--tag", "t", "--framework", "TPD"]);
        done(&["run", "--once"]);
        assert!(done(&["status", "t"]).contains("COMPLETED"));
        done(&["status", "t", &id]);
        done(&["explain", "--request", "t", &id]);
        assert_eq!(site.rows()[&id].status, "COMPLETED", "{:?}", site.rows()[&id]);
    }
    site.insert("t", "cancelled", "course-report", REQUEST);
    done(&["cancel", "t", "cancelled"]);
    done(&["retry", "t", "cancelled"]);
    done(&["retention", "--dry-run", "--older-than", "30d"]);
    assert_eq!(done(&["migrate"]).trim(), "nothing to do");
}

/// Without a way past the pooler the schedule finds what is submitted, and that is said once.
#[test]
fn a_daemon_that_hears_nothing_says_so_and_looks_by_the_schedule() {
    let Some(database) = TestDatabase::pooled() else { return };
    open(&database.url(), None, database.direct_url().as_deref()).migrate(false).unwrap();
    let site = without_direct_url(&database, &tables());
    let file = site.path("jobs.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("report = \"course\"", "report = \"course\"\nschedule = \"* * * * * *\"")).unwrap();
    let daemon = Daemon::start(&site, "");
    daemon.logs("submissions cannot be heard through a pooler of transactions");
    site.insert("t", "1", "course-report", REQUEST);
    daemon.logs("request completed");
    assert_eq!(site.rows()["1"].status, "COMPLETED");
    assert_eq!(daemon.log().matches("submissions cannot be heard").count(), 1, "{}", daemon.log());
    assert_eq!(daemon.log().matches("lead through a pooler").count(), 1, "{}", daemon.log());
}
