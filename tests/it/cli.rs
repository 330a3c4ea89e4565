//! The command line from outside: exit codes, what is printed, README's commands.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::databases::{TestDatabase, each};
use crate::site::{self, JOBS, Site, fixture, told};
use crate::{buckets, http};

const BATCH: &str = "0130000000000000001";

fn json(output: &std::process::Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", told(output)))
}

/// The commands of README.md's block of common tasks, in order, in an empty directory.
#[test]
fn the_readme_s_commands_work_for_a_newcomer() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let database = TestDatabase::sqlite();
    let site = Site::new(&database, Path::new("data"), JOBS, "");
    let jobs = Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs.toml");
    fs::copy(jobs, site.path("jobs.toml")).unwrap();
    let block = readme.split("```sh").nth(2).unwrap().split("```").next().unwrap();
    let mut run = 0;
    for line in block.lines().filter_map(|line| line.strip_prefix("exhaustd ")) {
        let arguments: Vec<&str> = line.split('#').next().unwrap().split_whitespace().collect();
        let output = site.run(&arguments);
        assert!(output.status.success(), "exhaustd {line}\n{}", told(&output));
        run += 1;
    }
    assert!(run >= 6, "README lost its commands");
    let status = json(&site.run(&["status", "--json"]));
    assert_eq!(status["requests"][0]["status"], "COMPLETED");
}

/// The commands of docs/operations.md are none that the program does not know.
#[test]
fn the_commands_for_operators_are_understood() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md")).unwrap();
    let database = TestDatabase::sqlite();
    let nightly =
        "[[job]]\nid = \"nightly\"\nreport = \"course\"\nmode = \"standalone\"\nconfig = { batchFilters = [\"TPD\"] }";
    let site = Site::new(&database, &fixture("odd"), &format!("{JOBS}\n{nightly}"), "");
    assert!(site.run(&["migrate"]).status.success());
    let mut run = 0;
    for line in page.split("```sh").skip(1).flat_map(|block| block.split("```").next().unwrap().lines()) {
        let Some(line) = line.strip_prefix("exhaustd ") else { continue };
        let output = Command::new("sh").arg("-c").arg(format!("printf '%s\\n' {line}")).output().unwrap();
        let arguments = String::from_utf8(output.stdout).unwrap();
        let output = site.run(&arguments.lines().collect::<Vec<_>>());
        assert!(matches!(output.status.code(), Some(0 | 1)), "exhaustd {line}\n{}", told(&output));
        run += 1;
    }
    assert!(run >= 15, "{run} commands");
}

#[test]
fn submit_waits_for_the_daemon_and_prints_the_files() {
    each(|database| {
        let jobs = JOBS.replace("report = \"course\"", "report = \"course\"\nschedule = \"* * * * * *\"");
        let site = Site::new(database, &fixture("odd"), &jobs, "");
        let mut daemon = site.command(&["run"]).stderr(Stdio::piped()).spawn().unwrap();
        let output = site.run(&["submit", "course-report", "--batch", BATCH, "--tag", "me", "--wait", "--json"]);
        let answer = json(&output);
        assert_eq!(answer["status"], "COMPLETED", "{}", told(&output));
        let file = answer["files"][0].as_str().unwrap();
        let expected = fs::read_to_string(fixture("odd").join(format!("expected/course-{BATCH}.csv"))).unwrap();
        assert_eq!(fs::read_to_string(site.path("").join(file)).unwrap(), expected);
        // The same again on the same day finds the same request.
        let again = json(&site.run(&["submit", "course-report", "--batch", BATCH, "--tag", "me", "--json"]));
        if again["submitted"] != "created" {
            assert_eq!((&again["request_id"], &again["submitted"]), (&answer["request_id"], &"exists".into()));
        }
        // SIGTERM: the daemon stops by itself, with exit code 0.
        let killed = std::process::Command::new("kill").arg(daemon.id().to_string()).status().unwrap();
        assert!(killed.success());
        assert!(daemon.wait().unwrap().success());
    });
}

