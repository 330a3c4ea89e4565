//! One large request on several daemons: the same files as from one, whatever becomes of the daemons.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use exhaust::sample_data::{self, Format, Layout, SampleOptions};
use serde_json::{Value, json};

use crate::daemon::{Daemon, wait_for};
use crate::databases::{self, TestDatabase};
use crate::http::Server;
use crate::reliability::{Files, files, jobs};
use crate::site::{JOBS, Seen, Site, each, told};

/// Every batch, ended ones too.
const ALL: &str = r#"{"batchFilters": ["TPD", "NCFCOPY"]}"#;
/// A request of more than four batches is split, into parts of two.
const WORKER: &str = "lease = \"1m\"\nsplit_above = 4\nthreads = 1";

fn sample(directory: &Path, format: Format, layout: Layout) {
    let options = SampleOptions { format, layout, ..SampleOptions::small(directory) };
    sample_data::generate(&options, &|_, _| ()).unwrap();
}

/// What one daemon makes of the request alone.
fn alone(data: &Path) -> (Files, Seen) {
    let database = TestDatabase::sqlite();
    let site = Site::new(&database, data, JOBS, "");
    site.insert("t", "large", "course-report", ALL);
    site.run(&["run", "--once"]);
    (files(&site).remove("large").unwrap(), site.rows().remove("large").unwrap())
}

/// What is the same, however many daemons a request is made by.
fn of_request(stats: &Value) -> Value {
    let mut stats = stats.clone();
    let object = stats.as_object_mut().unwrap();
    object.remove("group");
    object.remove("parts");
    stats
}

/// Two daemons of one place that have seen each other, each of which waits at its first batch until [`Fleet::go`].
struct Fleet<'s, 'd> {
    site: &'s Site<'d>,
    daemons: [Daemon; 2],
}

impl<'s, 'd> Fleet<'s, 'd> {
    fn start(site: &'s Site<'d>) -> Self {
        let point = |name: &str| format!("generating#1:until={}", site.path(name).display());
        // Two on one machine cannot have one port.
        let mut second = site.command(&["run"]);
        second.env("EXHAUST_TEST_POINT", point("go1")).env("EXHAUST__API__LISTEN", "127.0.0.1:0");
        let daemons = [Daemon::start(site, &point("go0")), Daemon::spawn(&mut second)];
        wait_for("both daemons", || {
            let seen = site.database.query_text("SELECT count(*) FROM exhaust_daemon");
            (seen[0][0].as_deref() == Some("2")).then_some(())
        });
        Self { site, daemons }
    }

    fn go(&self, daemon: usize) {
        fs::write(self.site.path(&format!("go{daemon}")), "").unwrap();
    }

    /// Submits the request. Each daemon has a part of it then.
    fn submit(&self) {
        self.site.insert("t", "large", "course-report", ALL);
        self.daemons.iter().for_each(|daemon| daemon.logs("paused at=generating"));
        let split: usize = self.daemons.iter().map(|daemon| daemon.count("request split request=t/large")).sum();
        assert_eq!(split, 1, "{}\n{}", self.daemons[0].log(), self.daemons[1].log());
    }

    fn ended(&self) -> Seen {
        wait_for("the request to end", || {
            let seen = self.site.rows().remove("large").unwrap();
            ["COMPLETED", "FAILED"].contains(&seen.status.as_str()).then_some(seen)
        })
    }
}

#[test]
fn two_daemons_make_the_files_of_one() {
    let directory = tempfile::tempdir().unwrap();
    sample(directory.path(), Format::Parquet, Layout::Hive);
    let (expected, single) = alone(directory.path());
    assert!(expected.len() > 6, "{}", expected.len());
    each(|database, bucket| {
        let site = Site::new(database, directory.path(), &jobs(WORKER), "").storing_in(bucket);
        assert!(site.run(&["migrate"]).status.success());
        let fleet = Fleet::start(&site);
        fleet.submit();
        // The second has all parts but the one that the first is working on.
        fleet.go(1);
        wait_for("the rest", || {
            let open = database.query_text("SELECT count(*) FROM job_request_part WHERE result IS NULL");
            (open[0][0].as_deref() == Some("1")).then_some(())
        });
        let parts = database.query_text("SELECT part FROM job_request_part").len();
        assert_eq!(site.rows()["large"].status, "PROCESSING");
        let shown = told(&site.run(&["status", "t", "large"]));
        assert!(shown.contains(&format!("{} of {parts} parts made", parts - 1)), "{shown}");
        fleet.go(0);
        let seen = fleet.ended();
        assert_eq!((seen.status.as_str(), &seen.urls.len()), ("COMPLETED", &expected.len()), "{}", seen.message);
        assert!(files(&site)["large"] == expected, "other files");
        assert_eq!((of_request(&seen.stats), &seen.stats["parts"]), (of_request(&single.stats), &parts.into()));
        assert_eq!(database.query_text("SELECT part FROM job_request_part"), Vec::<Vec<_>>::new());
    });
}

