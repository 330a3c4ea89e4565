//! Standalone jobs make each slot once: over several daemons, through changes of the clocks, jumps and downtime.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use exhaust::config::{self, Environment};
use exhaust::requests::ManualClock;
use exhaust::worker::{AppContext, lifecycle, open};

use super::{count, place, sample};
use crate::daemon::{Daemon, wait_for};
use crate::databases::{TestDatabase, each_way};
use crate::site::{Site, fixture};

/// Three daemons, one job that is due every second: one row for each second, none twice, all delivered.
#[test]
fn three_daemons_make_each_slot_once() {
    let directory = tempfile::tempdir().unwrap();
    let batch = sample(directory.path(), 1)[0].batches[0].clone();
    each_way(|database| {
        let site = place(database, directory.path(), "");
        let job = format!(
            "[[job]]\nid = \"mine\"\nreport = \"course\"\nmode = \"standalone\"\nschedule = \"* * * * * *\"\nconfig = {{ \
             batchId = \"{batch}\" }}\n"
        );
        let text = fs::read_to_string(site.path("jobs.toml")).unwrap();
        fs::write(site.path("jobs.toml"), format!("{job}{text}")).unwrap();
        let mut daemons: Vec<Daemon> = (0..3).map(|_| Daemon::start(&site, "")).collect();
        for daemon in &daemons {
            daemon.logs("daemon ready");
        }
        // Standalone jobs are looked at every thirty seconds, and a missed slot is made up by one; submissions wake them.
        let mut submitted = 0;
        let mut wake = || {
            submitted += 1;
            let id = format!("wake{submitted}");
            assert!(site.run(&["submit", "course-report", "--batch", &batch, "--request-id", &id]).status.success());
        };
        wait_for("some slots", || {
            std::thread::sleep(Duration::from_millis(300));
            wake();
            (count(database, "tag = 'exhaustd'") >= 5).then_some(())
        });
        // A daemon that runs may have made a row that its log does not have yet.
        for daemon in &mut daemons {
            daemon.signal("TERM");
            assert!(daemon.wait().success(), "{}", daemon.log());
        }
        let made: usize = daemons.iter().map(|daemon| daemon.count("standalone slot made")).sum();
        let slots: BTreeSet<String> = daemons
            .iter()
            .flat_map(|daemon| daemon.log().lines().map(str::to_owned).collect::<Vec<_>>())
            .filter(|line| line.contains("standalone slot made"))
            .map(|line| line.split("slot=").nth(1).unwrap().split(" request").next().unwrap().to_owned())
            .collect();
        let rows = count(database, "tag = 'exhaustd'");
        println!("{rows} rows for {} slots, made by {made} of three daemons' tries", slots.len());
        assert_eq!((made, slots.len()), (rows, rows), "one row for each slot");
        assert!(site.run(&["run", "--once"]).status.success());
        assert_eq!(count(database, "status <> 'COMPLETED'"), 0);
    });
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A daemon's app whose clock a test moves.
fn app(site: &Site<'_>, clock: &Arc<ManualClock>) -> AppContext {
    let nothing: Environment = std::iter::empty::<(String, String)>().collect();
    let config = config::load(&site.path("jobs.toml"), &nothing, exhaust::reports::registry()).unwrap();
    let clock: Arc<ManualClock> = Arc::clone(clock);
    open::app_context(config, clock).unwrap()
}

/// When each row of the job was made for, by the last slot that was remembered after each step.
#[test]
fn slots_go_through_changes_of_the_clocks_jumps_and_downtime() {
    // 02:30 in Berlin. It is not there on 2026-03-29 (the clocks go from 02:00 to 03:00), and there twice on 2026-10-25.
    let jobs = "timezone = \"Europe/Berlin\"\n[[job]]\nid = \"nightly\"\nreport = \"course\"\nmode = \
                \"standalone\"\nschedule = \"0 30 2 * * *\"\nconfig = { batchId = \"0130000000000000001\" }\n";
    // (what, when the daemons look, the slot that is made then)
    let steps = [
        ("first sight", "2026-03-27T12:00:00Z", None),
        ("before the night", "2026-03-28T01:29:59Z", None),
        ("the night", "2026-03-28T01:30:00Z", Some("2026-03-28 01:30:00")),
        ("again", "2026-03-28T01:30:01Z", None),
        ("the hour that is not there: the first instant after it", "2026-03-29T01:00:00Z", Some("2026-03-29 01:00:00")),
        ("half an hour later by the clock", "2026-03-29T01:30:00Z", None),
        ("summer time", "2026-03-30T00:30:00Z", Some("2026-03-30 00:30:00")),
        ("five days away: the latest one", "2026-04-04T12:00:00Z", Some("2026-04-04 00:30:00")),
        ("the night before the clocks go back", "2026-10-24T00:30:00Z", Some("2026-10-24 00:30:00")),
        ("the first of the two half past two", "2026-10-25T00:30:00Z", Some("2026-10-25 00:30:00")),
        ("the second one", "2026-10-25T01:30:00Z", None),
        ("winter time", "2026-10-26T01:30:00Z", Some("2026-10-26 01:30:00")),
    ];
    // The clock that is handed in is SQLite's; PostgreSQL's own cannot be set to these days.
    let database = TestDatabase::sqlite();
    let site = Site::new(&database, &fixture("odd"), jobs, "");
    let start = at(steps[0].1);
    let clock = Arc::new(ManualClock::new(start));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let daemons = [app(&site, &clock), app(&site, &clock)];
    let mut rows = 0;
    let mut now = start;
    for (what, time, slot) in steps {
        clock.advance((at(time) - now).to_std().unwrap());
        now = at(time);
        for daemon in &daemons {
            runtime.block_on(lifecycle::run_once(daemon)).unwrap();
        }
        let after = count(&database, "tag = 'exhaustd'");
        assert_eq!(after - rows, usize::from(slot.is_some()), "{what}: {time}");
        rows = after;
        if let Some(slot) = slot {
            let last = database.query_text("SELECT slot FROM exhaust_slot")[0][0].clone().unwrap();
            assert!(last.starts_with(slot), "{what}: {last}");
        }
    }
    // A clock that is set back makes nothing twice, and goes on where it was.
    let back = Arc::new(ManualClock::new(now - TimeDelta::days(3)));
    let behind = app(&site, &back);
    for _ in 0..5 {
        runtime.block_on(lifecycle::run_once(&behind)).unwrap();
        back.advance(Duration::from_hours(24));
    }
    assert_eq!(count(&database, "tag = 'exhaustd'"), rows + 1, "the night after the last one that was made");
    assert_eq!(count(&database, "status <> 'COMPLETED'"), 0);
}
