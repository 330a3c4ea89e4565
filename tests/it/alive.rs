//! What stops is seen within 10 s, by name: `/livez`, `/readyz`, the metrics and `exhaustd check --live` and `--ready` agree.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::buckets;
use crate::daemon::wait_for;
use crate::databases::TestDatabase;
use crate::faulty::Fault;
use crate::http::Server;
use crate::site::{JOBS, Site, fixture, told};

/// Besides the 10 s that are promised: a machine with other work.
const SLOW_MACHINE: Duration = Duration::from_mins(1);

/// A place whose API listens on a port that was free a moment ago, so that commands find it.
fn site(database: &TestDatabase) -> Site<'_> {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    Site::new(database, &fixture("odd"), &format!("{JOBS}\n[api]\nlisten = \"{address}\"\n"), "")
}

fn metric(server: &Server, line: &str) -> bool {
    String::from_utf8(server.get("/metrics").body).unwrap().lines().any(|known| known == line)
}

/// Waits until `/readyz` is 503 and this dependency is the only one that is not usable, for this reason. `/livez` does not mind.
#[track_caller]
fn stops(server: &Server, dependency: &str, why: &str) {
    let since = Instant::now();
    wait_for(dependency, || {
        let answer = server.get("/readyz");
        let report = answer.json();
        let ok = |name: &str| report["dependencies"][name]["ok"] == true;
        let message = report["dependencies"][dependency]["message"].as_str().unwrap_or_default();
        let others = ["database", "store", "scheduler"].into_iter().filter(|name| *name != dependency);
        (answer.status == 503 && !ok(dependency) && message.contains(why) && others.into_iter().all(ok)).then_some(())
    });
    println!("{dependency} was seen after {:?}", since.elapsed());
    assert!(since.elapsed() < Duration::from_secs(10) + SLOW_MACHINE);
    assert!(metric(server, "exhaustd_ready 0"));
    assert!(metric(server, &format!("exhaustd_dependency_usable{{dependency=\"{dependency}\"}} 0")));
    assert_eq!(server.get("/livez").status, 200);
}

#[track_caller]
fn is_ready(server: &Server) {
    wait_for("all to be well", || (server.get("/readyz").status == 200).then_some(()));
    assert!(metric(server, "exhaustd_ready 1"));
}

#[track_caller]
fn check_says(site: &Site<'_>, how: &str, code: i32, says: &str) {
    let output = site.run(&["check", how]);
    assert_eq!(output.status.code(), Some(code), "{}", told(&output));
    assert!(told(&output).contains(says), "{says}\n{}", told(&output));
}

#[test]
fn a_daemon_that_stops_is_seen_by_name() {
    let database = TestDatabase::sqlite();
    let site = site(&database);
    let goes_on = site.path("goes-on");
    let mut command = site.command(&["run"]);
    command.env("EXHAUST_TEST_POINT", format!("ticked#3:until={}", goes_on.display()));
    let server = Server::spawn(command);
    // The loop is stopped by now or soon.
    stops(&server, "scheduler", "the scheduler has not ticked for ");
    check_says(&site, "--ready", 3, "503, not usable: scheduler");
    check_says(&site, "--live", 0, "/livez: 200");
    fs::write(&goes_on, "").unwrap();
    is_ready(&server);
    check_says(&site, "--ready", 0, "/readyz: 200");

    // The same of the store; here a file is in the way of its directory.
    let (reports, aside) = (site.path("reports"), site.path("aside"));
    fs::rename(&reports, &aside).unwrap();
    fs::write(&reports, "in the way").unwrap();
    stops(&server, "store", "cannot write");
    fs::remove_file(&reports).unwrap();
    fs::rename(&aside, &reports).unwrap();
    is_ready(&server);

    // A process that hangs answers nothing at all.
    server.signal("STOP");
    check_says(&site, "--live", 3, "does not answer");
    server.signal("CONT");
    is_ready(&server);
    assert_eq!(server.stop().0, Some(0));
    check_says(&site, "--live", 3, "does not answer");
}

/// A disk is full: what a test can make of it is a limit on the size of files.
#[test]
fn a_full_disk_is_seen() {
    let Some(database) = TestDatabase::postgres() else { return };
    let site = site(&database);
    let mut command = Command::new("sh");
    command.args(["-c", r#"trap '' XFSZ; exec "$0" run"#, env!("CARGO_BIN_EXE_exhaustd")]).current_dir(site.path(""));
    let server = Server::spawn(command);
    is_ready(&server);
    let limit = |limit: &str| {
        let pid = server.pid().to_string();
        assert!(Command::new("prlimit").args([limit, "--pid", &pid]).status().unwrap().success());
    };
    limit("--fsize=0:unlimited");
    stops(&server, "store", "File too large");
    limit("--fsize=unlimited:unlimited");
    is_ready(&server);
}

#[test]
fn revoked_credentials_of_the_store_are_seen() {
    buckets::each(|bucket| {
        let database = TestDatabase::sqlite();
        let (revoked, calls) = bucket.spoilt(Fault::Revoked);
        let site = site(&database).storing_in(Some(&revoked));
        let server = Server::start(&site, "serve");
        wait_for("all to be well", || (server.get("/readyz").status == 200).then_some(()));
        calls.release();
        let since = Instant::now();
        wait_for("the store's fault", || {
            let answer = server.get("/readyz");
            (answer.status == 503 && answer.json()["dependencies"]["store"]["ok"] == false).then_some(())
        });
        println!("seen after {:?}", since.elapsed());
        let report = server.get("/readyz").json();
        assert!(report["dependencies"]["scheduler"].is_null(), "`serve` has no scheduler: {report}");
        assert!(report["dependencies"]["store"]["message"].as_str().unwrap().contains("AccessDenied"), "{report}");
    });
}

/// Without an API the heartbeat is what a health check finds.
#[test]
fn without_an_api_a_daemon_is_known_by_its_heartbeat() {
    let database = TestDatabase::sqlite();
    let site = Site::new(&database, &fixture("odd"), JOBS, "");
    assert!(site.run(&["migrate"]).status.success());
    check_says(&site, "--live", 3, "is alive: no daemon has been seen");
    let daemon = crate::daemon::Daemon::start(&site, "");
    wait_for("a heartbeat", || site.run(&["check", "--live"]).status.success().then_some(()));
    daemon.kill();
}
