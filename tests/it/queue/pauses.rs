//! Pauses: what is claimed while a job or a tag is paused, and who may pause.

use std::time::Duration;

use exhaust::requests::{ClaimMode, ClaimOptions, Heartbeat, PauseKind, Paused, Queue, WriteBack};

use super::super::databases::each_way;
use super::parts::parts;
use super::{LEASE, claim_options, failure, ids, key, migrated, request};

fn done(paused: Paused) -> exhaust::requests::Pause {
    let Paused::Done(pause) = paused else { panic!("{paused:?}") };
    pause
}

fn heartbeat(id: &str) -> Heartbeat {
    Heartbeat {
        id: id.to_owned(),
        name: "host".to_owned(),
        pid: 7,
        version: "0.0.9".to_owned(),
        lease: Duration::from_mins(2),
        claims: 0,
        memory_used: 0,
        memory_allowed: 0,
        jobs: vec!["course-report".to_owned()],
        config_hash: String::new(),
    }
}

#[test]
fn a_pause_lasts_until_it_is_resumed() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        assert!(queue.pauses().unwrap().all().is_empty());
        let job = done(queue.pause(PauseKind::Job, "course-report", "me", Some("why; it's")).unwrap());
        assert_eq!((job.kind, job.name.as_str(), job.by.as_str()), (PauseKind::Job, "course-report", "me"));
        let now = queue.now().unwrap();
        assert!(job.since <= now && (now - job.since).num_minutes() < 10, "{job}");
        clock.advance(Duration::from_hours(1));
        let before = queue.pause(PauseKind::Job, "course-report", "another", None).unwrap();
        assert_eq!(before, Paused::Before(job.clone()), "the first one stays");
        let tenant = done(queue.pause(PauseKind::Tenant, "course-report", "me", None).unwrap());
        let pauses = queue.pauses().unwrap();
        assert_eq!(pauses.all(), [job.clone(), tenant.clone()]);
        assert_eq!(pauses.of_job(["alias", "course-report"].into_iter()), Some(&job));
        assert_eq!((pauses.of_tenant("course-report"), pauses.of_tenant("t")), (Some(&tenant), None));
        assert!(job.to_string().contains("job course-report is paused by me since 20"), "{job}");
        assert!(job.to_string().ends_with(": why; it's"), "{job}");
        assert!(queue.resume(PauseKind::Job, "course-report").unwrap());
        assert!(!queue.resume(PauseKind::Job, "course-report").unwrap());
        assert_eq!(queue.pauses().unwrap().all(), [tenant]);
    });
}

/// Whatever kind of claim: the plain one, with limits, of suspects, of parts.
#[test]
fn no_claim_takes_rows_of_a_tag_that_is_paused() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        for tag in ["a", "b"] {
            for id in ["1", "2"] {
                queue.submit(&request(tag, &format!("{tag}{id}"))).unwrap();
            }
        }
        let without =
            |options: ClaimOptions| ClaimOptions { paused_tags: vec!["a".to_owned(), "\0".into()], ..options };
        for options in [claim_options(3), ClaimOptions { per_tag: Some(9), ..claim_options(3) }] {
            let claim = queue.claim(&without(options)).unwrap();
            assert_eq!(ids(&claim), ["b1", "b2"]);
            for row in &claim.requests {
                assert_eq!(queue.hand_back(&claim.token, &row.key, None).unwrap(), WriteBack::Done);
            }
        }
        done(queue.pause(PauseKind::Tenant, "a", "me", None).unwrap());
        let claim = queue.claim(&without(claim_options(9))).unwrap();
        for row in &claim.requests {
            assert_eq!(queue.retry_later(&claim.token, &row.key, &failure(), LEASE).unwrap(), WriteBack::Done);
        }
        let next = queue.next_claimable(&claim_options(1).job_ids).unwrap().unwrap();
        assert!(next > queue.now().unwrap(), "those that are paused are not among them");
        assert!(queue.resume(PauseKind::Tenant, "a").unwrap());
        assert!(queue.next_claimable(&claim_options(1).job_ids).unwrap().unwrap() <= queue.now().unwrap());

        // Suspects.
        for _ in 0..2 {
            clock.advance(LEASE * 2);
            queue.reclaim(&claim_options(1).job_ids, LEASE, None).unwrap();
            queue.claim(&claim_options(9)).unwrap();
        }
        clock.advance(LEASE * 2);
        queue.reclaim(&claim_options(1).job_ids, LEASE, None).unwrap();
        let suspects = ClaimOptions { mode: ClaimMode::Exclusive, ..claim_options(9) };
        let suspect = queue.claim(&without(suspects.clone())).unwrap();
        assert!(suspect.requests.iter().all(|row| row.key.tag == "b"), "{suspect:?}");
    });
}

#[test]
fn no_part_of_a_tag_that_is_paused_is_claimed_and_those_in_work_go_on() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        let t = key("t", "1");
        queue.submit(&request("t", "1")).unwrap();
        let claim = queue.claim(&claim_options(1)).unwrap();
        assert_eq!(queue.split(&claim.token, &t, &parts(2), LEASE).unwrap(), WriteBack::Done);
        let one = queue.claim_part(&claim_options(1)).unwrap().unwrap().token;
        done(queue.pause(PauseKind::Tenant, "t", "me", None).unwrap());
        assert!(queue.claim_part(&claim_options(1)).unwrap().is_none());
        assert_eq!(queue.renew_part(&one, &t, None, LEASE).unwrap(), WriteBack::Done);
        assert_eq!(queue.complete_part(&one, &t, "{}").unwrap(), WriteBack::Done);
        assert!(queue.resume(PauseKind::Tenant, "t").unwrap());
        assert!(queue.claim_part(&claim_options(1)).unwrap().is_some());
    });
}

/// A daemon of the version before writes no such column.
#[test]
fn nothing_is_paused_while_a_daemon_lives_that_would_go_on() {
    each_way(|database| {
        let (queue, _) = migrated(database);
        queue.beat(&heartbeat("new")).unwrap();
        assert!(queue.daemons().unwrap()[0].knows_pauses());
        queue.beat(&heartbeat("old")).unwrap();
        database.execute("UPDATE exhaust_daemon SET knows = NULL WHERE id = 'old'");
        let pause = |queue: &dyn Queue| queue.pause(PauseKind::Job, "course-report", "me", None).unwrap();
        let refused = Paused::Refused(vec!["host (pid 7, version 0.0.9)".to_owned()]);
        assert_eq!(pause(queue.as_ref()), refused);
        assert!(queue.pauses().unwrap().all().is_empty());
        queue.leave("old").unwrap();
        done(pause(queue.as_ref()));
    });
}
