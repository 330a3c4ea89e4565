//! The work that one request, list or search can cause is bounded, on both databases.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::collections::BTreeSet;
use std::fmt::Write as _;

use fastrand::Rng;
use serde_json::{Map, Value, json};

use crate::api::{BATCH, SUBMIT, site, submission};
use crate::databases::{TestDatabase, each};
use crate::http::Server;

/// Bytes of jobs in one answer, and the little around them.
const ANSWER: usize = (4 << 20) + 1024;

/// More than is borne of one thing; or with `excess` 0 exactly as much as that.
struct Hostile {
    config: Value,
    /// What the refusal must name: the field and the bound.
    named: [String; 2],
}

fn names(random: &mut Rng, n: usize) -> Vec<String> {
    let salt = random.u32(..);
    (0..n).map(|i| format!("{salt:x}-{i}")).collect()
}

fn content(request: &Value) -> Value {
    let name = "contentFilters";
    json!({ name: { "request": request } })
}

/// One of the kinds of excess.
fn hostile(kind: usize, excess: usize, random: &mut Rng) -> Hostile {
    let own =
        |config: Value, field: &str, bound: usize| Hostile { config, named: [field.to_owned(), bound.to_string()] };
    let fields = |names: &[String], value: &Value| -> Value {
        names.iter().map(|name| (name.clone(), value.clone())).collect::<Map<_, _>>().into()
    };
    let filters = "contentFilters.request.filters";
    match kind {
        0 => {
            let names = names(random, 50 + excess);
            let value = [json!("x"), json!(7), json!({ "exists": true }), json!({ ">": 1 })][random.usize(..4)].clone();
            own(content(&json!({ "filters": fields(&names, &value) })), filters, 50)
        }
        1 => {
            let names = names(random, 5 + excess);
            let sort = fields(&names, &json!("asc"));
            own(content(&json!({ "filters": { "status": "Live" }, "sort_by": sort, "limit": 3 })), "sort_by", 5)
        }
        2 => {
            let values = names(random, 2000 + excess);
            let operator = ["", "notIn", "!="][random.usize(..3)];
            let filter = if operator.is_empty() { json!(values) } else { json!({ operator: values }) };
            own(content(&json!({ "filters": { "status": filter } })), filters, 2000)
        }
        3 => {
            let values = names(random, 2000 + excess);
            let (one, other) = values.split_at(random.usize(1..1999));
            own(content(&json!({ "filters": { "a": one, "b": { "notIn": other } } })), filters, 2000)
        }
        4 => own(json!({ "batchFilter": names(random, 1000 + excess) }), "batchFilter", 1000),
        5 => own(json!({ "batchFilters": { "ids": names(random, 1000 + excess) } }), "batchFilters.ids", 1000),
        6 => {
            own(json!({ "batchFilters": { "channels": names(random, 2000 + excess) } }), "batchFilters.channels", 2000)
        }
        7 => own(json!({ "batchFilters": names(random, 2000 + excess) }), "batchFilters", 2000),
        8 => {
            let listed = json!({ "filters": { "status": "x" }, "fields": names(random, 2000 + excess) });
            own(content(&listed), "fields", 2000)
        }
        9 => {
            // `{"jobConfig":…,"output_format":"csv"}` is what the row holds.
            let around = json!({ "jobConfig": { "batchId": "" }, "output_format": "csv" }).to_string().len();
            let letter = ["x", "é", "\\", "\u{1}"][random.usize(..4)];
            let bytes = json!(letter).to_string().len() - 2;
            let mut text = letter.repeat((65_536 - around) / bytes);
            text.push_str(&"x".repeat((65_536 - around) % bytes + excess));
            own(json!({ "batchId": text }), "jobConfig", 65_536)
        }
        _ => {
            // A jobConfig is one level, its field a second.
            let mut deep = json!(1);
            for _ in 0..15 + excess.min(90) {
                deep = if random.bool() { json!([deep]) } else { json!({ "a": deep }) };
            }
            own(json!({ "batchId": deep }), "jobConfig", 16)
        }
    }
}

const KINDS: usize = 11;

fn excess(random: &mut Rng) -> usize {
    1 + [0, 0, 1, 5, 40][random.usize(..5)] * random.usize(1..20)
}

fn assert_named(message: &str, hostile: &Hostile) {
    assert!(message.contains("too large"), "{message}");
    for part in &hostile.named {
        assert!(message.contains(part.as_str()), "{message}: {part}");
    }
}

