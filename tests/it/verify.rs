//! `exhaustd verify`: files of COMPLETED requests that are not in the store any more, or are others.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use serde_json::{Value, json};

use crate::databases::TestDatabase;
use crate::site::{JOBS, Site, each, fixture, told};

const ALL: &str = r#"{"batchFilters": ["TPD"]}"#;

fn verify(site: &Site<'_>, more: &[&str]) -> (Option<i32>, Value) {
    let ran = site.run(&[&["verify", "--json"], more].concat());
    let answer = serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", told(&ran)));
    (ran.status.code(), answer)
}

#[test]
fn what_is_missing_is_listed_and_made_again() {
    each(|database, bucket| {
        let site = Site::new(database, &fixture("sunbird/course"), JOBS, "").storing_in(bucket);
        assert!(site.run(&["migrate"]).status.success());
        for id in ["gone", "short", "secret"] {
            site.insert("t", id, "course-report", ALL);
        }
        // On a disk one file may have the names of several requests: this one has none with `short`'s.
        site.insert("t", "good", "course-report", r#"{"batchId": "01303150537737011211"}"#);
        // A row of another system, with links of its own.
        site.insert("t", "theirs", "course-report", ALL);
        database.execute("UPDATE job_request SET encryption_key = 'hush, hush' WHERE request_id = 'secret'");
        assert!(site.run(&["run", "--once"]).status.success());
        let rows = site.rows();
        database.execute("UPDATE job_request SET status = 'SUCCESS', request_id = 'other' WHERE request_id = 'theirs'");
        let files: usize = ["gone", "short", "good", "secret"].iter().map(|id| rows[*id].urls.len()).sum();
        let looked_at = json!({"requests": 4, "files": files, "not_looked_at": 1, "damaged": [], "retried": 0});
        assert_eq!(verify(&site, &[]), (Some(0), looked_at.clone()));

        let (gone, short, secret) = (&rows["gone"].urls[0], &rows["short"].urls[0], &rows["secret"].urls[0]);
        let expected = [gone, short].map(|url| site.file(url));
        site.remove(gone);
        site.remove(secret);
        site.overwrite(short, b"short");
        let (code, answer) = verify(&site, &["t", "--job", "course-report"]);
        assert_eq!((code, &answer["requests"], &answer["files"]), (Some(1), &json!(4), &json!(files)));
        let mut damaged: Vec<_> = answer["damaged"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                let texts = ["request_id", "missing"].map(|name| one[name].as_str().unwrap().to_owned());
                (texts, one["protected"] == true)
            })
            .collect();
        damaged.sort();
        let of = |id: &str, what: String, protected| ([id.to_owned(), what], protected);
        let missing = |url: &String, of: usize| format!("1 of {of} files missing, the first is {url}");
        let made = rows["short"].stats["bytes"].as_u64().unwrap();
        let are = made - expected[1].len() as u64 + 5;
        assert_eq!(
            damaged,
            [
                of("gone", missing(gone, rows["gone"].urls.len()), false),
                of("secret", missing(secret, rows["secret"].urls.len()), true),
                of("short", format!("the files have {are} bytes, {made} were made"), false),
            ]
        );
        let told_of = told(&site.run(&["verify", "t", "--id", "secret"]));
        assert!(told_of.contains("under a password: submit it again"), "{told_of}");
        let unchanged = site.rows();
        assert!(unchanged.values().all(|row| ["COMPLETED", "SUCCESS"].contains(&row.status.as_str())));

        let (code, answer) = verify(&site, &["--retry"]);
        assert_eq!((code, &answer["retried"]), (Some(1), &json!(2)), "{answer}");
        let status = |id: &str| site.rows()[id].status.clone();
        assert_eq!(
            ["gone", "short", "secret", "good"].map(status),
            ["SUBMITTED", "SUBMITTED", "COMPLETED", "COMPLETED"]
        );
        assert!(site.run(&["run", "--once"]).status.success());
        let again = site.rows();
        for (id, expected) in ["gone", "short"].into_iter().zip(&expected) {
            assert_eq!((again[id].status.as_str(), &site.file(&again[id].urls[0])), ("COMPLETED", expected));
        }
        assert_eq!(verify(&site, &["--id", "g"]).0, Some(0));
    });
}

/// Nothing is made again because the store is another one.
#[test]
fn a_store_without_any_file_is_doubted() {
    let database = TestDatabase::sqlite();
    let site = Site::new(&database, &fixture("sunbird/course"), JOBS, "");
    for id in ["1", "2"] {
        site.insert("t", id, "course-report", ALL);
    }
    assert!(site.run(&["run", "--once"]).status.success());
    let elsewhere = tempfile::tempdir().unwrap();
    let url = format!("file://{}", elsewhere.path().display());
    let ran = site.command(&["verify", "--retry"]).env("EXHAUST__STORE__URL", url).output().unwrap();
    assert_eq!(ran.status.code(), Some(1));
    assert!(told(&ran).contains("nothing was submitted again. Is [store] url right?"), "{}", told(&ran));
    assert!(site.rows().values().all(|row| row.status == "COMPLETED"));
    let wrong = site.run(&["verify", "--status", "FAILED"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", told(&wrong));
}
