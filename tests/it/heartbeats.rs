//! Who works: each daemon says so in a row of its own, and whoever waits for nobody is told at once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use serde_json::Value;

use crate::daemon::{Daemon, wait_for};
use crate::databases::each_way;
use crate::reliability::{jobs, sample};
use crate::site::{Site, told};

const NOBODY: &str = "no daemon has been seen; start `exhaustd run`";
const NONE: &str = "no daemon works: the last one (";

/// What is said where this was the last one.
fn last(daemon: &Daemon, how: &str) -> String {
    format!(", pid {}) {how} ", daemon.pid())
}

/// What `status --json` says of the daemons.
fn daemons(site: &Site<'_>) -> Vec<Value> {
    let output = site.run(&["status", "--json"]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(&output)));
    status["daemons"].as_array().unwrap_or_else(|| panic!("{status}")).clone()
}

/// The row of this process, while it says that it lives.
fn of(site: &Site<'_>, daemon: &Daemon) -> Option<Value> {
    daemons(site).into_iter().find(|one| one["pid"] == daemon.pid() && one["alive"] == true)
}

/// Whether the row of this process says that it has ended.
fn has_ended(site: &Site<'_>, daemon: &Daemon) -> bool {
    let mut rows = daemons(site).into_iter().filter(|one| one["pid"] == daemon.pid());
    rows.next().is_some_and(|one| one["ended"] == true && one["alive"] == false && one["claims"] == 0)
}

#[test]
fn who_waits_for_nobody_is_told_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let requests = sample(directory.path(), 1);
    each_way(|database| {
        let site = Site::new(database, directory.path(), &jobs("lease = \"1s\""), "");
        assert!(site.run(&["migrate"]).status.success());
        assert!(told(&site.run(&["status"])).ends_with(&format!("\n{NOBODY}\n")));
        assert_eq!(daemons(&site), Vec::<Value>::new());
        site.insert("t", "r", requests[0].job_id, &requests[0].request_data);
        assert!(told(&site.run(&["status", "t", "r"])).ends_with(&format!("\n{NOBODY}\n")));
        let data = &requests[0].request_data;
        let submit = ["submit", requests[0].job_id, "--job-config", data, "--tag", "me", "--request-id", "w", "--wait"];
        let mut waiting = Daemon::spawn(&mut site.command(&submit));
        waiting.logs(NOBODY);
        assert!(waiting.ended().is_none(), "somebody may start one");

        // Somebody does: it is named, and there is nothing to say any more.
        let first = Daemon::start(&site, "");
        let seen = wait_for("the daemon's row", || of(&site, &first));
        assert_eq!(seen["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(seen["jobs"], serde_json::json!(["course-report", "assessment-report"]));
        assert_eq!(seen["config_hash"].as_str().unwrap().len(), 16);
        assert!(seen["memory_allowed"].as_u64().unwrap() > 0 && seen["memory_used"].is_u64(), "{seen}");
        assert!(waiting.wait().success(), "{}", waiting.log());
        assert_eq!(waiting.count(NOBODY), 1, "it is said once");
        let shown = told(&site.run(&["status"]));
        assert!(shown.contains("DAEMON") && shown.contains(&first.pid().to_string()), "{shown}");
        assert!(!shown.contains("no daemon"), "{shown}");

        // Killed: three leases later it counts as gone, and it can be said since when.
        let silent = last(&first, "has been silent since");
        first.kill();
        wait_for("the end of it", || told(&site.run(&["status"])).contains(&silent).then_some(()));
        let mut waiting = Daemon::spawn(&mut site.command(&[&submit[..6], &["--request-id", "x", "--wait"]].concat()));
        waiting.logs(NONE);

        // Told to stop: that it ended is said at once, and the row of the dead stays for a day.
        let mut second = Daemon::start(&site, "");
        assert!(waiting.wait().success(), "{}", waiting.log());
        wait_for("the second one's row", || of(&site, &second));
        second.signal("TERM");
        assert!(second.wait().success());
        assert!(has_ended(&site, &second));
        let shown = told(&site.run(&["status"]));
        assert!(shown.contains(NONE) && shown.contains(&last(&second, "ended at")), "{shown}");
        let mut waiting = Daemon::spawn(&mut site.command(&[&submit[..6], &["--request-id", "y", "--wait"]].concat()));
        waiting.logs(&last(&second, "ended at"));

        // Of those that have ended only the last one is known.
        let mut third = Daemon::spawn(&mut site.command(&["run", "--once"]));
        assert!(waiting.wait().success(), "{}", waiting.log());
        assert!(third.wait().success());
        assert!(has_ended(&site, &third) && !has_ended(&site, &second));
        assert_eq!(database.query_text("SELECT count(*) FROM exhaust_daemon"), [[Some("2".to_owned())]]);
    });
}

/// Its claims are counted; `run --once` is there while it works; a changed configuration has another name.
#[test]
fn a_daemon_says_what_it_holds_and_by_which_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let requests = sample(directory.path(), 1);
    each_way(|database| {
        let site = Site::new(database, directory.path(), &jobs("lease = \"1s\"\nstop_timeout = \"2s\""), "");
        assert!(site.run(&["migrate"]).status.success());
        site.insert("t", "r", requests[0].job_id, &requests[0].request_data);
        let mut command = site.command(&["run", "--once"]);
        let mut once = Daemon::spawn(command.env("EXHAUST_TEST_POINT", "loading:delay=60000"));
        wait_for("a claim that is held", || of(&site, &once).filter(|one| one["claims"] == 1));
        once.signal("TERM");
        once.wait();
        assert!(has_ended(&site, &once));

        let daemon = Daemon::start(&site, "");
        let before = wait_for("the daemon's row", || of(&site, &daemon))["config_hash"].clone();
        let file = site.path("jobs.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("lease = \"1s\"", "lease = \"2s\"")).unwrap();
        wait_for("another configuration", || of(&site, &daemon).filter(|one| one["config_hash"] != before));
        std::fs::write(&file, format!("# a remark\n{text}")).unwrap();
        wait_for("the first one again", || of(&site, &daemon).filter(|one| one["config_hash"] == before));
    });
}