#[test]
fn a_thousand_submissions_over_a_bound_are_refused_by_field_and_bound() {
    each(|database| {
        let site = site(database, "");
        let server = Server::start(&site, "serve");
        let mut random = Rng::with_seed(1);
        // Nothing of it reaches a database.
        for n in 0..if database.is_postgres() { 200 } else { 1000 } {
            let excess = excess(&mut random);
            let hostile = hostile(n % KINDS, excess, &mut random);
            let mut body = submission("hostile", BATCH);
            body["request"]["jobConfig"] = hostile.config.clone();
            let answer = server.post(SUBMIT, &body);
            assert_eq!(answer.status, 400, "{}", answer.errmsg());
            assert_named(&answer.errmsg(), &hostile);
        }
        for kind in 0..KINDS - 1 {
            let mut body = submission("honest", BATCH);
            body["request"]["jobConfig"] = hostile(kind, 0, &mut random).config;
            let answer = server.post(SUBMIT, &body);
            assert_eq!(answer.status, 200, "exactly the bound is borne: {kind} {}", answer.errmsg());
        }
        assert_eq!(crate::api::rows(database), KINDS - 1);
        // A body that is beyond its own bound stays what it was.
        let mut body = submission("hostile", BATCH);
        body["request"]["jobConfig"]["batchId"] = json!("x".repeat(1 << 20));
        assert_eq!(server.post(SUBMIT, &body).status, 413);
    });
}

/// Inserts rows as another system does, many in one statement.
fn insert(database: &TestDatabase, rows: &[(String, String)]) {
    for rows in rows.chunks(50) {
        let mut sql = "INSERT INTO job_request (tag, request_id, job_id, status, request_data, requested_by, \
                       requested_channel, dt_job_submitted) VALUES "
            .to_owned();
        for (n, (id, data)) in rows.iter().enumerate() {
            let tag = id.split('-').next().unwrap();
            let data = data.replace('\'', "''");
            let comma = if n == 0 { "" } else { ", " };
            write!(
                sql,
                "{comma}('{tag}', '{id}', 'course-report', 'SUBMITTED', '{data}', 'them', 'channel', '2026-01-01 00:00:00')"
            )
            .unwrap();
        }
        database.execute(&sql);
    }
}

#[test]
fn a_thousand_rows_over_a_bound_fail_and_no_other_with_them() {
    each(|database| {
        let site = site(database, "");
        assert!(site.run(&["migrate"]).status.success());
        let mut random = Rng::with_seed(2);
        let (mut rows, mut expected) = (Vec::new(), Vec::new());
        for n in 0..1000 {
            let excess = excess(&mut random);
            let hostile = hostile(n % KINDS, excess, &mut random);
            let id = format!("hostile-{n:04}");
            let data = if random.bool() {
                json!({ "jobConfig": hostile.config, "output_format": "csv" }).to_string()
            } else if n % KINDS == 9 {
                // Without the wrapping it is shorter than the bound.
                json!({ "jobId": "course-report", "batchId": "x".repeat(66_000) }).to_string()
            } else {
                hostile.config.to_string()
            };
            rows.push((id.clone(), data));
            expected.push((id, hostile));
        }
        // What no parser would end with, and what would be hundreds of megabytes.
        for (n, data) in ["[".repeat(60_000), "{\"a\":".repeat(10_000), format!("[{}]", "0,".repeat(300_000))]
            .into_iter()
            .enumerate()
        {
            // PostgreSQL takes no text that is not JSON.
            if !database.is_postgres() {
                rows.push((format!("broken-{n}"), data));
            }
        }
        for n in 0..3 {
            rows.push((format!("honest-{n}"), json!({ "batchId": BATCH }).to_string()));
        }
        random.shuffle(&mut rows);
        insert(database, &rows);
        let ran = site.run(&["run", "--once"]);
        assert_eq!(ran.status.code(), Some(1), "{}", String::from_utf8_lossy(&ran.stderr));
        let seen = site.rows();
        assert_eq!(seen.len(), rows.len());
        for (id, hostile) in &expected {
            let row = &seen[id];
            assert_eq!(row.status, "FAILED", "{id}: {}", row.message);
            assert!(row.message.contains("too large"), "{id}: {}", row.message);
            let field = if hostile.named[1] == "65536" { "request_data" } else { hostile.named[0].as_str() };
            assert!(row.message.contains(field) && row.message.contains(&hostile.named[1]), "{id}: {}", row.message);
            assert!(row.message.chars().count() <= 100, "{}", row.message);
        }
        for (id, row) in seen.iter().filter(|(id, _)| id.starts_with("broken")) {
            assert_eq!(row.status, "FAILED", "{id}: {}", row.message);
        }
        for n in 0..3 {
            let row = &seen[&format!("honest-{n}")];
            assert_eq!((row.status.as_str(), row.urls.len()), ("COMPLETED", 1), "{}", row.message);
        }
    });
}

