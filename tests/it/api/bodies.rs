//! Bodies that are wrong: each gets its documented answer and changes nothing.

use std::io::Write as _;
use std::net::TcpStream;

use serde_json::{Value, json};

use super::{BATCH, SUBMIT, rows, site, submission};
use crate::databases::{TestDatabase, each};
use crate::http::{Server, read};

#[test]
fn a_wrong_body_is_answered_and_changes_nothing() {
    each(|database| {
        let site = site(database, "");
        let server = Server::start(&site, "serve");
        assert_eq!(server.post(SUBMIT, &submission("t", BATCH)).status, 200);
        let json_type = [("content-type", "application/json")];
        let large = |bytes: usize| json!({ "x": "x".repeat(bytes - 8) }).to_string().into_bytes();
        let deep = [b"{\"request\":{\"jobConfig\":".to_vec(), b"[".repeat(10_000), b"]".repeat(10_000), b"}}".to_vec()]
            .concat();
        let text = submission("t", "other").to_string().into_bytes();
        for (what, body, status, message) in [
            ("empty", Vec::new(), 400, "the body is empty"),
            ("truncated", text[..text.len() - 3].to_vec(), 400, "the body is not JSON: EOF"),
            ("not UTF-8", b"{\"request\": \"\xff\"}".to_vec(), 400, "the body is not UTF-8 at byte 13"),
            ("deep", deep, 400, "the body is not JSON: recursion limit"),
            ("over 1 MiB", large((1 << 20) + 1), 413, "the body has more than 1048576 bytes"),
            ("4 MiB", large(4 << 20), 413, "the body has more than 1048576 bytes"),
            ("8 MiB", large(8 << 20), 413, "the body has more than 1048576 bytes"),
        ] {
            let answer = server.call("POST", SUBMIT, &json_type, &body);
            assert_eq!(answer.status, status, "{what}");
            assert!(answer.errmsg().starts_with(message), "{what}: {}", answer.errmsg());
            assert_eq!(answer.json()["responseCode"], "CLIENT_ERROR", "{what}");
        }
        let answer = server.call("POST", SUBMIT, &[("content-type", "text/plain")], &text);
        assert_eq!((answer.status, answer.errmsg().as_str()), (415, "the body must be application/json"));
        // A client that says more than it sends.
        let mut stream = TcpStream::connect(&server.address).unwrap();
        let head = format!(
            "POST {SUBMIT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), &text].concat()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(read(stream).status, 400);
        assert_eq!(rows(database), 1, "nothing was written");
    });
}

/// The fields, with the words of the contract; those of jobConfig are the daemon's own.
#[test]
fn what_can_be_decided_without_data_is_refused_at_submit() {
    let database = TestDatabase::sqlite();
    let site = site(&database, "");
    let server = Server::start(&site, "serve");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = submission("t", BATCH);
        change(&mut body["request"]);
        body
    };
    let long = "x".repeat(51);
    for (body, message) in [
        (json!([]), "the body must be an object"),
        (json!({}), "request is empty"),
        (json!({ "request": 7 }), "request must be an object"),
        (with(&|r| r["tag"] = Value::Null), "tag is empty"),
        (with(&|r| r["tag"] = json!("")), "tag is empty"),
        (with(&|r| r["tag"] = json!(7)), "tag must be text"),
        (with(&|r| r["tag"] = json!("a/b")), "tag must be letters, digits and . _ : - only"),
        (with(&|r| r["tag"] = json!(long)), "tag has more than 50 characters"),
        (with(&|r| r["jobId"] = Value::Null), "jobId is empty"),
        (
            with(&|r| r["jobId"] = json!("x")),
            "jobId 'x' is not configured; use one of course-report, assessment-report, assessment-score-report",
        ),
        (with(&|r| r["jobConfig"] = Value::Null), "jobConfig is empty"),
        (with(&|r| r["jobConfig"] = json!({})), "jobConfig is empty"),
        (with(&|r| r["jobConfig"] = json!([1])), "jobConfig must be an object, not a list"),
        (
            with(&|r| r["jobConfig"]["batchfilters"] = json!([])),
            "unknown key 'batchfilters' in jobConfig; did you mean 'batchFilters'?",
        ),
        (with(&|r| r["jobConfig"] = json!({ "batchFilters": [] })), "batchFilters is empty"),
        (with(&|r| r["jobConfig"]["reportPath"] = json!("../x")), "reportPath must not contain a segment '..'"),
        (
            with(&|r| r["jobConfig"]["reportPath"] = json!("/x")),
            "reportPath must not begin with a slash: it is a path inside the store",
        ),
        (with(&|r| r["jobConfig"]["reportPath"] = json!("a//x")), "reportPath has an empty segment"),
        (with(&|r| r["jobConfig"]["reportPath"] = json!("a/.x")), "reportPath has a segment that begins with a dot"),
        (with(&|r| r["jobConfig"]["reportPath"] = json!("a\u{7f}")), "reportPath contains a control character"),
        (
            with(&|r| r["jobConfig"]["reportPath"] = json!("x/".repeat(17))),
            "reportPath has 17 segments, 16 are allowed",
        ),
        (
            with(&|r| r["jobConfig"]["reportPath"] = json!("x".repeat(200) + "/" + &"é".repeat(50))),
            "reportPath has 301 bytes, 300 are allowed",
        ),
        (
            with(&|r| r["output_format"] = json!("pdf")),
            "output_format 'pdf' is unknown; use one of: csv, json, parquet, xlsx",
        ),
        (with(&|r| r["requestedBy"] = json!(long)), "requestedBy has more than 50 characters"),
        (with(&|r| r["requestedChannel"] = json!(long)), "requestedChannel has more than 50 characters"),
        (with(&|r| r["dataset"] = json!("assessment-report")), "jobId and dataset differ: give one of them"),
        (with(&|r| r["encryptionKey"] = json!("secret-")), "encryptionKey must have 8 to 50 characters"),
        (with(&|r| r["encryptionKey"] = json!("")), "encryptionKey must have 8 to 50 characters"),
        (with(&|r| r["encryptionKey"] = json!("secret-".repeat(8))), "encryptionKey must have 8 to 50 characters"),
        (
            with(&|r| r["encryptionKey"] = json!("secret-\0key")),
            "encryptionKey must be text without control characters",
        ),
        (with(&|r| r["encryptionKey"] = json!(12_345_678)), "encryptionKey must be text"),
    ] {
        let answer = server.post(SUBMIT, &body);
        assert_eq!((answer.status, answer.errmsg().as_str()), (400, message), "{body}");
    }
    for (header, message) in [
        ("a\tb".to_owned(), "X-Channel-ID must be printable ASCII"),
        ("é".to_owned(), "X-Channel-ID must be printable ASCII"),
        (long, "requestedChannel has more than 50 characters"),
    ] {
        let headers = [("content-type", "application/json"), ("x-channel-id", header.as_str())];
        let answer = server.call("POST", SUBMIT, &headers, submission("t", BATCH).to_string().as_bytes());
        assert_eq!((answer.status, answer.errmsg().as_str()), (400, message), "{header:?}");
    }
    assert_eq!(rows(&database), 0);
    let (_, log) = server.stop();
    assert!(!log.contains("secret-"), "{log}");
}
