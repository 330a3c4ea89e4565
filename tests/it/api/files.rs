//! Downloads: the bytes are the store's, and links open what they were made for and nothing else.

use super::{BATCH, SUBMIT, site, submission};
use crate::daemon::wait_for;
use crate::databases::{TestDatabase, each};
use crate::http::Server;

/// A server with one completed request; its link.
fn completed(server: &Server) -> (String, String) {
    let submitted = server.post(SUBMIT, &submission("t", BATCH));
    assert_eq!(submitted.status, 200, "{}", submitted.errmsg());
    let id = submitted.json()["result"]["request_id"].as_str().unwrap().to_owned();
    let status = server.ended("t", &id, &[]);
    assert_eq!(status["status"], "COMPLETED", "{status}");
    (id, status["downloadURLs"][0].as_str().unwrap().to_owned())
}

#[test]
fn a_link_gives_the_store_s_bytes_whole_and_in_part() {
    each(|database| {
        let site = site(database, "");
        let server = Server::start(&site, "run");
        let (id, link) = completed(&server);
        let stored = site.file(&site.rows()[&id].urls[0]).into_bytes();
        let whole = server.fetch(&link);
        assert_eq!((whole.status, &whole.body), (200, &stored));
        assert_eq!(whole.header("content-length"), Some(stored.len().to_string().as_str()));
        let name = format!("attachment; filename=\"reports-{BATCH}.csv\"");
        assert_eq!(whole.header("content-disposition"), Some(name.as_str()));
        assert_eq!(whole.header("content-type"), Some("text/csv; charset=utf-8"));
        let path = link.strip_prefix(&format!("http://{}", server.address)).unwrap();
        let last = stored.len() - 1;
        for (range, from, to) in [
            ("bytes=0-9".to_owned(), 0, 9),
            (format!("bytes={}-", last - 4), last - 4, last),
            ("bytes=-7".to_owned(), last - 6, last),
            (format!("bytes=5-{}", 10 * last), 5, last),
            (format!("bytes=-{last}"), 1, last),
        ] {
            let part = server.call("GET", path, &[("range", &range)], b"");
            assert_eq!((part.status, &part.body[..]), (206, &stored[from..=to]), "{range}");
            let shown = format!("bytes {from}-{to}/{}", stored.len());
            assert_eq!(part.header("content-range"), Some(shown.as_str()), "{range}");
        }
        let beyond = format!("bytes={}-", stored.len());
        let answer = server.call("GET", path, &[("range", &beyond)], b"");
        assert_eq!((answer.status, answer.errmsg().as_str()), (416, "the range is not in the file"));
        assert_eq!(answer.header("content-range"), Some(format!("bytes */{}", stored.len()).as_str()));
        // More last bytes than there are, and several ranges: the whole file.
        for (range, status) in [(format!("bytes=-{}", 10 * last), 206), ("bytes=0-1,5-6".to_owned(), 200)] {
            let answer = server.call("GET", path, &[("range", &range)], b"");
            assert!(answer.status == status && answer.body == stored, "{range}: {}", answer.status);
        }
        // Only who has a part of this very file gets another part of it.
        let (tag, modified) = (whole.header("etag").unwrap(), whole.header("last-modified").unwrap());
        for (name, value, status) in [
            ("if-range", tag, 206),
            ("if-range", modified, 206),
            ("if-range", "\"another\"", 200),
            ("if-range", "Sat, 01 Jan 2000 00:00:00 GMT", 200),
            ("if-none-match", tag, 304),
            ("if-match", "\"another\"", 412),
            ("if-modified-since", modified, 304),
            ("if-modified-since", "Fri, 31 Dec 99999 23:59:59 GMT", 206),
            ("if-unmodified-since", "Mon, 01 Jan 0001 00:00:00 GMT", 206),
            ("if-unmodified-since", "Sat, 01 Jan 2000 00:00:00 GMT", 412),
        ] {
            let answer = server.call("GET", path, &[("range", "bytes=0-9"), (name, value)], b"");
            assert_eq!(answer.status, status, "{name}: {value}");
        }
        let huge = "9".repeat(40);
        for (range, status) in [
            (format!("bytes=0-{huge}"), 206),
            (format!("bytes={huge}-"), 416),
            ("bytes=9-5".to_owned(), 200),
            ("bytes=-0".to_owned(), 416),
            ("bytes=a-b".to_owned(), 200),
        ] {
            assert_eq!(server.call("GET", path, &[("range", &range)], b"").status, status, "{range}");
        }
        // A time of the file that no HTTP date can say.
        let file = std::fs::File::options().write(true).open(site.path("reports").join(&site.rows()[&id].urls[0]));
        file.unwrap().set_modified(std::time::UNIX_EPOCH - std::time::Duration::from_hours(24)).unwrap();
        let undated = server.call("GET", path, &[("if-modified-since", modified)], b"");
        assert_eq!((undated.status, undated.header("last-modified"), &undated.body), (200, None, &stored));
        let head = server.call("HEAD", path, &[], b"");
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), Some(stored.len().to_string().as_str()));
    });
}

