//! A daemon that sleeps past its lease and wakes up again.

use std::fs;
use std::time::SystemTime;

use super::{insert_all, place, sample, wait_until_done};
use crate::daemon::{Daemon, wait_for};
use crate::databases::{TestDatabase, each};
use crate::site::Site;

/// Each row as the database has it, and each file that a row names: its content and when it was written.
type Picture = (Vec<Vec<Option<String>>>, Vec<(String, String, SystemTime)>);

fn picture(database: &TestDatabase, site: &Site<'_>) -> Picture {
    let rows = database.query_text("SELECT * FROM job_request ORDER BY tag, request_id");
    let urls = site.rows().into_values().flat_map(|seen| seen.urls);
    let file = |url: String| {
        let written = fs::metadata(site.path("reports").join(&url)).unwrap().modified().unwrap();
        (url.clone(), site.file(&url), written)
    };
    (rows, urls.map(file).collect())
}

#[test]
fn a_daemon_that_slept_past_its_lease_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let requests = sample(&data, 12);
    each(|database| {
        let site = place(database, &data, "lease = \"1s\"\nthreads = 2");
        insert_all(&site, &requests);
        // In mid-work: some files are stored, some are not.
        let zombie = Daemon::start(&site, "generating:delay=400");
        wait_for("a file", || (super::stored_files(&site.path("reports")).len() >= 3).then_some(()));
        // Not within a transaction of SQLite: whoever sleeps there holds the lock, and nobody can write until it goes on.
        wait_for("a moment between its transactions", || {
            zombie.signal("STOP");
            let stat = format!("/proc/{}/stat", zombie.pid());
            wait_for("it to sleep", || fs::read_to_string(&stat).unwrap().contains(") T ").then_some(()));
            let between = database.is_writable();
            if !between {
                zombie.signal("CONT");
            }
            between.then_some(())
        });
        let heir = Daemon::start(&site, "");
        wait_until_done(database);
        let before = picture(database, &site);
        assert!(before.0.iter().all(|row| row.contains(&Some("COMPLETED".to_owned()))), "{}", heir.log());
        zombie.signal("CONT");
        zombie.logs("claim lost");
        // Whatever it still had to say about the old ones comes before what it does next.
        site.insert("t", "later", requests[0].job_id, &requests[0].request_data);
        wait_until_done(database);
        database.execute("DELETE FROM job_request WHERE request_id = 'later'");
        let after = picture(database, &site);
        println!(
            "{} rows and {} files unchanged, {} claims lost",
            after.0.len(),
            after.1.len(),
            zombie.count("claim lost")
        );
        assert_eq!(after, before);
        // What it says it completed was its own: written before it fell asleep, if perhaps told only afterwards.
        let log = zombie.log();
        let claims: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("claimed rows="))
            .filter_map(|line| line.split(" claim=").nth(1)?.split(' ').next()?.rsplit(':').next())
            .collect();
        assert!(!claims.is_empty(), "{log}");
        for id in log.lines().filter_map(|line| line.split("request completed request=t/r").nth(1)) {
            let id = format!("r{}", id.split(' ').next().unwrap());
            let urls = &site.rows()[&id].urls;
            let is_own = |url: &String| claims.iter().any(|claim| url.contains(&format!("/{claim}/")));
            assert!(urls.iter().all(is_own), "{id}: {urls:?}\n{log}");
        }
    });
}
