//! Whatever a row names and whatever a link says: nothing is opened but the files of the request itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use exhaust::requests::{Clock as _, SystemClock};
use fastrand::Rng;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::key_rules::ODD;
use super::{encoded, piece, quoted};
use crate::databases::{TestDatabase, each};
use crate::http::Server;
use crate::reliability::exchange;
use crate::site::{ORIGINAL_TABLE, Site};

const CLAIM: &str = "0123456789abcdef";
/// What no answer may hold.
const SECRET: &str = "nobody may read this";
/// Rows of others with hostile download_urls.
const ROWS: usize = 1_050;
/// Hostile links.
const LINKS: usize = 1_200;

fn site(database: &TestDatabase) -> Site<'_> {
    let hosts = r#"link_hosts = ["files.example.org", "other.example:8443"]"#;
    let site = crate::api::site(database, &format!("{hosts}\n# {SECRET}"));
    let reports = site.path("reports");
    fs::create_dir_all(reports.join(".hidden")).unwrap();
    fs::create_dir_all(site.path("outside/t/1").join(CLAIM)).unwrap();
    for secret in ["reports/.link-key", "reports/notes.txt", "reports/.hidden/x", "outside/secret"] {
        fs::write(site.path(secret), SECRET).unwrap();
    }
    site
}

fn serve(site: &Site<'_>) -> Server {
    Server::spawn({
        let mut command = site.command(&["serve"]);
        command.env("EXHAUST__STORE__LINK_KEY", "attack");
        command
    })
}

