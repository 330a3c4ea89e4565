//! Reports in SQL on Sail, and on Spark where there is one: the bytes that PostgreSQL's rows give, and how they fail.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use exhaust::sample_data::{self, Format, SampleOptions};
use parquet::arrow::ArrowWriter;

use crate::databases::TestDatabase;
use crate::engine;
use crate::proxy::Proxy;
use crate::site::{Site, told, write_one_course};
use crate::sql_reports::{COLUMN, EXAMPLES, add_idle_learners, by_postgres, jobs, try_examples};

/// Lines of `[source]` for an engine `lake`.
pub(crate) fn lake(url: &str) -> String {
    format!(
        "[source.lake]\nkind = \"sql\"\ntransport = \"spark-connect\"\nurl = \"{url}\"\nmode = \"stream\"\n[source.tables]\n\
         assessment_aggregator = {{ from = \"lake\", relation = \"(SELECT 1 AS user_id)\" }}\n"
    )
}

/// The catalogue from files, and `lake` as the engine.
fn site<'a>(database: &'a TestDatabase, data: &Path, sources: &str, jobs: &str) -> Site<'a> {
    let site = Site::new(database, data, jobs, sources);
    fs::create_dir(site.path("queries")).unwrap();
    site
}

/// A CSV file as Parquet in which every column is text, as PostgreSQL has it in `sql_reports`.
fn as_parquet(csv: &Path, parquet: &Path) {
    let mut records = csv::Reader::from_path(csv).unwrap();
    let names: Vec<String> = records.headers().unwrap().iter().map(str::to_owned).collect();
    let rows: Vec<csv::StringRecord> = records.records().map(Result::unwrap).collect();
    let column = |at: usize| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.get(at).unwrap())))
    };
    let columns = names.iter().enumerate().map(|(at, name)| (name, column(at)));
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(parquet).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn the_examples_are_what_is_computed_from_the_same_tables() {
    let directory = tempfile::tempdir().unwrap();
    let all = directory.path().join("all");
    let options = SampleOptions { format: Format::Csv, ..SampleOptions::small(&all) };
    sample_data::generate(&options, &|_, _| ()).unwrap();
    add_idle_learners(&all);
    let tables = ["user_enrolments", "user_activity_agg", "user"];
    let place = |table: &str| directory.path().join(format!("{table}.parquet"));
    for table in tables {
        as_parquet(&all.join(format!("{table}.csv")), &place(table));
    }
    engine::each(|_, url| {
        let database = TestDatabase::sqlite();
        let site = site(&database, &all, &lake(url), &jobs(&EXAMPLES));
        try_examples(&site, &all, &|query| {
            let mut query = query.replace("JOIN \"user\"", "JOIN user");
            for (table, word) in tables.into_iter().flat_map(|table| [(table, "FROM"), (table, "JOIN")]) {
                for end in [" ", "\n"] {
                    let there = format!("{word} {}{end}", engine::parquet(&place(table)));
                    query = query.replace(&format!("{word} {table}{end}"), &there);
                }
            }
            query
        });
    });
}

/// Columns of the test below.
const ALL_KINDS: &str = "order_by = [\"n\"]\ncolumns = [{ name = \"n\" }, { name = \"price\" }, { name = \"ratio\" }, \
                         { name = \"share\" }, { name = \"at\" }, { name = \"day\" }, { name = \"done\" }, { name = \"word\" }, \
                         { name = \"none\" }]";

/// A query that PostgreSQL, Sail and Spark understand once DOUBLE is written as each of them does.
const KINDS_QUERY: &str = "SELECT b.batchid, v.n, CAST(v.price AS DECIMAL(10, 2)) AS price, CAST(v.ratio AS DOUBLE) AS ratio, \
     CAST(v.share AS REAL) AS share, CAST(v.at AS TIMESTAMP) AS at, CAST(v.at AS DATE) AS day, v.done, v.word, NULL AS none \
     FROM {batches} AS b CROSS JOIN (VALUES \
     (10, '1.50', '0.1', '0.1', '2020-02-05 10:00:00.5', true, 'a,\"b'), \
     (9, '-0.00', '1e23', '16777216', '1999-12-31 23:59:59.000001', false, '😀'), \
     (-1, '100', '-2.5e-10', '3.4e38', '0001-01-01 00:00:00', true, ' =1'), \
     (3, '12345678.9', '123456789012345680000', '-0.0', '9999-12-31 23:59:59', false, ''), \
     (4, CAST(NULL AS CHAR(1)), 'NaN', '1e-45', CAST(NULL AS CHAR(1)), NULL, CAST(NULL AS CHAR(1)))\
     ) AS v (n, price, ratio, share, at, done, word)";

