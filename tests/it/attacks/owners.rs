//! One request never harms another, and opens no file but its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod key_rules;
mod links;
mod remote;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;

use fastrand::Rng;
use serde_json::json;

use self::key_rules::{ODD, is_a_report_path};
use crate::databases::{TestDatabase, each};
use crate::site::{JOBS, ORIGINAL_TABLE, Site, fixture, told};

const BATCH: &str = "0130000000000000001";
/// Hostile requests of one scan.
const HOSTILE: usize = 1_050;
/// One request of another tenant after so many of them.
const BETWEEN: usize = 7;

/// What stands in the way in the store of these tests, and names of the store's own.
const OF_THE_STORE: [&str; 4] = ["blocked", "link", ".incoming", ".link-key"];

fn piece(draws: &mut Rng) -> String {
    match draws.u32(..12) {
        0 => "x".repeat(draws.usize(1..280)),
        1 => "é".repeat(draws.usize(1..160)),
        2 => OF_THE_STORE[draws.usize(..OF_THE_STORE.len())].to_owned(),
        _ => ODD[draws.usize(..ODD.len())].to_owned(),
    }
}

/// A report path as somebody sends it who means harm; about a third are in order.
fn path(draws: &mut Rng) -> String {
    match draws.u32(..8) {
        0 => vec!["deep"; draws.usize(1..40)].join("/"),
        1 => vec!["s"; 4096].join("/"),
        2 => format!("{}/{}", "p".repeat(draws.usize(1..256)), "q".repeat(draws.usize(1..256))),
        3 => ["blocked", "blocked/x", "link", "link/x", "block", "reports/", "reports/honest/", "", "/"]
            [draws.usize(..9)]
        .to_owned(),
        4 => (0..draws.usize(1..6)).map(|_| piece(draws)).collect(),
        _ => (0..draws.usize(1..6)).map(|_| piece(draws)).collect::<Vec<_>>().join("/"),
    }
}

/// What a column of 50 characters holds.
fn name(draws: &mut Rng, fallback: &str) -> String {
    let name: String = (0..draws.usize(1..4)).map(|_| piece(draws)).collect();
    let name: String = if draws.bool() { fallback.to_owned() } else { name };
    name.chars().take(40).collect()
}

