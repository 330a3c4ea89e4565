//! Health tells the truth: what cannot be written, what lacks a right, what is older than the program, by name.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;
use serde_json::Value;

use crate::daemon::wait_for;
use crate::databases::{TestDatabase, each};
use crate::http::Server;
use crate::site::{JOBS, ORIGINAL_TABLE, Site, fixture, told};

/// A role of its own, which can log in and nothing else.
struct Role<'a> {
    name: String,
    database: &'a TestDatabase,
}

impl<'a> Role<'a> {
    fn new(database: &'a TestDatabase, what: &str) -> Self {
        let name = format!("{what}_{}", std::process::id());
        database.execute(&format!("DROP ROLE IF EXISTS {name}; CREATE ROLE {name} LOGIN"));
        Self { name, database }
    }

    /// The database, as this role.
    fn url(&self) -> String {
        let url = self.database.url().replacen("postgres://postgres@", &format!("postgres://{}@", self.name), 1);
        assert!(url.contains(&self.name), "the test server's superuser is postgres");
        url
    }

    fn command(&self, site: &Site<'_>, arguments: &[&str]) -> Command {
        let mut command = site.command(arguments);
        command.env("EXHAUST__DATABASE__URL", self.url());
        command
    }
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        self.database.execute(&format!("DROP OWNED BY {0}; DROP ROLE {0}", self.name));
    }
}

fn site(database: &TestDatabase) -> Site<'_> {
    let jobs = format!("{JOBS}\n[api]\nlisten = \"127.0.0.1:0\"\n");
    Site::new(database, &fixture("odd"), &jobs, "")
}

/// The command's exit code is 3, and it says this.
#[track_caller]
fn refuses(command: &mut Command, says: &str) {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    assert!(told(&output).contains(says), "{says}\n{}", told(&output));
}

/// The command says one line and nothing else, and its exit code is 3.
#[track_caller]
fn refuses_in_one_line(command: &mut Command, line: &str) {
    let output = command.env("RUST_LOG", "error").output().unwrap();
    assert_eq!((output.status.code(), told(&output)), (Some(3), format!("error: {line}\n")));
}

/// Waits until the health has this status, with this message about the database.
#[track_caller]
fn turns(server: &Server, status: u16, message: &str) {
    wait_for(message, || {
        let answer = server.get("/health");
        let report = answer.json();
        let database = &report["dependencies"]["database"];
        let is_it = answer.status == status
            && database["ok"] == (status == 200)
            && report["ready"] == (status == 200)
            && database["message"].as_str().unwrap().contains(message);
        is_it.then_some(())
    });
}

/// k07 (b) and retention's DELETE: while it runs, and at a start.
#[test]
fn a_right_that_is_missing_is_named() {
    let Some(database) = TestDatabase::postgres() else { return };
    let site = site(&database);
    assert!(site.run(&["migrate"]).status.success());
    let role = Role::new(&database, "may_read");
    let name = &role.name;
    let tables = "job_request, exhaust_slot, job_request_part, exhaust_pause, exhaust_audit";
    database.execute(&format!("GRANT SELECT ON {tables} TO {name}"));
    let all = format!(
        "database not writable: missing right: GRANT INSERT, UPDATE ON job_request TO {name}; missing right: GRANT INSERT, \
         UPDATE ON exhaust_slot TO {name}; missing right: GRANT INSERT, UPDATE, DELETE ON job_request_part TO {name}; missing right: \
         GRANT INSERT, DELETE ON exhaust_audit TO {name}"
    );
    refuses(&mut role.command(&site, &["check"]), &all);
    refuses(
        &mut role.command(&site, &["submit", "course-report", "--batch", "b"]),
        "database not writable: submit cli/",
    );
    assert!(role.command(&site, &["status"]).output().unwrap().status.success(), "who may read reads");
    let server = Server::listening(role.command(&site, &["serve"]));
    turns(&server, 503, &all);
    database.execute(&format!(
        "GRANT INSERT, UPDATE ON job_request, exhaust_slot TO {name};
         GRANT INSERT, UPDATE, DELETE ON job_request_part TO {name}; GRANT INSERT, DELETE ON exhaust_audit TO {name}"
    ));
    turns(&server, 200, "ok");
    database.execute(&format!("REVOKE UPDATE ON job_request FROM {name}"));
    turns(&server, 503, &format!("database not writable: missing right: GRANT UPDATE ON job_request TO {name}"));
    // A right on single columns is as good.
    database.execute(&format!("GRANT UPDATE (status, lease_owner) ON job_request TO {name}"));
    turns(&server, 200, "ok");
    assert!(role.command(&site, &["check"]).output().unwrap().status.success());
    let mut removing = role.command(&site, &["check"]);
    let says = format!("missing right: GRANT DELETE ON job_request TO {name}");
    refuses(removing.env("EXHAUST__WORKER__RETENTION", "90d"), &says);
}

