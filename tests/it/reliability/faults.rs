//! Everything around the daemon fails and comes back: nothing is lost, nothing is half, and nobody restarts the daemon.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::sample_requests::SampleRequest;

use super::{
    Files, count, exchange, files, insert_all, jobs, place, sample, stored_files, undisturbed, wait_until_done,
};
use crate::daemon::{Daemon, wait_for};
use crate::databases::{TestDatabase, each};
use crate::proxy::Proxy;
use crate::site::Site;

const LEASE: &str = "lease = \"3s\"";

/// A made-up platform, requests, and what they give where nothing goes wrong.
struct Work {
    directory: tempfile::TempDir,
    requests: Vec<SampleRequest>,
    expected: BTreeMap<String, Files>,
}

impl Work {
    fn new(requests: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let requests = sample(&directory.path().join("data"), requests);
        let expected = undisturbed(&directory.path().join("data"), &requests);
        Self { directory, requests, expected }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn insert(&self, site: &Site<'_>) {
        insert_all(site, &self.requests);
    }

    /// Every request is completed with the right bytes, and the store has no file that is half.
    fn check(&self, site: &Site<'_>, daemon: &Daemon) {
        let (rows, made) = (site.rows(), files(site));
        assert_eq!(rows.len(), self.requests.len());
        for (n, request) in self.requests.iter().enumerate() {
            let id = format!("r{n:02}");
            assert_eq!(rows[&id].status, "COMPLETED", "{id}: {}\n{}", rows[&id].message, daemon.log());
            let expected = &self.expected[&format!("{} {}", request.job_id, request.request_data)];
            assert_eq!(&made[&id], expected, "{id}");
        }
        for file in stored_files(&site.path("reports")) {
            let Some(id) = of_request(&file) else { continue };
            let request = &self.requests[id];
            let expected = &self.expected[&format!("{} {}", request.job_id, request.request_data)];
            let name = file.file_name().unwrap().to_str().unwrap();
            assert_eq!(&fs::read_to_string(&file).unwrap(), &expected[name], "{}", file.display());
        }
    }
}

/// Whose file it is; none for other files of the store.
fn of_request(file: &Path) -> Option<usize> {
    let id = file.ancestors().nth(2)?.file_name()?.to_str()?;
    id.strip_prefix('r')?.parse().ok()
}

/// A server that a test may stop and start.
struct OwnServer {
    script: Child,
    url: String,
    ctl: String,
}

impl OwnServer {
    /// `None`, said loudly, where there is no PostgreSQL.
    fn start() -> Option<Self> {
        TestDatabase::postgres()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/with-postgres");
        let tell = r#"echo "$EXHAUST_TEST_POSTGRES"; echo "$EXHAUST_TEST_POSTGRES_CTL"; cat"#;
        let mut script =
            Command::new(script).args(["sh", "-c", tell]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut told = BufReader::new(script.stdout.take().unwrap()).lines().map(Result::unwrap);
        let (url, ctl) = (told.next().unwrap(), told.next().unwrap());
        Some(Self { script, url, ctl })
    }

    fn ctl(&self, what: &str) {
        assert!(Command::new(&self.ctl).arg(what).status().unwrap().success(), "pg_ctl {what}");
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        // The script ends when its input does, and takes the server with it.
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}

fn wait_for_files(site: &Site<'_>, number: usize) {
    let reports = site.path("reports");
    wait_for("files", || (stored_files(&reports).len() >= number).then_some(()));
}

#[test]
fn postgresql_is_restarted_and_stays_away_for_longer_than_a_lease() {
    let Some(server) = OwnServer::start() else { return };
    let database = TestDatabase::on(server.url.clone());
    // The script's server is quick rather than careful; one that is killed must keep what it said it has.
    database.execute("ALTER ROLE postgres SET synchronous_commit = on");
    let work = Work::new(30);
    let site = place(&database, &work.data(), LEASE);
    let mut daemon = Daemon::start(&site, "generating:delay=100");
    daemon.logs("daemon ready");
    work.insert(&site);
    wait_for_files(&site, 3);
    server.ctl("restart");
    wait_for_files(&site, 10);
    server.ctl("stop");
    std::thread::sleep(Duration::from_secs(5));
    let back = Instant::now();
    server.ctl("start");
    wait_until_done(&database);
    println!(
        "restarted once, away for 5 s once, a lease is 3 s: 30 requests completed {:?} after the end, {} made by two",
        back.elapsed(),
        count(&database, "crashes > 0")
    );
    work.check(&site, &daemon);
    assert!(daemon.ended().is_none());
    assert_eq!(count(&database, "iteration <> 1"), 0, "no attempt was spent");
}

#[test]
fn a_proxy_before_postgresql_goes_silent_and_is_cut() {
    let Some(database) = TestDatabase::postgres() else { return };
    let work = Work::new(30);
    let (proxy, url) = Proxy::before(&database.url());
    let site = Site::through(&database, &url, &work.data(), &jobs(&format!("{LEASE}\nstop_timeout = \"5m\"")));
    let mut daemon = Daemon::start(&site, "generating:delay=100");
    daemon.logs("daemon ready");
    work.insert(&site);
    wait_for_files(&site, 3);
    proxy.cut();
    wait_for_files(&site, 10);
    proxy.silence();
    std::thread::sleep(Duration::from_secs(5));
    let healed = Instant::now();
    proxy.heal();
    wait_until_done(&database);
    println!(
        "cut once, silent for 5 s once, old connections for ever: 30 requests completed {:?} after the end, {} made by two",
        healed.elapsed(),
        count(&database, "crashes > 0")
    );
    work.check(&site, &daemon);
    assert!(daemon.ended().is_none());
    assert_eq!(count(&database, "iteration <> 1"), 0, "no attempt was spent");
    // Calls that still hang do not keep it from stopping.
    daemon.signal("TERM");
    let stopped = Instant::now();
    assert!(daemon.wait().success());
    assert!(stopped.elapsed() < Duration::from_mins(1), "{:?}", stopped.elapsed());
}

/// A database that is away when the daemon starts is waited for.
#[test]
fn a_daemon_that_starts_before_its_database_waits() {
    let Some(database) = TestDatabase::postgres() else { return };
    let work = Work::new(3);
    let (proxy, url) = Proxy::before(&database.url());
    let site = Site::through(&database, &url, &work.data(), &jobs(LEASE));
    proxy.silence();
    let daemon = Daemon::start(&site, "");
    daemon.logs("database not reachable, waiting");
    proxy.heal();
    daemon.logs("daemon ready");
    work.insert(&site);
    wait_until_done(&database);
    work.check(&site, &daemon);
}

/// An outage of the store costs those that met it one attempt, and all others none.
#[test]
fn the_store_refuses_for_a_while() {
    let work = Work::new(30);
    each(|database| {
        let site = place(database, &work.data(), "claim = 10");
        let daemon = Daemon::start(&site, "generating:delay=50");
        daemon.logs("daemon ready");
        work.insert(&site);
        wait_for_files(&site, 3);
        fs::write(site.path("away"), "in the way").unwrap();
        exchange(&site.path("reports"), &site.path("away"));
        daemon.logs("nothing is claimed while the store is down");
        std::thread::sleep(Duration::from_secs(3));
        wait_for("those that met it", || (count(database, "status = 'PROCESSING'") == 0).then_some(()));
        let met = count(database, "iteration > 0 AND status = 'SUBMITTED'");
        assert!((1..=20).contains(&met), "{met} met it");
        assert_eq!(count(database, "status = 'FAILED' OR iteration > 1"), 0);
        let messages =
            database.query_text("SELECT DISTINCT err_message FROM job_request WHERE err_message IS NOT NULL");
        assert!(messages.iter().all(|row| row[0].as_ref().unwrap().contains("in the store")), "{messages:?}");
        exchange(&site.path("reports"), &site.path("away"));
        let back = Instant::now();
        daemon.logs("the store is well again");
        wait_until_done(database);
        println!("away for 3 s: {met} requests lost an attempt, all 30 completed {:?} after its end", back.elapsed());
        work.check(&site, &daemon);
        assert_eq!(count(database, "iteration > 1"), met);
    });
}

/// A report may take longer than a lease: the lease says that the daemon lives, not that it is fast.
#[test]
fn a_store_that_is_slower_than_a_lease_costs_nothing() {
    let work = Work::new(6);
    each(|database| {
        let site = place(database, &work.data(), "lease = \"2s\"");
        let daemon = Daemon::start(&site, "stored:delay=2500");
        let other = Daemon::start(&site, "");
        for daemon in [&daemon, &other] {
            daemon.logs("daemon ready");
        }
        work.insert(&site);
        wait_until_done(database);
        work.check(&site, &daemon);
        assert_eq!(count(database, "crashes > 0 OR iteration <> 1"), 0, "nobody took anything over");
    });
}

/// Files cannot grow beyond 20,000 bytes for a while: those of the store, and with SQLite those of the database as well.
#[test]
fn the_disk_is_full_for_a_while() {
    let work = Work::new(20);
    each(|database| {
        let site = place(database, &work.data(), LEASE);
        work.insert(&site);
        // A limit on the size of files is a full disk that a test can make and end. It comes with a signal, which
        // ends a program that does not ignore it.
        let mut command = Command::new("sh");
        let limited = r#"trap '' XFSZ; exec prlimit --fsize=20000:unlimited "$0" run"#;
        command.args(["-c", limited, env!("CARGO_BIN_EXE_exhaustd")]).current_dir(site.path(""));
        let mut daemon = Daemon::spawn(&mut command);
        if database.is_postgres() {
            daemon.logs("File too large");
            let told = count(database, "err_message LIKE 'cannot % in the store: File too large%'");
            println!("PostgreSQL: {told} requests met the full disk");
        } else {
            daemon.logs("database not reachable, waiting");
            println!("SQLite: not even the database could be written");
        }
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(count(database, "status = 'FAILED'"), 0);
        let pid = daemon.pid().to_string();
        let lifted = Command::new("prlimit").args(["--fsize=unlimited:unlimited", "--pid", &pid]).status().unwrap();
        assert!(lifted.success());
        let back = Instant::now();
        database.execute("UPDATE job_request SET next_attempt_at = NULL WHERE status = 'SUBMITTED'");
        wait_until_done(database);
        println!("all 20 completed {:?} after there was room again", back.elapsed());
        work.check(&site, &daemon);
        assert!(daemon.ended().is_none());
    });
}
