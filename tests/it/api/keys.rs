//! Keys: who may call, which tags and channels they cover, how much they may.

use serde_json::{Value, json};

use super::{BATCH, SUBMIT, rows, site, submission};
use crate::databases::{TestDatabase, each};
use crate::http::{Answer, Server};

/// SHA-256 of `key-of-a`, `key-of-b` and `key-of-all`, as `printf key-of-a | sha256sum` prints them.
pub(super) const SHA_A: &str = "ee063bb3d7270fdf6148f09dde510a5cf346c4aa4dd2ff4b2caec5348d799043";
pub(super) const SHA_B: &str = "caad66a34f6dbd2c56b4fceb13caf74761aba0720534d6e33185edd493ea0f63";
pub(super) const SHA_ALL: &str = "11b61ff8f27ebdeaa6f43de31efa2bb959b0c03b95f5943338d0f95797a6bbd2";

fn keys(a: &str, b: &str) -> String {
    let key =
        |name: &str, sha: &str, more: &str| format!("[[api.keys]]\nname = \"{name}\"\nsha256 = \"{sha}\"\n{more}\n");
    [key("a", SHA_A, a), key("b", SHA_B, b), key("all", SHA_ALL, "tags = [\"*\"]")].concat()
}

pub(super) fn call(server: &Server, key: &str, method: &str, path: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = if method == "GET" { String::new() } else { body.to_string() };
    server.call(method, path, &headers, body.as_bytes())
}

#[test]
fn a_tenant_can_neither_read_nor_guess_another_s_requests() {
    each(|database| {
        let site = site(database, &keys("tags = [\"a-*\"]", "tags = [\"b-*\"]"));
        let server = Server::start(&site, "serve");
        for path in ["/job/list", "/job/request/list/a-1", "/job/request/read/a-1/x"] {
            let answer = server.get(path);
            assert_eq!((answer.status, &answer.json()["responseCode"]), (401, &json!("UNAUTHORIZED")));
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            assert_eq!(call(&server, "key-of-nobody", "GET", path, &Value::Null).status, 401);
        }
        let submitted = call(&server, "key-of-a", "POST", SUBMIT, &submission("a-1", BATCH));
        assert_eq!(submitted.status, 200, "{}", submitted.errmsg());
        let id = submitted.json()["result"]["request_id"].as_str().unwrap().to_owned();
        let read = format!("/job/request/read/a-1/{id}");
        assert_eq!(call(&server, "key-of-a", "GET", &read, &Value::Null).status, 200);
        assert_eq!(server.call("GET", &read, &[("x-api-key", "key-of-a")], b"").status, 200);
        // The same answer whether there is such a request or not.
        for key in ["key-of-b"] {
            for (method, path) in [
                ("GET", read.clone()),
                ("GET", "/job/request/read/a-1/nothing".to_owned()),
                ("GET", "/job/request/list/a-1".to_owned()),
                ("POST", format!("/job/request/cancel/a-1/{id}")),
                ("POST", format!("/job/request/retry/a-1/{id}")),
                ("POST", SUBMIT.to_owned()),
            ] {
                let answer = call(&server, key, method, &path, &submission("a-1", BATCH));
                assert_eq!(
                    (answer.status, answer.errmsg().as_str()),
                    (403, "the key does not cover this tag"),
                    "{path}"
                );
            }
            let found = call(
                &server,
                key,
                "POST",
                "/job/request/search",
                &json!({ "request": { "filters": { "status": "SUBMITTED" } } }),
            );
            assert_eq!(found.json()["result"], json!({ "count": 0, "jobs": [] }));
            // Under a tag of one's own there is no such request, although there is under another.
            let own = call(&server, key, "GET", &format!("/job/request/read/b-1/{id}"), &Value::Null);
            assert_eq!((own.status, own.errmsg().as_str()), (404, "there is no such request under this tag"));
        }
        let found = call(
            &server,
            "key-of-all",
            "POST",
            "/job/request/search",
            &json!({ "request": { "filters": { "status": "SUBMITTED" } } }),
        );
        assert_eq!(found.json()["result"]["count"], 1);
        assert_eq!(rows(database), 1);
        let (_, log) = server.stop();
        for secret in ["key-of-", SHA_A, SHA_B] {
            assert!(!log.contains(secret), "{secret}: {log}");
        }
    });
}

