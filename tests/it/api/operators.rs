//! What operators watch: health, metrics, the description and its page; and the API that cannot begin.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{BATCH, SUBMIT, site, submission};
use crate::daemon::wait_for;
use crate::databases::{TestDatabase, each_way};
use crate::http::{Answer, Server};
use crate::site::told;

fn healthy(server: &Server) -> Answer {
    wait_for("health", || Some(server.get("/health")).filter(|answer| answer.status == 200))
}

#[test]
fn health_tells_each_dependency() {
    each_way(|database| {
        let site = site(database, "");
        let server = Server::start(&site, "run");
        let ready = healthy(&server);
        let ok = json!({ "ok": true, "message": "ok" });
        let all = json!({ "database": ok, "scheduler": ok, "source": ok, "store": ok });
        assert_eq!(ready.json(), json!({ "live": true, "ready": true, "dependencies": all }));
        drop(server);
        // Without the store's directory, and no way to make it.
        std::fs::remove_dir_all(site.path("reports")).unwrap();
        let server = Server::spawn({
            let mut command = site.command(&["serve"]);
            command.env("EXHAUST__STORE__LINK_KEY", "k");
            command
        });
        std::fs::remove_dir_all(site.path("reports")).ok();
        std::fs::write(site.path("reports"), "in the way").unwrap();
        let unready = wait_for("the store to be missed", || {
            let answer = server.get("/health");
            let message = answer.json()["dependencies"]["store"]["message"].as_str().unwrap().to_owned();
            message.contains("cannot write").then_some(answer)
        });
        assert_eq!(unready.status, 503);
        let report = unready.json();
        assert_eq!((&report["live"], &report["ready"]), (&json!(true), &json!(false)));
        assert!(report["dependencies"].get("source").is_none(), "`serve` reads no source");
    });
}

#[test]
fn metrics_tell_requests_queue_phases_and_calls() {
    each_way(|database| {
        let site = site(database, "");
        let server = Server::start(&site, "run");
        let submitted = server.post(SUBMIT, &submission("t", BATCH));
        let id = submitted.json()["result"]["request_id"].as_str().unwrap().to_owned();
        let status = server.ended("t", &id, &[]);
        // The waiting line is read at most once a second.
        let text = wait_for("an empty line", || {
            let answer = server.get("/metrics");
            assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
            let text = String::from_utf8(answer.body).unwrap();
            text.contains("exhaustd_queue_depth{exhaust_job=\"course-report\"} 0").then_some(text)
        });
        let stats = &status["job_stats"];
        for line in [
            "exhaustd_requests{exhaust_job=\"course-report\",status=\"COMPLETED\"} 1".to_owned(),
            "exhaustd_queue_depth{exhaust_job=\"course-report\"} 0".to_owned(),
            "exhaustd_requests_ended_total{exhaust_job=\"course-report\",outcome=\"completed\"} 1".to_owned(),
            format!("exhaustd_rows_written_total{{exhaust_job=\"course-report\"}} {}", stats["rows"]),
            format!("exhaustd_written_bytes_total{{exhaust_job=\"course-report\"}} {}", stats["bytes"]),
            "exhaustd_files_total{exhaust_job=\"course-report\",outcome=\"generated\"} 1".to_owned(),
            "exhaustd_groups_total{exhaust_job=\"course-report\"} 1".to_owned(),
            "exhaustd_http_request_seconds_count{call=\"submit\",status=\"200\"} 1".to_owned(),
            "exhaustd_request_seconds_count{exhaust_job=\"course-report\"} 1".to_owned(),
            "exhaustd_request_phase_seconds_count{exhaust_job=\"course-report\",phase=\"load\"} 1".to_owned(),
            "exhaustd_source_reads_total{source=\"source\",outcome=\"failed\"} 0".to_owned(),
            "exhaustd_store_calls_total{call=\"put\",outcome=\"ok\"} 1".to_owned(),
            "exhaustd_config_reloads_total{outcome=\"refused\"} 0".to_owned(),
            format!("exhaustd_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")),
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
        for phase in ["load", "generate", "store"] {
            let line = format!("exhaustd_phase_seconds_total{{exhaust_job=\"course-report\",phase=\"{phase}\"}} ");
            let spent =
                text.lines().find_map(|known| known.strip_prefix(&line)).unwrap_or_else(|| panic!("{line}\n{text}"));
            assert!(spent.parse::<f64>().unwrap() > 0.0, "{phase}");
        }
    });
}

