//! The store's seam over all that is behind it: a directory, S3 (a compatible server), Azure (Microsoft's emulator).
//! `scripts/with-stores` starts the servers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod sas;
mod slow;

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use exhaust::objects::{Bucket, BucketConfig, Location, Settings};
use exhaust::outputs::{Content, Links, ObjectKey, OwnKey, Store, StoreError};
use exhaust::requests::{Clock as _, SystemClock};

use crate::daemon::wait_for;
use crate::databases::TestDatabase;
use crate::faulty::{self, Calls, Fault};
use crate::http::fetch;
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
        Bucket::open(&BucketConfig { location: Location::parse(&self.url).unwrap(), settings }).unwrap()
    }

    /// The same through a proxy that spoils calls.
    fn through(&self, fault: Fault) -> Self {
        self.counted(fault).0
    }

    /// The same, and what the proxy counts.
    fn counted(&self, fault: Fault) -> (Self, Arc<Calls>) {
        let (name, endpoint) = self.environment.iter().find(|(name, _)| name.contains("ENDPOINT")).unwrap();
        let target = endpoint.strip_prefix("http://").unwrap().split('/').next().unwrap();
        let (address, calls) = faulty::before(target, fault);
        (self.with(name, &endpoint.replace(target, &address)), calls)
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

/// As the row has it that the file was made for.
fn own(key: &ObjectKey) -> OwnKey {
    let of = key.origin().unwrap();
    OwnKey::parse(key.as_str(), &of.tag, &of.request_id).unwrap()
}

fn put(store: &Store, key: &ObjectKey, content: &[u8]) -> Result<Content, StoreError> {
    let mut file = store.create(key)?;
    if let Err(error) = file.write_all(content) {
        return Err(file.failed(error));
    }
    let mut file = file.finish()?;
    let content = file.content();
    let published = store.publish(&mut file, key, true).map(|()| content);
    store.discard(file);
    published
}

/// Stores one file for several requests.
fn put_for(store: &Store, keys: &[&ObjectKey], content: &[u8]) -> Content {
    let mut file = store.create(keys[0]).unwrap();
    file.write_all(content).unwrap();
    let mut file = file.finish().unwrap();
    for (n, key) in keys.iter().enumerate() {
        store.publish(&mut file, key, n + 1 == keys.len()).unwrap();
    }
    let content = file.content();
    store.discard(file);
    content
}

/// Bytes without a pattern that a swapped part would keep.
fn large() -> Vec<u8> {
    (0..LARGE).map(|n| u8::try_from((n ^ (n >> 8) ^ (n >> 16)) & 0xff).unwrap()).collect()
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
            store.sync([key]).unwrap();
        }
        store.check().unwrap();
    });
}

/// Others may write into the bucket: what is gone on with after a crash has the very bytes, or is made again.
#[test]
fn an_object_of_the_right_length_and_other_bytes_is_not_ours() {
    for remote in remotes("other") {
        let (bucket, store) = (remote.bucket(), Store::remote(remote.bucket()));
        let keys = ["1", "2", "3", "4"].map(|id| key(&format!("r/t/{id}/0123456789abcdef/reports-b.csv")));
        let small = put_for(&store, &[&keys[0], &keys[2]], b"a,b\n1,2\n");
        let big = put_for(&store, &[&keys[1], &keys[3]], &large());
        let all = [(&keys[0], small), (&keys[1], big), (&keys[2], small), (&keys[3], big)];
        assert_eq!(store.has(&all), [true; 4], "{}", remote.url);
        for copy in [&keys[0], &keys[2]] {
            assert_eq!(bucket.look(copy.as_str()).unwrap().unwrap().crc32, Some(small.crc32), "{}", remote.url);
        }
        // One that has no checksum of ours, one that was stored by us with other bytes, and a large one of either kind.
        crate::buckets::put(&bucket, keys[0].as_str(), b"a,b\n1,3\n".to_vec());
        put(&store, &keys[2], b"a,b\n1,3\n").unwrap();
        let mut other = large();
        *other.last_mut().unwrap() ^= 1;
        crate::buckets::put(&bucket, keys[1].as_str(), other.clone());
        put(&store, &keys[3], &other).unwrap();
        assert_eq!(store.has(&all), [false; 4], "{}", remote.url);
        // Without a checksum of ours, but the very bytes.
        crate::buckets::put(&bucket, keys[0].as_str(), b"a,b\n1,2\n".to_vec());
        assert_eq!(store.has(&all), [true, false, false, false], "{}", remote.url);
    }
}

