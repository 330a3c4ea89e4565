//! A daemon that is told to stop: what it can finish it finishes, the rest it hands back, and no attempt is spent.

use std::process::Command;
use std::time::{Duration, Instant};

use super::{count, insert_all, open_rows, place, sample, stored_files, wait_until_done};
use crate::daemon::{Daemon, PATIENCE, wait_for};
use crate::databases::{TestDatabase, each, each_way};

#[test]
fn what_can_be_finished_in_time_is_finished() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let requests = sample(&data, 12);
    each_way(|database| {
        let site = place(database, &data, "stop_timeout = \"30s\"");
        let mut daemon = Daemon::start(&site, "generating:delay=50");
        daemon.logs("daemon ready");
        insert_all(&site, &requests);
        wait_for("a file", || (!stored_files(&site.path("reports")).is_empty()).then_some(()));
        daemon.signal("TERM");
        site.insert("t", "late", requests[0].job_id, &requests[0].request_data);
        let stopped = Instant::now();
        assert!(daemon.wait().success(), "{}", daemon.log());
        let (done, open) = (count(database, "status = 'COMPLETED'"), open_rows(database));
        println!("stopped in {:?} with {done} requests finished and {open} left", stopped.elapsed());
        assert!(done >= 1 && done + open == 13, "{}", daemon.log());
        assert_eq!(
            count(database, "status = 'PROCESSING' OR iteration > 0 AND status = 'SUBMITTED' OR crashes > 0"),
            0
        );
        assert_eq!(site.rows()["late"].status, "SUBMITTED", "no new work");
    });
}

/// Neither half-made requests nor a load that takes its time hold up a stop, and no file is there that nobody knows: not
/// even one that is put in its place at that very moment.
#[test]
fn what_cannot_be_finished_is_handed_back_with_what_is_stored() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let requests = sample(&data, 60);
    let slow =
        [("generating", "generating:delay=400"), ("placing", "placed:delay=400"), ("loading", "loading:delay=120000")];
    for (what, points) in slow {
        each(|database| {
            // Half of it is for handing back, which a machine with other work may take some time for.
            let site = place(database, &data, "stop_timeout = \"8s\"\nthreads = 1");
            insert_all(&site, &requests);
            let mut daemon = Daemon::start(&site, points);
            if what == "loading" {
                wait_for("a claim", || (count(database, "status = 'PROCESSING'") == 60).then_some(()));
            } else {
                wait_for("files", || (stored_files(&site.path("reports")).len() > 2).then_some(()));
            }
            daemon.signal("TERM");
            let stopped = Instant::now();
            assert!(daemon.wait().success(), "{}", daemon.log());
            let took = stopped.elapsed();
            assert!(took < Duration::from_mins(1), "{took:?}: {}", daemon.log());
            let handed_back = count(database, "status = 'SUBMITTED' AND lease_owner IS NULL AND iteration = 0");
            println!("{what}: stopped in {took:?}, {handed_back} requests handed back");
            assert_eq!(handed_back + count(database, "status = 'COMPLETED'"), 60);
            assert!(handed_back > 0 && count(database, "crashes > 0") == 0);
            // Whoever comes next makes only what is missing.
            let before = stored_files(&site.path("reports"));
            let next = Daemon::start(&site, "");
            wait_until_done(database);
            let rows = site.rows();
            assert!(rows.values().all(|row| row.status == "COMPLETED"), "{}", next.log());
            let urls: Vec<&String> = rows.values().flat_map(|row| &row.urls).collect();
            let unknown: Vec<_> = before.iter().filter(|file| !urls.iter().any(|url| file.ends_with(url))).collect();
            assert!(unknown.is_empty(), "of {} files stored: {unknown:?}\n{}", before.len(), daemon.log());
        });
    }
}

#[test]
fn the_second_signal_ends_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let requests = sample(&data, 1);
    each(|database| {
        let site = place(database, &data, "lease = \"1s\"\nstop_timeout = \"5m\"");
        site.insert("t", "r", requests[0].job_id, &requests[0].request_data);
        let mut daemon = Daemon::start(&site, "generating:delay=120000");
        wait_for("a claim", || (count(database, "status = 'PROCESSING'") == 1).then_some(()));
        daemon.signal("TERM");
        daemon.logs("a second signal ends at once");
        assert!(daemon.ended().is_none());
        let second = Instant::now();
        daemon.signal("INT");
        assert_eq!(daemon.wait().code(), Some(1));
        assert!(second.elapsed() < Duration::from_mins(1), "it waited for the report: {:?}", second.elapsed());
        let next = Daemon::start(&site, "");
        wait_until_done(database);
        assert_eq!(site.rows()["r"].status, "COMPLETED", "its lease ran out: {}", next.log());
    });
}

