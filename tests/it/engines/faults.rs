//! Engines that write elsewhere, stop in the middle or are behind TLS, stages that cannot be used, statements that nobody waits for.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use exhaust::tables::schema::Table;

use super::{by_script, files_below, insert_requests, lake, lake_with, made, platform, staged_in};
use crate::daemon::{Daemon, wait_for};
use crate::databases::TestDatabase;
use crate::engine;
use crate::site::{JOBS, Site, told};

/// Rows that an engine says it has written and that are not in the stage fail the request, whether all of a table's files are
/// elsewhere or one of them: the engine itself reports success.
#[test]
fn rows_that_an_engine_wrote_elsewhere_are_missed() {
    let Some(url) = engine::sail() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (data, stage) = (directory.path().join("data"), directory.path().join("stage"));
    platform(&data);
    let failed = |site: &Site<'_>| {
        let row = &site.rows()["course"];
        assert_eq!(row.status, "FAILED", "{}", row.message);
        assert!(row.message.contains(": `stage` has ") && row.message.contains("stage_as"), "{}", row.message);
    };
    let database = TestDatabase::sqlite();
    let elsewhere =
        format!("{}\nstage_as = \"file://{}\"", staged_in(&stage), directory.path().join("other").display());
    let site = Site::new(&database, Path::new("nowhere"), JOBS, &lake(&url, &data, &elsewhere));
    insert_requests(&site);
    site.run(&["run", "--once"]);
    failed(&site);

    let database = TestDatabase::sqlite();
    // So many enrolments that they are several files.
    let many = (Table::UserEnrolments, "range(500)");
    let site =
        Site::new(&database, Path::new("nowhere"), JOBS, &lake_with(&url, &data, &staged_in(&stage), Some(many)));
    site.insert("t", "course", "course-report", r#"{"batchFilters": ["TPD"]}"#);
    let go_on = directory.path().join("go-on");
    let daemon = Daemon::start(&site, &format!("staged=user_enrolments:until={}", go_on.display()));
    daemon.logs("paused at=staged subject=user_enrolments");
    let parts = files_below(&stage).into_iter().filter(|file| file.to_string_lossy().contains("/user_enrolments/"));
    let parts: Vec<PathBuf> = parts.filter(|file| file.extension().is_some_and(|end| end == "parquet")).collect();
    assert!(parts.len() > 1, "one file has all rows: {parts:?}");
    fs::remove_file(&parts[0]).unwrap();
    fs::write(&go_on, "").unwrap();
    wait_for("the request to fail", || (site.rows()["course"].status != "PROCESSING").then_some(()));
    failed(&site);
    assert_eq!(files_below(&stage), Vec::<PathBuf>::new());
}

/// `check` lets the engine write a row where tables are staged; `explain` shows what it is asked, and lets it write nothing.
#[test]
fn a_stage_is_tried_by_check_and_left_alone_by_explain() {
    let Some(url) = engine::sail() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (data, stage) = (directory.path().join("data"), directory.path().join("stage"));
    platform(&data);
    let elsewhere =
        format!("{}\nstage_as = \"file://{}\"", staged_in(&stage), directory.path().join("other").display());
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let program = by_script("true", &file.join("stage"));
    let lake = |mode: &str| lake(&url, &data, mode);
    let places = [
        (lake(&staged_in(&stage)), None),
        (lake(&elsewhere), Some("the stage cannot be used: `stage` has 0 of 1 rows")),
        (lake(&staged_in(&file.join("stage"))), Some("the stage cannot be used: ")),
        (program, Some("the stage cannot be written: ")),
    ];
    for (source, refused) in places {
        let database = TestDatabase::sqlite();
        let site = Site::new(&database, Path::new("nowhere"), JOBS, &source);
        site.run(&["migrate"]);
        let output = site.run(&["check"]);
        let said = told(&output) + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(if refused.is_some() { 3 } else { 0 }), "{said}");
        assert!(refused.is_none_or(|why| said.contains(why) && said.contains("source.lake")), "{said}");
        assert_eq!(files_below(&stage), Vec::<PathBuf>::new());
        if refused.is_some() {
            continue;
        }
        let output = site.run(&["explain", "course-report", "--framework", "TPD"]);
        let said = told(&output) + &String::from_utf8_lossy(&output.stdout);
        for part in
            ["asked for user: SELECT /*+ REPARTITION_BY_RANGE(`userid`) */ t.`userid`", "source.lake stages its tables"]
        {
            assert!(said.contains(part), "{said}");
        }
        assert!(!stage.exists() || fs::read_dir(&stage).unwrap().next().is_none(), "explain staged something");
    }
}

