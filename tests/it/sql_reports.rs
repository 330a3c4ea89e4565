//! Reports that an operator defines in SQL, on PostgreSQL (on other engines: `sql_engines`): the examples of `docs/examples` against the same computed here, and
//! what a query may not return.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use chrono::{Datelike, Days, NaiveDate};
use exhaust::sample_data::{self, Format, SampleOptions};

use crate::daemon::{Daemon, wait_for};
use crate::databases::TestDatabase;
use crate::routed::load;
use crate::site::{Site, told, write_one_course};

/// Records of each file of a request, by batch, the header first.
type Files = BTreeMap<String, Vec<Vec<String>>>;

/// A job for each of these: name, the keys that follow `split_by`.
pub(crate) fn jobs(of: &[(&str, &str)]) -> String {
    let job = |(name, keys): &(&str, &str)| {
        format!(
            "[[job]]\nid = \"{name}\"\nreport = \"sql\"\nengine = \"lake\"\nquery = \"queries/{name}.sql\"\nsplit_by = \
             \"batchid\"\n{keys}\n"
        )
    };
    of.iter().map(job).collect()
}

/// Lines of `[source]` for a PostgreSQL database as the engine `lake`.
pub(crate) fn by_postgres(lake: &TestDatabase) -> String {
    format!(
        "[source.lake]\nkind = \"postgres\"\nurl = \"{}\"\n[source.tables]\nassessment_aggregator = {{ from = \"lake\" }}\n",
        lake.url()
    )
}

/// The catalogue from files, and `lake` as the engine.
fn site<'a>(database: &'a TestDatabase, data: &Path, lake: &TestDatabase, jobs: &str) -> Site<'a> {
    let site = Site::new(database, data, jobs, &by_postgres(lake));
    fs::create_dir(site.path("queries")).unwrap();
    site
}

fn files(site: &Site<'_>, id: &str) -> Files {
    let row = &site.rows()[id];
    assert_eq!(row.status, "COMPLETED", "{id}: {}", row.message);
    let file = |url: &String| {
        let batch = url.rsplit_once("reports-").unwrap().1.trim_end_matches(".csv").to_owned();
        let text = site.file(url);
        let mut records = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
        (batch, records.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect())
    };
    row.urls.iter().map(file).collect()
}

fn records(file: &Path) -> Vec<BTreeMap<String, String>> {
    let mut records = csv::Reader::from_path(file).unwrap();
    records.deserialize().map(Result::unwrap).collect()
}

fn day(text: &str) -> NaiveDate {
    text[..10].parse().unwrap()
}

/// Learners and those of them who have completed, by district; no district comes first.
type District<'a> = BTreeMap<Option<&'a str>, (BTreeSet<&'a str>, BTreeSet<&'a str>)>;

/// What the three examples come to for a batch.
fn expected(all: &Path, batch: &str) -> [Vec<Vec<String>>; 3] {
    let enrolments = records(&all.join("user_enrolments.csv"));
    let of_batch: Vec<_> = enrolments.iter().filter(|row| row["batchid"] == batch).collect();
    let course = records(&all.join("course_batch.csv")).into_iter().find(|row| row["batchid"] == batch).unwrap();
    let mut districts = District::new();
    let mut weeks: BTreeMap<NaiveDate, BTreeSet<&str>> = BTreeMap::new();
    let mut idle: BTreeMap<&str, Option<NaiveDate>> = BTreeMap::new();
    let mut completed = BTreeSet::new();
    let users = records(&all.join("user.csv"));
    let activities = records(&all.join("user_activity_agg.csv"));
    let context = format!("cb:{batch}");
    let busy: BTreeSet<&str> =
        activities.iter().filter(|row| row["context_id"] == context).map(|row| row["user_id"].as_str()).collect();
    for row in of_batch {
        let (user, is_completed) = (row["userid"].as_str(), !row["completedon"].is_empty());
        for district in users.iter().filter(|one| one["userid"] == user).map(|one| one["district"].as_str()) {
            let of = districts.entry(Some(district).filter(|name| !name.is_empty())).or_default();
            of.0.insert(user);
            if is_completed {
                of.1.insert(user);
            }
        }
        if is_completed {
            let day = day(&row["completedon"]);
            let monday = day - Days::new(u64::from(day.weekday().num_days_from_monday()));
            weeks.entry(monday).or_default().insert(user);
        }
        if row["active"].eq_ignore_ascii_case("true") && row["courseid"] == course["courseid"] {
            if is_completed {
                completed.insert(user);
            }
            let enrolled = Some(&row["enrolled_date"]).filter(|text| !text.is_empty()).map(|text| day(text));
            let last = idle.entry(user).or_insert(enrolled);
            *last = enrolled.max(*last);
        }
    }
    idle.retain(|user, _| !completed.contains(user) && !busy.contains(user));
    let shown = |day: NaiveDate| day.format("%d/%m/%Y").to_string();
    let header = |names: &[&str]| vec![names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()];
    let mut tables = [
        header(&["District", "Learners", "Completed"]),
        header(&["User ID", "Enrolled on"]),
        header(&["Week of", "Completed"]),
    ];
    tables[0].extend(districts.into_iter().map(|(name, (learners, completed))| {
        vec![name.unwrap_or_default().to_owned(), learners.len().to_string(), completed.len().to_string()]
    }));
    tables[1].extend(
        idle.into_iter().map(|(user, enrolled)| vec![user.to_owned(), enrolled.map(shown).unwrap_or_default()]),
    );
    tables[2].extend(weeks.into_iter().map(|(week, users)| vec![shown(week), users.len().to_string()]));
    tables
}