/// A request's rows as JSON text of so many bytes, made by the database itself.
fn padded(database: &TestDatabase, bytes: usize) -> String {
    let text =
        if database.is_postgres() { format!("repeat('0', {bytes})") } else { format!("hex(zeroblob({}))", bytes / 2) };
    let cast = if database.is_postgres() { "::json" } else { "" };
    format!("('{{\"batchId\":\"' || {text} || '\"}}'){cast}")
}

fn numbers(database: &TestDatabase, n: usize) -> String {
    if database.is_postgres() {
        format!("(SELECT generate_series(1, {n})) AS numbers (i)")
    } else {
        format!(
            "(WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < {n}) SELECT i FROM c) AS numbers"
        )
    }
}

fn fill(database: &TestDatabase, tag: &str, rows: usize, bytes: usize) {
    database.execute(&format!(
        "INSERT INTO job_request (tag, request_id, job_id, status, request_data, dt_job_submitted)
        SELECT '{tag}', 'r' || i, 'course-report', 'FAILED', {}, '2026-01-01 00:00:00' FROM {}",
        padded(database, bytes),
        numbers(database, rows)
    ));
}

/// Every job of all pages; no page is longer than it may be.
fn walk(server: &Server, tag: &str, limit: usize) -> (Vec<Value>, usize) {
    let (mut jobs, mut pages, mut after) = (Vec::new(), 0, String::new());
    loop {
        let answer = server.get(&format!("/job/request/list/{tag}?limit={limit}{after}"));
        assert_eq!(answer.status, 200, "{}", answer.errmsg());
        assert!(answer.body.len() <= ANSWER, "{} bytes", answer.body.len());
        let result = &answer.json()["result"];
        let page = result["jobs"].as_array().unwrap();
        assert_eq!(result["count"], page.len());
        assert!(!page.is_empty(), "an answer has its first job");
        jobs.extend(page.iter().cloned());
        pages += 1;
        let Some(next) = result.get("next") else { return (jobs, pages) };
        after = format!("&after={}", next.as_str().unwrap());
    }
}

fn ids(jobs: &[Value]) -> BTreeSet<&str> {
    jobs.iter().map(|job| job["request_id"].as_str().unwrap()).collect()
}

#[test]
fn lists_and_searches_end_at_four_mebibytes_and_go_on() {
    each(|database| {
        // Rows with more than max_request_data are shown without it, and not even read.
        let plain = site(database, "");
        let server = Server::start(&plain, "serve");
        fill(database, "t", 25, 834_000);
        let before = server.peak_memory();
        let (jobs, pages) = walk(&server, "t", 1000);
        assert_eq!((jobs.len(), pages, ids(&jobs).len()), (25, 1, 25));
        for job in &jobs {
            assert_eq!(job["request"], json!({ "jobId": "course-report" }));
        }
        let grown = server.peak_memory().saturating_sub(before);
        assert!(grown < 15 << 20, "{grown} bytes more for 20 MB of rows");
        drop(server);
        // With a bound that lets them through, pages end.
        let large = Server::start(&plain.with("[worker]\nmax_request_data = \"4MiB\"\n"), "serve");
        let before = large.peak_memory();
        let (jobs, pages) = walk(&large, "t", 1000);
        assert_eq!((jobs.len(), pages, ids(&jobs).len()), (25, 5, 25), "five of them are less than 4 MiB");
        assert!(jobs.iter().all(|job| job["request"]["batchId"].as_str().unwrap().len() == 834_000));
        let searched = |after: Option<&str>| {
            let mut request = json!({ "filters": { "status": "FAILED" }, "limit": 1000 });
            if let Some(after) = after {
                request["after"] = json!(after);
            }
            let answer = large.post("/job/request/search", &json!({ "request": request }));
            assert!(answer.status == 200 && answer.body.len() <= ANSWER, "{} {}", answer.status, answer.errmsg());
            answer.json()["result"].clone()
        };
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let result = searched(after.as_deref());
            assert_eq!(result["count"], 25);
            found.extend(result["jobs"].as_array().unwrap().clone());
            let Some(next) = result.get("next") else { break };
            after = Some(next.as_str().unwrap().to_owned());
        }
        assert_eq!((found.len(), ids(&found)), (25, ids(&jobs)));
        let grown = large.peak_memory().saturating_sub(before);
        assert!(grown < 100 << 20, "{grown} bytes more");
        for after in ["x", "!", "AAAA", "W10"] {
            let answer = large.get(&format!("/job/request/list/t?after={after}"));
            assert_eq!((answer.status, answer.errmsg()), (400, "after must be what an answer gave as next".to_owned()));
            let request = json!({ "filters": { "status": "FAILED" }, "after": after });
            assert_eq!(large.post("/job/request/search", &json!({ "request": request })).status, 400);
        }
        for (after, status) in [(json!(7), 400), (json!(""), 400), (Value::Null, 200)] {
            let request = json!({ "filters": { "status": "x" }, "after": after });
            assert_eq!(large.post("/job/request/search", &json!({ "request": request })).status, status, "{after}");
        }
    });
}