/// A statement that sends nothing ends on the engine when its claim is lost, and when the daemon stops: while batches and
/// contents are read, and while the learners are.
#[test]
fn a_streamed_statement_that_nobody_waits_for_is_cancelled() {
    let Some(url) = engine::sail_cluster() else { return };
    let directory = tempfile::tempdir().unwrap();
    platform(directory.path());
    let jobs = format!("{JOBS}\n[worker]\nlease = \"2s\"\nstop_timeout = \"1s\"\n");
    for table in [Table::User, Table::CourseBatch] {
        let database = TestDatabase::sqlite();
        let user = format!("{}-{}", table.name(), std::process::id());
        let as_user = format!("{url}/;user_id={user}");
        // Reading it takes forever, and brings no row.
        let forever = (table, "(SELECT id FROM range(100000000000000) WHERE id < 0)");
        let lake = lake_with(&as_user, directory.path(), "mode = \"stream\"", Some(forever));
        let site = Site::new(&database, Path::new("nowhere"), &jobs, &lake);
        let mut daemon = Daemon::spawn(site.command(&["run"]).env("RUST_LOG", "exhaust=debug"));
        for (request, cancelled) in [("lost", 1), ("stopped", 2)] {
            site.insert("t", request, "course-report", r#"{"batchFilters": ["TPD"]}"#);
            let is_running = || engine::jobs(&url, &user).contains(&"RUNNING".to_owned());
            wait_for("the statement to run", || {
                (daemon.count(&format!("statement table={} ", table.name())) == cancelled && is_running()).then_some(())
            });
            if request == "lost" {
                database.execute("UPDATE job_request SET lease_owner = 'another', status = 'FAILED'");
            } else {
                daemon.signal("TERM");
                daemon.wait();
            }
            wait_for("the statement to be gone", || (!is_running()).then_some(()));
            let ended = engine::jobs(&url, &user).iter().filter(|status| *status == "CANCELED").count();
            assert_eq!(ended, cancelled, "{request} {}: {}", table.name(), daemon.log());
        }
        assert_eq!(site.rows()["stopped"].status, "SUBMITTED");
    }
}

/// A program that serves a port, killed when it is dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts it with a port that nobody listens on, and waits until it does.
    fn start(command: impl Fn(u16) -> Command) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = command(port).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for("the server to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Self { child, port }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "kill -{name}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An engine that is stopped as a process while a group is staged, so that its machine goes on to acknowledge bytes: the connection is given up
/// after half a minute, the request is tried again, and has the same bytes once the engine goes on.
#[test]
fn an_engine_that_is_stopped_in_the_middle_delays() {
    let Some(sail) = engine::sail_program() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (data, stage) = (directory.path().join("data"), directory.path().join("stage"));
    let expected = platform(&data);
    let sail = Server::start(|port| {
        let mut command = Command::new("python3");
        let port = port.to_string();
        command.arg(sail.join("bin/sail")).args(["spark", "server", "--ip", "127.0.0.1", "--port", &port]);
        command.env("PYTHONPATH", &sail);
        command
    });
    let database = TestDatabase::sqlite();
    let url = format!("sc://127.0.0.1:{}", sail.port);
    let site = Site::new(&database, Path::new("nowhere"), JOBS, &lake(&url, &data, &staged_in(&stage)));
    insert_requests(&site);
    let go_on = directory.path().join("go-on");
    let point = format!("staged=user_enrolments:until={}", go_on.display());
    let mut daemon = Daemon::spawn(site.command(&["run", "--once"]).env("EXHAUST_TEST_POINT", point));
    daemon.logs("paused at=staged subject=user_enrolments");
    sail.signal("STOP");
    fs::write(&go_on, "").unwrap();
    daemon.wait();
    let delayed = site.rows().into_values().find(|row| row.status == "SUBMITTED");
    let delayed = delayed.unwrap_or_else(|| panic!("nothing was delayed: {}", daemon.log()));
    assert!(delayed.message.starts_with("table "), "{}", delayed.message);
    sail.signal("CONT");
    database.execute("UPDATE job_request SET next_attempt_at = NULL");
    run_to_the_end(&site);
    assert!(made(&site) == expected, "other bytes");
    assert_eq!(files_below(&stage), Vec::<PathBuf>::new());
}

fn run_to_the_end(site: &Site<'_>) {
    let output = site.run(&["run", "--once"]);
    assert!(site.rows().values().all(|row| row.status == "COMPLETED"), "{}", told(&output));
}

/// Carries what comes over TLS to an engine, as a balancer before it does.
const TLS: &str = "
import asyncio, ssl, sys
port, target, certificate, key = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
context.set_alpn_protocols(['h2'])
async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()
async def carry(reader, writer):
    there = await asyncio.open_connection('127.0.0.1', target)
    await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))
async def main():
    server = await asyncio.start_server(carry, '127.0.0.1', port, ssl=context)
    await server.serve_forever()
asyncio.run(main())
";

/// An engine behind TLS: by a certificate of the system's it is reached, by one that nobody knows it is not; a token goes with it.
#[test]
fn tls_before_an_engine() {
    let Some(url) = engine::sail() else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let expected = platform(&file("data"));
    let made_certificate = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout".as_ref(), file("key.pem").as_os_str(), "-out".as_ref(), file("certificate.pem").as_os_str()])
        .output()
        .unwrap();
    assert!(made_certificate.status.success(), "{}", String::from_utf8_lossy(&made_certificate.stderr));
    fs::File::create(file("tls.py")).unwrap().write_all(TLS.as_bytes()).unwrap();
    let target = url.rsplit_once(':').unwrap().1;
    let server = Server::start(|port| {
        let mut command = Command::new("python3");
        command.arg(file("tls.py")).args([&port.to_string(), target]);
        command.args([file("certificate.pem"), file("key.pem")]);
        command
    });
    let through = format!("sc://localhost:{}/;use_ssl=true", server.port);
    let database = TestDatabase::sqlite();
    let source = lake(&through, &file("data"), "mode = \"stream\"");
    let site = Site::new(&database, Path::new("nowhere"), JOBS, &source);
    insert_requests(&site);
    let output = site.run(&["run", "--once"]);
    assert!(site.rows().values().all(|row| row.status == "SUBMITTED"), "{}", told(&output));
    database.execute("UPDATE job_request SET next_attempt_at = NULL");
    let mut command = site.command(&["run", "--once"]);
    command.env("SSL_CERT_FILE", file("certificate.pem")).env("EXHAUST__SOURCE__LAKE__TOKEN", "a-token");
    let output = command.output().unwrap();
    assert!(site.rows().values().all(|row| row.status == "COMPLETED"), "{}", told(&output));
    assert!(made(&site) == expected, "other bytes");
}