/// Stores a file, whose content is its key.
fn store(site: &Site<'_>, key: &str, content: &str) {
    let path = site.path("reports").join(key);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// One entry of a row, and whether its readers get it.
fn entry(draws: &mut Rng, own: &str, tag: &str, n: usize) -> (String, bool) {
    let another = (n + 1 + draws.usize(..20)) % ROWS;
    let foreign = [
        format!("reports/{tag}/{another}/{CLAIM}/reports-1.csv"),
        format!("reports/other-{tag}/{n}/{CLAIM}/reports-1.csv"),
        format!("reports/{tag}/{n}x/{CLAIM}/reports-1.csv"),
        format!("reports/{tag}/{n}/{CLAIM}/secret.csv"),
        format!("reports/{tag}/{n}/{CLAIM}0/reports-1.csv"),
        format!("reports/{tag}/{n}/{}/reports-1.csv", CLAIM.to_uppercase()),
        format!("reports/%74{}/{n}/{CLAIM}/reports-1.csv", &tag[1..]),
        format!("reports/../reports/{tag}/{n}/{CLAIM}/reports-1.csv"),
        format!("reports/./{tag}/{n}/{CLAIM}/reports-1.csv"),
        format!("reports//{tag}/{n}/{CLAIM}/reports-1.csv"),
        format!("/reports/{tag}/{n}/{CLAIM}/reports-1.csv"),
        format!(".incoming/{tag}/{n}/{CLAIM}/reports-1.csv"),
        format!("reports/.x/{tag}/{n}/{CLAIM}/reports-1.csv"),
        format!("reports/{tag}/{n}/{CLAIM}/reports-1.csv/"),
        format!("{own}?x=1/../../../{tag}"),
        ".link-key".to_owned(),
        "notes.txt".to_owned(),
        "../jobs.toml".to_owned(),
        "javascript:alert(1)".to_owned(),
        "file:///etc/passwd".to_owned(),
        "s3://bucket/key".to_owned(),
        "//files.example.org/x".to_owned(),
        "https:files.example.org/x".to_owned(),
        "https://evil.example/x".to_owned(),
        "https://files.example.org.evil.example/x".to_owned(),
        "https://files.example.org@evil.example/x".to_owned(),
        "https://files.example.org:443/x".to_owned(),
        "https://other.example/x".to_owned(),
        "https://evil.example\\@files.example.org/x".to_owned(),
        "https://files.example.org\\@evil.example/x".to_owned(),
        "https://files.example.org/\tx".to_owned(),
        "https:///files.example.org/x".to_owned(),
        "https://files.example.org%2f@evil.example/x".to_owned(),
        "ftp://files.example.org/x".to_owned(),
    ];
    match draws.u32(..6) {
        0 | 1 => (own.to_owned(), true),
        2 => {
            let urls =
                ["https://files.example.org/a?b=c%20d", "http://FILES.example.org", "HTTPS://other.example:8443/x#y"];
            (urls[draws.usize(..urls.len())].to_owned(), true)
        }
        3 => (format!("{}{}", piece(draws), piece(draws)).replace('\0', ""), false),
        _ => (foreign[draws.usize(..foreign.len())].clone(), false),
    }
}

#[test]
fn a_row_opens_nothing_but_its_own_files() {
    each(|database| {
        let seed = fastrand::u64(..);
        eprintln!("seed {seed}");
        let mut draws = Rng::with_seed(seed);
        let site = site(database);
        database.execute(ORIGINAL_TABLE);
        let mut planted: BTreeMap<(String, String), Vec<(String, bool)>> = BTreeMap::new();
        let mut values = Vec::new();
        for n in 0..ROWS {
            let tag = format!("t{}", n % 5);
            let own = format!("reports/{tag}/{n}/{CLAIM}/reports-1.csv");
            store(&site, &own, &own);
            let entries: Vec<_> = (0..draws.usize(1..5)).map(|_| entry(&mut draws, &own, &tag, n)).collect();
            let urls: Vec<&str> = entries.iter().map(|(url, _)| url.as_str()).collect();
            let urls = if database.is_postgres() {
                format!("ARRAY[{}]::text[]", urls.iter().map(|url| quoted(url)).collect::<Vec<_>>().join(", "))
            } else {
                quoted(&json!(urls).to_string())
            };
            let (job, status) = match draws.u32(..8) {
                0 => ("theirs", "SUCCESS"),
                1 => ("theirs", "COMPLETED"),
                2 => ("course-report", "FAILED"),
                _ => ("course-report", "COMPLETED"),
            };
            let ended = status != "FAILED";
            let job_row = format!("('{tag}', '{n}', '{job}', '{status}', {urls}, '2026-01-01 00:00:00')");
            values.push(job_row);
            planted.insert((tag, n.to_string()), if ended { entries } else { Vec::new() });
        }
        for some in values.chunks(100) {
            database.execute(&format!(
                "INSERT INTO job_request (tag, request_id, job_id, status, download_urls, dt_job_submitted) VALUES {}",
                some.join(", ")
            ));
        }
        let server = serve(&site);
        let with_withheld = planted.values().filter(|entries| entries.iter().any(|(_, given)| !given)).count();
        // Twice, so that what is logged once for a row shows.
        for _ in 0..2 {
            for tag in 0..5 {
                let answer = server.get(&format!("/job/request/list/t{tag}?limit=1000"));
                assert_eq!(answer.status, 200, "{}", answer.errmsg());
                for job in answer.json()["result"]["jobs"].as_array().unwrap() {
                    check(&server, job, &planted, seed);
                }
            }
        }
        let one = planted.iter().find(|(_, entries)| entries.iter().any(|(_, given)| !given)).unwrap().0;
        let read = server.get(&format!("/job/request/read/{}/{}", one.0, one.1)).json();
        check(&server, &read["result"], &planted, seed);
        let (_, log) = server.stop();
        assert_eq!(log.matches("a link is withheld request=").count(), with_withheld, "once for each row");
        assert!(!log.contains("signature="), "no link is logged");
    });
}

/// The links of a status object are those of the row's own files and of allowed hosts, in order, and open what they name.
fn check(server: &Server, job: &Value, planted: &BTreeMap<(String, String), Vec<(String, bool)>>, seed: u64) {
    let key = (job["tag"].as_str().unwrap().to_owned(), job["request_id"].as_str().unwrap().to_owned());
    let entries = &planted[&key];
    let given: Vec<&String> = entries.iter().filter(|(_, given)| *given).map(|(url, _)| url).collect();
    let links: Vec<&str> = job["downloadURLs"].as_array().unwrap().iter().map(|link| link.as_str().unwrap()).collect();
    assert_eq!(links.len(), given.len(), "seed {seed}: {key:?} {entries:?} {links:?}");
    let withheld = entries.len() - given.len();
    assert_eq!(job["links_withheld"].as_u64().unwrap_or(0), withheld as u64, "{key:?}");
    for (link, url) in links.iter().zip(given) {
        if url.contains("://") {
            assert_eq!(link, url);
        } else {
            assert!(link.starts_with(&format!("http://{}/files/{url}?expires=", server.address)), "{link}");
            if key.1.ends_with('7') {
                let file = server.fetch(link);
                assert_eq!((file.status, String::from_utf8(file.body).unwrap()), (200, url.clone()));
            }
        }
    }
}

/// A link as whoever has the link key makes it.
fn signed(key: &str, expires: i64) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(b"attack").unwrap();
    mac.update(format!("{key}\n{expires}").as_bytes());
    let mut signature = String::new();
    for byte in mac.finalize().into_bytes() {
        write!(signature, "{byte:02x}").unwrap();
    }
    format!("expires={expires}&signature={signature}")
}