/// `timeout` signals the process and then its group, a terminal with a wrapper does alike: the daemon stops in order.
#[test]
fn two_signals_in_one_moment_are_one() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let requests = sample(&data, 1);
    for (first, second) in [("TERM", "TERM"), ("TERM", "INT")] {
        each(|database| {
            let site = place(database, &data, "stop_timeout = \"6s\"");
            site.insert("t", "r", requests[0].job_id, &requests[0].request_data);
            let mut daemon = Daemon::start(&site, "loading:delay=20000");
            wait_for("a claim", || (count(database, "status = 'PROCESSING'") == 1).then_some(()));
            let pid = daemon.pid();
            let both = format!("kill -{first} {pid}; kill -{second} {pid}");
            assert!(Command::new("sh").args(["-c", &both]).status().unwrap().success());
            assert!(daemon.wait().success(), "{first} {second}: {}", daemon.log());
            assert_eq!(count(database, "status = 'SUBMITTED' AND lease_owner IS NULL AND iteration = 0"), 1);
            assert_eq!(count(database, "crashes > 0"), 0);
        });
    }
}

/// The real `timeout`, which passes on the signal that it gets itself: no time has to be guessed.
#[test]
fn coreutils_timeout_stops_the_daemon_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let requests = sample(&data, 1);
    let database = TestDatabase::sqlite();
    let site = place(&database, &data, "stop_timeout = \"6s\"");
    site.insert("t", "r", requests[0].job_id, &requests[0].request_data);
    let run = site.command(&["run"]);
    let mut under = Command::new("timeout");
    under.arg("600").arg(run.get_program()).args(run.get_args()).current_dir(site.path(""));
    under.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut timeout = Daemon::spawn(under.env("EXHAUST_TEST_POINT", "loading:delay=20000"));
    wait_for("a claim", || (count(&database, "status = 'PROCESSING'") == 1).then_some(()));
    timeout.signal("TERM");
    timeout.wait();
    assert_eq!(
        count(&database, "status = 'SUBMITTED' AND lease_owner IS NULL AND crashes = 0"),
        1,
        "{}",
        timeout.log()
    );
}

/// What systemd hears: ready, what it does, that it is alive, that it stops.
#[test]
fn a_supervisor_is_told() {
    let directory = tempfile::tempdir().unwrap();
    sample(directory.path(), 1);
    each(|database| {
        let site = place(database, directory.path(), "");
        let path = site.path("notify");
        let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut daemon = Daemon::spawn(site.command(&["run"]).env("NOTIFY_SOCKET", &path));
        let hear = || {
            let mut bytes = [0; 1024];
            let length = socket.recv(&mut bytes).unwrap();
            String::from_utf8(bytes[..length].to_vec()).unwrap()
        };
        assert_eq!(hear().trim_end(), "READY=1\nSTATUS=waiting for the database");
        let mut heard = vec![hear(), hear(), hear()];
        daemon.signal("TERM");
        while !heard.last().unwrap().contains("STOPPING=1") {
            heard.push(hear());
        }
        assert!(heard.iter().any(|told| told.contains("STATUS=working")), "{heard:?}");
        assert!(heard.iter().any(|told| told.contains("WATCHDOG=1")), "{heard:?}");
        assert!(daemon.wait().success());
    });
}

/// `run --once` stops as the daemon does.
#[test]
fn a_single_run_hands_back_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let requests = sample(&data, 20);
    each(|database| {
        let site = place(database, &data, "stop_timeout = \"8s\"\nthreads = 1");
        insert_all(&site, &requests);
        let mut command = site.command(&["run", "--once"]);
        let mut once = Daemon::spawn(command.env("EXHAUST_TEST_POINT", "generating:delay=1000"));
        wait_for("files", || (!stored_files(&site.path("reports")).is_empty()).then_some(()));
        once.signal("TERM");
        assert_eq!(once.wait().code(), Some(1), "not everything was done: {}", once.log());
        assert!(count(database, "status = 'SUBMITTED'") > 0);
        assert_eq!(count(database, "status = 'PROCESSING' OR crashes > 0"), 0);
    });
}