/// Paths on this machine, or links that anybody can open; the row itself keeps keys.
#[test]
fn status_says_where_the_files_of_a_completed_request_are() {
    let expected = fs::read(fixture("odd").join(format!("expected/course-{BATCH}.csv"))).unwrap();
    site::each(|database, store| {
        let site = Site::new(database, &fixture("odd"), JOBS, "").storing_in(store);
        site.insert("t", "r", "course-report", &format!(r#"{{"batchFilter": ["{BATCH}", "0130000000000000004"]}}"#));
        assert!(site.run(&["migrate"]).status.success());
        let waiting = json(&site.run(&["status", "t", "r", "--json"]));
        assert_eq!((&waiting["status"], &waiting["files"]), (&"SUBMITTED".into(), &Value::Array(Vec::new())));
        assert!(!told(&site.run(&["status", "t", "r"])).contains("FILES"));
        assert!(site.run(&["run", "--once"]).status.success());

        let seen = json(&site.run(&["status", "t", "r", "--json"]));
        assert_eq!(seen["download_urls"], Value::from(site.rows()["r"].urls.clone()));
        let printed = told(&site.run(&["status", "t", "r"]));
        let (_, printed) = printed.split_once("\n\nFILES\n").unwrap_or_else(|| panic!("{printed}"));
        let printed: Vec<&str> = printed.lines().collect();
        let files: Vec<&str> = seen["files"].as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
        assert_eq!((printed.len(), files.len()), (2, 2));
        for file in [printed[0], files[0]] {
            let content = if store.is_none() { fs::read(site.path(file)).unwrap() } else { http::fetch(file).body };
            assert_eq!(content, expected, "{file}");
        }
        let listed = json(&site.run(&["status", "t", "--json"]));
        assert_eq!(
            (listed["requests"][0]["status"].as_str(), listed["requests"][0].get("files")),
            (Some("COMPLETED"), None)
        );

        let listed = |filter: &[&str]| json(&site.run(&[&["status", "--json"], filter].concat()));
        let done = listed(&["--status", "COMPLETED", "--job", "course-report", "--completed-since", "1h", "--id", "r"]);
        assert_eq!((done.as_array().unwrap().len(), done[0]["request_id"].as_str()), (1, Some("r")));
        assert_eq!(listed(&["--err-code", "no_data"]), Value::Array(Vec::new()));
        let wrong = site.run(&["status", "--err-code", "none"]);
        assert_eq!(wrong.status.code(), Some(2), "{}", told(&wrong));

        // A token signs no links: the row is shown all the same.
        if store.is_some_and(|bucket| bucket.server == buckets::Server::Azure) {
            for json in [false, true] {
                let mut command = site.command(&["status", "t", "r"]);
                command.args(json.then_some("--json")).env_remove("AZURE_STORAGE_ACCOUNT_KEY");
                let output = command.env("AZURE_STORAGE_SAS_TOKEN", "sv=2021-12-02&sig=c2VjcmV0").output().unwrap();
                let told = told(&output);
                assert!(matches!(output.status.code(), Some(2 | 3)), "{told}");
                assert!(told.contains("COMPLETED") && told.contains("cannot sign links"), "{told}");
            }
        }
    });
}

#[test]
fn exit_codes_say_whose_fault_it_is() {
    let database = TestDatabase::sqlite();
    let site = Site::new(&database, &fixture("odd"), JOBS, "");
    assert!(site.run(&["migrate"]).status.success());
    for (arguments, code, message) in [
        (vec!["no-such-command"], 2, "unrecognized subcommand"),
        (vec!["--config", "nowhere.toml", "check"], 2, "there is no such file"),
        (
            vec!["submit", "cuorse-report", "--batch", BATCH],
            2,
            "jobId 'cuorse-report' is not configured; use one of course-report",
        ),
        (vec!["submit", "course-report"], 2, "which batches? Say it with --batch"),
        (
            vec!["submit", "course-report", "--batch", BATCH, "--report-path", "/x"],
            2,
            "reportPath must not begin with a slash",
        ),
        (vec!["submit", "course-report", "--batch", BATCH, "--format", "pdf"], 2, "output_format 'pdf' is unknown"),
        (vec!["status", "me", "nothing"], 1, "there is no request me/nothing"),
        (vec!["retry", "me", "nothing"], 1, "there is no request me/nothing"),
        (vec!["explain", "course-report", "--batch", "nowhere"], 1, "No data found"),
    ] {
        let output = site.run(&arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", told(&output));
        assert!(told(&output).contains(message), "{arguments:?}: {}", told(&output));
    }
    fs::write(site.path("bad.toml"), "timezone = \"Asia/Kolkatta\"\n[databse]\n").unwrap();
    let output = site.run(&["--config", "bad.toml", "run"]);
    assert_eq!(output.status.code(), Some(2));
    let printed = told(&output);
    for place in ["bad.toml:1:", "Asia/Kolkata", "bad.toml:2:", "database"] {
        assert!(printed.contains(place), "{place}: {printed}");
    }
}

#[test]
fn a_database_that_is_down_is_exit_code_3_and_its_password_stays_secret() {
    let database = TestDatabase::sqlite();
    let site = Site::new(&database, &fixture("odd"), JOBS, "");
    let output = site
        .command(&["check"])
        .env("EXHAUST__DATABASE__URL", "postgres://me:hush-hush@127.0.0.1:1/nowhere")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    assert!(told(&output).contains("NOT USABLE"), "{}", told(&output));
    assert!(!told(&output).contains("hush-hush"));
}

/// A table that no job needs may be away; where one does, its requests would all fail.
#[test]
fn check_says_which_job_lacks_a_table() {
    let (database, directory) = (TestDatabase::sqlite(), tempfile::tempdir().unwrap());
    let give = |table: &str| fs::copy(fixture("odd").join(table), directory.path().join(table)).unwrap();
    let check = |jobs: &str, code: i32, says: &str| {
        let output = Site::new(&database, directory.path(), jobs, "").run(&["check"]);
        assert_eq!(output.status.code(), Some(code), "{}", told(&output));
        let says = format!("tables in {}; {says}", directory.path().display());
        assert!(told(&output).contains(&says), "{says}: {}", told(&output));
    };
    let course = JOBS.split("\n\n").next().unwrap();
    for table in ["course_batch.csv", "content.jsonl", "user.csv", "user_enrolments.csv", "user_activity_agg.csv"] {
        give(table);
    }
    check(course, 3, "job course-report lacks content_hierarchy");
    give("content_hierarchy.jsonl");
    check(course, 0, "not there: assessment_aggregator");
    check(JOBS, 3, "job assessment-report lacks assessment_aggregator");
}

#[test]
fn an_operator_cancels_and_tries_again() {
    each(|database| {
        let site = Site::new(database, &fixture("odd"), JOBS, "");
        let submitted = site.run(&["submit", "course-report", "--batch", BATCH, "--request-id", "r", "--tag", "me"]);
        assert!(submitted.status.success(), "{}", told(&submitted));
        assert!(site.run(&["cancel", "me", "r", "--by", "Asha"]).status.success());
        assert_eq!(site.rows()["r"].message, "cancelled by Asha");
        assert_eq!(site.run(&["cancel", "me", "r"]).status.code(), Some(1), "only SUBMITTED can be cancelled");
        assert!(site.run(&["retry", "me", "r"]).status.success());
        assert_eq!(site.rows()["r"].status, "SUBMITTED");
        let all = ["--job", "course-report", "--since", "1h"];
        let run = |command: &[&str]| site.run(&[command, &all].concat());
        assert_eq!(site.run(&["cancel", "--yes"]).status.code(), Some(2), "without a filter");
        assert_eq!(run(&["cancel", "me", "r"]).status.code(), Some(2), "a request, or a filter");
        let shown = told(&run(&["cancel"]));
        assert!(shown.contains("would change 1 requests") && shown.contains("give --yes"), "{shown}");
        assert_eq!(site.rows()["r"].status, "SUBMITTED");
        let done = told(&run(&["cancel", "me", "--by", "Ravi", "--yes"]));
        assert!(done.contains("cancel: 1 requests changed"), "{done}");
        assert_eq!(site.rows()["r"].message, "cancelled by Ravi");
        assert!(run(&["retry", "--err-code", "cancelled", "--yes"]).status.success());
        assert!(site.run(&["run", "--once"]).status.success());
        assert_eq!(site.rows()["r"].status, "COMPLETED");
    });
}

#[test]
fn explain_counts_learners_and_writes_nothing() {
    let database = TestDatabase::sqlite();
    let site = Site::new(&database, &fixture("odd"), JOBS, "");
    let output = site.run(&["explain", "course-report", "--batch", BATCH, "--json"]);
    let answer = json(&output);
    assert_eq!(answer["batches"][0]["batch_id"], BATCH);
    assert_eq!((answer["batches"][0]["enrolled"].as_u64(), answer["batches"][0]["rows"].as_u64()), (Some(18), Some(9)));
    assert!(!site.path("reports").exists(), "no store");
    assert!(!fs::exists(database.url().trim_start_matches("sqlite://")).unwrap(), "no database");
}

/// A store that refuses delays requests; none fails while attempts remain.
#[test]
fn a_store_that_cannot_be_written_delays_the_request() {
    each(|database| {
        let site = Site::new(database, &fixture("odd"), JOBS, "");
        fs::write(site.path("reports"), "in the way of the store's directory").unwrap();
        site.insert("t", "r", "course-report", &format!(r#"{{"batchId": "{BATCH}"}}"#));
        let output = site.run(&["run", "--once"]);
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        let seen = &site.rows()["r"];
        assert_eq!(seen.status, "SUBMITTED");
        assert!(seen.message.starts_with("cannot create a file in the store"), "{}", seen.message);
    });
}

/// Every command, its output into a pipe that nobody reads and onto a full disk: no panic, one line at most.
#[test]
fn a_closed_pipe_ends_quietly_and_a_full_disk_with_one_line() {
    let database = TestDatabase::sqlite();
    let site = Site::new(&database, &fixture("odd"), JOBS, "");
    // Warnings about odd rows are none of this test's lines.
    let command = |arguments: &[&str]| {
        let mut command = site.command(arguments);
        command.env("RUST_LOG", "error");
        command
    };
    for id in ["r", "u"] {
        let submitted = site.run(&["submit", "course-report", "--batch", BATCH, "--request-id", id, "--tag", "me"]);
        assert!(submitted.status.success(), "{}", told(&submitted));
    }
    let commands: [&[&str]; 22] = [
        &["--help"],
        &["--version"],
        &["help", "submit"],
        &["run", "--help"],
        &["check"],
        &["check", "--json"],
        &["status"],
        &["status", "--json"],
        &["status", "me", "r"],
        &["status", "me", "r", "--json"],
        &["explain", "course-report", "--batch", BATCH],
        &["explain", "course-report", "--batch", BATCH, "--json"],
        &["submit", "course-report", "--batch", BATCH, "--tag", "you"],
        &["submit", "course-report", "--batch", BATCH, "--tag", "you", "--json"],
        &["run", "--once"],
        &["status", "me", "r"],
        &["migrate"],
        &["migrate", "--dry-run"],
        &["retention", "--dry-run", "--older-than", "1s"],
        &["retention", "--dry-run", "--older-than", "1s", "--json"],
        &["retention", "--older-than", "365d"],
        &["sample-data", "made", "--overwrite"],
    ];
    for arguments in commands {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((output.status.code(), told(&output).as_str()), (Some(0), ""), "{arguments:?} | true");

        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command(arguments).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let line = "error: cannot write to standard output: No space left on device (os error 28)\n";
        // A command without output has nothing to fail with.
        let is_silent = arguments == ["migrate", "--dry-run"];
        let expected = if is_silent { (Some(0), "") } else { (Some(1), line) };
        assert_eq!((output.status.code(), told(&output).as_str()), expected, "{arguments:?} > /dev/full");
    }
    // What went wrong otherwise is not hidden by the closed pipe, and standard error may be full as well.
    for (arguments, code) in [(&["retry", "me", "none"][..], 1), (&["no-such-command"], 2), (&["cancel", "me", "u"], 1)]
    {
        let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command(arguments).stdout(full()).stderr(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
}

/// A Secret made with `echo` works; a value that cannot be meant is refused by its name before anything is reached.
#[test]
fn line_ends_in_credentials_are_trimmed_or_refused() {
    let database = TestDatabase::sqlite();
    let site = Site::new(&database, &fixture("odd"), JOBS, "");
    let check = |key: &str, more: &[(&str, &str)]| {
        let mut command = site.command(&["check"]);
        command
            .env("EXHAUST__STORE__URL", "s3://bucket")
            .env("AWS_ACCESS_KEY_ID", key)
            .env("AWS_REGION", "eu-west-1\n");
        command.env("AWS_SECRET_ACCESS_KEY", "secret\n").env("AWS_ENDPOINT_URL", "http://127.0.0.1:1\n");
        command.envs(more.iter().copied()).output().unwrap()
    };
    let trimmed = check("key\n", &[("EXHAUST__WORKER__LEASE", "9s\n")]);
    assert_eq!(trimmed.status.code(), Some(3), "nothing listens there: {}", told(&trimmed));
    assert!(!told(&trimmed).contains("panicked"), "{}", told(&trimmed));
    let refused = check("key\nother", &[("EXHAUST__WORKER__LEASE", "9s\n1")]);
    assert_eq!(refused.status.code(), Some(2), "{}", told(&refused));
    assert_eq!(
        told(&refused),
        "error: AWS_ACCESS_KEY_ID: the value has a line end in the middle\n\
         EXHAUST__WORKER__LEASE: the value has a line end in the middle\n"
    );
}
