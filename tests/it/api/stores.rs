//! Files in an object store: links are that store's own, made when a status is read, and we serve none of them.

use std::time::Duration;

use exhaust::requests::{Clock as _, SystemClock};
use serde_json::{Value, json};

use super::{BATCH, SUBMIT, site, submission};
use crate::buckets;
use crate::daemon::wait_for;
use crate::databases::TestDatabase;
use crate::http::{Server, fetch};
use crate::site::{Site, fixture};

/// A server whose links hold so long.
fn serving(site: &Site<'_>, command: &str, holds: &str) -> Server {
    let mut command = site.command(&[command]);
    command.env("EXHAUST__STORE__SIGNED_URL_TTL", holds);
    Server::spawn(command)
}

/// Its status by each call that shows one.
fn shown(server: &Server, id: &str, submission: &Value) -> [Value; 4] {
    let search = json!({ "request": { "filters": { "status": "COMPLETED" } } });
    [
        server.get(&format!("/job/request/read/t/{id}")).json()["result"].clone(),
        server.get("/job/request/list/t").json()["result"]["jobs"][0].clone(),
        server.post("/job/request/search", &search).json()["result"]["jobs"][0].clone(),
        server.post(SUBMIT, submission).json()["result"].clone(),
    ]
}

fn link(status: &Value) -> String {
    assert_eq!(status["downloadURLs"].as_array().map(Vec::len), Some(1), "{status}");
    status["downloadURLs"][0].as_str().unwrap().to_owned()
}

fn now_millis() -> i64 {
    SystemClock.now().timestamp_millis()
}

#[test]
fn links_to_an_object_store_are_its_own_and_made_at_each_read() {
    let expected = std::fs::read(fixture("odd").join(format!("expected/course-{BATCH}.csv"))).unwrap();
    buckets::each(|bucket| {
        let database = TestDatabase::sqlite();
        let site = site(&database, "").storing_in(Some(bucket));
        let server = serving(&site, "run", "1h");
        // What has to be encoded in a link is in its path.
        let mut submission = submission("t", BATCH);
        submission["request"]["jobConfig"]["reportPath"] = json!("for é/a b%2F+");
        let id = server.post(SUBMIT, &submission).json()["result"]["request_id"].as_str().unwrap().to_owned();
        let status = server.ended("t", &id, &[]);
        assert_eq!(status["status"], "COMPLETED", "{status}");
        let stored = site.rows()[&id].urls.clone();
        let key = &stored[0];
        assert!(
            key.starts_with(&format!("for é/a b%2F+/t/{id}/")) && key.ends_with(&format!("reports-{BATCH}.csv")),
            "{key}"
        );
        assert_eq!(site.bytes(key), expected);

        let endpoint = bucket.environment()[0].1.clone();
        let mut links = vec![link(&status)];
        for _ in 0..2 {
            // A store's links count in seconds.
            std::thread::sleep(Duration::from_millis(1100));
            let (before, answers) = (now_millis(), shown(&server, &id, &submission));
            for status in answers {
                let ends = status["expiresAt"].as_i64().unwrap() - 3_600_000;
                assert!(ends > before - 1000 && ends <= now_millis(), "{status}");
                let link = link(&status);
                assert!(link.starts_with(&endpoint), "{link}");
                let holds = if bucket.server == buckets::Server::S3 { "X-Amz-Expires=3600" } else { "&sig=" };
                assert!(link.contains(holds), "{link}");
                let answer = fetch(&link);
                assert_eq!((answer.status, &answer.body), (200, &expected), "{link}");
                assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8"), "{link}");
                let disposition = format!("attachment; filename=\"reports-{BATCH}.csv\"");
                assert_eq!(answer.header("content-disposition"), Some(disposition.as_str()), "{link}");
                assert_eq!(answer.header("content-length"), Some(expected.len().to_string().as_str()), "{link}");
                links.push(link);
            }
            assert!(!links[..links.len() - 4].contains(&links[links.len() - 4]), "the same as at an earlier read");
        }
        assert_eq!(site.rows()[&id].urls, stored, "rows keep keys");

        // Nothing of ours serves them.
        for path in
            [format!("/files/reports/reports-{BATCH}.csv?expires=4102444800&signature=0"), "/files/x".to_owned()]
        {
            let answer = server.get(&path);
            assert_eq!((answer.status, &answer.json()["responseCode"]), (404, &json!("RESOURCE_NOT_FOUND")), "{path}");
        }
        let described = server.get("/openapi.json").json();
        assert!(described["paths"]["/job/request/read/{tag}/{request_id}"].is_object());
        assert!(!described.to_string().contains("/files"), "{described}");

        let (_, log) = server.stop();
        for link in links {
            let mut values = link.split(['?', '&']).filter_map(|pair| pair.split_once('='));
            let (_, signature) = values.find(|(name, _)| ["X-Amz-Signature", "sig"].contains(name)).unwrap();
            assert!(!log.contains(signature), "signatures are not logged");
        }
    });
}

#[test]
fn a_link_to_an_object_store_ends() {
    buckets::each(|bucket| {
        let database = TestDatabase::sqlite();
        let site = site(&database, "").storing_in(Some(bucket));
        let server = serving(&site, "run", "3s");
        let submission = submission("t", BATCH);
        let id = server.post(SUBMIT, &submission).json()["result"]["request_id"].as_str().unwrap().to_owned();
        server.ended("t", &id, &[]);
        let read = || link(&server.get(&format!("/job/request/read/t/{id}")).json()["result"]);
        // It may be over before a slow machine comes to fetch it.
        let valid = || {
            wait_for("a link that can still be fetched", || {
                let link = read();
                (fetch(&link).status == 200).then_some(link)
            })
        };
        let first = valid();
        let refused = wait_for("its end", || Some(fetch(&first)).filter(|answer| answer.status != 200));
        assert_eq!(refused.status, 403, "{first}: {}", String::from_utf8_lossy(&refused.body));
        assert_ne!(valid(), first, "the next read gives a new one");
    });
}