/// A dashboard or an alert finds each configured job before it has done anything, also one that comes later.
#[test]
fn series_of_configured_jobs_are_there_from_the_start() {
    each_way(|database| {
        let site = site(database, "");
        let server = Server::start(&site, "serve");
        let text = || String::from_utf8(server.get("/metrics").body).unwrap();
        let has_all = |text: &str, job: &str| {
            let series = [
                ("requests", ",status=\"FAILED\""),
                ("queue_depth", ""),
                ("parts", ",state=\"back_off\""),
                ("queue_oldest_age_seconds", ""),
                ("requests_ended_total", ",outcome=\"completed\""),
                ("requests_ended_total", ",outcome=\"lost\""),
                ("phase_seconds_total", ",phase=\"store\""),
                ("groups_total", ""),
                ("files_total", ",outcome=\"shared\""),
                ("rows_written_total", ""),
                ("written_bytes_total", ""),
                ("scans_total", ",outcome=\"done\""),
                ("scans_total", ",outcome=\"broke_off\""),
                ("scans_total", ",outcome=\"held_back\""),
                ("job_last_run_timestamp_seconds", ""),
                ("job_last_success_timestamp_seconds", ""),
                ("job_degraded", ""),
                ("request_seconds_count", ""),
                ("request_phase_seconds_count", ",phase=\"wait\""),
            ];
            series.iter().all(|(name, more)| {
                let line = format!("exhaustd_{name}{{exhaust_job=\"{job}\"{more}}} ");
                text.lines().any(|known| known.strip_prefix(&line).is_some_and(|n| n.parse::<f64>() == Ok(0.0)))
            })
        };
        let first = text();
        for job in ["course-report", "assessment-report"] {
            assert!(has_all(&first, job), "{job}\n{first}");
        }
        assert!(!first.contains("{job=") && !first.contains(",job="), "Prometheus has a label of that name");
        let file = site.path("jobs.toml");
        let jobs = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("[[job]]\nid = \"later\"\nreport = \"course\"\n{jobs}")).unwrap();
        crate::daemon::wait_for("the new job's series", || has_all(&text(), "later").then_some(()));
    });
}

/// In both formats, with everything counted that there is.
#[test]
fn promtool_finds_nothing_to_say_about_the_metrics() {
    let database = TestDatabase::sqlite();
    let site = site(&database, "");
    let server = Server::start(&site, "run");
    let submitted = server.post(SUBMIT, &submission("t", BATCH));
    let id = submitted.json()["result"]["request_id"].as_str().unwrap().to_owned();
    server.ended("t", &id, &[]);
    let openmetrics = server.call("GET", "/metrics", &[("accept", "application/openmetrics-text; version=1.0.0")], b"");
    assert!(openmetrics.header("content-type").unwrap().starts_with("application/openmetrics-text; version=1.0.0"));
    assert!(openmetrics.body.ends_with(b"# EOF\n"));
    let text = server.get("/metrics").body;
    let mut promtool = match Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    {
        Ok(promtool) => promtool,
        Err(error) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "no promtool: {error}");
            eprintln!("skipped: promtool check metrics: {error} (Debian's package prometheus has it)");
            return;
        }
    };
    promtool.stdin.take().unwrap().write_all(&text).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert_eq!((output.status.code(), told(&output).as_str()), (Some(0), ""), "{}", String::from_utf8_lossy(&text));
}

/// The description names every path that answers, and every schema that it refers to.
#[test]
fn the_description_is_whole() {
    let database = TestDatabase::sqlite();
    let site = site(&database, "");
    let server = Server::start(&site, "serve");
    let described = server.get("/openapi.json").json();
    let paths: BTreeSet<&str> = described["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        BTreeSet::from([
            "/files/{key}",
            "/health",
            "/job/bulk/cancel",
            "/job/bulk/retry",
            "/job/list",
            "/job/pause/{job}",
            "/job/request/cancel/{tag}/{request_id}",
            "/job/request/list/{tag}",
            "/job/request/read/{tag}/{request_id}",
            "/job/request/retry/{tag}/{request_id}",
            "/job/request/search",
            "/job/request/submit",
            "/job/requests",
            "/job/resume/{job}",
            "/job/run/{job}",
            "/livez",
            "/metrics",
            "/openapi.json",
            "/readyz",
            "/tenant/pause/{tag}",
            "/tenant/resume/{tag}",
        ])
    );
    let mut references = BTreeSet::new();
    collect(&described, &mut references);
    assert!(references.len() >= 6, "{references:?}");
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(described.pointer(pointer).is_some(), "{reference} is not there");
    }
    let docs = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md")).unwrap();
    for path in paths {
        assert!(docs.contains(path), "docs/api.md does not tell of {path}");
    }
}

