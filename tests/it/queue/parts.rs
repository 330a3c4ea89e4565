//! Parts of a request that several daemons work on: each verb, and random steps compared with a model.

use std::collections::BTreeMap;
use std::time::Duration;

use exhaust::requests::{
    Claim, ClaimMode, ClaimOptions, Completion, ManualClock, NewPart, Queue, RequestKey, RequestProgress, WriteBack,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::super::databases::{TestDatabase, each, each_way};
use super::{LEASE, claim_options, columns, exclusive_claim, failure, key, migrated, request, start, take};

fn parts(number: usize) -> Vec<NewPart> {
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

fn completion() -> Completion {
    Completion {
        download_urls: vec!["a".to_owned(), "b".to_owned()],
        file_created: start(),
        execution_ms: 1,
        job_stats: "{}".to_owned(),
    }
}

fn jobs() -> Vec<String> {
    claim_options(1).job_ids
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

/// One step of one caller.
#[derive(Clone, Debug)]
enum Step {
    Split(u8),
    Claim {
        exclusive: bool,
    },
    Renew {
        token: u8,
        note: bool,
    },
    Complete(u8),
    RetryLater(u8),
    Fail(u8),
    HandBack(u8),
    Reclaim,
    End,
    /// Somebody else takes the row.
    Taken(u8),
    Wait {
        seconds: u64,
    },
}

const REQUESTS: u8 = 2;
const PARTS: usize = 2;

fn step() -> impl Strategy<Value = Step> {
    // Of the last claims, the newest most often.
    let token = || prop_oneof![3 => Just(0u8), 3 => Just(1u8), 1 => 2..5u8];
    prop_oneof![
        2 => (0..REQUESTS).prop_map(Step::Split),
        7 => prop_oneof![3 => Just(false), 1 => Just(true)].prop_map(|exclusive| Step::Claim { exclusive }),
        2 => (token(), any::<bool>()).prop_map(|(token, note)| Step::Renew { token, note }),
        7 => token().prop_map(Step::Complete),
        1 => token().prop_map(Step::RetryLater),
        1 => token().prop_map(Step::Fail),
        1 => token().prop_map(Step::HandBack),
        2 => Just(Step::Reclaim),
        2 => Just(Step::End),
        1 => (0..REQUESTS).prop_map(Step::Taken),
        // Far from the edges, because PostgreSQL's own clock goes on.
        2 => prop_oneof![Just(70u64), Just(140), Just(300)].prop_map(|seconds| Step::Wait { seconds }),
    ]
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Open { from: u64 },
    Held { token: String, until: u64 },
    Done { token: String },
}

#[derive(Clone, Debug)]
struct Part {
    state: State,
    iteration: u32,
    crashes: u32,
}

/// What the drawing says of parts. A request is not there before it is split, and after its end.
struct Model<'a> {
    queue: &'a dyn Queue,
    clock: &'a ManualClock,
    split: BTreeMap<u8, Vec<Part>>,
    /// Of the last claims, newest first, with their requests.
    tokens: Vec<(String, u8)>,
    now: u64,
    completed: u32,
}

impl Model<'_> {
    fn take(&mut self, step: &Step) {
        match *step {
            Step::Split(request) => self.split(request),
            Step::Claim { exclusive } => self.claim(exclusive),
            Step::Renew { token, note } => {
                let Some((token, request)) = self.token(token) else { return };
                let batches = note.then_some("[1]");
                let until = self.now + LEASE.as_secs();
                let answer = self.queue.renew_part(&token, &name(request), batches, LEASE).unwrap();
                self.check(answer, &token, request, |part, token| {
                    part.state = State::Held { token, until };
                    part.crashes = if note { part.crashes.min(2) } else { part.crashes };
                });
            }
            Step::Complete(token) => {
                let Some((token, request)) = self.token(token) else { return };
                let answer = self.queue.complete_part(&token, &name(request), &format!("\"{token}\"")).unwrap();
                let is_done = |part: &Part| matches!(&part.state, State::Done { token: by } if *by == token);
                if self.split.get(&request).is_some_and(|parts| parts.iter().any(is_done)) {
                    return assert_eq!(answer, WriteBack::Done);
                }
                self.check(answer, &token, request, |part, token| part.state = State::Done { token });
            }
            Step::RetryLater(token) => {
                let Some((token, request)) = self.token(token) else { return };
                let delay = Duration::from_secs(100);
                let answer = self.queue.retry_part_later(&token, &name(request), &failure(), delay).unwrap();
                let from = self.now + 100;
                self.check(answer, &token, request, |part, _| {
                    part.state = State::Open { from };
                    part.iteration += 1;
                });
            }
            Step::Fail(token) => {
                let Some((token, request)) = self.token(token) else { return };
                let answer = self.queue.fail_part(&token, &name(request), &failure()).unwrap();
                self.check(answer, &token, request, |_, _| {});
                if answer == WriteBack::Done {
                    self.split.remove(&request);
                    assert_eq!(self.status(request), "FAILED");
                }
            }
            Step::HandBack(token) => {
                let Some((token, request)) = self.token(token) else { return };
                let answer = self.queue.hand_back_part(&token, &name(request), None).unwrap();
                self.check(answer, &token, request, |part, _| part.state = State::Open { from: 0 });
            }
            Step::Reclaim => self.reclaim(),
            Step::End => self.end(),
            Step::Taken(request) => {
                if self.split.remove(&request).is_some() {
                    self.outside(request);
                }
            }
            Step::Wait { seconds } => {
                self.clock.advance(Duration::from_secs(seconds));
                self.now += seconds;
            }
        }
        for (request, parts) in &self.split {
            assert_eq!(self.status(*request), "PROCESSING");
            assert_eq!(self.queue.parts(&name(*request)).unwrap().len(), parts.len());
        }
    }

    fn status(&self, request: u8) -> String {
        self.queue.find(&name(request)).unwrap().unwrap().status
    }

    /// FAILED and submitted again, by other writers' hands.
    fn outside(&self, request: u8) {
        let row = self.queue.find(&name(request)).unwrap().unwrap();
        assert_eq!(self.queue.fail(&row.lease_owner.unwrap(), &name(request), &failure()).unwrap(), WriteBack::Done);
    }

    fn split(&mut self, number: u8) {
        if self.split.contains_key(&number) {
            return;
        }
        // A COMPLETED one is not submitted again.
        self.queue.submit(&request("t", &number.to_string())).unwrap();
        let only = ClaimOptions { limit: 1, ..claim_options(1) };
        let claim = self.queue.claim(&only).unwrap();
        let Some(row) = claim.requests.first() else { return };
        assert_eq!(self.queue.split(&claim.token, &row.key, &parts(PARTS), LEASE).unwrap(), WriteBack::Done);
        let open = Part { state: State::Open { from: 0 }, iteration: 0, crashes: 0 };
        self.split.insert(row.key.request_id.parse().unwrap(), vec![open; PARTS]);
    }

    fn claim(&mut self, exclusive: bool) {
        let mode = if exclusive { ClaimMode::Exclusive } else { ClaimMode::Shared };
        let claim = self.queue.claim_part(&ClaimOptions { mode, ..claim_options(1) }).unwrap();
        let now = self.now;
        let due =
            |part: &Part| matches!(part.state, State::Open { from } if from <= now) && (part.crashes >= 2) == exclusive;
        let Some(claim) = claim else {
            return assert!(!self.split.values().flatten().any(due), "{:?}", self.split);
        };
        let row = &claim.requests[0];
        let request: u8 = row.key.request_id.parse().unwrap();
        let number = usize::try_from(row.part.as_ref().unwrap().number).unwrap();
        let part = &mut self.split.get_mut(&request).unwrap()[number - 1];
        assert!(due(part), "{part:?} was not to be had");
        assert_eq!((part.iteration, part.crashes), (row.iteration, row.crashes));
        part.state = State::Held { token: claim.token.clone(), until: now + LEASE.as_secs() };
        self.tokens.insert(0, (claim.token, request));
        self.tokens.truncate(5);
    }

    fn token(&self, nth: u8) -> Option<(String, u8)> {
        self.tokens.get(usize::from(nth)).cloned()
    }

    /// The answer is that of the model, and changes it.
    fn check(&mut self, answer: WriteBack, token: &str, request: u8, change: impl FnOnce(&mut Part, String)) {
        let is_held = |part: &&mut Part| matches!(&part.state, State::Held { token: by, .. } if by == token);
        let held = self.split.get_mut(&request).into_iter().flatten().find(is_held);
        assert_eq!(answer == WriteBack::Done, held.is_some());
        if let Some(part) = held {
            change(part, token.to_owned());
        }
    }

    fn reclaim(&mut self) {
        let mut lost = Vec::new();
        for (request, parts) in &mut self.split {
            for (number, part) in (1..).zip(parts) {
                if matches!(part.state, State::Held { until, .. } if until <= self.now) {
                    part.crashes += 1;
                    let alone = u64::from(part.crashes.saturating_sub(2));
                    part.state = State::Open { from: if alone > 0 { self.now + alone * LEASE.as_secs() } else { 0 } };
                    lost.push((name(*request), number));
                }
            }
        }
        assert_eq!(self.queue.reclaim(&jobs(), LEASE, None).unwrap(), []);
        let mut freed = self.queue.reclaim_parts(&jobs(), LEASE).unwrap();
        freed.sort();
        assert_eq!(freed, lost);
    }

    fn end(&mut self) {
        let is_done = |parts: &&Vec<Part>| parts.iter().all(|part| matches!(part.state, State::Done { .. }));
        let Some(made) = self.queue.made_request(&jobs()).unwrap() else {
            return assert_eq!(self.split.values().filter(is_done).count(), 0);
        };
        let request: u8 = made.key.request_id.parse().unwrap();
        let parts = self.split.remove(&request).unwrap();
        let results = parts.iter().map(|part| match &part.state {
            State::Done { token } => format!("\"{token}\""),
            open => panic!("{open:?}"),
        });
        assert_eq!(made.results, results.collect::<Vec<_>>());
        assert_eq!(self.queue.complete_split(&made.token, &made.key, &completion()).unwrap(), WriteBack::Done);
        assert_eq!(self.status(request), "COMPLETED");
        self.completed += 1;
    }
}

fn name(request: u8) -> RequestKey {
    key("t", &request.to_string())
}

fn random_steps(database: &dyn Fn() -> TestDatabase, cases: u32) {
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let database = database();
    let (queue, clock) = migrated(&database);
    let completed = std::cell::Cell::new(0);
    let outcome = runner.run(&proptest::collection::vec(step(), 40..90), |steps| {
        database.execute("DELETE FROM job_request; DELETE FROM job_request_part");
        let split = BTreeMap::new();
        let mut model =
            Model { queue: queue.as_ref(), clock: &clock, split, tokens: vec![], now: 0, completed: completed.get() };
        for step in &steps {
            model.take(step);
        }
        completed.set(model.completed);
        Ok(())
    });
    outcome.unwrap();
    assert!(completed.get() > 0, "no request got to its end");
}

#[test]
fn random_steps_follow_the_drawing_on_sqlite() {
    random_steps(&TestDatabase::sqlite, 32);
}

#[test]
fn random_steps_follow_the_drawing_on_postgres() {
    if let Some(first) = TestDatabase::postgres() {
        drop(first);
        random_steps(&|| TestDatabase::postgres().unwrap(), 24);
    }
}