/// The path of a link, with more or less of it percent-encoded, once or twice.
fn spelled(draws: &mut Rng, key: &str) -> (String, bool) {
    let always = |byte: u8| !(byte.is_ascii_alphanumeric() || b"/._~:-".contains(&byte));
    let one = |byte: u8, so: bool| if so { format!("%{byte:02X}") } else { char::from(byte).to_string() };
    match draws.u32(..4) {
        0 => (key.bytes().map(|byte| one(byte, always(byte) || byte != b'/')).collect(), true),
        1 => {
            let once: String = key.bytes().map(|byte| one(byte, always(byte))).collect();
            (once.replace('%', "%25").replace('/', "%2F"), !once.contains('%'))
        }
        _ => (key.bytes().map(|byte| one(byte, always(byte))).collect(), true),
    }
}

#[test]
fn a_link_opens_no_file_but_a_report_whatever_is_signed() {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut draws = Rng::with_seed(seed);
    let database = TestDatabase::sqlite();
    let site = site(&database);
    let (reports, outside) = (site.path("reports"), site.path("outside"));
    let report = |n: usize| format!("reports/{}/{n}/{CLAIM}/reports-{}.csv", encoded("a/b é"), encoded("../b"));
    for n in 0..20 {
        store(&site, &report(n), "a report");
    }
    for place in ["linked/t/1", ".hidden/t/1", "reports/.t/1"] {
        fs::create_dir_all(reports.join(place).join(CLAIM)).unwrap();
    }
    let name = format!("{CLAIM}/reports-1.csv");
    fs::write(outside.join("t/1").join(&name), SECRET).unwrap();
    symlink(&outside, reports.join("out")).unwrap();
    symlink(outside.join("secret"), reports.join("linked/t/1").join(&name)).unwrap();
    fs::write(reports.join(".hidden/t/1").join(&name), SECRET).unwrap();
    fs::write(reports.join("reports/.t/1").join(&name), SECRET).unwrap();
    fs::create_dir_all(reports.join("dir/t/1").join(&name)).unwrap();
    let server = serve(&site);
    let now = SystemClock.now().timestamp();
    let week = 7 * 24 * 3600;
    let mut opened = 0;
    for n in 0..LINKS {
        let (own, place) = (report(n % 20), ["out", "linked", ".hidden", "reports/.t", "dir"][n % 5]);
        let key = match draws.u32(..6) {
            0 | 1 => own.clone(),
            2 => format!("{place}/t/1/{name}"),
            3 => [".link-key", "notes.txt", ".hidden/x", "../jobs.toml", "../outside/secret", "out/secret"]
                [draws.usize(..6)]
            .to_owned(),
            4 => format!("{}/../../{own}", ODD[draws.usize(..ODD.len())]),
            _ => (0..4).map(|_| piece(&mut draws)).collect::<Vec<_>>().join("/"),
        };
        let expires = match draws.u32(..8) {
            0 => now - draws.i64(1..1_000_000),
            1 => now + week + draws.i64(300..1_000_000),
            2 => i64::MAX,
            3 => i64::MIN,
            _ => now + draws.i64(300..week - 300),
        };
        let (path, names_it) = spelled(&mut draws, &key);
        let query = match draws.u32(..6) {
            0 => signed(&report((n + 1) % 20), expires),
            1 => signed(&key, expires).replace("expires=", "expires=+"),
            2 => signed(&key, expires).to_uppercase(),
            _ => signed(&key, expires),
        };
        let holds = expires > now && expires < now + week;
        let is_good = key == own && names_it && holds && query == signed(&own, expires);
        let answer = server.get(&format!("/files/{path}?{query}"));
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        let about = format!("seed {seed}: {key:?} as {path:?}?{query} {} {body}", answer.status);
        assert!(!body.contains(SECRET), "{about}");
        assert_eq!(answer.status == 200, is_good, "{about}");
        assert!([200, 400, 403, 404].contains(&answer.status), "{about}");
        opened += usize::from(is_good);
    }
    assert!(opened > 50, "{opened}");
}