/// All daemons end their parts, and nothing of the request is left but its row.
#[test]
fn a_cancel_ends_the_parts_on_all_daemons() {
    let directory = tempfile::tempdir().unwrap();
    sample(directory.path(), Format::Parquet, Layout::Hive);
    databases::each(|database| {
        let site = Site::new(database, directory.path(), &jobs(WORKER), "");
        assert!(site.run(&["migrate"]).status.success());
        let fleet = Fleet::start(&site);
        fleet.submit();
        assert!(site.run(&["cancel", "t", "large", "--by", "me"]).status.success());
        assert_eq!(fleet.ended().message, "cancelled by me");
        assert_eq!(database.query_text("SELECT part FROM job_request_part"), Vec::<Vec<_>>::new());
        for (number, daemon) in fleet.daemons.iter().enumerate() {
            daemon.logs("request cancelled, the work on it ends request=t/large");
            fleet.go(number);
            daemon.logs("work ended without a report request=t/large job=course-report outcome=cancelled");
        }
        assert!(!site.stored().iter().any(|file| file.contains("large")), "{:?}", site.stored());
        assert_eq!(fleet.ended().message, "cancelled by me");
    });
}

/// The part of the one that is killed is made again, the others are not, and no crash is counted of the request.
#[test]
fn a_daemon_that_is_killed_costs_its_part_only() {
    let directory = tempfile::tempdir().unwrap();
    sample(directory.path(), Format::Parquet, Layout::Hive);
    let (expected, _) = alone(directory.path());
    databases::each(|database| {
        let site = Site::new(database, directory.path(), &jobs(WORKER), "");
        assert!(site.run(&["migrate"]).status.success());
        let fleet = Fleet::start(&site);
        fleet.submit();
        fleet.go(1);
        let Fleet { daemons: [first, second], .. } = fleet;
        let killed = format!("%:{}:%", first.pid());
        first.kill();
        second.logs("part made request=t/large");
        // Its lease has run out: nobody waits a minute for that.
        database.execute(&format!("UPDATE job_request_part SET lease_until = 0 WHERE token LIKE '{killed}'"));
        second.logs("the daemon that worked on it is gone, it will be worked on again request=t/large part=");
        second.logs("request completed request=t/large");
        let seen = site.rows().remove("large").unwrap();
        assert_eq!(seen.status, "COMPLETED");
        assert!(files(&site)["large"] == expected, "other files");
        let crashes = database.query_text("SELECT crashes, iteration FROM job_request");
        assert_eq!(crashes, [[Some("0".to_owned()), Some("1".to_owned())]]);
        assert_eq!(second.count("the daemon that worked on it is gone"), 1);
    });
}

/// A stop hands a part back with what is stored of it; a daemon that starts later goes on.
#[test]
fn a_daemon_that_stops_hands_its_part_back() {
    let directory = tempfile::tempdir().unwrap();
    sample(directory.path(), Format::Parquet, Layout::Hive);
    let (expected, _) = alone(directory.path());
    let database = TestDatabase::sqlite();
    let site = Site::new(&database, directory.path(), &jobs(&format!("{WORKER}\nstop_timeout = \"0s\"")), "");
    assert!(site.run(&["migrate"]).status.success());
    let mut fleet = Fleet::start(&site);
    fleet.submit();
    for daemon in &mut fleet.daemons {
        daemon.signal("TERM");
        daemon.logs("request handed back request=t/large");
        daemon.wait();
    }
    let row = &site.rows()["large"];
    assert_eq!((row.status.as_str(), row.urls.len()), ("PROCESSING", 0));
    let held = database.query_text("SELECT count(token), max(crashes) FROM job_request_part");
    assert_eq!(held, [[Some("0".to_owned()), Some("0".to_owned())]]);
    let output = site.run(&["run", "--once"]);
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(site.rows()["large"].status, "COMPLETED");
    assert!(files(&site)["large"] == expected, "other files");
}

