//! The store's seam over all that is behind it: a directory, S3 (a compatible server), Azure (Microsoft's emulator).
//! `scripts/with-stores` starts the servers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::io::Write as _;
use std::time::Duration;

use chrono::Utc;
use exhaust::objects::{Bucket, Location, Place, Settings};
use exhaust::outputs::{Content, Links, ObjectKey, Store, StoreError};

use crate::http::{Answer, Client};
use crate::site::{JOBS, Site, fixture, told};

/// Azurite's well-known key.
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// More than one part, and no round number.
const LARGE: usize = 21 * 1024 * 1024 + 5;

/// An object store of the test's own: its URL and the environment for it.
#[derive(Clone)]
struct Remote {
    url: String,
    environment: Vec<(&'static str, String)>,
}

impl Remote {
    fn bucket(&self) -> Bucket {
        let settings: Settings = self.environment.iter().cloned().collect();
        Bucket::open(&Place { location: Location::parse(&self.url).unwrap(), settings }).unwrap()
    }

    fn with(&self, name: &'static str, value: &str) -> Self {
        let mut changed = self.clone();
        changed.environment.retain(|(known, _)| *known != name);
        changed.environment.push((name, value.to_owned()));
        changed
    }
}

/// Each store that there is, at a prefix of its own; says loudly which there is not.
fn remotes(prefix: &str) -> Vec<Remote> {
    let server = |name: &str| {
        let found = std::env::var(name).ok();
        if found.is_none() {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{name} is not set: run by scripts/with-stores");
            eprintln!("skipped: {name} is not set, run by scripts/with-stores");
        }
        found
    };
    let s3 = server("EXHAUST_TEST_S3").map(|endpoint| Remote {
        url: format!("s3://exhaust/{prefix}"),
        environment: vec![
            ("AWS_ENDPOINT_URL", endpoint),
            ("AWS_ACCESS_KEY_ID", "exhausttest".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "exhausttestsecret".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ],
    });
    let azure = server("EXHAUST_TEST_AZURE").map(|endpoint| Remote {
        url: format!("az://exhaust/{prefix}"),
        environment: vec![
            ("AZURE_STORAGE_ENDPOINT", endpoint),
            ("AZURE_STORAGE_ACCOUNT_NAME", "devstoreaccount1".to_owned()),
            ("AZURE_STORAGE_ACCOUNT_KEY", KEY.to_owned()),
        ],
    });
    [s3, azure].into_iter().flatten().collect()
}

/// Runs over a directory and every object store.
fn each(prefix: &str, test: impl Fn(&Store)) {
    let directory = tempfile::tempdir().unwrap();
    test(&Store::local(directory.path().join("reports")));
    for remote in remotes(prefix) {
        eprintln!("store: {}", remote.url);
        test(&Store::remote(remote.bucket()));
    }
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

fn put(store: &Store, key: &ObjectKey, content: &[u8]) -> Result<Content, StoreError> {
    let mut file = store.create(key)?;
    if let Err(error) = file.write_all(content) {
        return Err(file.failed(error));
    }
    let file = file.finish()?;
    let content = file.content();
    store.publish(file, key).map(|()| content)
}

/// Bytes without a pattern that a swapped part would keep.
fn large() -> Vec<u8> {
    (0..LARGE).map(|n| u8::try_from((n ^ (n >> 8) ^ (n >> 16)) & 0xff).unwrap()).collect()
}

fn fetch(url: &str) -> Answer {
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    Client::at(address).call("GET", &format!("/{path}"), &[], b"")
}

#[test]
fn a_file_is_there_whole_or_not_at_all() {
    each("whole", |store| {
        let (small, big) =
            (key("r/a%2Fb/1/0123456789abcdef/reports-1.csv"), key("r/t/2/0123456789abcdef/reports-2.csv"));
        for (key, content) in [(&small, b"a,b\n".to_vec()), (&big, large())] {
            let mut file = store.create(key).unwrap();
            file.write_all(&content).unwrap();
            assert_eq!(store.size(key).unwrap(), None, "before it is finished");
            let file = file.finish().unwrap();
            assert_eq!(store.size(key).unwrap(), None, "before it is published");
            drop(file);
            assert_eq!(store.size(key).unwrap(), None, "given up");
            let put = put(store, key, &content).unwrap();
            assert_eq!(put, Content { bytes: content.len() as u64, crc32: crc32fast::hash(&content) });
            assert_eq!(store.size(key).unwrap(), Some(content.len() as u64));
            let other = Content { bytes: 1, ..put };
            assert_eq!(store.has(&[(key, put), (key, other), (&self::key("r/none.csv"), put)]), [true, false, false]);
            store.settle([key]).unwrap();
        }
        store.check().unwrap();
    });
}

#[test]
fn copies_are_listed_and_removed_like_other_files() {
    each("copies", |store| {
        let keys = ["1", "2", "3"].map(|id| key(&format!("r/t/{id}/0123456789abcdef/reports-b.csv.gz")));
        put(store, &keys[0], b"content").unwrap();
        store.copy(&keys[0], &keys[1]).unwrap();
        store.copy(&keys[0], &keys[2]).unwrap();
        put(store, &key("other.csv"), b"not ours").unwrap();
        let listed = || {
            let mut found: Vec<_> = store.reports().map(Result::unwrap).map(|one| (one.key, one.bytes)).collect();
            found.sort();
            found
        };
        assert_eq!(listed(), keys.clone().map(|key| (key, 7)));
        assert_eq!(store.remove(&keys[0]).unwrap(), Some(7));
        assert_eq!(store.remove(&keys[0]).unwrap(), None);
        assert_eq!(store.size(&keys[1]).unwrap(), Some(7), "the copy stays");
        assert_eq!(listed().len(), 2);
    });
}

#[test]
fn links_are_the_stores_own_and_end() {
    for remote in remotes("links") {
        let store = Store::remote(remote.bucket());
        let keys = [key("r/a%2Fb é/1/0123456789abcdef/reports-1.csv"), key("r/t/2/0123456789abcdef/reports-2.csv")];
        put(&store, &keys[0], b"x,y\n").unwrap();
        put(&store, &keys[1], &large()).unwrap();
        let copy = key("r/t/3/0123456789abcdef/reports-2.csv");
        store.copy(&keys[1], &copy).unwrap();
        let keys = [&keys[..], &[copy]].concat();
        let links = Links::remote(remote.bucket(), Duration::from_secs(4)).sign(&keys, Utc::now()).unwrap();
        for (link, content, name) in
            [(&links[0], b"x,y\n".to_vec(), "1"), (&links[1], large(), "2"), (&links[2], large(), "2")]
        {
            let answer = fetch(link);
            assert_eq!(
                answer.status,
                200,
                "{}: {}",
                remote.url,
                String::from_utf8_lossy(&answer.body[..200.min(answer.body.len())])
            );
            assert!(answer.body == content, "{}: other bytes", remote.url);
            assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8"), "{link}");
            let disposition = format!("attachment; filename=\"reports-{name}.csv\"");
            assert_eq!(answer.header("content-disposition"), Some(disposition.as_str()), "{link}");
        }
        assert!(fetch(&links[0].replace("reports-1", "reports-9")).status >= 400, "another file");
        std::thread::sleep(Duration::from_secs(6));
        assert_eq!(fetch(&links[0]).status, 403, "{}", remote.url);
    }
}

#[test]
fn what_the_operator_has_to_put_right_is_said() {
    for remote in remotes("wrong") {
        let is_s3 = remote.url.starts_with("s3");
        let wrong = if is_s3 {
            remote.with("AWS_SECRET_ACCESS_KEY", "hunter2")
        } else {
            remote.with("AZURE_STORAGE_ACCOUNT_KEY", "aHVudGVyMg==")
        };
        let nowhere = Remote { url: remote.url.replace("exhaust", "nowhere"), ..remote.clone() };
        let silent = if is_s3 {
            remote.with("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        } else {
            remote.with("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:1/devstoreaccount1")
        };
        for (remote, part) in [
            (wrong, "the store refuses the credentials (403"),
            // The server for tests makes buckets that are missing; Amazon does not.
            (nowhere, if is_s3 { "" } else { "there is no such bucket or container (404" }),
            (silent, "the store cannot be reached: "),
        ]
        .into_iter()
        .filter(|(_, part)| !part.is_empty())
        {
            let checked = Store::remote(remote.bucket()).check();
            let Err(error) = checked else { panic!("{}: nothing wrong where it is said: {part}", remote.url) };
            let told = error.to_string();
            assert!(told.starts_with(&format!("cannot write in the store: {part}")), "{}: {told}", remote.url);
            assert!(error.may_pass() && error.place.starts_with(&remote.url) && !told.contains("hunter2"), "{told}");
            assert!(told.len() < 160, "{told}");
        }
    }
}

/// The main job, end to end, with the same files as in a directory.
#[test]
fn every_store_gets_the_same_files() {
    let database = crate::databases::TestDatabase::sqlite();
    let run = |store: Option<&Remote>| {
        database.execute("DROP TABLE IF EXISTS job_request");
        let site = Site::new(&database, &fixture("odd"), JOBS, "");
        if let Some(remote) = store {
            let text = std::fs::read_to_string(site.path("jobs.toml")).unwrap();
            std::fs::write(site.path("jobs.toml"), text.replace("file://reports", &remote.url)).unwrap();
        }
        for id in ["r1", "r2", "r3"] {
            site.insert("t", id, "course-report", r#"{"batchId": "0130000000000000001"}"#);
        }
        let mut command = site.command(&["run", "--once"]);
        if let Some(remote) = store {
            command.envs(remote.environment.iter().map(|(name, value)| (name, value)));
        }
        let output = command.output().unwrap();
        assert!(told(&output).contains("3 requests: 3 completed, 0 failed"), "{}", told(&output));
        let rows = site.rows();
        let files: Vec<Vec<u8>> = rows
            .values()
            .map(|seen| match store {
                None => site.file(&seen.urls[0]).into_bytes(),
                Some(remote) => {
                    let links = Links::remote(remote.bucket(), Duration::from_mins(1));
                    fetch(&links.sign(&[key(&seen.urls[0])], Utc::now()).unwrap()[0]).body
                }
            })
            .collect();
        files
    };
    let local = run(None);
    assert!(local.iter().all(|file| *file == local[0] && file.len() > 100));
    for remote in remotes("main") {
        assert!(run(Some(&remote)) == local, "{}", remote.url);
    }
}
