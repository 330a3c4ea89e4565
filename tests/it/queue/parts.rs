//! Parts of a request that several daemons work on: what each verb does.

use std::time::Duration;

use exhaust::requests::{
    Claim, ClaimOptions, Completion, NewPart, PartCounts, PartsOverview, Queue, RequestProgress, WriteBack,
};

use super::super::databases::{each, each_way};
use super::{LEASE, claim_options, columns, exclusive_claim, failure, key, migrated, request, start, take};

pub(super) fn parts(number: usize) -> Vec<NewPart> {
    let part = |at: usize| NewPart { batches: vec![format!("b{at}a"), format!("b{at}b")], ..NewPart::default() };
    (0..number).map(part).collect()
}

/// A request of the tag `t` that is split into so many parts.
fn split(queue: &dyn Queue, id: &str, number: usize) -> Claim {
    queue.submit(&request("t", id)).unwrap();
    let claim = queue.claim(&claim_options(1)).unwrap();
    assert_eq!(claim.requests[0].key, key("t", id));
    assert_eq!(queue.split(&claim.token, &key("t", id), &parts(number), LEASE).unwrap(), WriteBack::Done);
    claim
}

fn claim(queue: &dyn Queue, options: &ClaimOptions) -> Option<(String, String, u64)> {
    let claim = queue.claim_part(options).unwrap()?;
    let [row] = &claim.requests[..] else { panic!("one part") };
    Some((claim.token, row.key.request_id.clone(), row.part.as_ref().unwrap().number))
}

pub(super) fn completion() -> Completion {
    Completion {
        download_urls: vec!["a".to_owned(), "b".to_owned()],
        file_created: start(),
        execution_ms: 1,
        job_stats: "{}".to_owned(),
    }
}

pub(super) fn jobs() -> Vec<String> {
    claim_options(1).job_ids
}

#[test]
fn a_claim_takes_a_daemons_share_of_the_parts_in_their_order() {
    each_way(|database| {
        let (queue, _clock) = migrated(database);
        let queue = queue.as_ref();
        let t = key("t", "1");
        let mut given = parts(9);
        given[0].left_out = Some("{}".to_owned());
        // Of an earlier attempt: some of its files are stored.
        given[7].processed_batches = Some("[7]".to_owned());
        queue.submit(&request("t", "1")).unwrap();
        let first = queue.claim(&claim_options(1)).unwrap();
        assert_eq!(queue.split(&first.token, &t, &given, LEASE).unwrap(), WriteBack::Done);
        let two = ClaimOptions { daemons: 2, ..claim_options(1) };
        let mut taken = Vec::new();
        while let Some(claim) = queue.claim_part(&two).unwrap() {
            let part = claim.requests[0].part.clone().unwrap();
            taken.push((part.number, part.batches.len() / 2, claim.token, part.batches));
        }
        let sizes: Vec<_> = taken.iter().map(|(number, size, ..)| (*number, *size)).collect();
        // Half of all, then half of what is left; the eighth part comes by itself.
        assert_eq!(sizes, [(1, 5), (6, 2), (8, 1), (9, 1)]);
        let all: Vec<String> = taken.iter().flat_map(|(.., batches)| batches.clone()).collect();
        assert_eq!(all, given.iter().flat_map(|part| part.batches.clone()).collect::<Vec<_>>());
        let shown: Vec<_> = queue.parts(&t).unwrap().iter().map(|part| (part.number, part.files)).collect();
        assert_eq!(shown, [(1, 10), (6, 4), (8, 2), (9, 2)]);
        for (number, _, token, _) in taken.iter().rev() {
            assert_eq!(queue.complete_part(token, &t, &number.to_string()).unwrap(), WriteBack::Done);
        }
        let made = queue.made_request(&jobs()).unwrap().unwrap();
        assert_eq!((made.files, made.left_out.as_deref()), (18, Some("{}")));
        assert_eq!(made.results, ["1", "6", "8", "9"]);
        assert_eq!(queue.complete_split(&made.token, &t, &completion()).unwrap(), WriteBack::Done);

        // The other daemon has its half as well.
        split(queue, "2", 8);
        let other = ClaimOptions { owner: "other:1".to_owned(), ..two.clone() };
        let numbers = [&two, &other, &two].map(|by| claim(queue, by).map(|(.., number)| number));
        assert_eq!(numbers, [Some(1), Some(5), None]);
        let shown: Vec<_> = queue.parts(&key("t", "2")).unwrap().iter().map(|part| part.files).collect();
        assert_eq!(shown, [8, 8]);
    });
}