#[test]
fn a_job_that_is_larger_than_an_answer_comes_without_its_links() {
    each(|database| {
        let site = site(database, "");
        let server = Server::start(&site, "serve");
        // The first has more links than a list answers, the second more keys than are read.
        for (id, files) in [("links", 11_000), ("keys", 125_000)] {
            let key = if database.is_postgres() { "lpad(i::text, 230, '0')" } else { "printf('%0230d', i)" };
            let key = format!("'reports/t/{id}/0123456789abcdef/reports-' || {key} || '.csv'");
            let keys =
                if database.is_postgres() { format!("array_agg({key})") } else { format!("json_group_array({key})") };
            database.execute(&format!(
                "INSERT INTO job_request (tag, request_id, job_id, status, request_data, dt_job_submitted, dt_job_completed,
                    download_urls) SELECT 't', '{id}', 'course-report', 'COMPLETED', '{{\"batchId\":\"1\"}}',
                    '2026-01-01 00:00:00', '2026-01-01 00:00:00', {keys} FROM {}",
                numbers(database, files)
            ));
        }
        fill(database, "t", 3, 10);
        let (jobs, _) = walk(&server, "t", 1000);
        assert_eq!(jobs.len(), 5);
        for job in jobs {
            let large = job["status"] == "COMPLETED";
            assert_eq!(job.get("truncated"), large.then_some(&json!(true)), "{}", job["request_id"]);
            assert_eq!(job["downloadURLs"], json!([]));
            assert!(job["request"]["batchId"].is_string());
        }
        // Asked for by its key a request comes with more.
        let one = server.get("/job/request/read/t/links").json()["result"].clone();
        assert_eq!((one.get("truncated"), one["downloadURLs"].as_array().unwrap().len()), (None, 11_000));
        let other = server.get("/job/request/read/t/keys").json()["result"].clone();
        assert_eq!((&other["truncated"], &other["downloadURLs"]), (&json!(true), &json!([])));
    });
}

#[test]
fn a_search_says_when_it_has_not_counted_all() {
    each(|database| {
        let site = site(database, "");
        let server = Server::start(&site, "serve");
        let search = || {
            let body = json!({ "request": { "filters": { "status": "FAILED" }, "limit": 2 } });
            server.post("/job/request/search", &body).json()["result"].clone()
        };
        fill(database, "t", 10_000, 2);
        let all = search();
        assert_eq!((&all["count"], all.get("count_is_lower_bound")), (&json!(10_000), None));
        fill(database, "u", 7, 2);
        let more = search();
        assert_eq!((&more["count"], &more["count_is_lower_bound"]), (&json!(10_001), &json!(true)));
        assert_eq!(more["jobs"].as_array().unwrap().len(), 2);
    });
}

/// Requests whose filters name hundreds of different fields are loaded for apart, and each gets what it asks for.
#[test]
fn requests_that_look_at_many_fields_share_no_load() {
    each(|database| {
        let site = site(database, "");
        assert!(site.run(&["migrate"]).status.success());
        let mut rows = Vec::new();
        for n in 0..20 {
            let fields: Map<String, Value> =
                (0..49).map(|field| (format!("f{n}-{field}"), json!({ "exists": false }))).collect();
            let config = content(&json!({ "filters": fields }));
            let mut config = config.as_object().unwrap().clone();
            config.insert("batchId".to_owned(), json!(BATCH));
            rows.push((format!("many-{n:02}"), Value::from(config).to_string()));
            rows.push((format!("plain-{n:02}"), json!({ "batchId": BATCH }).to_string()));
        }
        insert(database, &rows);
        let ran = site.run(&["run", "--once"]);
        assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
        let seen = site.rows();
        assert_eq!(seen.len(), 40);
        for (id, row) in &seen {
            assert_eq!((row.status.as_str(), row.urls.len()), ("COMPLETED", 1), "{id}: {}", row.message);
            let requests = row.stats["group"]["requests"].as_u64().unwrap();
            assert!(requests <= 21, "one with many fields in each load, {requests} together");
        }
    });
}