/// Generators of clients leave an answer out that is put together of several schemas: each is one whole object, and what it
/// fixes it says with its type. `scripts/clients` makes clients and runs them.
#[test]
fn each_answer_is_described_by_one_schema() {
    let database = TestDatabase::sqlite();
    let site = site(&database, "");
    let server = Server::start(&site, "serve");
    let described = server.get("/openapi.json").json();
    let mut answers = 0;
    for (path, calls) in described["paths"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(path, _)| path.starts_with("/job/") || path.starts_with("/tenant/"))
    {
        for (status, answer) in
            calls.as_object().unwrap().values().flat_map(|call| call["responses"].as_object().unwrap())
        {
            let reference = answer["content"]["application/json"]["schema"]["$ref"].as_str().unwrap();
            let schema = described.pointer(reference.strip_prefix('#').unwrap()).unwrap();
            assert_eq!(schema["type"], "object", "{path} {status}");
            for combined in ["allOf", "anyOf", "oneOf"] {
                assert!(schema.get(combined).is_none(), "{path} {status}: {combined}");
            }
            let fields = schema["properties"].as_object().unwrap();
            for required in schema["required"].as_array().unwrap() {
                assert!(fields.contains_key(required.as_str().unwrap()), "{path} {status}: {required}");
            }
            for field in fields.values().filter(|field| field.get("const").is_some()) {
                assert_eq!(field["type"], "string", "{path} {status}: {field}");
            }
            answers += usize::from(status == "200");
        }
    }
    assert_eq!(answers, 15, "every call");
}

/// What the description allows at its bounds is accepted, and one more refused.
#[test]
fn bounds_of_the_description_are_those_of_the_api() {
    let database = TestDatabase::sqlite();
    let site = site(&database, "");
    let server = Server::start(&site, "serve");
    let described = server.get("/openapi.json").json();
    let path = &described["components"]["schemas"]["JobConfig"]["properties"]["reportPath"];
    // As characters, which are bytes here: {1,255} of a segment, {0,15} more segments.
    let bounds: BTreeSet<usize> = path["pattern"]
        .as_str()
        .unwrap()
        .split(['{', '}'])
        .filter_map(|part| part.split_once(',')?.1.parse().ok())
        .collect();
    let [more, segment] = bounds.into_iter().collect::<Vec<_>>()[..] else { panic!("{path}") };
    let length = usize::try_from(path["maxLength"].as_u64().unwrap()).unwrap();
    let path_of = |bytes: usize| [&"x".repeat(200), &*"y".repeat(bytes - 201)].join("/");
    for (path, status) in [
        ("x".repeat(segment), 200),
        ("x".repeat(segment + 1), 400),
        (vec!["x"; more + 1].join("/"), 200),
        (vec!["x"; more + 2].join("/"), 400),
        (path_of(length), 200),
        (path_of(length + 1), 400),
    ] {
        let mut body = submission("t", BATCH);
        body["request"]["jobConfig"]["reportPath"] = json!(path);
        let answer = server.post(SUBMIT, &body);
        assert_eq!(answer.status, status, "{path}: {}", answer.errmsg());
    }
    // Not every text is a token, and `null` in a body is none: programs that make up calls find both in the description.
    let after = |pointer: &str| described.pointer(pointer).unwrap().clone();
    let in_query = after("/paths/~1job~1request~1list~1{tag}/get/parameters/2/schema");
    let in_body = after(
        "/paths/~1job~1request~1search/post/requestBody/content/application~1json/schema/properties/request/properties/after",
    );
    for (after, types) in [(in_query, json!("string")), (in_body, json!(["string", "null"]))] {
        assert_eq!((&after["format"], &after["type"]), (&json!("page-token"), &types));
    }
}

fn collect(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                references.insert(reference.clone());
            }
            fields.values().for_each(|field| collect(field, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}

#[test]
fn the_page_to_try_it_out_comes_from_the_program() {
    let database = TestDatabase::sqlite();
    let site = site(&database, "");
    let server = Server::start(&site, "serve");
    let moved = server.get("/docs");
    assert_eq!((moved.status, moved.header("location")), (308, Some("docs/")));
    let page = server.get("/docs/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let page = String::from_utf8(page.body).unwrap();
    for (file, kind) in
        [("swagger-ui.css", "text/css"), ("swagger-ui-bundle.js", "text/javascript"), ("start.js", "text/javascript")]
    {
        assert!(page.contains(file), "{file}");
        let answer = server.get(&format!("/docs/{file}"));
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)), "{file}");
    }
    assert!(!page.contains("//"), "nothing from elsewhere");
    assert_eq!(server.get("/docs/nothing").status, 404);
}

#[test]
fn an_api_that_cannot_begin_says_why() {
    let database = TestDatabase::sqlite();
    let site = site(&database, "");
    let taken = Server::start(&site, "serve");
    let started = |changes: &[(&str, &str)]| {
        let mut command: Command = site.command(&["serve"]);
        command.envs(changes.iter().copied());
        command.output().unwrap()
    };
    for (changes, message) in [
        (vec![("EXHAUST__API__LISTEN", taken.address.as_str())], format!("cannot listen on {}", taken.address)),
        (vec![("EXHAUST__API__LISTEN", "off")], "nothing to serve: set `[api] listen` in jobs.toml".to_owned()),
        (
            vec![("EXHAUST__API__LISTEN", "0.0.0.0:0")],
            "can be reached by others, and nobody would need a key".to_owned(),
        ),
    ] {
        let output = started(&changes);
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
        assert!(told(&output).contains(&message), "{message}: {}", told(&output));
    }
}