/// Enrols two learners in every batch who do nothing: in the sample everybody has done something.
pub(crate) fn add_idle_learners(all: &Path) {
    let file = all.join("user_enrolments.csv");
    let mut text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("batchid,userid,courseid,active,enrolled_date,completedon,"), "{text:.80}");
    for batch in records(&all.join("course_batch.csv")) {
        let (id, course) = (&batch["batchid"], &batch["courseid"]);
        text.extend([
            format!("{id},idle-1,{course},True,2025-07-01 00:00:00.000+0000,,,,\n"),
            format!("{id},idle-2,{course},true,,,,,\n"),
        ]);
    }
    fs::write(&file, text).unwrap();
}

/// The examples of the document, as it has them.
pub(crate) const EXAMPLES: [(&str, &str); 3] = [
    (
        "district_summary",
        "order_by = [\"district\"]\ncolumns = [\n    { name = \"district\", heading = \"District\" },\n    \
         { name = \"learners\", heading = \"Learners\" },\n    { name = \"completed\", heading = \"Completed\" },\n]",
    ),
    (
        "inactive_learners",
        "order_by = [\"userid\"]\nallow_personal = true\ncolumns = [\n    \
         { name = \"userid\", heading = \"User ID\", personal = true },\n    \
         { name = \"enrolled\", heading = \"Enrolled on\" },\n]",
    ),
    (
        "completion_by_week",
        "order_by = [\"week\"]\ncolumns = [\n    { name = \"week\", heading = \"Week of\" },\n    \
         { name = \"learners\", heading = \"Completed\" },\n]",
    ),
];

#[test]
fn the_examples_are_what_is_computed_from_the_same_tables() {
    let Some(lake) = TestDatabase::postgres() else { return };
    let directory = tempfile::tempdir().unwrap();
    let all = directory.path().join("all");
    let options = SampleOptions { format: Format::Csv, ..SampleOptions::small(&all) };
    sample_data::generate(&options, &|_, _| ()).unwrap();
    add_idle_learners(&all);
    for table in ["user", "user_enrolments", "user_activity_agg", "assessment_aggregator"] {
        load(&lake, &all.join(format!("{table}.csv")), "public", table);
    }
    let database = TestDatabase::sqlite();
    let site = site(&database, &all, &lake, &jobs(&EXAMPLES));
    try_examples(&site, &all, &|query| query);
}

/// Makes the examples at a site whose engine has the tables of this directory, and compares each file whole. `written`: the
/// query as the engine wants it.
pub(crate) fn try_examples(site: &Site<'_>, all: &Path, written: &dyn Fn(String) -> String) {
    for (name, _) in EXAMPLES {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/examples/{name}.sql"));
        let query = written(fs::read_to_string(example).unwrap());
        fs::write(site.path(&format!("queries/{name}.sql")), query).unwrap();
        site.insert("t", name, name, r#"{"batchFilters": ["TPD"]}"#);
    }
    let checked = site.run(&["check"]);
    assert!(told(&checked).contains("query of district_summary"), "{}", told(&checked));
    assert!(checked.status.success(), "{}", told(&checked));
    let output = site.run(&["run", "--once"]);
    assert!(told(&output).contains("3 completed, 0 failed"), "{}", told(&output));
    for (at, (name, _)) in EXAMPLES.into_iter().enumerate() {
        let made = files(site, name);
        assert!(made.len() > 1, "{name}");
        let mut rows = 0;
        for (batch, found) in &made {
            rows += found.len() - 1;
            assert_eq!(*found, expected(all, batch)[at], "{name} of {batch}");
        }
        assert!(rows > made.len(), "{name} has {rows} rows");
    }
}

/// The document shows the examples as they are tried here.
#[test]
fn the_document_shows_the_examples() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sql-reports.md")).unwrap();
    for (name, keys) in EXAMPLES {
        assert!(text.contains(keys) && text.contains(&format!("examples/{name}.sql")), "{name}");
    }
}