#[test]
fn altered_foreign_and_climbing_links_open_nothing() {
    let database = TestDatabase::sqlite();
    let site = site(&database, "");
    let server = Server::start(&site, "run");
    let (_, link) = completed(&server);
    let path = link.strip_prefix(&format!("http://{}", server.address)).unwrap();
    let (file, query) = path.split_once('?').unwrap();
    let (expires, signature) = query.split_once('&').unwrap();
    let other = file.replace(BATCH, "0130000000000000002");
    for (what, changed) in [
        ("another file", format!("{other}?{query}")),
        ("a later end", format!("{file}?expires=4102444800&{signature}")),
        ("another signature", format!("{file}?{expires}&signature={}", "0".repeat(64))),
        ("no signature", format!("{file}?{expires}")),
        ("nothing", file.to_owned()),
        ("climbing", format!("/files/reports/../../jobs.toml?{query}")),
        ("climbing, encoded", format!("/files/reports/%2e%2e%2f%2e%2e%2fjobs.toml?{query}")),
        ("the key itself", format!("/files/.link-key?{query}")),
        ("not UTF-8", format!("/files/%ff%fe?{query}")),
        ("a NUL", format!("/files/a%00b?{query}")),
    ] {
        let answer = server.get(&changed);
        assert_eq!(answer.status, 403, "{what}");
        assert_eq!(
            (answer.errmsg().as_str(), &answer.json()["responseCode"]),
            ("the link is not valid", &"FORBIDDEN".into())
        );
    }
    // A file that retention took away.
    std::fs::remove_dir_all(site.path("reports/reports")).unwrap();
    assert_eq!(server.fetch(&link).status, 404);
    let (_, log) = server.stop();
    let signature = signature.strip_prefix("signature=").unwrap();
    assert!(!log.contains(signature), "signatures are not logged");
}

#[test]
fn an_expired_link_says_so() {
    let database = TestDatabase::sqlite();
    let site = site(&database, "");
    let server = Server::spawn({
        let mut command = site.command(&["run"]);
        command.env("EXHAUST__STORE__SIGNED_URL_TTL", "1s");
        command
    });
    let (id, link) = completed(&server);
    let stored = site.rows()[&id].urls[0].clone();
    let answer = wait_for("its end", || Some(server.fetch(&link)).filter(|answer| answer.status != 200));
    assert_eq!(answer.status, 403);
    assert_eq!(answer.errmsg(), "the link has expired: read the request's status again for a new one");
    assert!(!stored.contains("signature"), "rows hold keys, not links");
}

/// Several API processes on one store sign and open each other's links; another key's are refused.
#[test]
fn processes_on_one_store_share_their_link_key() {
    let database = TestDatabase::sqlite();
    let site = site(&database, "");
    let server = Server::start(&site, "run");
    let (_, link) = completed(&server);
    let path = link.strip_prefix(&format!("http://{}", server.address)).unwrap();
    let beside = Server::start(&site, "serve");
    assert_eq!(beside.get(path).status, 200);
    let other = Server::spawn({
        let mut command = site.command(&["serve"]);
        command.env("EXHAUST__STORE__LINK_KEY", "another key");
        command
    });
    assert_eq!(other.get(path).status, 403);
}
