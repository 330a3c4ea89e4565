//! Reports from tables in an engine: the bytes that the same tables give as files, staged and streamed, whatever breaks.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod faults;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use exhaust::sample_data::{self, Format, SampleOptions};
use exhaust::tables::schema::Table;

use crate::buckets;
use crate::daemon::{Daemon, wait_for};
use crate::databases::TestDatabase;
use crate::engine;
use crate::proxy::Proxy;
use crate::site::{JOBS, Site, told};

/// Files of all requests: request id → name → content.
type Made = BTreeMap<String, BTreeMap<String, String>>;

fn made(site: &Site<'_>) -> Made {
    let name = |url: &String| (url.rsplit('/').next().unwrap().to_owned(), site.file(url));
    site.rows().into_iter().map(|(id, seen)| (id, seen.urls.iter().map(name).collect())).collect()
}

fn insert_requests(site: &Site<'_>) {
    site.insert("t", "course", "course-report", r#"{"batchFilters": ["TPD"]}"#);
    site.insert("t", "assessment", "assessment-report", r#"{"batchFilters": ["TPD"]}"#);
}

/// A platform as Parquet files, and what both reports of it are by them.
fn platform(directory: &Path) -> Made {
    let options = SampleOptions { format: Format::Parquet, ..SampleOptions::small(directory) };
    sample_data::generate(&options, &|_, _| ()).unwrap();
    let database = TestDatabase::sqlite();
    let site = Site::new(&database, directory, JOBS, "");
    insert_requests(&site);
    run(&site);
    let expected = made(&site);
    assert!(expected.values().all(|files| files.len() > 1));
    expected
}

fn run(site: &Site<'_>) {
    let output = site.run(&["run", "--once"]);
    assert!(told(&output).contains("2 requests: 2 completed, 0 failed"), "{}", told(&output));
}

/// Lines of `[source]` for all tables in an engine.
fn lake(url: &str, data: &Path, mode: &str) -> String {
    lake_with(url, data, mode, None)
}

/// The same; each row of the table that is named comes once for each row of a relation.
fn lake_with(url: &str, data: &Path, mode: &str, times: Option<(Table, &str)>) -> String {
    let relation = |table: Table| {
        let mut relation = engine::parquet(&data.join(format!("{}.parquet", table.name())));
        if let Some((_, times)) = times.filter(|(of, _)| *of == table) {
            relation = format!("(SELECT p.* FROM {relation} AS p CROSS JOIN {times} AS r)");
        }
        format!("{} = {{ from = \"lake\", relation = '{relation}' }}\n", table.name())
    };
    let tables: String = Table::ALL.into_iter().map(relation).collect();
    format!(
        "[source.lake]\nkind = \"sql\"\ntransport = \"spark-connect\"\nurl = \"{url}\"\n{mode}\n[source.tables]\n{tables}"
    )
}

fn staged_in(stage: &Path) -> String {
    format!("mode = \"stage\"\nstage = \"{}\"", stage.display())
}

/// Everything below a directory that is a file.
fn files_below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let below = |path: PathBuf| if path.is_dir() { files_below(&path) } else { vec![path] };
    entries.flat_map(|entry| below(entry.unwrap().path())).collect()
}

#[test]
fn staged_and_streamed_give_the_bytes_of_files() {
    let directory = tempfile::tempdir().unwrap();
    let (data, stage) = (directory.path().join("data"), directory.path().join("stage"));
    let expected = platform(&data);
    engine::each_and_cluster(|name, url| {
        for mode in ["mode = \"stream\"".to_owned(), staged_in(&stage)] {
            let database = TestDatabase::sqlite();
            let site = Site::new(&database, Path::new("nowhere"), JOBS, &lake(url, &data, &mode));
            insert_requests(&site);
            run(&site);
            assert!(made(&site) == expected, "other bytes on {name}: {mode}");
            assert_eq!(files_below(&stage), Vec::<PathBuf>::new(), "left in the stage by {name}");
        }
    });
}

/// With less memory than a batch needs, batches are loaded one by one and in ranges of learners: the staged files serve all of
/// them, and a streaming engine is asked for each range.
#[test]
fn parts_and_ranges_of_learners_give_the_same_bytes() {
    let Some(url) = engine::sail() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (data, stage) = (directory.path().join("data"), directory.path().join("stage"));
    let expected = platform(&data);
    for mode in ["mode = \"stream\"".to_owned(), staged_in(&stage)] {
        let database = TestDatabase::sqlite();
        let site = Site::new(&database, Path::new("nowhere"), JOBS, &lake(&url, &data, &mode))
            .with("[worker]\nmemory = \"64KiB\"\n");
        insert_requests(&site);
        let output = site.command(&["run", "--once"]).env("RUST_LOG", "info").output().unwrap();
        let log = told(&output);
        assert!(log.contains("2 requests: 2 completed, 0 failed"), "{log}");
        assert!(log.contains("worked on in learner ranges") || log.contains("loaded in parts"), "{log}");
        assert!(made(&site) == expected, "other bytes: {mode}");
        assert_eq!(files_below(&stage), Vec::<PathBuf>::new());
    }
}

/// In a bucket, which the engine reaches by itself.
#[test]
fn a_stage_in_a_bucket() {
    let Some(url) = engine::sail() else { return };
    let directory = tempfile::tempdir().unwrap();
    let expected = platform(directory.path());
    let Some(bucket) = buckets::TestBucket::on(buckets::Server::S3) else { return };
    let mode = format!("mode = \"stage\"\nstage = \"{}\"", bucket.url);
    let database = TestDatabase::sqlite();
    let site = Site::new(&database, Path::new("nowhere"), JOBS, &lake(&url, directory.path(), &mode));
    insert_requests(&site);
    let output = site.command(&["run", "--once"]).envs(bucket.environment()).output().unwrap();
    assert!(told(&output).contains("2 requests: 2 completed, 0 failed"), "{}", told(&output));
    assert!(made(&site) == expected, "other bytes");
    let left: Vec<_> = bucket.open().list("").unwrap().map(|object| object.unwrap().key).collect();
    assert_eq!(left, Vec::<String>::new());
}

/// A daemon that is killed while its tables are staged leaves them; the next one removes them once the claim is over, and makes
/// the reports.
#[test]
fn what_a_killed_daemon_has_staged_is_removed() {
    let Some(url) = engine::sail() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (data, stage) = (directory.path().join("data"), directory.path().join("stage"));
    let expected = platform(&data);
    let database = TestDatabase::sqlite();
    let jobs = format!("{JOBS}\n[worker]\nlease = \"2s\"\n");
    let site = Site::new(&database, Path::new("nowhere"), &jobs, &lake(&url, &data, &staged_in(&stage)));
    insert_requests(&site);
    let daemon = Daemon::start(&site, "loading:pause");
    daemon.logs("staged table=user ");
    daemon.kill();
    assert!(!files_below(&stage).is_empty(), "nothing is staged: the test shows nothing");
    let mut daemon = Daemon::start(&site, "");
    daemon.logs("removed what is staged for a claim that is over");
    wait_for("both requests", || site.rows().values().all(|row| row.status == "COMPLETED").then_some(()));
    daemon.signal("TERM");
    assert!(daemon.wait().success(), "{}", daemon.log());
    assert!(made(&site) == expected, "other bytes");
    assert_eq!(files_below(&stage), Vec::<PathBuf>::new());
}

/// The connection to the engine breaks in the middle of a group: its requests are tried again, and nothing is left.
#[test]
fn an_engine_that_breaks_off_delays() {
    let Some(url) = engine::sail() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (data, stage) = (directory.path().join("data"), directory.path().join("stage"));
    let expected = platform(&data);
    let proxy = Proxy::start(url.strip_prefix("sc://").unwrap().parse().unwrap());
    for mode in ["mode = \"stream\"".to_owned(), staged_in(&stage)] {
        let database = TestDatabase::sqlite();
        let through = format!("sc://{}", proxy.address());
        let site = Site::new(&database, Path::new("nowhere"), JOBS, &lake(&through, &data, &mode));
        insert_requests(&site);
        proxy.break_after(40_000);
        let log = told(&site.run(&["run", "--once"]));
        let delayed = site.rows().into_values().find(|row| row.status == "SUBMITTED");
        let delayed = delayed.unwrap_or_else(|| panic!("nothing broke: {log}"));
        assert!(delayed.message.starts_with("table "), "{}", delayed.message);
        database.execute("UPDATE job_request SET next_attempt_at = NULL");
        site.run(&["run", "--once"]);
        assert!(made(&site) == expected, "other bytes: {mode}");
        assert_eq!(files_below(&stage), Vec::<PathBuf>::new());
    }
}

/// Jobs.toml with all tables behind a shell script.
fn by_script(text: &str, stage: &Path) -> String {
    let from = |table: Table| [table.name(), " = { from = \"lake\" }\n"];
    let tables: String = Table::ALL.into_iter().flat_map(from).collect();
    let access = format!("transport = \"command\"\ninput = \"plan\"\ncommand = ['sh', '-c', '''{text}''']");
    format!("[source.lake]\nkind = \"sql\"\n{access}\nstage = \"{}\"\n[source.tables]\n{tables}", stage.display())
}

/// The script of the test below: it writes whole tables, so rows of other keys come too.
fn copying(data: &Path) -> String {
    let table = r#"table=$(sed 's/.*"table":"\([a-z_]*\)".*/\1/')"#;
    format!("{table} && cp \"{}/$table.parquet\" \"$EXHAUST_STAGE/$table/\"", data.display())
}

#[test]
fn tables_that_a_command_stages_give_the_bytes_of_files() {
    let directory = tempfile::tempdir().unwrap();
    let (data, stage) = (directory.path().join("data"), directory.path().join("stage"));
    let expected = platform(&data);
    for memory in ["", "[worker]\nmemory = \"64KiB\"\n"] {
        let database = TestDatabase::sqlite();
        let sources = by_script(&copying(&data), &stage);
        let site = Site::new(&database, Path::new("nowhere"), JOBS, &sources).with(memory);
        insert_requests(&site);
        run(&site);
        assert!(made(&site) == expected, "other bytes: {memory}");
        assert_eq!(files_below(&stage), Vec::<PathBuf>::new());
    }
}

/// The program spark-sql, which `scripts/with-spark` names: it gets statements for both reports, and one that it refuses.
#[test]
fn statements_for_spark_sql_give_the_bytes_of_files() {
    let Ok(program) = std::env::var("EXHAUST_TEST_SPARK_SQL") else { return };
    let directory = tempfile::tempdir().unwrap();
    let (data, stage) = (directory.path().join("data"), directory.path().join("stage"));
    let expected = platform(&data);
    let command =
        [&program, "--master", "local[2]", "--conf", "spark.sql.catalogImplementation=in-memory", "-f", "/dev/stdin"];
    let access = format!(
        "[source.lake]\nkind = \"sql\"\ntransport = \"command\"\ncommand = {command:?}\nstage = \"{0}\"\nstage_as = \"file://{0}\"",
        stage.display()
    );
    for (table, status) in
        [(None, "COMPLETED"), (Some((Table::User, "(SELECT no_such_column FROM range(1))")), "FAILED")]
    {
        let lake = lake_with("sc://h", &data, "", table);
        let tables = lake.split_once("[source.tables]").unwrap().1;
        let database = TestDatabase::sqlite();
        let site = Site::new(&database, Path::new("nowhere"), JOBS, &format!("{access}\n[source.tables]{tables}"));
        site.insert("t", "course", "course-report", r#"{"batchFilters": ["TPD"]}"#);
        if table.is_none() {
            site.insert("t", "assessment", "assessment-report", r#"{"batchFilters": ["TPD"]}"#);
        }
        let output = site.command(&["run", "--once"]).env("RUST_LOG", "info").output().unwrap();
        let rows = site.rows();
        assert!(rows.values().all(|row| row.status == status), "{rows:?}\n{}", told(&output));
        assert_eq!(files_below(&stage), Vec::<PathBuf>::new());
        if table.is_none() {
            assert!(made(&site) == expected, "other bytes");
        } else {
            assert!(rows["course"].message.contains("the engine's command failed with exit code 1"), "{rows:?}");
        }
    }
}

/// A program that fails in the middle, having written a file, leaves nothing, and no request is completed from it.
#[test]
fn a_command_that_fails_delays_or_fails_requests() {
    let directory = tempfile::tempdir().unwrap();
    let (data, stage) = (directory.path().join("data"), directory.path().join("stage"));
    platform(&data);
    for (code, status) in [(75, "SUBMITTED"), (3, "FAILED")] {
        let database = TestDatabase::sqlite();
        let text = format!("{} && test $table != user || {{ echo out of order >&2; exit {code}; }}", copying(&data));
        let site = Site::new(&database, Path::new("nowhere"), JOBS, &by_script(&text, &stage));
        insert_requests(&site);
        site.run(&["run", "--once"]);
        let row = &site.rows()["course"];
        assert_eq!(row.status, status, "{}", row.message);
        assert!(row.message.starts_with("table user: the engine's command"), "{}", row.message);
        assert!(!row.message.contains("out of order"), "{}", row.message);
        assert_eq!(files_below(&stage), Vec::<PathBuf>::new());
    }
}