#[test]
fn a_split_request_is_nobodys_and_its_parts_are_claimed_one_by_one() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        let queue = queue.as_ref();
        let t = key("t", "1");
        queue.submit(&request("t", "1")).unwrap();
        let first = queue.claim(&claim_options(1)).unwrap();
        let mut given = parts(2);
        given[1] = NewPart {
            batches: vec!["ü'\"".to_owned()],
            files_done: 1,
            processed_batches: Some("[7]".to_owned()),
            left_out: None,
        };
        given[0].left_out = Some("{\"unknown\":[\"x\"]}".to_owned());
        assert_eq!(queue.split("another:1:2", &t, &given, LEASE).unwrap(), WriteBack::Lost, "fenced");
        assert_eq!(queue.split(&first.token, &t, &given, LEASE).unwrap(), WriteBack::Done);
        assert_eq!(
            queue.split(&first.token, &t, &given, LEASE).unwrap(),
            WriteBack::Lost,
            "the claim holds it no more"
        );
        assert_eq!(queue.renew(&first.token, &[(t.clone(), None)], LEASE).unwrap(), []);
        let row = queue.find(&t).unwrap().unwrap();
        assert_eq!((row.status.as_str(), row.crashes), ("PROCESSING", 0));
        assert!(row.lease_owner.unwrap().starts_with("parts:"));
        assert!(take(queue, &claim_options(9)).requests.is_empty());

        let one = queue.claim_part(&claim_options(9)).unwrap().unwrap();
        let claimed = &one.requests[0];
        let part = claimed.part.clone().unwrap();
        assert_eq!((part.number, part.batches), (1, vec!["b0a".to_owned(), "b0b".to_owned()]));
        assert_eq!(
            (claimed.request_data.as_deref(), claimed.processed_batches.as_deref()),
            (Some(request("t", "1").request_data.as_str()), None)
        );
        let two = queue.claim_part(&claim_options(9)).unwrap().unwrap();
        let claimed = &two.requests[0];
        assert_eq!(claimed.part.as_ref().unwrap().batches, ["ü'\""]);
        assert_eq!(claimed.processed_batches.as_deref(), Some("[7]"));
        assert!(queue.claim_part(&claim_options(9)).unwrap().is_none());
        assert_ne!(one.token, two.token);
        let mut held = queue.held_claims().unwrap();
        held.retain(|token| !token.starts_with("parts:"));
        held.sort();
        let mut tokens = vec![one.token.clone(), two.token.clone()];
        tokens.sort();
        assert_eq!(held, tokens);

        // Progress of both is the request's.
        let progress = |done| RequestProgress { batches_done: done, batches_total: 2 };
        queue.note_part(&one.token, &t, progress(1)).unwrap();
        queue.note_part("another:1:2", &t, progress(2)).unwrap();
        let noted: serde_json::Value =
            serde_json::from_str(&queue.find(&t).unwrap().unwrap().job_stats.unwrap()).unwrap();
        let expected = serde_json::json!({"batches_done": 2, "batches_total": 3, "parts_done": 0, "parts_total": 2});
        assert_eq!(noted, expected);

        // A renewal of one keeps the row, and not the other part.
        clock.advance(LEASE * 3 / 4);
        assert_eq!(queue.renew_part(&one.token, &t, Some("[1]"), LEASE).unwrap(), WriteBack::Done);
        assert_eq!(queue.renew_part("another:1:2", &t, None, LEASE).unwrap(), WriteBack::Lost);
        clock.advance(LEASE * 3 / 4);
        assert_eq!(queue.reclaim_parts(&jobs(), LEASE).unwrap(), [(t.clone(), 2)]);
        assert_eq!(queue.renew_part(&two.token, &t, None, LEASE).unwrap(), WriteBack::Lost);
        let again = queue.claim_part(&claim_options(9)).unwrap().unwrap();
        let claimed = &again.requests[0];
        assert_eq!((claimed.crashes, claimed.iteration), (1, 0));
        assert_eq!(queue.hand_back_part(&again.token, &t, Some("[8]")).unwrap(), WriteBack::Done);
        let again = queue.claim_part(&claim_options(9)).unwrap().unwrap();
        let claimed = &again.requests[0];
        assert_eq!((claimed.crashes, claimed.processed_batches.as_deref()), (1, Some("[8]")));

        assert!(queue.made_request(&jobs()).unwrap().is_none());
        for _ in 0..2 {
            assert_eq!(queue.complete_part(&again.token, &t, "{\"n\":2}").unwrap(), WriteBack::Done, "told twice");
        }
        assert_eq!(queue.complete_part(&two.token, &t, "{}").unwrap(), WriteBack::Lost);
        assert!(queue.made_request(&jobs()).unwrap().is_none());
        let split = queue.find(&t).unwrap().unwrap().lease_owner.unwrap();
        assert_eq!(queue.complete_split(&split, &t, &completion()).unwrap(), WriteBack::Lost, "a part is open");
        let shown = queue.parts(&t).unwrap();
        let shown: Vec<_> = shown.iter().map(|part| (part.number, part.files, part.files_done, part.is_done)).collect();
        assert_eq!(shown, [(1, 2, 1, false), (2, 1, 1, true)]);
        assert_eq!(queue.complete_part(&one.token, &t, "{\"n\":1}").unwrap(), WriteBack::Done);

        let made = queue.made_request(&jobs()).unwrap().unwrap();
        assert_eq!((&made.key, &made.results), (&t, &vec!["{\"n\":1}".to_owned(), "{\"n\":2}".to_owned()]));
        assert_eq!(made.left_out.as_deref(), Some("{\"unknown\":[\"x\"]}"));
        assert_eq!(queue.complete_split("parts:0", &t, &completion()).unwrap(), WriteBack::Lost);
        assert_eq!(queue.complete_split(&made.token, &t, &completion()).unwrap(), WriteBack::Done);
        let row = queue.find(&t).unwrap().unwrap();
        assert_eq!(
            (row.status.as_str(), row.download_urls, row.iteration),
            ("COMPLETED", completion().download_urls, 1)
        );
        assert_eq!((queue.parts(&t).unwrap(), row.lease_owner), (vec![], None));
    });
}

