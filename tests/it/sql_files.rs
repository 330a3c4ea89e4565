//! Reports in SQL whose files are not one for each batch, and values of the request in their queries: on PostgreSQL, on Sail, and
//! on Spark where there is one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::collections::BTreeMap;
use std::fs;

use serde_json::json;

use crate::daemon::{Daemon, wait_for};
use crate::databases::TestDatabase;
use crate::engine;
use crate::http::Server;
use crate::site::{Site, told, write_one_course};
use crate::sql_engines::lake;
use crate::sql_reports::{COLUMN, by_postgres};

/// Runs `test` with lines of `[source]` for each engine.
fn on_each(test: impl Fn(&str)) {
    if let Some(database) = TestDatabase::postgres() {
        eprintln!("on PostgreSQL");
        test(&by_postgres(&database));
    }
    engine::each(|_, url| test(&lake(url)));
}

/// Three batches of one course, `1'`, `2` and `3`, and a job for each of these: name, keys, query.
fn tried(sources: &str, jobs: &[(&str, &str, &str)], test: impl FnOnce(&Site<'_>)) {
    let directory = tempfile::tempdir().unwrap();
    let batches = "courseid,batchid\ndo_1,1'\ndo_1,2\ndo_1,3\n";
    write_one_course(directory.path(), batches, "userid\nu\n", "batchid,userid,courseid\n");
    let job = |(id, keys, _): &(&str, &str, &str)| {
        format!("[[job]]\nid = \"{id}\"\nreport = \"sql\"\nengine = \"lake\"\nquery = \"queries/{id}.sql\"\n{keys}\n")
    };
    let database = TestDatabase::sqlite();
    let site = Site::new(&database, directory.path(), &jobs.iter().map(job).collect::<String>(), sources);
    fs::create_dir(site.path("queries")).unwrap();
    for (id, _, query) in jobs {
        fs::write(site.path(&format!("queries/{id}.sql")), query).unwrap();
    }
    test(&site);
}

/// The files of a request: their names, and what is in them.
fn files(site: &Site<'_>, id: &str) -> Vec<(String, String)> {
    let row = &site.rows()[id];
    assert_eq!(row.status, "COMPLETED", "{id}: {}", row.message);
    row.urls.iter().map(|url| (url.rsplit('/').next().unwrap().to_owned(), site.file(url))).collect()
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn without_a_division_a_request_has_one_file_which_others_of_the_same_batches_share() {
    on_each(|sources| {
        let query = "SELECT batchid AS n FROM {batches} WHERE batchid <> '3'";
        tried(sources, &[("one", COLUMN, query)], |site| {
            for (id, batches) in [("a", r#""1'", "2""#), ("b", r#""2", "1'""#), ("c", r#""2""#), ("none", r#""3""#)] {
                site.insert("t", id, "one", &format!(r#"{{"batchFilter": [{batches}]}}"#));
            }
            let output = site.run(&["run", "--once"]);
            assert!(told(&output).contains("4 completed, 0 failed"), "{}", told(&output));
            for id in ["a", "b"] {
                assert_eq!(files(site, id), pairs(&[("reports-all.csv", "n\n1'\n2\n")]), "{id}");
                let group = &site.rows()[id].stats["group"];
                let counted = ["loads", "batches_generated", "batches_shared"].map(|name| group[name].as_u64());
                assert_eq!(counted, [Some(1); 3], "{group}");
            }
            assert_eq!(files(site, "c"), pairs(&[("reports-all.csv", "n\n2\n")]));
            assert_eq!(files(site, "none"), pairs(&[("reports-all.csv", "n\n")]), "a header alone");
        });
    });
}

/// A query with these rows of (k, n) for each of the batches.
fn values(rows: &str) -> String {
    format!("SELECT k, n FROM {{batches}} AS b CROSS JOIN (VALUES {rows}) AS v (k, n)")
}

#[test]
fn every_value_of_a_column_has_a_file() {
    on_each(|sources| {
        let keys = format!("split_by = \"k\"\n{COLUMN}");
        let few = format!("{keys}\nmax_batches = 2");
        let named =
            "split_by = \"k\"\norder_by = [\"k\", \"n\"]\ncolumns = [{ name = \"k\" }, { name = \"n\" }]".to_owned();
        let good = values("('a/b', 1), ('.x', 2), (CAST(NULL AS CHAR(1)), 3), ('ä', 4), ('a/b', 0)");
        let cases = [
            ("good", &keys, good.clone()),
            ("named", &named, values("('b', 2), ('a', 1), ('b', 1)")),
            ("many", &few, good),
            ("empty", &keys, values("('a', 1), ('', 2)")),
            ("long", &keys, values("('a', 1), (repeat('x', 300), 2)")),
            ("none", &keys, values("('a', 1)") + " WHERE n > 1"),
            ("ties", &keys, values("('a', 1), ('b', 1), ('b', 1)")),
        ];
        let jobs: Vec<(&str, &str, &str)> =
            cases.iter().map(|(id, keys, query)| (*id, keys.as_str(), query.as_str())).collect();
        tried(sources, &jobs, |site| {
            for (id, ..) in &cases {
                site.insert("t", id, id, r#"{"batchId": "2"}"#);
            }
            let output = site.run(&["run", "--once"]);
            assert!(told(&output).contains("2 completed, 5 failed"), "{}", told(&output));
            let expected = [
                ("reports-%00.csv", "n\n3\n"),
                ("reports-%2Ex.csv", "n\n2\n"),
                ("reports-a%2Fb.csv", "n\n0\n1\n"),
                ("reports-%C3%A4.csv", "n\n4\n"),
            ];
            assert_eq!(files(site, "good"), pairs(&expected));
            let expected = [("reports-a.csv", "k,n\na,1\n"), ("reports-b.csv", "k,n\nb,1\nb,2\n")];
            assert_eq!(files(site, "named"), pairs(&expected), "the column may be written as well");
            for (id, message) in [
                ("many", "too_large: the query returned more than 2 values of k"),
                ("empty", "the query returned a row whose k is empty text"),
                ("long", "a value of k is too long for a file to be called after it"),
                ("none", "No data found: the query returned no rows"),
                ("ties", "order_by is not total: two rows of k b are equal in it"),
            ] {
                let row = &site.rows()[id];
                assert!(
                    row.status == "FAILED" && row.message.contains(message) && row.urls.is_empty(),
                    "{id}: {row:?}"
                );
            }
        });
    });
}

/// A daemon that is killed between two files: the next one asks again and makes the file that is missing.
#[test]
fn stored_files_of_values_are_taken_over() {
    let Some(lake) = TestDatabase::postgres() else { return };
    let keys = format!("split_by = \"k\"\n{COLUMN}\n[worker]\nlease = \"2s\"\nthreads = 1\n");
    tried(&by_postgres(&lake), &[("one", &keys, &values("('a', 1), ('b', 2)"))], |site| {
        assert!(site.run(&["migrate"]).status.success());
        site.insert("t", "r", "one", r#"{"batchId": "2"}"#);
        let first = Daemon::start(site, "generating=b:pause");
        let noted = || site.database.query_text("SELECT processed_batches FROM job_request").remove(0).remove(0);
        wait_for("the first file", || noted().filter(|noted| noted.contains("reports-a.csv")));
        first.kill();
        let second = Daemon::start(site, "");
        second.logs("request resumed request=t/r stored=1 of=2");
        wait_for("its end", || (site.rows()["r"].status == "COMPLETED").then_some(()));
        assert_eq!(files(site, "r"), pairs(&[("reports-a.csv", "n\n1\n"), ("reports-b.csv", "n\n2\n")]));
        let claims: Vec<String> =
            site.rows()["r"].urls.iter().map(|url| url.rsplit('/').nth(1).unwrap().to_owned()).collect();
        assert_ne!(claims[0], claims[1], "the first file was made again");
    });
}

/// Values that a client chose, none of which is part of a statement.
const HOSTILE: &str = "a'b\"c`d\\ -- /* 😀 {batches} {request.tag} $1 ${x} :y ? ;";

#[test]
fn values_of_the_request_are_bound() {
    on_each(|sources| {
        let by_batch = "split_by = \"batchid\"\norder_by = [\"n\"]\ncolumns = [{ name = \"n\" }, { name = \"who\" }, { name = \"tag\" }]";
        let query = "SELECT batchid, {request.channel} AS n, {request.requested_by} AS who, {request.tag} AS tag FROM {batches} \
                     WHERE {request.tag} = 't' AND coalesce({request.channel}, '') <> 'nobody' -- 'x'";
        tried(sources, &[("one", by_batch, query)], |site| {
            assert!(site.run(&["check"]).status.success());
            let quoted = HOSTILE.replace('\'', "''");
            for (id, who) in
                [("hostile", format!("'{quoted}'")), ("null", "NULL".to_owned()), ("them", "'them'".to_owned())]
            {
                for twin in ["", "-2"] {
                    site.insert("t", &format!("{id}{twin}"), "one", r#"{"batchId": "2"}"#);
                    site.database.execute(&format!(
                        "UPDATE job_request SET requested_by = {who} WHERE request_id = '{id}{twin}'"
                    ));
                }
            }
            site.insert("u", "other", "one", r#"{"batchId": "2"}"#);
            let output = site.run(&["run", "--once"]);
            assert!(told(&output).contains("7 completed, 0 failed"), "{}", told(&output));
            let record = |id: &str| -> Vec<Vec<String>> {
                let made = files(site, id);
                let mut records = csv::ReaderBuilder::new().has_headers(false).from_reader(made[0].1.as_bytes());
                records.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
            };
            let header = ["n", "who", "tag"].map(str::to_owned).to_vec();
            let expected = BTreeMap::from([("hostile", HOSTILE), ("null", ""), ("them", "them")]);
            for (id, who) in expected {
                for twin in ["", "-2"] {
                    let row = ["channel", who, "t"].map(str::to_owned).to_vec();
                    assert_eq!(record(&format!("{id}{twin}")), [header.clone(), row]);
                }
            }
            assert_eq!(record("other"), std::slice::from_ref(&header), "of another tag");
            let most = |name: &str| site.rows().values().filter_map(|row| row.stats["group"][name].as_u64()).max();
            let counted = [most("batches_generated"), most("batches_shared")];
            assert_eq!(counted, [Some(4), Some(3)], "twins share their file, others do not");
        });
    });
}

#[test]
fn a_report_of_all_rows_is_not_for_keys_that_are_limited_to_channels() {
    let Some(lake) = TestDatabase::postgres() else { return };
    tried(&by_postgres(&lake), &[("one", &format!("all_rows = true\n{COLUMN}"), "SELECT 1 AS n")], |site| {
        assert!(site.run(&["migrate"]).status.success());
        for id in ["free", "limited"] {
            site.insert("t", id, "one", r#"{"batchId": "2"}"#);
        }
        site.database.execute("UPDATE job_request SET allowed_channels = '[\"c\"]' WHERE request_id = 'limited'");
        site.run(&["run", "--once"]);
        assert_eq!(files(site, "free"), pairs(&[("reports-all.csv", "n\n1\n")]));
        let row = &site.rows()["limited"];
        assert!(row.status == "FAILED" && row.message.contains("limited to channels"), "{row:?}");
        // The SHA-256 of `key-of-a`.
        let key = "sha256 = \"ee063bb3d7270fdf6148f09dde510a5cf346c4aa4dd2ff4b2caec5348d799043\"";
        let api = format!(
            "[api]\nlisten = \"127.0.0.1:0\"\n[[api.keys]]\nname = \"a\"\n{key}\ntags = [\"t\"]\nchannels = [\"c\"]\n"
        );
        let file = site.path("jobs.toml");
        fs::write(&file, format!("{}\n{api}", fs::read_to_string(&file).unwrap())).unwrap();
        let server = Server::start(site, "serve");
        let body = json!({ "request": { "tag": "t", "jobId": "one", "jobConfig": { "batchId": "2" }, "requestedChannel": "c" } });
        let headers = [("authorization", "Bearer key-of-a"), ("content-type", "application/json")];
        let refused = server.call("POST", "/job/request/submit", &headers, body.to_string().as_bytes());
        assert!(refused.status == 400 && refused.errmsg().contains("limited to channels"), "{}", refused.errmsg());
    });
}

#[test]
fn explain_shows_the_statement_and_the_plan_of_the_engine() {
    on_each(|sources| {
        let query = "SELECT batchid AS n FROM {batches} WHERE batchid <> coalesce({request.tag}, '')";
        tried(sources, &[("one", COLUMN, query)], |site| {
            assert!(site.run(&["migrate"]).status.success());
            site.insert("t''1", "r", "one", r#"{"batchFilter": ["2", "77"]}"#);
            let explained = site.run(&["explain", "--request", "t'1", "r"]);
            let text = told(&explained);
            assert!(explained.status.success(), "{text}");
            for part in
                ["one would make 1 file:", "SELECT batchid AS n FROM exhaust_batches WHERE", "left out, unknown: 77"]
            {
                assert!(text.contains(part), "{part}: {text}");
            }
            let json = site.run(&["explain", "--request", "t'1", "r", "--json"]);
            let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
            assert_eq!(json["batches"][0]["batch_id"], "2");
            let statement = json["statement"].as_str().unwrap();
            assert!(!statement.contains("t'1"), "a client's value stands in the statement: {statement}");
            assert!(site.run(&["explain", "one", "--batch", "2"]).status.success(), "without a request");
            assert!(json["engine_plan"].as_array().unwrap().len() > 1, "{json}");
        });
    });
}

/// Faults of the configuration, each with what is said of it.
#[test]
fn wrong_divisions_are_refused_at_start() {
    let sources = "[source.lake]\nkind = \"postgres\"\nurl = \"postgres://nobody@127.0.0.1:1/none\"\n[source.tables]\nuser = { from = \
                   \"lake\" }\n";
    let good = "SELECT batchid AS n FROM {batches}";
    for (keys, query, message) in [
        (COLUMN.to_owned(), "SELECT 1 AS n", "if that is meant, set `all_rows = true`"),
        (
            "split_by = \"n\"\norder_by = [\"n\"]\ncolumns = [{ name = \"n\", personal = true }]".to_owned(),
            good,
            "`split_by`: column n is personal, and names of files are not protected",
        ),
        (
            format!("all_rows = true\nown_channel_only = true\n{COLUMN}"),
            good,
            "`all_rows` and `own_channel_only` exclude each other",
        ),
    ] {
        tried(sources, &[("one", &keys, query)], |site| {
            let output = site.run(&["check"]);
            assert!(output.status.code() == Some(2) && told(&output).contains(message), "{keys}: {}", told(&output));
        });
    }
}
