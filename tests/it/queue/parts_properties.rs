//! Random steps with the parts of requests compared with a model of the drawing (`docs/state-machine.md`, Parts of a request).

use std::collections::BTreeMap;
use std::time::Duration;

use exhaust::requests::{ClaimMode, ClaimOptions, ManualClock, NewPart, Queue, RequestKey, WriteBack};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::super::databases::TestDatabase;
use super::parts::{completion, jobs, parts};
use super::{LEASE, claim_options, failure, key, migrated, request};

/// One step of one caller.
#[derive(Clone, Debug)]
enum Step {
    Split(u8),
    Claim {
        exclusive: bool,
        daemons: u8,
        by: u8,
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
const PARTS: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    // Of the last claims, the newest most often.
    let token = || prop_oneof![3 => Just(0u8), 3 => Just(1u8), 1 => 2..5u8];
    prop_oneof![
        2 => (0..REQUESTS).prop_map(Step::Split),
        7 => (prop_oneof![3 => Just(false), 1 => Just(true)], 1..4u8, 0..2u8)
            .prop_map(|(exclusive, daemons, by)| Step::Claim { exclusive, daemons, by }),
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
    number: u64,
    batches: Vec<String>,
    state: State,
    iteration: u32,
    crashes: u32,
    noted: bool,
}

impl Part {
    const fn is_untouched(&self) -> bool {
        matches!(self.state, State::Open { .. }) && self.iteration == 0 && self.crashes == 0 && !self.noted
    }
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
            Step::Claim { exclusive, daemons, by } => self.claim(exclusive, daemons.into(), by),
            Step::Renew { token, note } => {
                let Some((token, request)) = self.token(token) else { return };
                let batches = note.then_some("[1]");
                let until = self.now + LEASE.as_secs();
                let answer = self.queue.renew_part(&token, &name(request), batches, LEASE).unwrap();
                self.check(answer, &token, request, |part, token| {
                    part.state = State::Held { token, until };
                    part.crashes = if note { part.crashes.min(2) } else { part.crashes };
                    part.noted |= note;
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
            let shown = self.queue.parts(&name(*request)).unwrap();
            let shown: Vec<_> = shown.into_iter().map(|part| (part.number, part.files)).collect();
            assert_eq!(shown, parts.iter().map(|part| (part.number, part.batches.len() as u64)).collect::<Vec<_>>());
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
        let open = |(number, part): (u64, NewPart)| Part {
            number,
            batches: part.batches,
            state: State::Open { from: 0 },
            iteration: 0,
            crashes: 0,
            noted: false,
        };
        self.split.insert(row.key.request_id.parse().unwrap(), (1..).zip(parts(PARTS)).map(open).collect());
    }

    fn claim(&mut self, exclusive: bool, daemons: usize, by: u8) {
        let mode = if exclusive { ClaimMode::Exclusive } else { ClaimMode::Shared };
        let owner = format!("host:{by}");
        let options = ClaimOptions { mode, daemons: daemons.try_into().unwrap(), owner, ..claim_options(1) };
        let claim = self.queue.claim_part(&options).unwrap();
        let now = self.now;
        let due =
            |part: &Part| matches!(part.state, State::Open { from } if from <= now) && (part.crashes >= 2) == exclusive;
        let Some(claim) = claim else {
            return assert!(!self.split.values().flatten().any(due), "{:?}", self.split);
        };
        let row = &claim.requests[0];
        let request: u8 = row.key.request_id.parse().unwrap();
        let claimed = row.part.as_ref().unwrap();
        let parts = self.split.get_mut(&request).unwrap();
        let at = parts.iter().position(|part| part.number == claimed.number).unwrap();
        let share = share(parts, daemons, by);
        // The end of the part that is nearest to the share.
        let (mut number, mut files) = (0, 0);
        for part in parts[at..].iter().take_while(|part| part.is_untouched()) {
            if files + part.batches.len() / 2 > share {
                break;
            }
            files += part.batches.len();
            number += 1;
        }
        let with_it: Vec<Part> = parts.drain(at + 1..at + number.max(1)).collect();
        let part = &mut parts[at];
        assert!(due(part), "{part:?} was not to be had");
        part.batches.extend(with_it.into_iter().flat_map(|part| part.batches));
        assert_eq!((part.iteration, part.crashes, &part.batches), (row.iteration, row.crashes, &claimed.batches));
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
            for part in parts {
                if matches!(part.state, State::Held { until, .. } if until <= self.now) {
                    part.crashes += 1;
                    let alone = u64::from(part.crashes.saturating_sub(2));
                    part.state = State::Open { from: if alone > 0 { self.now + alone * LEASE.as_secs() } else { 0 } };
                    lost.push((name(*request), part.number));
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

/// How many files a claim by `host:by` may take: of all files if that host has no part, else of those that are open.
fn share(parts: &[Part], daemons: usize, by: u8) -> usize {
    let is_open = |part: &&Part| matches!(part.state, State::Open { .. });
    let is_theirs = |part: &Part| match &part.state {
        State::Held { token, .. } | State::Done { token } => token.starts_with(&format!("host:{by}:")),
        State::Open { .. } => false,
    };
    let files = |parts: Vec<&Part>| parts.into_iter().map(|part| part.batches.len()).sum::<usize>();
    if parts.iter().any(is_theirs) {
        return files(parts.iter().filter(is_open).collect()) / daemons;
    }
    let share = files(parts.iter().collect()) / daemons;
    share - share / 32
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