/// k07 (c): an administrator's setting, or a standby after a failover. Sessions that were there before go on writing, so
/// they are ended, as a failover does.
#[test]
fn a_read_only_database_is_named() {
    let Some(database) = TestDatabase::postgres() else { return };
    let site = site(&database);
    assert!(site.run(&["migrate"]).status.success());
    let name = database.query_text("SELECT current_database()").remove(0).remove(0).unwrap();
    let end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'exhaustd'";
    let server = Server::start(&site, "run");
    turns(&server, 200, "ok");
    database.execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    database.query_text(end);
    let says = "database not writable: transactions are read-only (default_transaction_read_only is on)";
    turns(&server, 503, says);
    refuses(&mut site.command(&["check"]), says);
    // What would be missing could not be added either.
    database.execute("BEGIN READ WRITE; DROP TABLE exhaust_slot; COMMIT");
    refuses_in_one_line(
        &mut site.command(&["migrate"]),
        "transactions are read-only (default_transaction_read_only is on)",
    );
    database.execute(&format!("BEGIN READ WRITE; ALTER DATABASE {name} RESET ALL; COMMIT"));
    assert!(site.run(&["migrate"]).status.success());
    database.query_text(end);
    turns(&server, 200, "ok");
}

/// k07 (a): the file is another user's, with and without somebody else who has it open.
#[test]
fn a_sqlite_file_that_cannot_be_written_is_named() {
    if !Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n") {
        eprintln!("skipped: a SQLite file of another user: only root can become one");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "CI runs as root");
        return;
    }
    let database = TestDatabase::sqlite();
    let site = site(&database);
    assert!(site.run(&["migrate"]).status.success());
    let file = database.url().trim_start_matches("sqlite://").to_owned();
    let open_to = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open_to(&site.path(""), 0o755);
    open_to(Path::new(&file).parent().unwrap(), 0o755);
    fs::create_dir(site.path("reports")).unwrap();
    open_to(&site.path("reports"), 0o777);
    let as_nobody = |arguments: &[&str]| {
        let run = site.command(arguments);
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
        command.arg(run.get_program()).args(arguments).current_dir(site.path(""));
        command.env("EXHAUST__STORE__LINK_KEY", "k");
        command
    };
    // Made for its owner alone; then an operator lets others read it.
    let private = format!("database not writable: {file}: permission denied (the file belongs to user 0, mode 0600)");
    refuses(&mut as_nobody(&["check"]), &private);
    open_to(Path::new(&file), 0o644);
    let says = "database not writable: ";
    refuses(&mut as_nobody(&["check"]), says);
    refuses(&mut as_nobody(&["run", "--once"]), says);
    let mut other = SqliteConnection::establish(&file).unwrap();
    other.batch_execute("BEGIN IMMEDIATE; ROLLBACK").unwrap();
    let whole = format!(
        "database not writable: {file}: attempt to write a readonly database (the file belongs to user 0, mode 0644)"
    );
    refuses(&mut as_nobody(&["check"]), &whole);
    refuses(&mut as_nobody(&["submit", "course-report", "--batch", "b"]), "attempt to write a readonly database");
    assert!(as_nobody(&["status"]).output().unwrap().status.success(), "who may read reads");
    let server = Server::listening(as_nobody(&["run"]));
    turns(&server, 503, &whole);
    // The store is looked at beside the database, perhaps later.
    wait_for("a store that can be used", || {
        (server.get("/health").json()["dependencies"]["store"]["ok"] == true).then_some(())
    });
    drop(server);
    // A file that the first start would have to make, in a directory of others.
    let new = format!("sqlite://{}", Path::new(&file).with_file_name("new.db").display());
    refuses(as_nobody(&["check"]).env("EXHAUST__DATABASE__URL", &new), "new.db cannot be made in ");
    let output = site.command(&["check"]).env("EXHAUST__DATABASE__URL", &new).output().unwrap();
    assert!(output.status.success() && told(&output).contains("not there yet; it will be made at start"));
    assert!(!Path::new(&file).with_file_name("new.db").exists(), "whoever checks makes nothing");
}

/// Somebody writes for long: bounded, and said as it is.
#[test]
fn a_writer_that_does_not_end_is_named() {
    let database = TestDatabase::sqlite();
    let site = site(&database);
    assert!(site.run(&["migrate"]).status.success());
    let mut other = SqliteConnection::establish(database.url().trim_start_matches("sqlite://")).unwrap();
    other.batch_execute("BEGIN IMMEDIATE").unwrap();
    refuses(&mut site.command(&["check"]), "database not writable: another process has been writing for 5 s");
    other.batch_execute("ROLLBACK").unwrap();
    assert!(site.run(&["check"]).status.success());
}