#[test]
fn every_engine_gives_the_same_bytes() {
    let Some(postgres) = TestDatabase::postgres() else { return };
    let directory = tempfile::tempdir().unwrap();
    write_one_course(
        directory.path(),
        "courseid,batchid\ndo_1,1'\ndo_1,2\n",
        "userid\nu\n",
        "batchid,userid,courseid\n",
    );
    let made = |sources: &str, query: String| -> BTreeMap<String, String> {
        let database = TestDatabase::sqlite();
        let site = site(&database, directory.path(), sources, &jobs(&[("kinds", ALL_KINDS)]));
        fs::write(site.path("queries/kinds.sql"), query).unwrap();
        for format in ["csv", "json", "xlsx", "parquet"] {
            let request = format!(r#"{{"batchFilter": ["1'", "2"], "output_format": "{format}"}}"#);
            site.insert("t", format, "kinds", &request);
        }
        let output = site.run(&["run", "--once"]);
        assert!(told(&output).contains("4 completed, 0 failed"), "{}\n{:?}", told(&output), site.rows());
        let text = |url: &String| (url.rsplit('/').next().unwrap().to_owned(), site.bytes(url));
        let rows = site.rows();
        rows.values().flat_map(|row| row.urls.iter().map(text)).map(|(name, bytes)| (name, hex(&bytes))).collect()
    };
    let expected = made(&by_postgres(&postgres), KINDS_QUERY.replace("DOUBLE", "DOUBLE PRECISION"));
    assert_eq!(expected.len(), 8);
    assert_eq!(
        expected["reports-2.csv"],
        "n,price,ratio,share,at,day,done,word,none\n\
         -1,100,-0.00000000025,340000000000000000000000000000000000000,0001-01-01 00:00:00,01/01/0001,true,' =1,\n\
         3,12345678.9,123456789012345680000,0,9999-12-31 23:59:59,31/12/9999,false,,\n\
         4,,NaN,0.000000000000000000000000000000000000000000001,,,,,\n\
         9,0,100000000000000000000000,16777216,1999-12-31 23:59:59.000001,31/12/1999,false,😀,\n\
         10,1.5,0.1,0.1,2020-02-05 10:00:00.5,05/02/2020,true,\"a,\"\"b\",\n"
    );
    engine::each(|name, url| {
        let made = made(&lake(url), KINDS_QUERY.to_owned());
        for (file, bytes) in &expected {
            assert_eq!(&made[file], bytes, "{file} on {name}");
        }
        assert_eq!(made.len(), expected.len(), "{name}");
    });
}

fn hex(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap_or_else(|_| format!("{bytes:02x?}"))
}

/// One batch `1'` and one `2`; a request for both for each of these queries.
#[test]
fn what_a_query_may_not_return_fails_its_request() {
    let wide = format!("{COLUMN}\nmax_rows = 1");
    let slow = format!("{COLUMN}\nmax_time = \"1s\"");
    let forever = "SELECT batchid, (SELECT count(*) FROM range(100000000) AS a CROSS JOIN range(100000000) AS b WHERE (a.id * \
                   b.id) % 7 = 3) AS n FROM {batches}";
    let cases = [
        (
            "good",
            COLUMN,
            "SELECT batchid, 10 AS n FROM {batches} WHERE batchid <> '2' UNION ALL SELECT '1\\'', 9 -- here",
        ),
        ("ties", COLUMN, "SELECT batchid, n FROM {batches} CROSS JOIN (VALUES (1.0), (1)) AS v (n)"),
        ("foreign", COLUMN, "SELECT batchid || 'x' AS batchid, 1 AS n FROM {batches}"),
        ("null", COLUMN, "SELECT CAST(NULL AS STRING) AS batchid, 1 AS n FROM {batches}"),
        ("wide", wide.as_str(), "SELECT batchid, 1 AS n FROM {batches}"),
        ("slow", slow.as_str(), forever),
        ("nested", COLUMN, "SELECT batchid, array(1) AS n FROM {batches}"),
        (
            "raised",
            COLUMN,
            "SELECT batchid, CASE WHEN batchid = '2' THEN 1 ELSE CAST(raise_error('x') AS INT) END AS n FROM {batches}",
        ),
        ("lacking", COLUMN, "SELECT batchid FROM {batches}"),
        ("wrong", COLUMN, "SELECT batchid, missing AS n FROM {batches}"),
    ];
    engine::each(|name, url| {
        let directory = tempfile::tempdir().unwrap();
        let batches = "courseid,batchid\ndo_1,1'\ndo_1,2\n";
        write_one_course(directory.path(), batches, "userid\nu\n", "batchid,userid,courseid\n");
        let database = TestDatabase::sqlite();
        let keys: Vec<(&str, &str)> = cases.iter().map(|(name, keys, _)| (*name, *keys)).collect();
        let site = site(&database, directory.path(), &lake(url), &jobs(&keys));
        for (id, _, query) in cases {
            fs::write(site.path(&format!("queries/{id}.sql")), query).unwrap();
            site.insert("t", id, id, r#"{"batchFilter": ["1'", "2"]}"#);
        }
        // In the order of submission: the first one fails by its data, the second one has other data.
        site.insert("t", "raised-0", "raised", r#"{"batchId": "1'"}"#);
        site.insert("t", "raised-1", "raised", r#"{"batchId": "2"}"#);
        let checked = site.run(&["check"]);
        assert_eq!(checked.status.code(), Some(3), "{}", told(&checked));
        assert!(told(&checked).contains("query of nested, query of lacking, query of wrong"), "{}", told(&checked));
        let output = site.run(&["run", "--once"]);
        let rows = site.rows();
        assert!(told(&output).contains("2 completed, 10 failed"), "{name}: {}\n{rows:?}", told(&output));
        let made: Vec<String> = rows["good"].urls.iter().map(|url| site.file(url)).collect();
        assert_eq!(made, ["n\n9\n10\n", "n\n"], "{name}");
        assert_eq!(rows["raised-1"].status, "COMPLETED", "{name}");
        for (id, message) in [
            ("ties", "order_by is not total"),
            ("foreign", "the query returned a row whose batchid is none of the request's"),
            ("null", "the query returned a row whose batchid is null"),
            ("wide", "too_large: the query returned more than 1 rows"),
            ("slow", "timeout: the query took more than 1 s"),
            ("nested", "cast it to text"),
            ("raised", "the engine"),
            ("raised-0", "the engine"),
            ("lacking", "the engine"),
            ("wrong", "the engine"),
        ] {
            let row = &rows[id];
            let fails = row.status == "FAILED" && row.message.contains(message) && row.urls.is_empty();
            assert!(fails, "{id} on {name}: {row:?}");
        }
    });
}

/// The connection to the engine breaks in the middle of its rows: the request is tried again, and no file is thin.
#[test]
fn an_engine_that_breaks_off_delays() {
    let Some(url) = engine::sail() else { return };
    let directory = tempfile::tempdir().unwrap();
    write_one_course(directory.path(), "courseid,batchid\ndo_1,2\n", "userid\nu\n", "batchid,userid,courseid\n");
    let proxy = Proxy::start(url.strip_prefix("sc://").unwrap().parse().unwrap());
    for split in ["split_by = \"batchid\"\n", ""] {
        let database = TestDatabase::sqlite();
        let job = jobs(&[("one", COLUMN)]).replace("split_by = \"batchid\"\n", split);
        let site = site(&database, directory.path(), &lake(&format!("sc://{}", proxy.address())), &job);
        let query = "SELECT batchid, id AS n FROM {batches} CROSS JOIN range(50000)";
        fs::write(site.path("queries/one.sql"), query).unwrap();
        site.insert("t", "r", "one", r#"{"batchId": "2"}"#);
        proxy.break_after(100_000);
        site.run(&["run", "--once"]);
        let row = &site.rows()["r"];
        assert!(row.status == "SUBMITTED" && row.urls.is_empty(), "nothing broke: {row:?}");
        database.execute("UPDATE job_request SET next_attempt_at = NULL");
        site.run(&["run", "--once"]);
        let row = &site.rows()["r"];
        assert_eq!(row.status, "COMPLETED", "{}", row.message);
        let numbers: Vec<String> = (0..50_000).map(|n| n.to_string()).collect();
        assert!(site.file(&row.urls[0]) == format!("n\n{}\n", numbers.join("\n")), "another file");
    }
}

/// Which sources may be asked.
#[test]
fn an_engine_that_takes_no_statements_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let database = TestDatabase::sqlite();
    let sources = format!(
        "[source.lake]\nkind = \"sql\"\ntransport = \"command\"\ninput = \"plan\"\ncommand = [\"true\"]\nstage = \"{}\"\n\
         [source.tables]\nuser = {{ from = \"lake\" }}\n",
        directory.path().display()
    );
    let site = site(&database, directory.path(), &sources, &jobs(&[("one", COLUMN)]));
    fs::write(site.path("queries/one.sql"), "SELECT batchid, 1 AS n FROM {batches}").unwrap();
    let output = site.run(&["check"]);
    let refused = "`engine`: a source with `transport = \"command\"` answers no queries of reports";
    assert!(output.status.code() == Some(2) && told(&output).contains(refused), "{}", told(&output));
}