/// Bad rows count for the request as a whole: a batch of which nothing reads is left out, and too many fail all of it, in the
/// words that one daemon has for it.
#[test]
fn parts_are_judged_together() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    sample(data, Format::Csv, Layout::Hive);
    let batches = {
        let mut batches: Vec<_> =
            fs::read_dir(data.join("user_enrolments")).unwrap().map(|entry| entry.unwrap().path()).collect();
        batches.sort();
        batches
    };
    let spoil = |at: usize, rows: &str| {
        let file = fs::read_dir(&batches[at]).unwrap().next().unwrap().unwrap().path();
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{}\n{rows}", text.lines().next().unwrap())).unwrap();
    };
    for (rows, status) in [(",\n", "COMPLETED"), (&*",\n".repeat(5_000), "FAILED")] {
        spoil(0, rows);
        let (expected, single) = alone(data);
        assert_eq!(single.status, status, "{}", single.message);
        let database = TestDatabase::sqlite();
        let site = Site::new(&database, data, &jobs(WORKER), "");
        assert!(site.run(&["migrate"]).status.success());
        let fleet = Fleet::start(&site);
        fleet.submit();
        (0..2).for_each(|daemon| fleet.go(daemon));
        let seen = fleet.ended();
        assert_eq!((seen.status.as_str(), &seen.message), (status, &single.message));
        if status == "COMPLETED" {
            assert!(files(&site)["large"] == expected, "other files");
            // Rows of a learner who is known from another part alone are looked at there alone.
            let counts = |stats: &Value| {
                let mut stats = of_request(stats);
                stats["bad_rows"].as_object_mut().unwrap().remove("user_activity_agg");
                stats
            };
            assert_eq!(counts(&seen.stats), counts(&single.stats));
            assert_eq!(seen.stats["batches_left_out"]["broken"].as_array().unwrap().len(), 1);
        }
    }
}

/// Where each daemon would read everything, and where others want the same batches, one daemon makes it.
#[test]
fn a_request_stays_whole_where_parts_save_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (random, partitioned) = (directory.path().join("random"), directory.path().join("partitioned"));
    sample(&random, Format::Parquet, Layout::Single);
    sample(&partitioned, Format::Parquet, Layout::Hive);
    let (expected, _) = alone(&random);
    let database = TestDatabase::sqlite();
    let site = Site::new(&database, &random, &jobs(WORKER), "");
    assert!(site.run(&["migrate"]).status.success());
    let fleet = Fleet::start(&site);
    (0..2).for_each(|daemon| fleet.go(daemon));
    site.insert("t", "large", "course-report", ALL);
    assert_eq!(fleet.ended().status, "COMPLETED");
    assert!(files(&site)["large"] == expected, "other files");
    let logged = fleet.daemons.iter().map(Daemon::log).collect::<Vec<_>>().join("\n");
    assert!(!logged.contains("request split"), "{logged}");
    let explained = told(&site.run(&["explain", "--request", "t", "large"]));
    assert!(explained.contains("one daemon makes all files: each of several would read everything"), "{explained}");

    let database = TestDatabase::sqlite();
    let site = Site::new(&database, &partitioned, &jobs(&format!("{WORKER}\nclaim = 500")), "");
    for id in ["large", "same"] {
        site.insert("t", id, "course-report", ALL);
    }
    assert!(site.run(&["run", "--once"]).status.success());
    let files = files(&site);
    assert!(files["large"] == expected && files["same"] == expected, "other files");
    let explained = told(&site.run(&["explain", "--request", "t", "large"]));
    assert!(
        explained.contains("several daemons would make these files together, in parts of at most 2"),
        "{explained}"
    );
}

