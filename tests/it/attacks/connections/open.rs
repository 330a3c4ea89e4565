//! What is told and done without a key, and what browsers may do with it.

use std::io::{Read as _, Write as _};

use serde_json::{Value, json};

use super::{call, connect_from, key, secret};
use crate::api::{BATCH, SUBMIT, rows, site, submission};
use crate::daemon::wait_for;
use crate::databases::TestDatabase;
use crate::http::{Answer, Server};
use crate::site::told;

/// The answer comes while the body is still missing, and reaches a client that sends all of it first.
#[test]
fn keys_are_checked_before_a_body_is_read() {
    let database = TestDatabase::sqlite();
    let site = site(&database, &key("a", ""));
    let server = Server::start(&site, "serve");
    for expect in ["", "expect: 100-continue\r\n"] {
        let mut stream = connect_from([127, 0, 0, 1], &server.address);
        let head = format!("POST {SUBMIT} HTTP/1.1\r\nhost: x\r\n{expect}content-length: 1000000\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).unwrap();
        assert_eq!(&begin, b"HTTP/1.1 401");
        if expect.is_empty() {
            stream.write_all(&vec![b' '; 1_000_000]).unwrap();
        }
    }
    let large = vec![b' '; 3 << 20];
    assert_eq!(server.call("POST", SUBMIT, &[], &large).status, 401);
    let bearer = format!("Bearer {}", secret("a"));
    let too_large = server.call("POST", SUBMIT, &[("authorization", &bearer)], &large);
    assert_eq!((too_large.status, too_large.errmsg().as_str()), (413, "the body has more than 1048576 bytes"));
}

#[test]
fn without_keys_only_this_machine_is_answered() {
    let database = TestDatabase::sqlite();
    let site = site(&database, "");
    let server = Server::start(&site, "serve");
    let port = server.address.split(':').nth(1).unwrap();
    for (name, value) in [
        ("host", "evil.example"),
        ("host", "127.0.0.1.evil.example"),
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("via", "1.1 proxy"),
    ] {
        for path in ["/health", "/job/list", "/docs/", "/openapi.json", "/metrics", "/nowhere"] {
            let answer = server.call("GET", path, &[(name, value)], b"");
            assert_eq!(
                (answer.status, &answer.json()["responseCode"]),
                (403, &json!("FORBIDDEN")),
                "{path} {name}: {value}"
            );
        }
        let body = submission("t", BATCH).to_string();
        assert_eq!(server.call("POST", SUBMIT, &[(name, value)], body.as_bytes()).status, 403);
    }
    for (name, value) in [
        ("host", format!("localhost:{port}")),
        ("host", format!("[::1]:{port}")),
        ("origin", format!("http://localhost:{port}")),
        ("origin", "http://127.0.0.1:3000".to_owned()),
    ] {
        assert_eq!(server.call("GET", "/job/list", &[(name, &value)], b"").status, 200, "{name}: {value}");
    }
    assert_eq!(rows(&database), 0);
    // With keys each call has to know one, and names and proxies are the operator's.
    let keyed = TestDatabase::sqlite();
    let site = crate::api::site(&keyed, &key("a", ""));
    let server = Server::start(&site, "serve");
    let headers = [("host", "reports.example.org"), ("x-forwarded-for", "192.0.2.1")];
    // `/health` is 503 until each dependency was looked at.
    assert_eq!(server.call("GET", "/livez", &headers, b"").status, 200);
}

#[test]
fn an_api_without_keys_that_others_are_to_reach_does_not_start() {
    let database = TestDatabase::sqlite();
    let site = site(&database, "");
    for (name, value, part) in [
        ("EXHAUST__API__TRUSTED_PROXIES", "[\"10.0.0.0/8\"]", "behind `trusted_proxies` others can reach the API"),
        ("EXHAUST__API__PUBLIC_URL", "https://reports.example.org", "under `public_url` others are to reach the API"),
        ("EXHAUST__API__TRUSTED_PROXIES", "[\"10.0.0.1/8\"]", "did you mean 10.0.0.0/8?"),
        ("EXHAUST__API__TRUSTED_PROXIES", "[\"::/0\"]", "must not be everybody"),
        ("EXHAUST__API__TRUSTED_PROXIES", "[\"proxy\"]", "are addresses and networks"),
    ] {
        for command in ["serve", "check"] {
            let output = site.command(&[command]).env(name, value).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{}", told(&output));
            assert!(told(&output).contains(part), "{part}: {}", told(&output));
        }
    }
}

#[test]
fn who_has_no_key_sees_names_and_states_only() {
    let database = TestDatabase::sqlite();
    let site =
        site(&database, &format!("metrics_public = false\n{}{}", key("all", ""), key("some", "tags = [\"a-*\"]")));
    std::fs::create_dir_all(site.path("reports")).unwrap();
    let server = Server::start(&site, "serve");
    std::fs::remove_dir_all(site.path("reports")).unwrap();
    std::fs::write(site.path("reports"), "in the way").unwrap();
    let sick = wait_for("the store to be missed", || {
        let answer = server.get("/health");
        (answer.json()["dependencies"]["store"]["ok"] == false).then_some(answer)
    });
    let expected = json!({ "live": true, "ready": false, "dependencies": { "database": { "ok": true }, "store": { "ok": false } } });
    assert_eq!((sick.status, sick.json()), (503, expected));
    let wrong = server.call("GET", "/health", &[("x-api-key", "nobody's")], b"");
    assert_eq!((wrong.status, wrong.json()), (503, sick.json()), "a wrong key is none");
    let known = call(&server, "some", "GET", "/health", &Value::Null).json();
    assert!(known["dependencies"]["store"]["message"].as_str().unwrap().contains("cannot write"), "{known}");
    // The description.
    let text = |answer: Answer| String::from_utf8(answer.body).unwrap();
    let open = text(server.get("/openapi.json"));
    for job in ["course-report", "assessment-report", "assessment-score-report"] {
        assert!(!open.contains(job), "{job}: {open}");
        assert!(text(call(&server, "some", "GET", "/openapi.json", &Value::Null)).contains(job));
    }
    // Metrics tell of all tags.
    assert_eq!(server.get("/metrics").status, 401);
    assert_eq!(call(&server, "some", "GET", "/metrics", &Value::Null).status, 403);
    assert_eq!(call(&server, "all", "GET", "/metrics", &Value::Null).status, 200);
}

#[test]
fn every_answer_has_the_headers_that_protect_it() {
    let database = TestDatabase::sqlite();
    let site = site(&database, "");
    let server = Server::start(&site, "run");
    let id = server.post(SUBMIT, &submission("t", BATCH)).json()["result"]["request_id"].as_str().unwrap().to_owned();
    let link = server.ended("t", &id, &[])["downloadURLs"][0].as_str().unwrap().to_owned();
    let download = link.strip_prefix(&format!("http://{}", server.address)).unwrap().to_owned();
    let with = |path: &str, headers: &[(&str, &str)]| server.call("GET", path, headers, b"");
    let answers = [
        (200, with("/health", &[])),
        (200, with("/job/list", &[])),
        (200, with("/metrics", &[])),
        (200, with("/openapi.json", &[])),
        (308, with("/docs", &[])),
        (200, with("/docs/", &[])),
        (200, with("/docs/swagger-ui-bundle.js", &[])),
        (404, with("/docs/nothing", &[])),
        (404, with("/nowhere", &[])),
        (404, with("/job/request/read/t/nothing", &[])),
        (405, server.call("DELETE", "/job/list", &[], b"")),
        (400, server.post(SUBMIT, &json!({}))),
        (415, server.call("POST", SUBMIT, &[("content-type", "text/plain")], b"{}")),
        (413, server.call("POST", SUBMIT, &[], &vec![b' '; 2 << 20])),
        (403, with("/health", &[("origin", "http://evil.example")])),
        (403, with("/files/x", &[])),
        (200, with(&download, &[])),
        (206, with(&download, &[("range", "bytes=0-1")])),
        (416, with(&download, &[("range", "bytes=99999999-")])),
        (304, with(&download, &[("if-none-match", "*")])),
        (412, with(&download, &[("if-match", "\"x\"")])),
    ];
    for (status, answer) in answers {
        assert_eq!(answer.status, status);
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{status}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        for (name, value) in
            [("x-content-type-options", "nosniff"), ("cache-control", "no-store"), ("referrer-policy", "no-referrer")]
        {
            let found: Vec<_> =
                answer.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect();
            assert_eq!(found, [value], "{status} {name}");
        }
    }
}