#[test]
fn a_migration_without_rights_is_one_line() {
    let Some(database) = TestDatabase::postgres() else { return };
    let site = site(&database);
    let role = Role::new(&database, "migrator");
    let name = &role.name;
    let lacks_schema = format!("missing right: GRANT CREATE ON SCHEMA public TO {name}");
    database.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    refuses_in_one_line(&mut role.command(&site, &["migrate"]), &lacks_schema);

    database.execute(ORIGINAL_TABLE);
    database.execute(&format!("GRANT SELECT, INSERT, UPDATE ON job_request TO {name}"));
    let owner = format!(
        "job_request belongs to postgres: run `exhaustd migrate` as postgres, or GRANT postgres TO {name}; {lacks_schema}"
    );
    for command in [&["migrate"][..], &["run", "--once"], &["run"], &["submit", "course-report", "--batch", "b"]] {
        refuses_in_one_line(&mut role.command(&site, command), &owner);
    }
    refuses(&mut role.command(&site, &["check"]), &owner);
    // What is to be run can be read by anybody who may.
    let planned = role.command(&site, &["migrate", "--dry-run"]).output().unwrap();
    assert!(planned.status.success() && told(&planned).contains("ADD COLUMN"), "{}", told(&planned));

    // The owner of the table still needs the schema, for indexes as well.
    database.execute(&format!("ALTER TABLE job_request OWNER TO {name}"));
    refuses_in_one_line(&mut role.command(&site, &["migrate"]), &lacks_schema);
    database.execute(&format!("GRANT CREATE ON SCHEMA public TO {name}"));
    let done = role.command(&site, &["migrate"]).output().unwrap();
    assert!(done.status.success(), "{}", told(&done));
    // And as a member of the owner.
    let member = Role::new(&database, "member");
    database.execute("DROP INDEX job_request_line");
    let line =
        format!("job_request belongs to {name}: run `exhaustd migrate` as {name}, or GRANT {name} TO {}", member.name);
    refuses(&mut member.command(&site, &["migrate"]), &line);
    database.execute(&format!("GRANT {name} TO {}", member.name));
    let done = member.command(&site, &["migrate"]).output().unwrap();
    assert!(done.status.success(), "{}", told(&done));
    assert!(member.command(&site, &["check"]).output().unwrap().status.success());
}

/// What the tables are made of.
fn schema(database: &TestDatabase) -> Vec<Vec<Option<String>>> {
    database.query_text(if database.is_postgres() {
        "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = 'public'
         ORDER BY 1, 2"
    } else {
        "SELECT name, sql FROM sqlite_schema ORDER BY 1, 2"
    })
}