/// The row stays split, whoever looks: daemons that know no parts would count a crash.
#[test]
fn a_split_row_whose_lease_ran_out_gets_a_new_token_and_no_crash() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        let queue = queue.as_ref();
        split(queue, "1", 2);
        let before = queue.find(&key("t", "1")).unwrap().unwrap();
        clock.advance(LEASE * 2);
        assert_eq!(queue.reclaim(&jobs(), LEASE, Some(LEASE)).unwrap(), []);
        assert_eq!(queue.reclaim_parts(&jobs(), LEASE).unwrap(), []);
        let after = queue.find(&key("t", "1")).unwrap().unwrap();
        assert_eq!((after.status.as_str(), after.crashes), ("PROCESSING", 0));
        assert!(after.lease_owner.as_ref().unwrap().starts_with("parts:") && after.lease_owner != before.lease_owner);
        assert!(after.lease_expires > before.lease_expires);
        assert_eq!(claim(queue, &claim_options(9)).unwrap().2, 1);
        // Without its parts it is a row like any other, and so is that of a daemon on a host with this name.
        clock.advance(LEASE * 2);
        database.execute("DELETE FROM job_request_part");
        assert_eq!(queue.reclaim(&jobs(), LEASE, None).unwrap(), [key("t", "1")]);
        database.execute("DELETE FROM job_request");
        queue.submit(&request("t", "2")).unwrap();
        let host = ClaimOptions { owner: "parts:7".to_owned(), ..claim_options(9) };
        assert_eq!(queue.claim(&host).unwrap().requests.len(), 1);
        database.execute(
            "INSERT INTO job_request_part (tag, request_id, part, batches, files, files_done, next_attempt, iteration,
                crashes) VALUES ('t', '2', 1, '[]', 0, 0, 0, 0, 0)",
        );
        assert!(claim(queue, &claim_options(9)).is_none());
        assert_eq!(queue.reclaim_parts(&jobs(), LEASE).unwrap(), []);
        assert_eq!(database.query_text("SELECT part FROM job_request_part"), Vec::<Vec<_>>::new(), "nobody's parts go");
        clock.advance(LEASE * 2);
        assert_eq!(queue.reclaim(&jobs(), LEASE, None).unwrap(), [key("t", "2")]);
    });
}