#[test]
fn copies_are_listed_and_removed_like_other_files() {
    each("copies", |store| {
        let keys = ["1", "2", "3"].map(|id| key(&format!("r/t/{id}/0123456789abcdef/reports-b.csv.gz")));
        put_for(store, &[&keys[0], &keys[1], &keys[2]], b"content");
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

/// Whatever becomes of the places of the first, those who come later get the file, or hear that it is not their doing.
#[test]
fn a_shared_file_does_not_depend_on_the_first_who_wants_it() {
    each("shared", |store| {
        for (size, content) in [("small", b"content".to_vec()), ("large", large())] {
            let keys = ["1", "2", "3", "4"].map(|id| key(&format!("{size}/t/{id}/0123456789abcdef/reports-b.csv")));
            let mut file = store.create(&keys[0]).unwrap();
            file.write_all(&content).unwrap();
            let mut file = file.finish().unwrap();
            // The request for which it was begun has ended meanwhile.
            store.publish(&mut file, &keys[1], false).unwrap();
            store.publish(&mut file, &keys[2], false).unwrap();
            for gone in &keys[..3] {
                store.remove(gone).unwrap();
            }
            let last = store.publish(&mut file, &keys[3], true);
            if store.is_remote() && size == "large" {
                let error = last.unwrap_err();
                assert!(error.is_of_one_file() && file.is_spent() && !store.fails_for_all(&error), "{error}");
            } else {
                last.unwrap();
                assert_eq!(store.size(&keys[3]).unwrap(), Some(content.len() as u64), "{size}");
            }
            store.discard(file);
            assert!(keys[..3].iter().all(|key| store.size(key).unwrap().is_none()), "{size}: nothing is left over");
        }
    });
}

#[test]
fn links_are_the_stores_own_and_end() {
    for remote in remotes("links") {
        let store = Store::remote(remote.bucket());
        let keys = [key("r é/a%2Fb/1/0123456789abcdef/reports-1.csv"), key("r/t/2/0123456789abcdef/reports-2.csv")];
        put(&store, &keys[0], b"x,y\n").unwrap();
        let copy = key("r/t/3/0123456789abcdef/reports-2.csv");
        put_for(&store, &[&keys[1], &copy], &large());
        let keys: Vec<OwnKey> = keys.iter().chain([&copy]).map(own).collect();
        let signed = |holds| Links::remote(remote.bucket(), holds).sign(&keys, SystemClock.now()).unwrap();
        let links = signed(Duration::from_hours(1));
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
        let short = signed(Duration::from_secs(1));
        wait_for("the end of a link", || (fetch(&short[0]).status == 403).then_some(()));
        assert_eq!(fetch(&links[0]).status, 200, "{}: the longer one goes on", remote.url);
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

/// A site whose reports go there, with three requests for one batch.
fn site<'a>(database: &'a TestDatabase, store: Option<&Remote>, more: &str) -> Site<'a> {
    database.execute("DROP TABLE IF EXISTS job_request");
    let site = Site::new(
        database,
        &fixture("odd"),
        &JOBS.replace("report = \"course\"", &format!("report = \"course\"\n{more}")),
        "",
    );
    if let Some(remote) = store {
        let text = std::fs::read_to_string(site.path("jobs.toml")).unwrap();
        std::fs::write(site.path("jobs.toml"), text.replace("file://reports", &remote.url)).unwrap();
    }
    for id in ["r1", "r2", "r3"] {
        site.insert("t", id, "course-report", r#"{"batchId": "0130000000000000001"}"#);
    }
    site
}

fn run(site: &Site<'_>, store: Option<&Remote>) -> String {
    let mut command = site.command(&["run", "--once"]);
    if let Some(remote) = store {
        command.envs(remote.environment.iter().map(|(name, value)| (name, value)));
    }
    told(&command.output().unwrap())
}

/// The files of all requests; those of an object store come through its links.
fn files(site: &Site<'_>, store: Option<&Remote>) -> Vec<Vec<u8>> {
    let file = |url: &String| match store {
        None => site.file(url).into_bytes(),
        Some(remote) => {
            let links = Links::remote(remote.bucket(), Duration::from_mins(1));
            fetch(&links.sign(&[own(&key(url))], SystemClock.now()).unwrap()[0]).body
        }
    };
    site.rows().values().flat_map(|seen| seen.urls.iter().map(file)).collect()
}

/// The main job, end to end, with the same files as in a directory; also where every third call fails, and where each one
/// is slow. Reports are read past the fault.
#[test]
fn every_store_gets_the_same_files_whatever_fails_on_the_way() {
    let database = TestDatabase::sqlite();
    let local = {
        let site = site(&database, None, "");
        assert!(run(&site, None).contains("3 requests: 3 completed, 0 failed"));
        files(&site, None)
    };
    assert!(local.len() == 3 && local.iter().all(|file| *file == local[0] && file.len() > 100));
    for remote in remotes("main") {
        let faults =
            [Fault::ThirdUnavailable, Fault::ThirdCut, Fault::ThirdAnswerLost, Fault::Slow(Duration::from_millis(700))];
        for fault in [None].into_iter().chain(faults.map(Some)) {
            let through = fault.map_or(remote.clone(), |fault| remote.through(fault));
            let site = site(&database, Some(&through), "");
            let log = run(&site, Some(&through));
            assert!(log.contains("3 requests: 3 completed, 0 failed"), "{} {fault:?}: {log}", remote.url);
            assert!(files(&site, Some(&remote)) == local, "{} {fault:?}", remote.url);
        }
    }
}

#[test]
fn a_store_that_refuses_the_credentials_fails_the_request_and_says_so() {
    let database = TestDatabase::sqlite();
    for remote in remotes("refused") {
        let through = remote.through(Fault::Refused);
        let site = site(&database, Some(&through), "max_attempts = 1");
        let log = run(&site, Some(&through));
        for (id, seen) in site.rows() {
            assert_eq!(seen.status, "FAILED", "{id}: {log}");
            assert_eq!(
                seen.message,
                "cannot store a file in the store: the store refuses the credentials (403 AccessDenied)"
            );
            assert!(seen.urls.is_empty());
        }
        let stored: Result<Vec<_>, _> = Store::remote(remote.bucket()).reports().collect();
        assert!(stored.as_ref().is_ok_and(Vec::is_empty), "{stored:?}");
        for secret in ["exhausttestsecret", &KEY[..20]] {
            assert!(!log.contains(secret), "{log}");
        }
    }
}

/// A large file through the same faults.
#[test]
fn parts_that_fail_are_sent_again() {
    for remote in remotes("parts") {
        for (n, fault) in [Fault::ThirdUnavailable, Fault::ThirdCut, Fault::ThirdAnswerLost].into_iter().enumerate() {
            let key = key(&format!("r/t/{n}/0123456789abcdef/reports-b.csv"));
            put(&Store::remote(remote.through(fault).bucket()), &key, &large()).unwrap();
            let link =
                Links::remote(remote.bucket(), Duration::from_mins(1)).sign(&[own(&key)], SystemClock.now()).unwrap();
            assert!(fetch(&link[0]).body == large(), "{} {fault:?}: other bytes", remote.url);
        }
    }
}

/// Google's signatures need no server: the link is checked with the public key, by openssl.
#[test]
fn google_links_are_signed_by_the_service_account() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let openssl = |arguments: &[&str]| std::process::Command::new("openssl").args(arguments).output();
    let Ok(made) = openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", &path("key")])
    else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "openssl is missing");
        return eprintln!("skipped: Google's signatures, for there is no openssl");
    };
    assert!(made.status.success());
    assert!(openssl(&["pkey", "-in", &path("key"), "-pubout", "-out", &path("public")]).unwrap().status.success());
    let account = serde_json::json!({
        "type": "service_account", "client_email": "reports@example.iam.gserviceaccount.com", "private_key_id": "1",
        "private_key": std::fs::read_to_string(path("key")).unwrap(), "client_id": "1",
    });
    std::fs::write(path("account.json"), account.to_string()).unwrap();
    let remote = Remote {
        url: "gs://bucket/prefix".to_owned(),
        environment: vec![("GOOGLE_APPLICATION_CREDENTIALS", path("account.json"))],
    };
    let object = key("r/a%2Fb/1/0123456789abcdef/reports-é 1.csv");
    let link = Links::remote(remote.bucket(), Duration::from_hours(1))
        .sign(&[own(&object)], SystemClock.now())
        .unwrap()
        .remove(0);
    // https://cloud.google.com/storage/docs/authentication/canonical-requests, written down by hand.
    let (resource, query) = link.strip_prefix("https://storage.googleapis.com").unwrap().split_once('?').unwrap();
    assert_eq!(resource, "/bucket/prefix/r/a%252Fb/1/0123456789abcdef/reports-%C3%A9%201.csv");
    let (query, signature) = query.split_once("&X-Goog-Signature=").unwrap();
    let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).unwrap();
    let (date, expires) = (value("X-Goog-Date"), value("X-Goog-Expires"));
    assert_eq!(
        (expires, value("X-Goog-SignedHeaders"), value("X-Goog-Algorithm")),
        ("3600", "host", "GOOG4-RSA-SHA256")
    );
    let scope = format!("{}/auto/storage/goog4_request", &date[..8]);
    let mut sorted: Vec<&str> = query.split('&').collect();
    sorted.sort_unstable();
    let canonical =
        format!("GET\n{resource}\n{}\nhost:storage.googleapis.com\n\nhost\nUNSIGNED-PAYLOAD", sorted.join("&"));
    std::fs::write(path("canonical"), canonical).unwrap();
    let hashed = String::from_utf8(openssl(&["dgst", "-sha256", "-r", &path("canonical")]).unwrap().stdout).unwrap();
    std::fs::write(path("text"), format!("GOOG4-RSA-SHA256\n{date}\n{scope}\n{}", &hashed[..64])).unwrap();
    let digits: Vec<u8> =
        (0..signature.len()).step_by(2).map(|at| u8::from_str_radix(&signature[at..at + 2], 16).unwrap()).collect();
    std::fs::write(path("signature"), digits).unwrap();
    let verified =
        openssl(&["dgst", "-sha256", "-verify", &path("public"), "-signature", &path("signature"), &path("text")])
            .unwrap();
    assert!(verified.status.success(), "{link}\n{}", String::from_utf8_lossy(&verified.stderr));

    let mut nowhere = account;
    nowhere["gcs_base_url"] = "http://127.0.0.1:1".into();
    nowhere["disable_oauth"] = true.into();
    std::fs::write(path("account.json"), nowhere.to_string()).unwrap();
    let told = Store::remote(remote.with("GOOGLE_ALLOW_HTTP", "true").bucket()).check().unwrap_err().to_string();
    assert!(told.starts_with("cannot write in the store: the store cannot be reached: "), "{told}");
}

#[test]
fn google_without_credentials_says_so() {
    let at = |environment: &[(&'static str, &str)]| {
        let settings: Settings = environment.iter().copied().collect();
        Bucket::open(&BucketConfig { location: Location::parse("gs://bucket").unwrap(), settings })
    };
    let told = at(&[("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/account.json")]).unwrap_err().to_string();
    assert!(told.starts_with("cannot open gs://bucket: ") && told.contains("/nowhere/account.json"), "{told}");
    let told = at(&[("GOOGLE_BASE_URL", "http://storage.example")]).unwrap_err().to_string();
    assert!(told.ends_with("plain http, and not on this machine: use https, or set GOOGLE_ALLOW_HTTP=true"), "{told}");
}