/// Ten requests that come at once: two idle daemons make five each.
#[test]
fn ten_requests_are_five_and_five_on_two_idle_daemons() {
    let directory = tempfile::tempdir().unwrap();
    sample(directory.path(), Format::Parquet, Layout::Hive);
    databases::each(|database| {
        let site = Site::new(database, directory.path(), &jobs("lease = \"1m\"\nthreads = 1"), "");
        assert!(site.run(&["migrate"]).status.success());
        let mut fleet = Fleet::start(&site);
        let row = |n: u32| {
            format!(
                "('t', 'r{n}', 'course-report', 'SUBMITTED', '{}', 'them', 'channel', '2026-01-01 00:00:00')",
                r#"{"batchFilters": ["TPD"]}"#
            )
        };
        let rows: Vec<String> = (0..10).map(row).collect();
        database.execute(&format!(
            "INSERT INTO job_request (tag, request_id, job_id, status, request_data, requested_by, requested_channel,
                dt_job_submitted) VALUES {}",
            rows.join(", ")
        ));
        // Each holds what it has claimed until the other has claimed as well.
        fleet.daemons.iter().for_each(|daemon| daemon.logs("paused at=generating"));
        let held = |daemon: &Daemon| {
            let of_daemon = format!("SELECT count(*) FROM job_request WHERE lease_owner LIKE '%:{}:%'", daemon.pid());
            database.query_text(&of_daemon).remove(0).remove(0).unwrap()
        };
        assert_eq!([held(&fleet.daemons[0]), held(&fleet.daemons[1])], ["5", "5"]);
        (0..2).for_each(|daemon| fleet.go(daemon));
        wait_for("all to be made", || site.rows().values().all(|seen| seen.status == "COMPLETED").then_some(()));
        for daemon in &mut fleet.daemons {
            daemon.signal("TERM");
            daemon.wait();
            assert_eq!(daemon.count("request completed"), 5, "{}", daemon.log());
        }
    });
}

/// Parts that all wait after a failed attempt: named by the health, the metrics, `check` and `status`, and no longer than that.
#[test]
fn a_split_request_that_nobody_can_work_on_is_named() {
    databases::each(|database| {
        let jobs = jobs("lease = \"1m\"");
        let site = Site::new(database, Path::new("nowhere"), &format!("{jobs}\n[api]\nlisten = \"127.0.0.1:0\"\n"), "");
        assert!(site.run(&["migrate"]).status.success());
        site.insert("t", "large", "course-report", ALL);
        database.execute(
            "UPDATE job_request SET status = 'PROCESSING', lease_owner = 'parts:7', err_message = 'the table has moved'",
        );
        let part = |number: u32, result: &str, next_attempt: u64| {
            database.execute(&format!(
                "INSERT INTO job_request_part (tag, request_id, part, batches, files, files_done, result, next_attempt,
                    iteration, crashes) VALUES ('t', 'large', {number}, '[]', 1, 0, {result}, {next_attempt}, 1, 0)"
            ));
        };
        part(1, "'{}'", 0);
        // In 2286.
        part(2, "NULL", 9_999_999_999_000);
        part(3, "NULL", 9_999_999_999_999);
        let server = Server::start(&site, "serve");
        let degraded = || {
            let answer = server.get("/health");
            (answer.status == 200).then(|| answer.json()["degraded"]["job course-report"].as_str().map(str::to_owned))
        };
        let why = wait_for("the trouble", || degraded().flatten());
        let expected = "large requests of which every part that is left waits after a failed attempt: 1, the first until 2286-11-20";
        assert!(why.starts_with(expected) && !why.contains("t/large"), "{why}");
        let parts = |text: &str| -> Vec<String> {
            text.lines().filter(|line| line.starts_with("exhaustd_parts{")).map(str::to_owned).collect()
        };
        let series = |job: &str, counts: [u32; 4]| -> Vec<String> {
            let states = ["waiting", "in_work", "back_off", "made"].iter().zip(counts);
            states.map(|(state, n)| format!("exhaustd_parts{{exhaust_job=\"{job}\",state=\"{state}\"}} {n}")).collect()
        };
        let sorted = |of: [Vec<String>; 2]| of.concat().into_iter().collect::<BTreeSet<String>>();
        let metrics = String::from_utf8(server.get("/metrics").body).unwrap();
        let all = [series("course-report", [0, 0, 2, 1]), series("assessment-report", [0; 4])];
        assert_eq!(parts(&metrics).into_iter().collect::<BTreeSet<_>>(), sorted(all), "{metrics}");
        let line = "request t/large: each of its 2 parts that are left waits after a failed attempt, the first until 2286-11-20";
        for command in ["check", "status"] {
            let told = told(&site.run(&[command]));
            assert!(told.contains(line) && told.contains(": the table has moved"), "{command}: {told}");
        }
        let shown: Value = serde_json::from_slice(&site.run(&["status", "--json"]).stdout).unwrap();
        let counts = json!([{"job_id": "course-report", "waiting": 0, "in_work": 0, "back_off": 2, "made": 1}]);
        assert_eq!(shown["parts"], counts);

        database.execute("UPDATE job_request_part SET next_attempt = 0 WHERE part = 3");
        wait_for("the end of it", || degraded().filter(Option::is_none));
        assert!(!told(&site.run(&["check"])).contains("parts that are left"));
    });
}
