//! Scans from outside, over every store: what is shared, what fails alone, what is left untouched.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use exhaust::sample_data::{self, Format, SampleOptions};

use crate::buckets;
use crate::daemon::wait_for;
use crate::databases::{TestDatabase, each_way};
use crate::sample_requests;
use crate::site::{JOBS, Seen, Site, each, fixture, told};

const BATCH: &str = "0130000000000000001";

fn sample(directory: &Path) {
    let options = SampleOptions { format: Format::Parquet, ..SampleOptions::small(directory) };
    sample_data::generate(&options, &|_, _| ()).unwrap();
}

/// Files of all requests: request id → name → content.
fn files(site: &Site<'_>) -> BTreeMap<String, BTreeMap<String, String>> {
    let name = |url: &String| (url.rsplit('/').next().unwrap().to_owned(), site.file(url));
    site.rows().into_iter().map(|(id, seen)| (id, seen.urls.iter().map(name).collect())).collect()
}

/// Each prefix is an operator's whole source.
#[test]
fn tables_in_an_object_store_give_the_same_files() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    sample(&data);
    let made = |data: &Path, environment: Vec<(&'static str, String)>| {
        let database = TestDatabase::sqlite();
        let site = Site::new(&database, data, JOBS, "");
        site.insert("t", "course", "course-report", r#"{"batchFilters": ["TPD"]}"#);
        site.insert("t", "assessment", "assessment-report", r#"{"batchFilters": ["TPD"]}"#);
        let output = site.command(&["run", "--once"]).envs(environment.clone()).output().unwrap();
        assert!(told(&output).contains("2 requests: 2 completed, 0 failed"), "{}", told(&output));
        let output = site.command(&["check"]).envs(environment).output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
        let place = format!("7 of 7 tables in {}", data.display());
        assert!(told(&output).contains(&place), "{}", told(&output));
        files(&site)
    };
    let expected = made(&data, Vec::new());
    assert!(expected.values().all(|files| files.len() > 1));
    buckets::each(|bucket| {
        bucket.fill(&data);
        assert!(made(Path::new(&bucket.url), bucket.environment()) == expected, "{:?}", bucket.server);
    });
}

/// What an operator can put right costs an attempt, and is tried again; a table that is not there is not.
#[test]
fn a_store_of_tables_that_refuses_us_makes_requests_wait_and_a_missing_table_fails_them() {
    let odd = fixture("odd");
    buckets::each(|bucket| {
        bucket.fill(&odd);
        let elsewhere = bucket.url.replace("exhaust/", "nowhere/");
        let place_without = format!("{}/nothing-here", bucket.url);
        let missing = format!("table course_batch: not in {place_without} as ");
        for (url, environment, jobs, status, message) in [
            (
                &bucket.url,
                bucket.refused_environment(),
                JOBS.to_owned(),
                "SUBMITTED",
                "source cannot be read: the object store refuses our credentials",
            ),
            (
                &elsewhere,
                bucket.environment(),
                JOBS.to_owned(),
                "SUBMITTED",
                "source cannot be read: there is no such bucket",
            ),
            (
                &elsewhere,
                bucket.environment(),
                JOBS.replace("report = \"course\"", "report = \"course\"\nmax_attempts = 1"),
                "FAILED",
                "source cannot be read: there is no such bucket",
            ),
            (&place_without, bucket.environment(), JOBS.to_owned(), "FAILED", &missing),
        ] {
            let database = TestDatabase::sqlite();
            let site = Site::new(&database, Path::new(url), &jobs, "");
            site.insert("t", "r", "course-report", r#"{"batchId": "0130000000000000001"}"#);
            let mut command = site.command(&["run", "--once"]);
            let log = told(&command.envs(environment.clone()).output().unwrap());
            let row = &site.rows()["r"];
            assert_eq!(row.status, status, "{log}");
            assert!(
                row.message.starts_with("table course_batch: ") && row.message.contains(message),
                "{}",
                row.message
            );
            let checked = site.command(&["check"]).envs(environment).output().unwrap();
            assert_eq!(checked.status.code(), Some(3), "{}", told(&checked));
            assert!(told(&checked).contains(url.as_str()), "{}", told(&checked));
            if url == &place_without {
                let lacks =
                    format!("NOT USABLE: 0 of 7 tables in {url}; job course-report lacks course_batch, content, ");
                assert!(told(&checked).contains(&lacks), "{}", told(&checked));
            }
            for text in [&log, &told(&checked), &row.message] {
                assert!(!text.contains("exhausttestsecret") && !text.contains("bm90IHRo"), "{text}");
            }
        }
    });
}

/// Of Google there is no server to read from: what is said where there is none, or no credentials.
#[test]
fn tables_at_google_need_a_file_of_credentials_and_a_connection() {
    let directory = tempfile::tempdir().unwrap();
    let account = directory.path().join("account.json");
    let nowhere = directory.path().join("nowhere.json");
    let database = TestDatabase::sqlite();
    let site = Site::new(&database, Path::new("gs://bucket/prefix"), JOBS, "");
    site.insert("t", "r", "course-report", r#"{"batchId": "0130000000000000001"}"#);
    let told_by = |arguments: &[&str], file: &Path| {
        let mut command = site.command(arguments);
        let output = command.env("GOOGLE_APPLICATION_CREDENTIALS", file).output();
        told(&output.unwrap())
    };
    for (content, file) in [
        ("", &nowhere),
        ("{\"hunter2\"", &account),
        ("{\"type\": \"external_account\", \"private_key\": \"hunter2\"}", &account),
    ] {
        std::fs::write(&account, content).unwrap();
        for arguments in [&["check"][..], &["run", "--once"]] {
            let told = told_by(arguments, file);
            assert!(told.contains("cannot open gs://bucket/prefix: "), "{told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
    let status = database.query_text("SELECT status FROM job_request");
    assert_eq!(status, [[Some("SUBMITTED".to_owned())]], "nothing was claimed");
    // Nobody listens there.
    let mut command = site.command(&["run", "--once"]);
    command.env("GOOGLE_BASE_URL", "http://127.0.0.1:1").env("GOOGLE_SKIP_SIGNATURE", "true");
    let log = told(&command.output().unwrap());
    let row = &site.rows()["r"];
    let message = "table course_batch: source cannot be read: the object store cannot be reached";
    assert_eq!((row.status.as_str(), row.message.as_str()), ("SUBMITTED", message), "{log}");
}

/// The issue's own figures: 60 requests over 25 overlapping batches of one job in one scan.
#[test]
fn sixty_requests_over_25_batches_are_one_load_and_25_generations() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    sample(&data);
    let requests = sample_requests::requests(0.001, 60, 25);
    let batches: BTreeSet<&String> = requests.iter().flat_map(|request| &request.batches).collect();
    assert_eq!(batches.len(), 25);
    let expected = OnceCell::new();
    each(|database, store| {
        for threads in [1, 2] {
            database.execute("DROP TABLE IF EXISTS job_request");
            let site =
                Site::new(database, &data, &format!("{JOBS}[worker]\nthreads = {threads}\n"), "").storing_in(store);
            for (n, request) in requests.iter().enumerate() {
                site.insert("load", &format!("r{n:02}"), "course-report", &request.request_data);
            }
            let output = site.run(&["run", "--once"]);
            assert!(output.status.success(), "{}", told(&output));
            assert!(told(&output).contains("60 requests: 60 completed, 0 failed"), "{}", told(&output));
            let rows = site.rows();
            assert!(rows.values().all(|seen| seen.status == "COMPLETED"));
            let wanted: usize = requests.iter().map(|request| request.batches.len()).sum();
            assert_eq!(rows.values().map(|seen| seen.urls.len()).sum::<usize>(), wanted);
            // The last one to be written back knows what the whole group took.
            let group = |key: &str| rows.values().map(|seen| seen.stats["group"][key].as_u64().unwrap()).max().unwrap();
            assert_eq!((group("requests"), group("loads"), group("batches_generated")), (60, 1, 25));
            assert_eq!(group("batches_shared"), wanted as u64 - 25);
            // The same on any number of threads, from any database and in any store.
            let files = files(&site);
            assert!(
                *expected.get_or_init(|| files.clone()) == files,
                "other bytes with {threads} threads in {store:?}"
            );
        }
    });
}

/// With little memory the same files come of several loads, whichever the report.
#[test]
fn what_does_not_fit_in_memory_is_worked_in_parts() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    sample(&data);
    let requests = sample_requests::requests(0.001, 60, 25);
    // Parts are the load's: a store sees files, however they were loaded.
    each_way(|database| {
        for job in ["course-report", "assessment-report"] {
            let mut outputs = Vec::new();
            // A part of this size has about two hundred enrolments; of one byte it is a batch, or a key range of one.
            for (memory, loads) in [("2GiB", 1..2), ("128KiB", 3..30), ("1", 26..80)] {
                database.execute("DROP TABLE IF EXISTS job_request");
                let site = Site::new(database, &data, &format!("{JOBS}[worker]\nmemory = \"{memory}\"\n"), "");
                for (n, request) in requests.iter().enumerate() {
                    site.insert("load", &format!("r{n:02}"), job, &request.request_data.replace("course-report", job));
                }
                let output = site.run(&["run", "--once"]);
                assert!(told(&output).contains("60 requests: 60 completed, 0 failed"), "{}", told(&output));
                let rows = site.rows();
                let group = |key: &str| rows.values().map(|seen| seen.stats["group"][key].as_u64().unwrap()).max();
                let made = group("loads").unwrap();
                assert!(loads.contains(&made), "{job} with {memory}: {made} loads");
                assert_eq!(group("batches_generated"), Some(25));
                outputs.push(files(&site));
            }
            assert!(outputs[0] == outputs[1] && outputs[0] == outputs[2], "{job}: other bytes");
        }
    });
}

/// The same files, whatever the format, and the same counts of odd rows.
#[test]
fn a_batch_that_is_more_than_memory_is_worked_on_in_key_ranges() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let options = SampleOptions { scale: 0.002, format: Format::Parquet, ..SampleOptions::small(&data) };
    sample_data::generate(&options, &|_, _| ()).unwrap();
    let database = TestDatabase::sqlite();
    let jobs = JOBS.replace("\nreport =", "\ncompress = \"gzip\"\nreport =");
    let made = |memory: &str| {
        database.execute("DROP TABLE IF EXISTS job_request");
        let site = Site::new(&database, &data, &format!("{jobs}[worker]\nmemory = \"{memory}\"\n"), "");
        for job in ["course-report", "assessment-report"] {
            for format in ["csv", "json", "parquet", "xlsx"] {
                let request = format!(r#"{{"batchFilters": ["TPD"], "output_format": "{format}"}}"#);
                site.insert(job, &format!("{job}-{format}"), job, &request);
            }
        }
        let output = site.command(&["run", "--once"]).env("RUST_LOG", "info").output().unwrap();
        let log = told(&output);
        assert!(log.contains("8 requests: 8 completed, 0 failed"), "{log}");
        let files = |(id, mut seen): (String, Seen)| {
            let name = |url: &String| url.rsplit('/').next().unwrap().to_owned();
            let files: BTreeMap<_, _> = seen.urls.iter().map(|url| (name(url), site.bytes(url))).collect();
            let stats = seen.stats.as_object_mut().unwrap();
            let loads = stats.remove("group").unwrap()["loads"].as_u64().unwrap();
            // Learners of several batches are read with each of them.
            stats["bad_rows"].as_object_mut().unwrap().remove("user");
            (id, (files, seen.stats, loads))
        };
        (site.rows().into_iter().map(files).collect::<BTreeMap<_, _>>(), log)
    };
    let (expected, log) = made("2GiB");
    assert!(!log.contains("in learner ranges"), "{log}");
    let (in_ranges, log) = made("96KiB");
    assert!(log.matches("worked on in learner ranges").count() > 4, "{log}");
    for (id, (files, stats, loads)) in in_ranges {
        assert!(files.len() > 2 && loads > 15, "{id}: {loads} loads");
        assert!(files == expected[&id].0, "{id}: other bytes");
        assert_eq!(stats, expected[&id].1, "{id}");
    }
}

/// They are written back in one question, and the database takes all of them but one.
#[test]
fn a_row_that_is_refused_costs_no_other_its_report() {
    each(|database, store| {
        let site = Site::new(database, &fixture("odd"), JOBS, "").storing_in(store);
        assert!(site.run(&["migrate"]).status.success());
        database.execute(if database.is_postgres() {
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;
             CREATE TRIGGER refuse BEFORE UPDATE ON job_request FOR EACH ROW
                WHEN (NEW.request_id = 'r3' AND NEW.status = 'COMPLETED') EXECUTE FUNCTION refuse()"
        } else {
            "CREATE TRIGGER refuse BEFORE UPDATE ON job_request
                WHEN NEW.request_id = 'r3' AND NEW.status = 'COMPLETED' BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        });
        for n in 0..6 {
            site.insert("t", &format!("r{n}"), "course-report", &format!(r#"{{"batchId": "{BATCH}"}}"#));
        }
        // While the first is written back all others end.
        let output =
            site.command(&["run", "--once"]).env("EXHAUST_TEST_POINT", "writing-back:delay=300").output().unwrap();
        let log = told(&output);
        assert!(!output.status.success(), "{log}");
        assert_eq!(log.matches("request could not be written back request=t/r3").count(), 1, "{log}");
        for (id, seen) in site.rows() {
            assert_eq!(seen.status, if id == "r3" { "PROCESSING" } else { "COMPLETED" }, "{id}: {log}");
        }
    });
}

/// Every way in which one request can be wrong: it fails with these words, and its neighbours complete.
#[test]
fn a_wrong_request_fails_alone_in_words_that_a_client_understands() {
    let wrong = [
        ("not-json", "{\"batchId\": ", "request_data is not JSON"),
        ("not-an-object", "[1, 2]", "request_data must be an object"),
        ("unknown-key", r#"{"batchfilters": ["TPD"]}"#, "unknown key 'batchfilters'"),
        ("wrong-type", r#"{"batchFilters": "TPD"}"#, "batchFilters must be"),
        ("empty-filter", r#"{"batchFilters": []}"#, "batchFilters is empty"),
        ("no-filter", "{}", "batchFilters"),
        ("no-batch", r#"{"batchId": "nowhere"}"#, "No data found"),
        (
            "climbs",
            r#"{"batchId": "0130000000000000001", "reportPath": "../x"}"#,
            "reportPath must not contain a segment '..'",
        ),
        (
            "format",
            r#"{"batchId": "0130000000000000001", "output_format": "pdf"}"#,
            "output_format 'pdf' is unknown; use one of: csv, json, parquet, xlsx",
        ),
    ];
    each(|database, store| {
        let site = Site::new(database, &fixture("odd"), JOBS, "").storing_in(store);
        let good = format!(r#"{{"batchId": "{BATCH}"}}"#);
        site.insert("t", "good-1", "course-report", &good);
        for (id, request_data, _) in wrong {
            // A json column of PostgreSQL takes no broken JSON.
            if id != "not-json" || !database.is_postgres() {
                site.insert("t", id, "course-report", request_data);
            }
        }
        site.insert("t", "good-2", "course-report", &good);
        site.insert("t", "foreign", "their-own-job", &good);
        let before = site.database.query_text("SELECT * FROM job_request WHERE request_id = 'foreign'");
        let output = site.run(&["run", "--once"]);
        assert_eq!(output.status.code(), Some(1), "some failed: {}", told(&output));
        let rows = site.rows();
        for (id, _, message) in wrong {
            if let Some(seen) = rows.get(id) {
                assert_eq!(seen.status, "FAILED", "{id}");
                assert!(seen.message.contains(message), "{id}: {}", seen.message);
                assert!(seen.message.chars().count() <= 100);
                assert!(seen.urls.is_empty());
            }
        }
        let expected = fs::read_to_string(fixture("odd").join(format!("expected/course-{BATCH}.csv"))).unwrap();
        for id in ["good-1", "good-2"] {
            assert_eq!(rows[id].status, "COMPLETED", "{}", rows[id].message);
            assert_eq!(site.file(&rows[id].urls[0]), expected);
        }
        let columns = before[0].len();
        let after = site.database.query_text("SELECT * FROM job_request WHERE request_id = 'foreign'");
        assert_eq!(after[0][..columns], before[0], "a row of another system is left as it was");
    });
}

/// Copies a fixture, to break a table of it.
fn copied(name: &str, directory: &Path) -> PathBuf {
    let to = directory.join("data");
    fs::create_dir(&to).unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
    to
}

/// A broken table fails the requests that need it, and nothing else.
#[test]
fn a_broken_table_fails_only_the_requests_that_need_it() {
    type Break = fn(&Path);
    let broken: [(&str, Break, &[&str]); 4] = [
        ("missing", |data| fs::remove_file(data.join("user_activity_agg.csv")).unwrap(), &["user_activity_agg"]),
        (
            "truncated",
            |data| {
                fs::remove_file(data.join("user_activity_agg.csv")).unwrap();
                fs::write(data.join("user_activity_agg.parquet"), b"PAR1 and then nothing").unwrap();
            },
            &["user_activity_agg", "user_activity_agg.parquet"],
        ),
        (
            "without a key column",
            |data| {
                let file = data.join("user_activity_agg.csv");
                let text = fs::read_to_string(&file).unwrap().replacen("user_id", "user", 1);
                fs::write(file, text).unwrap();
            },
            &["user_activity_agg", "user_activity_agg.csv", "user_id"],
        ),
        (
            "with too many unusable rows",
            |data| {
                let mut file = fs::OpenOptions::new().append(true).open(data.join("user_activity_agg.csv")).unwrap();
                for _ in 0..11 {
                    writeln!(file, "broken").unwrap();
                }
            },
            &["user_activity_agg", "user_activity_agg.csv line ", "broken CSV line"],
        ),
    ];
    for (what, damage, named) in broken {
        each(|database, store| {
            let directory = tempfile::tempdir().unwrap();
            let data = copied("odd", directory.path());
            damage(&data);
            let site = Site::new(database, &data, JOBS, "").storing_in(store);
            site.insert("t", "course", "course-report", &format!(r#"{{"batchId": "{BATCH}"}}"#));
            site.insert("t", "assessment", "assessment-report", r#"{"batchId": "0130000000000000002"}"#);
            let output = site.run(&["run", "--once"]);
            let rows = site.rows();
            assert_eq!(rows["course"].status, "FAILED", "{what}: {}", told(&output));
            for name in named {
                assert!(rows["course"].message.contains(name), "{what}: {}", rows["course"].message);
            }
            assert_eq!(rows["assessment"].status, "COMPLETED", "{what}: {}", rows["assessment"].message);
        });
    }
}

/// What is left out is named, and the rest is delivered.
#[test]
fn batches_that_cannot_be_made_are_listed_and_the_rest_is_delivered() {
    each(|database, store| {
        let site = Site::new(database, &fixture("odd"), JOBS, "").storing_in(store);
        let ids = format!(r#"{{"batchFilter": ["{BATCH}", "nowhere", "0130000000000000005"]}}"#);
        site.insert("t", "some", "course-report", &ids);
        let output = site.run(&["run", "--once"]);
        let seen = &site.rows()["some"];
        assert_eq!((seen.status.as_str(), seen.urls.len()), ("COMPLETED", 1), "{}", told(&output));
        let left_out = &seen.stats["batches_left_out"];
        assert_eq!(left_out["unknown"], serde_json::json!(["nowhere"]));
        assert_eq!(left_out["no_content"], serde_json::json!(["0130000000000000005"]));
    });
}

/// A standalone job makes its own rows, one for each slot, and works on them.
#[test]
fn a_standalone_job_makes_its_own_request() {
    each(|database, store| {
        let jobs = format!(
            "[[job]]\nid = \"mine\"\nreport = \"course\"\nmode = \"standalone\"\nschedule = \"* * * * * *\"\nconfig = \
             {{ batchId = \"{BATCH}\" }}\n"
        );
        let site = Site::new(database, &fixture("odd"), &jobs, "").storing_in(store);
        // At first sight counting starts; a slot has come by the time of one of the next runs.
        assert!(site.run(&["run", "--once"]).status.success());
        assert!(site.rows().is_empty(), "nothing is made up for the time before");
        // Slots come once a second, and a run takes a fiftieth of one.
        let rows = wait_for("a slot", || {
            let output = site.run(&["run", "--once"]);
            assert!(output.status.success(), "{}", told(&output));
            Some(site.rows()).filter(|rows| !rows.is_empty())
        });
        let (id, seen) = rows.first_key_value().unwrap();
        assert_eq!((id.len(), seen.status.as_str(), seen.urls.len()), (40, "COMPLETED", 1));
    });
}