/// A batch outside the key's channels is as if it did not exist, for the daemon too.
#[test]
fn a_key_s_channels_limit_label_and_data() {
    each(|database| {
        let channel = "chan-a";
        let tags = "tags = [\"*\"]";
        let site = site(
            database,
            &keys(&format!("{tags}\nchannels = [\"{channel}\"]"), &format!("{tags}\nchannels = [\"elsewhere\"]")),
        );
        let server = Server::start(&site, "run");
        let submit = |key: &str| {
            let answer = call(&server, key, "POST", SUBMIT, &submission("t", BATCH));
            assert_eq!(answer.status, 200, "{}", answer.errmsg());
            let id = answer.json()["result"]["request_id"].as_str().unwrap().to_owned();
            let bearer = format!("Bearer {key}");
            (id.clone(), server.ended("t", &id, &[("authorization", &bearer)]))
        };
        let (of_a, status) = submit("key-of-a");
        assert_eq!(status["status"], "COMPLETED", "{status}");
        let (of_b, status) = submit("key-of-b");
        assert_ne!(of_a, of_b, "their channels differ");
        assert_eq!(status["err_message"], format!("No data found: batch {BATCH} does not exist"));
        assert_eq!(status["err_code"], "no_data");
        let many = json!({ "request": { "filter": { "tag": "t" } } });
        let refused = call(&server, "key-of-a", "POST", "/job/bulk/cancel", &many);
        assert_eq!(refused.status, 403, "{}", refused.errmsg());
        // Neither sees the other's, under the same tag.
        for (key, id) in [("key-of-a", &of_b), ("key-of-b", &of_a)] {
            let read = call(&server, key, "GET", &format!("/job/request/read/t/{id}"), &Value::Null);
            assert_eq!(read.status, 404, "{key}");
            let list = call(&server, key, "GET", "/job/request/list/t", &Value::Null);
            assert_eq!(list.json()["result"]["count"], 1, "{key}");
        }
        let mut other = submission("t", BATCH);
        other["request"]["requestedChannel"] = json!("elsewhere");
        let refused = call(&server, "key-of-a", "POST", SUBMIT, &other);
        assert_eq!((refused.status, refused.errmsg().as_str()), (403, "the key does not cover this channel"));
    });
}

#[test]
fn a_key_s_limits_are_told_with_when_to_come_back() {
    let database = TestDatabase::sqlite();
    let site = site(&database, &keys("open_requests = 2", "per_minute = 3"));
    let server = Server::start(&site, "serve");
    let submit = |batch: &str| call(&server, "key-of-a", "POST", SUBMIT, &submission("t", batch));
    assert_eq!((submit("1").status, submit("2").status), (200, 200));
    let refused = submit("3");
    assert_eq!((refused.status, &refused.json()["responseCode"]), (429, &json!("TOO_MANY_REQUESTS")));
    assert_eq!(refused.errmsg(), "2 requests of this key are open, 2 are allowed");
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(submit("2").status, 200, "what is open already is none more");
    assert_eq!(rows(&database), 2);
    let list = || call(&server, "key-of-b", "GET", "/job/list", &Value::Null);
    assert_eq!([list().status, list().status, list().status, list().status], [200, 200, 200, 429]);
    assert!((1..=60).contains(&list().header("retry-after").unwrap().parse::<u64>().unwrap()));
}

#[test]
fn metrics_need_a_key_unless_they_are_public() {
    let database = TestDatabase::sqlite();
    let site = site(&database, &format!("metrics_public = false\n{}", keys("", "")));
    let server = Server::start(&site, "serve");
    assert_eq!(server.get("/metrics").status, 401);
    assert_eq!(call(&server, "key-of-a", "GET", "/metrics", &Value::Null).status, 200);
    for path in ["/health", "/openapi.json", "/docs/"] {
        assert_ne!(server.get(path).status, 401, "{path}");
    }
}