#[test]
fn a_part_that_fails_ends_its_request_and_one_that_may_pass_waits() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        let queue = queue.as_ref();
        split(queue, "1", 2);
        let t = key("t", "1");
        let (one, _, _) = claim(queue, &claim_options(9)).unwrap();
        let (two, _, _) = claim(queue, &claim_options(9)).unwrap();
        let delay = Duration::from_secs(100);
        assert_eq!(queue.retry_part_later(&one, &t, &failure(), delay).unwrap(), WriteBack::Done);
        assert_eq!(queue.retry_part_later(&one, &t, &failure(), delay).unwrap(), WriteBack::Lost);
        let row = queue.find(&t).unwrap().unwrap();
        assert_eq!((row.status.as_str(), row.err_message), ("PROCESSING", Some(failure().message)));
        assert_eq!(row.err_code.as_deref(), Some(failure().code.as_str()));
        assert!(claim(queue, &claim_options(9)).is_none());
        clock.advance(delay * 2);
        assert_eq!(queue.renew_part(&two, &t, None, LEASE * 9).unwrap(), WriteBack::Done);
        let again = queue.claim_part(&claim_options(9)).unwrap().unwrap();
        assert_eq!(again.requests[0].iteration, 1);
        assert_eq!(queue.fail_part("another:1:2", &t, &failure()).unwrap(), WriteBack::Lost);
        assert_eq!(queue.fail_part(&again.token, &t, &failure()).unwrap(), WriteBack::Done);
        let row = columns(database, &t);
        assert_eq!((row["status"].as_deref(), row["lease_owner"].as_deref()), (Some("FAILED"), None));
        for lost in [
            queue.renew_part(&two, &t, None, LEASE),
            queue.complete_part(&two, &t, "{}"),
            queue.hand_back_part(&two, &t, None),
            queue.fail_part(&two, &t, &failure()),
        ] {
            assert_eq!(lost.unwrap(), WriteBack::Lost);
        }
        assert!(queue.resubmit(&t).unwrap() && queue.parts(&t).unwrap().is_empty());

        // Parts that do not belong together: the request is tried again as a whole.
        let whole = queue.claim(&claim_options(1)).unwrap();
        assert_eq!(queue.split(&whole.token, &t, &parts(1), LEASE).unwrap(), WriteBack::Done);
        let (one, _, _) = claim(queue, &claim_options(9)).unwrap();
        assert_eq!(queue.complete_part(&one, &t, "{}").unwrap(), WriteBack::Done);
        let made = queue.made_request(&jobs()).unwrap().unwrap();
        assert_eq!((made.files, made.iteration), (2, 0));
        assert_eq!(queue.retry_split_later("parts:0", &t, &failure(), delay).unwrap(), WriteBack::Lost);
        assert_eq!(queue.retry_split_later(&made.token, &t, &failure(), delay).unwrap(), WriteBack::Done);
        let row = queue.find(&t).unwrap().unwrap();
        assert_eq!((row.status.as_str(), row.iteration, row.lease_owner), ("SUBMITTED", 1, None));
        assert!(queue.parts(&t).unwrap().is_empty());
    });
}