pub(crate) const COLUMN: &str = "order_by = [\"n\"]\ncolumns = [{ name = \"n\" }]";

/// What the program says and makes of one batch `1'` and one `2` of one course, for each of these jobs and queries.
fn tried(cases: &[(&str, &str, &str)], test: impl FnOnce(&Site<'_>, &TestDatabase)) {
    let Some(lake) = TestDatabase::postgres() else { return };
    let directory = tempfile::tempdir().unwrap();
    write_one_course(
        directory.path(),
        "courseid,batchid\ndo_1,1'\ndo_1,2\n",
        "userid\nu\n",
        "batchid,userid,courseid\n",
    );
    let database = TestDatabase::sqlite();
    let keys: Vec<(&str, &str)> = cases.iter().map(|(name, keys, _)| (*name, *keys)).collect();
    let site = site(&database, directory.path(), &lake, &jobs(&keys));
    for (name, _, query) in cases {
        fs::write(site.path(&format!("queries/{name}.sql")), query).unwrap();
        site.insert("t", name, name, r#"{"batchFilter": ["1'", "2"]}"#);
    }
    test(&site, &lake);
}

#[test]
fn every_batch_gets_a_file_and_what_a_query_may_not_return_fails_its_request_alone() {
    let wide = format!("{COLUMN}\nmax_rows = 1");
    let slow = format!("{COLUMN}\nmax_time = \"1s\"");
    let cases = [
        (
            "good",
            COLUMN,
            "SELECT batchid, 10 AS n FROM {batches} WHERE batchid <> '2' UNION SELECT '1''', 9 -- sorted here",
        ),
        ("ties", COLUMN, "SELECT batchid, n FROM {batches}, (VALUES (1.0), (1)) AS v (n)"),
        ("foreign", COLUMN, "SELECT batchid || 'x' AS batchid, 1 AS n FROM {batches}"),
        ("null", COLUMN, "SELECT NULL::text AS batchid, 1 AS n FROM {batches}"),
        ("wide", wide.as_str(), "SELECT batchid, 1 AS n FROM {batches}"),
        ("slow", slow.as_str(), "SELECT batchid, pg_sleep(60)::text AS n FROM {batches}"),
        ("wrong", COLUMN, "SELECT batchid, missing AS n FROM {batches}"),
        ("lacking", COLUMN, "SELECT batchid FROM {batches}"),
        ("writing", COLUMN, "SELECT batchid, nextval('numbers') AS n FROM {batches}"),
    ];
    tried(&cases, |site, lake| {
        lake.execute("CREATE SEQUENCE numbers");
        let checked = site.run(&["check"]);
        assert_eq!(checked.status.code(), Some(3), "{}", told(&checked));
        assert!(told(&checked).contains("query of wrong, query of lacking"), "{}", told(&checked));
        let output = site.run(&["run", "--once"]);
        assert!(told(&output).contains("1 completed, 8 failed"), "{}", told(&output));
        let header = || vec!["n".to_owned()];
        let made = files(site, "good");
        let rows: Vec<_> = made.values().cloned().collect();
        assert_eq!(rows, [vec![header(), vec!["9".to_owned()], vec!["10".to_owned()]], vec![header()]], "{made:?}");
        for (id, message) in [
            ("ties", "order_by is not total"),
            ("foreign", "the query returned a row whose batchid is none of the request's"),
            ("null", "the query returned a row whose batchid is null"),
            ("wide", "too_large: the query returned more than 1 rows"),
            ("slow", "timeout: the query took more than 1 s"),
            ("wrong", "column \"missing\" does not exist"),
            ("lacking", "the query's result has no column n"),
            ("writing", "read-only transaction"),
        ] {
            let row = &site.rows()[id];
            assert!(row.status == "FAILED" && row.message.contains(message) && row.urls.is_empty(), "{id}: {row:?}");
        }
    });
}

/// The data of one batch does not suit the query. Nobody else's request fails with it.
#[test]
fn what_fails_in_the_data_of_one_request_fails_no_other() {
    let query = "SELECT batchid, 1 / length(replace(batchid, '1''', '')) AS n FROM {batches}";
    tried(&[("one", COLUMN, query)], |site, _| {
        site.insert("t", "0", "one", r#"{"batchId": "1'"}"#);
        site.insert("t", "2", "one", r#"{"batchId": "2"}"#);
        site.run(&["run", "--once"]);
        let rows = site.rows();
        let ends = ["0", "2", "one"].map(|id| rows[id].status.as_str());
        assert_eq!(ends, ["FAILED", "COMPLETED", "FAILED"], "{rows:?}");
        assert!(rows["0"].message.contains("division by zero"), "{}", rows["0"].message);
    });
}

/// A claim that is lost: the server does not go on with the query.
#[test]
fn a_query_that_nobody_waits_for_is_cancelled_on_the_server() {
    tried(&[("one", COLUMN, "SELECT batchid, pg_sleep(100000)::text AS n FROM {batches}")], |site, lake| {
        let file = site.path("jobs.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{text}\n[worker]\nlease = \"2s\"\n")).unwrap();
        let mut watch = lake.client();
        let mut running = || -> i64 {
            let query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(100000)%' AND state = 'active' \
                         AND pid <> pg_backend_pid() AND datname = current_database()";
            watch.query_one(query, &[]).unwrap().get(0)
        };
        let _daemon = Daemon::start(site, "");
        wait_for("the query", || (running() > 0).then_some(()));
        site.database.execute("DELETE FROM job_request");
        wait_for("its end", || (running() == 0).then_some(()));
    });
}

/// A request that is too large fails alone, whichever limit it exceeds: those of its job in the same scan are made.
#[test]
fn a_request_that_is_too_large_ends_no_other() {
    let rows = format!("{COLUMN}\nmax_rows = 2");
    let bytes = format!("{COLUMN}\nmax_bytes = \"100KiB\"");
    // 9,999 rows of batch 1', about 240 KiB of memory; one of batch 2.
    let query = "SELECT batchid, g AS n FROM {batches}, generate_series(1, CASE batchid WHEN '2' THEN 1 ELSE 9999 END) AS s (g)";
    let jobs = [("rows", &*rows, query), ("bytes", &*bytes, query), ("memory", COLUMN, query)];
    tried(&jobs, |site, _| {
        let file = site.path("jobs.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{text}\n[worker]\nmemory = \"160KiB\"\n")).unwrap();
        for (job, ..) in jobs {
            site.insert("t", &format!("{job}-small"), job, r#"{"batchId": "2"}"#);
            site.insert("t", &format!("{job}-large"), job, r#"{"batchId": "1'"}"#);
            site.insert("t", &format!("{job}-same"), job, r#"{"batchFilter": ["2"]}"#);
        }
        let output = site.run(&["run", "--once"]);
        assert!(told(&output).contains("6 completed, 6 failed"), "{}", told(&output));
        let seen = site.rows();
        for (job, says) in [("rows", "2 rows"), ("bytes", "102400 bytes"), ("memory", " bytes")] {
            for id in [job.to_owned(), format!("{job}-large")] {
                let row = &seen[&id];
                assert!(row.status == "FAILED" && row.message.starts_with("too_large: the query"), "{id}: {row:?}");
                assert!(row.message.ends_with(says), "{id}: {row:?}");
            }
            for id in ["small", "same"].map(|id| format!("{job}-{id}")) {
                let made = files(site, &id);
                assert_eq!(made.into_values().collect::<Vec<_>>(), [[["n"], ["1"]]], "{id}");
            }
        }
    });
}

#[test]
fn personal_columns_need_a_key() {
    let personal = "order_by = [\"n\"]\ncolumns = [{ name = \"n\", personal = true }]";
    tried(&[("one", personal, "SELECT batchid, 1 AS n FROM {batches}")], |site, _| {
        site.run(&["run", "--once"]);
        let row = &site.rows()["one"];
        assert!(row.status == "FAILED" && row.message.contains("encryptionKey is missing"), "{row:?}");
    });
}

/// Faults of the configuration, each with what is said of it.
#[test]
fn a_wrong_report_in_sql_is_refused_at_start() {
    let good = "SELECT batchid, 1 AS n FROM {batches}";
    for (keys, query, message) in [
        (COLUMN, "SELECT 1 AS n", "has no {batches}"),
        (COLUMN, "SELECT '{request.tag}' AS n FROM {batches}", "{request.tag} stands in quotes"),
        (
            COLUMN,
            "SELECT {request.id} AS n FROM {batches}",
            "unknown placeholder {request.id}; there are {request.tag}",
        ),
        ("order_by = [\"n\"]", good, "needs `columns`"),
        ("columns = [{ name = \"n\" }]", good, "needs `order_by`"),
        (
            "order_by = [\"n\"]\ncolumns = [{ name = \"n\" }, { name = \"m\", heading = \"n\" }]",
            good,
            "two columns are headed `n`",
        ),
    ] {
        tried(&[("one", keys, query)], |site, _| {
            let output = site.run(&["check"]);
            assert!(output.status.code() == Some(2) && told(&output).contains(message), "{keys}: {}", told(&output));
        });
    }
}