/// One segment of a key, by the rule: bytes outside `[A-Za-z0-9._:-]` and a leading dot as `%XX`.
fn encoded(name: &str) -> String {
    let kept = |at: usize, byte: u8| byte.is_ascii_alphanumeric() || b"_:-".contains(&byte) || (byte == b'.' && at > 0);
    let one = |(at, byte): (usize, u8)| {
        if kept(at, byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    if name.is_empty() { "%00".to_owned() } else { name.bytes().enumerate().map(one).collect() }
}

/// What must become of a hostile request.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// COMPLETED; its key begins and ends like this, with the claim between.
    Stored(String, String),
    /// FAILED, in these words.
    Failed(&'static str),
    /// An attempt is spent: what is in the way may be taken out of it.
    TriedAgain,
}

fn fate(tag: &str, id: &str, path: &str) -> Fate {
    if !is_a_report_path(path) {
        return Fate::Failed("reportPath ");
    }
    let (tag, id, file) = (encoded(tag), encoded(id), format!("reports-{BATCH}.csv"));
    if tag.len() > 255 || id.len() > 255 {
        return Fate::Failed("is too long for a file name");
    }
    // Without a path it is the job's.
    let above = format!("{}/", if path.is_empty() { "reports" } else { path.trim_end_matches('/') });
    if above.len() + tag.len() + id.len() + 16 + file.len() + 3 > 1024 {
        return Fate::Failed("the key of a file has ");
    }
    if above.starts_with("blocked/") || above.starts_with("link/") {
        return Fate::TriedAgain;
    }
    Fate::Stored(format!("{above}{tag}/{id}/"), format!("/{file}"))
}

struct Hostile {
    tag: String,
    id: String,
    path: String,
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Inserts rows as another system does that writes to the table.
fn insert(site: &Site<'_>, rows: &[(String, String, String, u32)]) {
    for some in rows.chunks(100) {
        let values: Vec<String> = some
            .iter()
            .map(|(tag, id, data, second)| {
                let (tag, id, data) = (quoted(tag), quoted(id), quoted(data));
                let at = format!("2026-01-01 {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
                format!("({tag}, {id}, 'course-report', 'SUBMITTED', {data}, 'channel', '{at}')")
            })
            .collect();
        site.database.execute(&format!(
            "INSERT INTO job_request (tag, request_id, job_id, status, request_data, requested_channel, dt_job_submitted) \
             VALUES {}",
            values.join(", ")
        ));
    }
}

/// All of one scan want one file. Whoever is first in line and cannot have it costs nobody else an attempt.
#[test]
fn hostile_paths_and_names_harm_no_other_request() {
    each(|database| {
        let seed = fastrand::u64(..);
        eprintln!("seed {seed}");
        hostile_paths(database, seed);
    });
}

fn hostile_paths(database: &TestDatabase, seed: u64) {
    let mut draws = Rng::with_seed(seed);
    let site = Site::new(database, &fixture("odd"), &format!("{JOBS}[worker]\nclaim = 5000\n"), "");
    // What may stand in the way in a store: a file in the place of a directory, and a link that leads out of it.
    let (reports, outside) = (site.path("reports"), site.path("outside"));
    fs::create_dir_all(&reports).unwrap();
    fs::create_dir_all(&outside).unwrap();
    fs::write(reports.join("blocked"), "in the way").unwrap();
    symlink(&outside, reports.join("link")).unwrap();

    let hostile: Vec<Hostile> = (0..HOSTILE)
        .map(|n| Hostile {
            tag: name(&mut draws, "hostile"),
            id: format!("{}{n}", name(&mut draws, "h")),
            path: path(&mut draws),
        })
        .collect();
    database.execute(ORIGINAL_TABLE);
    let (mut rows, mut honest) = (Vec::new(), BTreeSet::new());
    for (second, one) in (0..).zip(&hostile) {
        let data = json!({ "batchId": BATCH, "reportPath": one.path }).to_string();
        rows.push((one.tag.clone(), one.id.clone(), data, second));
        if (second as usize).is_multiple_of(BETWEEN) {
            let tag = format!("tenant-{}", second % 5);
            let data = json!({ "batchId": BATCH }).to_string();
            rows.push((tag.clone(), format!("honest-{second}"), data, second));
            honest.insert((tag, format!("honest-{second}")));
        }
    }
    insert(&site, &rows);
    let output = site.run(&["run", "--once"]);
    let log = told(&output);
    assert!(!log.contains("panicked"), "{log}");

    let urls = if database.is_postgres() { "to_json(download_urls)" } else { "download_urls" };
    let seen = database.query_text(&format!(
        "SELECT tag, request_id, status, err_message, iteration, {urls}, crashes FROM job_request"
    ));
    assert_eq!(seen.len(), rows.len());
    let expected = fs::read_to_string(fixture("odd").join(format!("expected/course-{BATCH}.csv"))).unwrap();
    let (mut named, mut claims, mut counts) = (BTreeSet::new(), BTreeSet::new(), [0; 3]);
    for row in seen {
        let [tag, id, status, message, iteration, urls, crashes] = row.try_into().unwrap();
        let (tag, id, status) = (tag.unwrap(), id.unwrap(), status.unwrap());
        let (message, iteration) = (message.unwrap_or_default(), iteration.unwrap());
        let urls: Vec<String> = urls.map(|urls| serde_json::from_str(&urls).unwrap()).unwrap_or_default();
        let about = format!("seed {seed}: {tag:?} {id:?} {status} {message:?} {urls:?}");
        assert_eq!((iteration.as_str(), crashes.as_deref()), ("1", Some("0")), "{about}");
        let fate = if let Some(one) = hostile.iter().find(|one| one.tag == tag && one.id == id) {
            fate(&tag, &id, &one.path)
        } else {
            assert!(honest.remove(&(tag.clone(), id.clone())), "{about}");
            Fate::Stored(format!("reports/{tag}/{id}/"), format!("/reports-{BATCH}.csv"))
        };
        match &fate {
            Fate::Stored(begins, ends) => {
                assert_eq!((status.as_str(), urls.len()), ("COMPLETED", 1), "{about}");
                let claim = urls[0].strip_prefix(begins.as_str()).and_then(|rest| rest.strip_suffix(ends.as_str()));
                assert!(claim.is_some_and(|claim| claim.len() == 16), "{about} {fate:?}");
                claims.insert(claim.map(str::to_owned));
                assert_eq!(site.file(&urls[0]), expected, "{about}");
                assert!(named.insert(urls[0].clone()), "two rows name one file: {about}");
                counts[0] += 1;
            }
            Fate::Failed(why) => {
                assert!(status == "FAILED" && message.contains(why) && urls.is_empty(), "{about} {fate:?}");
                counts[1] += 1;
            }
            Fate::TriedAgain => {
                let why = "cannot store a file in the store: ";
                assert!(status == "SUBMITTED" && message.starts_with(why) && urls.is_empty(), "{about}");
                counts[2] += 1;
            }
        }
    }
    assert!(honest.is_empty() && counts.iter().all(|count| *count > 20), "{counts:?}");
    assert_eq!(claims.len(), 1, "all of it in one scan");
    // Nothing but what rows name was written, anywhere.
    named.insert("blocked".to_owned());
    assert_eq!(site.stored(), named);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    let around: BTreeSet<String> =
        fs::read_dir(site.path("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let allowed = ["jobs.toml", "reports", "outside"];
    assert!(around.iter().all(|name| allowed.contains(&name.as_str())), "{around:?}");
}

/// Batch ids come from whoever writes the source. One that cannot be a name is left out by name, and the rest is delivered.
#[test]
fn a_batch_id_that_cannot_be_a_name_is_left_out() {
    let data = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture("odd")).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), data.path().join(entry.file_name())).unwrap();
    }
    let (long, hidden) = ("b".repeat(100_000), ".hidden");
    let batches = data.path().join("course_batch.csv");
    let mut text = fs::read_to_string(&batches).unwrap();
    for id in [long.as_str(), &"c".repeat(244), &"d".repeat(243), hidden, "../up", ".."] {
        writeln!(text, "{id},do_1130000000000000011,odd,2025-01-01,2099-12-31,1").unwrap();
    }
    fs::write(&batches, text).unwrap();
    each(|database| {
        let site = Site::new(database, data.path(), JOBS, "");
        site.insert("t", "all", "course-report", r#"{"batchFilters": ["tpd"]}"#);
        site.insert("t", "odd", "course-report", &json!({ "batchId": "c".repeat(244) }).to_string());
        site.insert("t", "one", "course-report", &json!({ "batchId": BATCH }).to_string());
        // All parts within their bounds, and too much together.
        let path = format!("{}/{}", "p".repeat(150), "q".repeat(149));
        let request = json!({ "batchId": "d".repeat(243), "reportPath": path }).to_string();
        let name = "漢".repeat(28);
        site.insert(&name, &name, "course-report", &request);
        let log = told(&site.run(&["run", "--once"]));
        let rows = site.rows();
        let all = &rows["all"];
        assert_eq!((all.status.as_str(), rows["one"].status.as_str()), ("COMPLETED", "COMPLETED"), "{log}");
        let shown = format!("{}…", &long[..100]);
        assert_eq!(all.stats["batches_left_out"]["bad_name"], json!([shown, format!("{}…", "c".repeat(100))]));
        let mut names: Vec<&str> = all.urls.iter().map(|url| url.rsplit('/').next().unwrap()).collect();
        names.retain(|name| !name.contains("01300000"));
        let longest = format!("reports-{}.csv", "d".repeat(243));
        assert_eq!(names, ["reports-%2E..csv", "reports-%2E.%2Fup.csv", "reports-%2Ehidden.csv", &longest]);
        let whole = &rows[name.as_str()];
        let key = 300 + 2 * 252 + 16 + 255 + 4;
        let message = format!("the key of a file has {key} bytes, 1024 are allowed: shorten reportPath");
        assert_eq!((whole.status.as_str(), whole.message.as_str()), ("FAILED", message.as_str()));
        let odd = &rows["odd"];
        let message = "No data found: batch ccccccccccccccccccccccc… has an id that cannot be a file name";
        assert_eq!((odd.status.as_str(), odd.message.as_str()), ("FAILED", message));
    });
}