/// Somebody changes a directory into a link that leads out of the store, and back, while files are served.
#[test]
fn a_directory_that_becomes_a_link_is_not_followed() {
    let database = TestDatabase::sqlite();
    let site = site(&database);
    let key = format!("reports/t/1/{CLAIM}/reports-1.csv");
    store(&site, &key, "a report");
    fs::write(site.path("outside/t/1").join(CLAIM).join("reports-1.csv"), SECRET).unwrap();
    symlink(site.path("outside"), site.path("link")).unwrap();
    let server = serve(&site);
    let query = signed(&key, SystemClock.now().timestamp() + 3600);
    let (done, mut seen) = (AtomicBool::new(false), BTreeMap::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                exchange(Path::new(&site.path("reports/reports")), Path::new(&site.path("link")));
            }
        });
        for _ in 0..400 {
            let answer = server.get(&format!("/files/{key}?{query}"));
            assert!(!String::from_utf8_lossy(&answer.body).contains(SECRET));
            *seen.entry(answer.status).or_insert(0) += 1;
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(seen.keys().all(|status| [200, 404].contains(status)), "{seen:?}");
}

/// Versions before had no bounds for report paths and no rule for leading dots. Their reports are read, unless hidden, and
/// retention removes all of them.
#[test]
fn reports_of_earlier_versions_are_read_and_removed() {
    each(|database| {
        let site = site(database);
        database.execute(ORIGINAL_TABLE);
        let deep = format!("{}/deep/1/{CLAIM}/reports-1.csv", vec!["segment"; 60].join("/"));
        let dotted = format!("reports/.dotted/1/{CLAIM}/reports-.1.csv");
        let dots = format!("reports/%2E%2E/1/{CLAIM}/reports-1.csv");
        for (tag, key) in [("deep", &deep), (".dotted", &dotted), ("..", &dots)] {
            store(&site, key, key);
            let urls = if database.is_postgres() { format!("ARRAY['{key}']") } else { format!("'[\"{key}\"]'") };
            database.execute(&format!(
                "INSERT INTO job_request (tag, request_id, job_id, status, download_urls, dt_job_submitted, dt_job_completed) \
                 VALUES ('{tag}', '1', 'course-report', 'COMPLETED', {urls}, '2020-01-01 00:00:00', '2020-01-01 00:00:00')"
            ));
        }
        let server = serve(&site);
        for (tag, key, given) in [("deep", &deep, true), (".dotted", &dotted, false), ("%2E%2E", &dots, true)] {
            let read = server.get(&format!("/job/request/read/{tag}/1")).json();
            let links = read["result"]["downloadURLs"].as_array().unwrap();
            assert_eq!((links.len(), read["result"]["links_withheld"] == 1), (usize::from(given), !given), "{read}");
            for link in links {
                let file = server.fetch(link.as_str().unwrap());
                assert_eq!((file.status, String::from_utf8(file.body).unwrap()), (200, key.clone()));
            }
        }
        drop(server);
        let mut sweep = site.command(&["retention", "--json"]);
        let output = sweep.env("EXHAUST__WORKER__RETENTION", "1d").output().unwrap();
        let swept: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&swept["rows"], &swept["files"], &swept["kept"]), (&json!(3), &json!(3), &json!(0)));
        let mut left = site.stored();
        left.retain(|key| key.contains("reports-"));
        assert!(left.is_empty(), "{left:?}");
    });
}