/// A part that crashes its daemons is found out alone, and costs no other part anything.
#[test]
fn a_part_that_crashes_its_daemons_is_claimed_alone() {
    each(|database| {
        let (queue, clock) = migrated(database);
        let queue = queue.as_ref();
        split(queue, "1", 2);
        for _ in 0..2 {
            assert_eq!(claim(queue, &claim_options(9)).unwrap().2, 1);
            clock.advance(LEASE * 2);
            assert_eq!(queue.reclaim_parts(&jobs(), LEASE).unwrap(), [(key("t", "1"), 1)]);
        }
        assert_eq!(claim(queue, &claim_options(9)).unwrap().2, 2, "the other one");
        assert!(claim(queue, &claim_options(9)).is_none());
        let suspect = queue.claim_part(&exclusive_claim()).unwrap().unwrap();
        assert_eq!((suspect.requests[0].crashes, suspect.requests[0].part.as_ref().unwrap().number), (2, 1));
        clock.advance(LEASE * 2);
        assert_eq!(queue.reclaim_parts(&jobs(), LEASE).unwrap().len(), 2);
        assert!(queue.claim_part(&exclusive_claim()).unwrap().is_none(), "it waits one lease");
        clock.advance(LEASE * 11 / 10);
        let suspect = queue.claim_part(&exclusive_claim()).unwrap().unwrap();
        assert_eq!(suspect.requests[0].crashes, 3);
        assert_eq!(queue.renew_part(&suspect.token, &key("t", "1"), Some("[1]"), LEASE).unwrap(), WriteBack::Done);
        assert_eq!(queue.parts(&key("t", "1")).unwrap()[0].crashes, 2, "it gets further");
    });
}

#[test]
fn requests_share_the_daemons_and_other_jobs_parts_are_left_alone() {
    each(|database| {
        let (queue, _) = migrated(database);
        let queue = queue.as_ref();
        for id in ["1", "2"] {
            split(queue, id, 3);
        }
        let next = || claim(queue, &claim_options(9)).map(|(_, id, part)| (id, part));
        let order: Vec<_> = std::iter::from_fn(next).collect();
        let expected = [("1", 1), ("2", 1), ("1", 2), ("2", 2), ("1", 3), ("2", 3)];
        assert_eq!(order, expected.map(|(id, part)| (id.to_owned(), part)));
        split(queue, "3", 1);
        let other = ClaimOptions { job_ids: vec!["another".to_owned()], ..claim_options(9) };
        assert!(queue.claim_part(&other).unwrap().is_none());
    });
}

/// What operators see: numbers by job, and the requests that stand still, with the reason.
#[test]
fn all_parts_are_counted_and_requests_in_back_off_are_named() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        let queue = queue.as_ref();
        let overview = || queue.parts_overview().unwrap();
        assert_eq!(overview(), PartsOverview::default());
        split(queue, "1", 3);
        let counts = |waiting, in_work, back_off, made| PartCounts { waiting, in_work, back_off, made };
        let job = jobs().remove(0);
        let is_seen = |expected| {
            let PartsOverview { counts, backed_off } = overview();
            assert_eq!((counts, backed_off), ([(job.clone(), expected)].into(), vec![]));
        };
        is_seen(counts(3, 0, 0, 0));
        let t = key("t", "1");
        let tokens: Vec<String> = (0..3).map(|_| claim(queue, &claim_options(9)).unwrap().0).collect();
        is_seen(counts(0, 3, 0, 0));
        let delay = Duration::from_secs(100);
        assert_eq!(queue.complete_part(&tokens[0], &t, "{}").unwrap(), WriteBack::Done);
        assert_eq!(queue.retry_part_later(&tokens[1], &t, &failure(), delay).unwrap(), WriteBack::Done);
        is_seen(counts(0, 1, 1, 1));
        assert_eq!(queue.retry_part_later(&tokens[2], &t, &failure(), delay * 2).unwrap(), WriteBack::Done);
        // Requests of which a part can be claimed are no concern of anybody.
        split(queue, "2", 2);
        let PartsOverview { counts: seen, backed_off } = overview();
        assert_eq!(seen, [(job.clone(), counts(2, 0, 2, 1))].into());
        let [one] = &backed_off[..] else { panic!("{backed_off:?}") };
        assert_eq!((&one.key, &one.job_id, one.parts), (&t, &job, 2));
        assert_eq!(one.message, Some(failure().message));
        let shown: Vec<_> = queue.parts(&t).unwrap().iter().map(|part| part.next_attempt).collect();
        assert!(shown[0].is_none() && shown[1] == Some(one.next_attempt) && shown[1] < shown[2], "{shown:?}");
        clock.advance(delay * 3 / 2);
        is_seen(counts(3, 0, 1, 1));
        // Parts that another claim left behind are nobody's.
        database.execute("UPDATE job_request SET lease_owner = 'host:7:8'");
        assert_eq!(overview(), PartsOverview::default());
    });
}
