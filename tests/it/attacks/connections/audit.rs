//! Who did what is told, by the address that counts, and nothing secret.

use std::io::Write as _;

use serde_json::Value;

use super::{call, connect_from, key, secret};
use crate::api::{BATCH, SUBMIT, site, submission};
use crate::databases::TestDatabase;
use crate::http::{Server, read};
use crate::site::told;

/// The limits of an address are those of the client that a trusted proxy names, and nobody can name another.
#[test]
fn behind_a_trusted_proxy_the_client_s_address_counts() {
    let database = TestDatabase::sqlite();
    let site = site(&database, &format!("trusted_proxies = [\"127.0.0.1\"]\n{}", key("a", "")));
    let server = Server::start(&site, "serve");
    let list = |from: &str| server.call("GET", "/job/list", &[("x-forwarded-for", from)], b"");
    // Whatever a client claims stands left of what the proxy adds.
    let statuses: Vec<u16> = (0..80).map(|n| list(&format!("203.0.113.{n}, 192.0.2.1")).status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 60);
    assert!(statuses[60..].iter().all(|status| *status == 429), "{statuses:?}");
    let refused = list("192.0.2.1");
    assert_eq!(refused.errmsg(), "too many calls without a valid key");
    assert!((1..=61).contains(&refused.header("retry-after").unwrap().parse::<u64>().unwrap()));
    assert_eq!(list("192.0.2.2").status, 401, "another client");
    // Who has a key is not held up by others at the same address.
    let bearer = format!("Bearer {}", secret("a"));
    let known = [("x-forwarded-for", "192.0.2.1"), ("authorization", bearer.as_str())];
    assert_eq!(server.call("GET", "/job/list", &known, b"").status, 200);
    // One that comes by another way is not believed.
    let mut stream = connect_from([127, 0, 0, 9], &server.address);
    stream
        .write_all(b"GET /job/list HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 192.0.2.77\r\nconnection: close\r\n\r\n")
        .unwrap();
    assert_eq!(read(stream).status, 401);
    let (_, log) = server.stop();
    assert!(
        log.contains("address=192.0.2.1") && log.contains("address=192.0.2.2") && log.contains("address=127.0.0.9"),
        "{log}"
    );
    assert!(!log.contains("203.0.113.") && !log.contains("192.0.2.77"), "{log}");
}

#[test]
fn who_did_what_is_in_the_log_and_nothing_secret() {
    let database = TestDatabase::sqlite();
    let site = site(
        &database,
        &format!(
            "metrics_public = true\n{}{}",
            key("a", "tags = [\"a-*\"]"),
            key("b", "tags = [\"b-*\"]\nper_minute = 1")
        ),
    );
    let server = Server::start(&site, "run");
    let submitted = call(&server, "a", "POST", SUBMIT, &submission("a-1", BATCH));
    assert_eq!(submitted.status, 200, "{}", submitted.errmsg());
    let id = submitted.json()["result"]["request_id"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {}", secret("a"));
    let status = server.ended("a-1", &id, &[("authorization", &bearer)]);
    let link = status["downloadURLs"][0].as_str().unwrap().to_owned();
    assert_eq!(server.fetch(&link).status, 200);
    // One that fails, for an act on it.
    let missing = call(&server, "a", "POST", SUBMIT, &submission("a-1", "nothing"));
    let failed = missing.json()["result"]["request_id"].as_str().unwrap().to_owned();
    server.ended("a-1", &failed, &[("authorization", &bearer)]);
    assert_eq!(call(&server, "a", "POST", &format!("/job/request/retry/a-1/{failed}"), &Value::Null).status, 200);
    // Refusals of each kind; what the client says is data, whatever it looks like.
    assert_eq!(call(&server, "b", "GET", &format!("/job/request/read/a-1/{id}"), &Value::Null).status, 403);
    assert_eq!(call(&server, "b", "GET", "/job/list", &Value::Null).status, 429);
    assert_eq!(
        call(
            &server,
            "a",
            "GET",
            "/job/request/read/x%0A2026-01-01T00:00:00Z%20INFO%20audit/y%20status=200%1b%5B31m",
            &Value::Null
        )
        .status,
        403
    );
    for n in 0..200 {
        let wrong = format!("Bearer wrong-secret-{n}");
        assert!([401, 429].contains(&server.call("GET", "/job/list", &[("authorization", &wrong)], b"").status));
    }
    let altered = link.replace("signature=", "signature=0");
    assert_eq!(server.fetch(&altered).status, 403);
    let metrics = String::from_utf8(server.get("/metrics").body).unwrap();
    for (series, least) in [
        ("exhaustd_acts_total{act=\"submit\"} ", 2),
        ("exhaustd_acts_total{act=\"download\"} ", 1),
        ("exhaustd_acts_total{act=\"retry\"} ", 1),
        ("exhaustd_acts_total{act=\"cancel\"} ", 0),
        ("exhaustd_refusals_total{call=\"read\",status=\"403\"} ", 2),
        ("exhaustd_refusals_total{call=\"jobs\",status=\"429\"} ", 1),
        ("exhaustd_refusals_total{call=\"jobs\",status=\"401\"} ", 60),
        ("exhaustd_refusals_total{call=\"download\",status=\"403\"} ", 1),
        ("exhaustd_refusals_total{call=\"submit\",status=\"401\"} ", 0),
    ] {
        let count =
            metrics.lines().find_map(|line| line.strip_prefix(series)).unwrap_or_else(|| panic!("{series}\n{metrics}"));
        assert!(count.parse::<u64>().unwrap() >= least, "{series}{count}");
    }
    let (_, log) = server.stop();
    let audit: Vec<&str> = log.lines().filter(|line| line.contains(" audit ")).collect();
    let has =
        |parts: &[&str]| audit.iter().any(|line| line.contains("INFO") && parts.iter().all(|part| line.contains(part)));
    let request = format!("request=a-1/{id}");
    for parts in [
        &["submission ", &request, "key=a", "address=127.0.0.1", "job=course-report", "state=Created"][..],
        &["download ", &request, "key=link", "address=127.0.0.1", "status=200"],
        &["retry ", &format!("request=a-1/{failed}"), "key=a", "address=127.0.0.1"],
        &["refused ", "status=403", "call=read", &request, "key=b", "the key does not cover this tag"],
        &["refused ", "status=429", "call=jobs", "key=b"],
        &["refused ", "status=401", "call=jobs", "key=none", "address=127.0.0.1", "the key is not known"],
        &["refusals not logged ", "source=127.0.0.1", "count="],
        &["refused ", "request=\"x\\n2026-01-01T00:00:00Z INFO audit/y status=200\\u{1b}[31m\""],
    ] {
        assert!(has(parts), "{parts:?}\n{}", audit.join("\n"));
    }
    assert!(audit.iter().filter(|line| line.contains("status=401")).count() <= 20, "{}", audit.len());
    let signature = link.split("signature=").nth(1).unwrap();
    for secret in ["secret-", signature, "Bearer"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

/// What the command line does is told as well, on its standard error.
#[test]
fn acts_of_the_command_line_are_told() {
    let database = TestDatabase::sqlite();
    let site = site(&database, "");
    site.run(&["submit", "course-report", "--tag", "t", "--request-id", "r", "--framework", "TPD"]);
    let cancelled = site.run(&["cancel", "t", "r", "--by", "ann"]);
    assert!(told(&cancelled).contains("audit cancel request=t/r by=ann "), "{}", told(&cancelled));
    let retried = site.run(&["retry", "t", "r"]);
    assert!(told(&retried).contains("audit retry request=t/r by=operator "), "{}", told(&retried));
}