#[test]
fn commands_that_read_never_migrate() {
    each(|database| {
        let site = site(database);
        let older = "the tables are older than this program: run `exhaustd migrate`";
        let reading: [&[&str]; 5] = [
            &["status"],
            &["status", "--json"],
            &["status", "t", "r"],
            &["explain", "--request", "t", "r"],
            &["retention", "--dry-run", "--older-than", "1d"],
        ];
        if !database.is_postgres() {
            for command in reading {
                refuses(&mut site.command(command), "yet: run `exhaustd migrate`");
            }
            assert!(site.run(&["check"]).status.success());
            let file = database.url().trim_start_matches("sqlite://").to_owned();
            assert!(!Path::new(&file).exists(), "whoever reads makes no file");
        }
        site.insert("t", "r", "course-report", r#"{"batchId": "0130000000000000001"}"#);
        let before = schema(database);
        for command in reading {
            let output = site.command(command).output().unwrap();
            assert_eq!(output.status.code(), Some(3), "{command:?}: {}", told(&output));
            assert_eq!(told(&output).lines().count(), 1, "{}", told(&output));
            assert!(told(&output).starts_with(&format!("error: {older}")), "{}", told(&output));
        }
        let check = site.run(&["check"]);
        assert!(check.status.success() && told(&check).contains("statements will be run at start"), "{}", told(&check));
        refuses(site.command(&["check"]).env("EXHAUST__DATABASE__MIGRATE", "false"), older);
        refuses(site.command(&["run", "--once"]).env("EXHAUST__DATABASE__MIGRATE", "false"), older);
        assert!(site.run(&["migrate", "--dry-run"]).status.success());
        assert_eq!(schema(database), before);

        assert!(site.run(&["migrate"]).status.success());
        for command in reading {
            let output = site.command(command).output().unwrap();
            assert!(output.status.success(), "{command:?}: {}", told(&output));
        }
        assert_ne!(schema(database), before);
    });
}

/// A store that takes nothing is not ready, by name.
#[test]
fn a_store_that_takes_nothing_is_named() {
    let database = TestDatabase::sqlite();
    let site = site(&database);
    fs::write(site.path("reports"), "in the way").unwrap();
    refuses(&mut site.command(&["check"]), "not usable: store");
    let mut command = site.command(&["serve"]);
    command.env("EXHAUST__STORE__LINK_KEY", "k");
    let server = Server::listening(command);
    let report = wait_for("the store's fault", || {
        let report: Value = server.get("/health").json();
        let message = report["dependencies"]["store"]["message"].as_str().unwrap();
        message.contains("cannot write").then(|| report.clone())
    });
    assert_eq!(report["ready"], false);
}

/// The value of a series; `None` where it is not there.
fn metric(server: &Server, series: &str) -> Option<f64> {
    let text = String::from_utf8(server.get("/metrics").body).unwrap();
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

/// Requests are still taken, and wait: 200, and named.
#[test]
fn a_source_that_does_not_answer_is_degraded() {
    let database = TestDatabase::sqlite();
    let site = site(&database);
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = site.command(&["run"]);
    command.env("EXHAUST__SOURCE__KIND", "postgres");
    let mut server = Server::listening({
        command.env("EXHAUST__SOURCE__URL", format!("postgres://u@127.0.0.1:{port}/d"));
        command
    });
    let report = wait_for("the source's fault", || {
        let answer = server.get("/health");
        (answer.status == 200).then(|| answer.json())
    });
    assert_eq!((&report["live"], &report["ready"]), (&Value::Bool(true), &Value::Bool(true)), "{report}");
    let source = &report["dependencies"]["source"];
    assert_eq!(source["ok"], false, "{report}");
    assert_eq!(report["degraded"]["source"], source["message"], "{report}");
    assert_eq!(metric(&server, "exhaustd_dependency_usable{dependency=\"source\"}"), Some(0.0));
    assert_eq!(metric(&server, "exhaustd_dependency_usable{dependency=\"store\"}"), Some(1.0));
    assert!(metric(&server, "exhaustd_dependency_failures_total{dependency=\"source\"}").unwrap() >= 1.0);
    server.wait_for("dependency not usable name=source");
}

/// Counted, named while it lasts, and no run until it ends well.
#[test]
fn a_scan_that_broke_off_is_degraded() {
    each(|database| {
        let jobs = JOBS.replace("\nreport =", "\nschedule = \"* * * * * *\"\nreport =");
        let jobs = format!("{jobs}\n[api]\nlisten = \"127.0.0.1:0\"\n");
        let site = Site::new(database, &fixture("odd"), &jobs, "");
        let server = Server::start(&site, "run");
        let last_run = || metric(&server, "exhaustd_job_last_run_timestamp_seconds{exhaust_job=\"course-report\"}");
        let broke_off = || {
            let series = "exhaustd_scans_total{exhaust_job=\"course-report\",outcome=\"broke_off\"}";
            metric(&server, series).unwrap()
        };
        wait_for("a scan", || last_run().filter(|at| *at > 0.0));
        assert!(broke_off() == 0.0);
        let report = server.get("/health");
        assert_eq!((report.status, report.json().get("degraded")), (200, None));

        // No claim gets through, and nothing else fails.
        database.execute(if database.is_postgres() {
            "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'all is broken'; END $$;
             CREATE TRIGGER broken BEFORE UPDATE ON job_request FOR EACH ROW EXECUTE FUNCTION broken()"
        } else {
            "CREATE TRIGGER broken BEFORE UPDATE ON job_request BEGIN SELECT RAISE(ABORT, 'all is broken'); END"
        });
        site.insert("t", "r", "course-report", r#"{"batchId": "0130000000000000001"}"#);
        let report = wait_for("the fault", || {
            let answer = server.get("/health");
            assert_eq!(answer.status, 200);
            let report = answer.json();
            report["degraded"]["job course-report"].as_str().is_some().then_some(report)
        });
        let why = report["degraded"]["job course-report"].as_str().unwrap();
        assert!(why.contains("a scan broke off: ") && why.contains("all is broken"), "{report}");
        assert_eq!(report["ready"], true);
        let (before, count) = (last_run(), broke_off());
        wait_for("two more scans", || (broke_off() >= count + 2.0).then_some(()));
        assert_eq!(last_run(), before, "it moves on success only");

        database.execute(if database.is_postgres() {
            "DROP TRIGGER broken ON job_request"
        } else {
            "DROP TRIGGER broken"
        });
        wait_for("the end of it", || server.get("/health").json().get("degraded").is_none().then_some(()));
        assert!(last_run() > before);
        wait_for("the request", || (site.rows()["r"].status == "COMPLETED").then_some(()));
    });
}
