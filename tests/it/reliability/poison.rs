//! One request that aborts the process, every time it is worked on.

use super::{count, insert_all, place, sample};
use crate::daemon::{Daemon, wait_for};
use crate::databases::each;

/// It ends FAILED, alone; all others are delivered.
#[test]
fn a_request_that_crashes_the_daemon_fails_alone() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let requests = sample(&data, 40);
    let poison = &requests[0].batches[0];
    each(|database| {
        let site = place(database, &data, "lease = \"1s\"");
        site.insert("t", "poison", "course-report", &format!(r#"{{"batchId": "{poison}"}}"#));
        let innocent: Vec<_> = requests.iter().filter(|request| !request.batches.contains(poison)).cloned().collect();
        insert_all(&site, &innocent);
        let mut crashes = 0;
        // A supervisor that starts the daemon again and again, as systemd does.
        wait_for("the poison to be found out", || {
            let mut daemon = Daemon::start(&site, &format!("generating={poison}:abort"));
            let done = wait_for("an end", || {
                let open = super::open_rows(database);
                if open == 0 { Some(true) } else { daemon.ended().map(|_| false) }
            });
            crashes += u32::from(!done);
            done.then_some(())
        });
        let rows = site.rows();
        let (bad, good): (Vec<_>, Vec<_>) = rows.iter().partition(|(id, _)| *id == "poison");
        println!("{crashes} crashes, {} innocent requests completed", good.len());
        assert_eq!(bad[0].1.status, "FAILED");
        assert_eq!(bad[0].1.message, "the report crashed the worker 5 times");
        assert_eq!(good.len(), innocent.len());
        for (id, seen) in good {
            assert_eq!(seen.status, "COMPLETED", "{id}: {}", seen.message);
        }
        assert_eq!(crashes, 7, "two in company, five alone");
        assert_eq!(count(database, "request_id <> 'poison' AND crashes > 2"), 0, "nobody else was there");
    });
}
