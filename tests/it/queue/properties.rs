//! Random steps compared with a model of the drawn states (`docs/state-machine.md`), by one caller and by several claimants at
//! the same time. The database itself records every change of a status.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use exhaust::requests::{ClaimMode, ClaimOptions, Completion, ManualClock, Queue, RequestKey, Submitted, WriteBack};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::super::databases::{TestDatabase, each_way};
use super::{LEASE, claim_options, complete, exclusive_claim, failure, key, migrated, request, start};

const ROWS: u8 = 6;
/// Cases of each property on each database; `PROPTEST_CASES` sets another number.
const CASES: u32 = 64;

/// Every edge of the drawing.
const EDGES: [(&str, &str); 8] = [
    ("SUBMITTED", "PROCESSING"),
    ("PROCESSING", "PROCESSING"),
    ("PROCESSING", "COMPLETED"),
    ("PROCESSING", "SUBMITTED"),
    ("PROCESSING", "FAILED"),
    ("SUBMITTED", "FAILED"),
    ("FAILED", "SUBMITTED"),
    ("", "SUBMITTED"),
];

/// One step of one caller.
#[derive(Clone, Debug)]
enum Step {
    Submit(u8),
    Reclaim,
    Claim { exclusive: bool, limit: u32 },
    Renew { row: u8, token: u8, note: bool },
    Complete { row: u8, token: u8 },
    Fail { row: u8, token: u8 },
    RetryLater { row: u8, token: u8 },
    HandBack { row: u8, token: u8 },
    Cancel(u8),
    Resubmit(u8),
    Wait { seconds: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    // Of the last three claims, the newest most often.
    let held = || (0..ROWS, prop_oneof![3 => Just(0u8), 1 => 1..3u8]);
    prop_oneof![
        3 => (0..ROWS).prop_map(Step::Submit),
        2 => Just(Step::Reclaim),
        5 => (any::<bool>(), 1..12u32).prop_map(|(exclusive, limit)| Step::Claim { exclusive, limit }),
        2 => (held(), any::<bool>()).prop_map(|((row, token), note)| Step::Renew { row, token, note }),
        2 => held().prop_map(|(row, token)| Step::Complete { row, token }),
        2 => held().prop_map(|(row, token)| Step::Fail { row, token }),
        2 => held().prop_map(|(row, token)| Step::RetryLater { row, token }),
        2 => held().prop_map(|(row, token)| Step::HandBack { row, token }),
        1 => (0..ROWS).prop_map(Step::Cancel),
        2 => (0..ROWS).prop_map(Step::Resubmit),
        // Far from the edges, because PostgreSQL's own clock goes on.
        4 => prop_oneof![Just(70u64), Just(140), Just(300)].prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// The model of a row. Times are seconds by which the clock was advanced.
#[derive(Clone, Debug, PartialEq)]
enum State {
    Submitted { from: u64 },
    Processing { token: String, until: u64 },
    Completed,
    Failed,
}

#[derive(Clone, Debug)]
struct Row {
    state: State,
    iteration: u32,
    crashes: u32,
}

impl Row {
    const fn new() -> Self {
        Self { state: State::Submitted { from: 0 }, iteration: 0, crashes: 0 }
    }

    const fn status(&self) -> &'static str {
        match self.state {
            State::Submitted { .. } => "SUBMITTED",
            State::Processing { .. } => "PROCESSING",
            State::Completed => "COMPLETED",
            State::Failed => "FAILED",
        }
    }
}

fn completion() -> Completion {
    Completion {
        download_urls: vec!["a".to_owned()],
        file_created: start(),
        execution_ms: 1,
        job_stats: "{}".to_owned(),
    }
}

/// The drawing as a program.
struct Model<'a> {
    queue: &'a dyn Queue,
    clock: &'a ManualClock,
    rows: BTreeMap<u8, Row>,
    /// Of the last claims, newest first.
    tokens: Vec<String>,
    now: u64,
}

impl Model<'_> {
    /// Takes the step in the model and in the database; they must agree.
    fn take(&mut self, step: &Step) {
        match *step {
            Step::Submit(row) => {
                let expected = match self.rows.get(&row).map(|row| &row.state) {
                    None => Submitted::Created,
                    Some(State::Failed) => Submitted::Resubmitted,
                    Some(_) => Submitted::Exists,
                };
                assert_eq!(self.queue.submit(&request("t", &row.to_string())).unwrap(), expected);
                if expected != Submitted::Exists {
                    self.rows.insert(row, Row::new());
                }
            }
            Step::Reclaim => self.reclaim(),
            Step::Claim { exclusive, limit } => self.claim(exclusive, limit),
            Step::Renew { row, token, note } => {
                let (token, until) = (self.token(token), self.now + LEASE.as_secs());
                let rows = [(name(row), note.then(|| "[1]".to_owned()))];
                let kept = self.queue.renew(&token, &rows, LEASE).unwrap();
                assert_eq!(!kept.is_empty(), self.is_held(row, &token));
                if let Some(row) = self.rows.get_mut(&row).filter(|_| !kept.is_empty()) {
                    row.state = State::Processing { token, until };
                    row.crashes = if note { row.crashes.min(2) } else { row.crashes };
                }
            }
            Step::Complete { row, token } => {
                let write = |queue: &dyn Queue, token: &str| complete(queue, token, &name(row), &completion()).unwrap();
                self.end(row, token, write, State::Completed, 1);
            }
            Step::Fail { row, token } => {
                let write = |queue: &dyn Queue, token: &str| queue.fail(token, &name(row), &failure()).unwrap();
                self.end(row, token, write, State::Failed, 1);
            }
            Step::RetryLater { row, token } => {
                let delay = Duration::from_secs(100);
                let write =
                    |queue: &dyn Queue, token: &str| queue.retry_later(token, &name(row), &failure(), delay).unwrap();
                self.end(row, token, write, State::Submitted { from: self.now + 100 }, 1);
            }
            Step::HandBack { row, token } => {
                let write = |queue: &dyn Queue, token: &str| queue.hand_back(token, &name(row), None).unwrap();
                self.end(row, token, write, State::Submitted { from: 0 }, 0);
            }
            Step::Cancel(row) => {
                let is_open = self
                    .rows
                    .get(&row)
                    .is_some_and(|row| matches!(row.state, State::Submitted { .. } | State::Processing { .. }));
                assert_eq!(self.queue.cancel(&name(row), "me").unwrap(), is_open);
                if let Some(row) = self.rows.get_mut(&row).filter(|_| is_open) {
                    row.state = State::Failed;
                }
            }
            Step::Resubmit(row) => {
                let failed = self.rows.get(&row).is_some_and(|row| row.state == State::Failed);
                assert_eq!(self.queue.resubmit(&name(row)).unwrap(), failed);
                if failed {
                    self.rows.insert(row, Row::new());
                }
            }
            Step::Wait { seconds } => {
                self.clock.advance(Duration::from_secs(seconds));
                self.now += seconds;
            }
        }
    }

    fn reclaim(&mut self) {
        let mut lost = Vec::new();
        for (number, row) in &mut self.rows {
            if matches!(row.state, State::Processing { until, .. } if until <= self.now) {
                row.crashes += 1;
                let alone = u64::from(row.crashes.saturating_sub(2));
                let from = if alone > 0 { self.now + alone * LEASE.as_secs() } else { 0 };
                row.state = State::Submitted { from };
                lost.push(name(*number));
            }
        }
        let mut taken_back = self.queue.reclaim(&claim_options(1).job_ids, LEASE, None).unwrap();
        taken_back.sort();
        assert_eq!(taken_back, lost);
    }

    fn claim(&mut self, exclusive: bool, limit: u32) {
        let claim_options = if exclusive { exclusive_claim() } else { claim_options(limit) };
        let claim = self.queue.claim(&claim_options).unwrap();
        let due = |row: &&mut Row| {
            matches!(row.state, State::Submitted { from } if from <= self.now) && (row.crashes >= 2) == exclusive
        };
        let due = self.rows.values_mut().filter(due).count();
        assert_eq!(claim.requests.is_empty(), due == 0);
        let most = match claim.requests.first().map_or(0, |first| first.crashes) {
            0 => limit as usize,
            1 => (limit as usize / 8).max(1),
            _ => 1,
        };
        assert!(claim.requests.len() <= most, "{} of {most}", claim.requests.len());
        for taken in &claim.requests {
            let row = self.rows.get_mut(&taken.key.request_id.parse().unwrap()).unwrap();
            assert!(matches!(row.state, State::Submitted { from } if from <= self.now), "{row:?} was not to be had");
            assert_eq!((taken.iteration, taken.crashes), (row.iteration, row.crashes));
            assert_eq!(taken.crashes.min(2), claim.requests[0].crashes.min(2), "with its like");
            row.state = State::Processing { token: claim.token.clone(), until: self.now + LEASE.as_secs() };
        }
        self.tokens.insert(0, claim.token);
        self.tokens.truncate(3);
    }

    fn token(&self, number: u8) -> String {
        self.tokens.get(usize::from(number)).cloned().unwrap_or_else(|| "never:given".to_owned())
    }

    fn is_held(&self, row: u8, token: &str) -> bool {
        let holder = self.rows.get(&row).map(|row| &row.state);
        matches!(holder, Some(State::Processing { token: holder, .. }) if holder == token)
    }

    fn end(&mut self, row: u8, token: u8, write: impl Fn(&dyn Queue, &str) -> WriteBack, to: State, attempts: u32) {
        let token = self.token(token);
        let held = self.is_held(row, &token);
        assert_eq!(write(self.queue, &token), if held { WriteBack::Done } else { WriteBack::Lost });
        if let Some(row) = self.rows.get_mut(&row).filter(|_| held) {
            (row.state, row.iteration) = (to, row.iteration + attempts);
        }
    }

    /// Every row exists, and is as in the model.
    fn check(&self) {
        for (number, row) in &self.rows {
            let stored = self.queue.find(&name(*number)).unwrap().unwrap();
            let seen = (stored.status.as_str(), stored.iteration, stored.crashes);
            assert_eq!(seen, (row.status(), row.iteration, row.crashes), "row {number}");
        }
    }
}

fn name(row: u8) -> RequestKey {
    key("t", &row.to_string())
}

/// Makes the database record each status that is written, by any writer.
fn watch(database: &TestDatabase) {
    let table = "CREATE TABLE edge (tag TEXT, request_id TEXT, before TEXT, after TEXT);";
    let watching = if database.is_postgres() {
        "CREATE FUNCTION note_edge() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO edge VALUES (NEW.tag, NEW.request_id, CASE TG_OP WHEN 'UPDATE' THEN OLD.status ELSE '' END, NEW.status);
            RETURN NULL; END $$;
        CREATE TRIGGER note_edge AFTER INSERT OR UPDATE ON job_request FOR EACH ROW EXECUTE FUNCTION note_edge();"
    } else {
        "CREATE TRIGGER note_insert AFTER INSERT ON job_request BEGIN
            INSERT INTO edge VALUES (NEW.tag, NEW.request_id, '', NEW.status); END;
        CREATE TRIGGER note_update AFTER UPDATE ON job_request BEGIN
            INSERT INTO edge VALUES (NEW.tag, NEW.request_id, OLD.status, NEW.status); END;"
    };
    database.execute(&format!("{table} {watching}"));
}

/// Every recorded change is an edge of the drawing; returns how often each was taken.
fn edges(database: &TestDatabase) -> BTreeMap<(String, String), usize> {
    let rows = database.query_text("SELECT before, after, count(*) FROM edge GROUP BY before, after");
    let drawn: BTreeSet<(&str, &str)> = EDGES.into_iter().collect();
    rows.into_iter()
        .map(|row| {
            let [before, after, times] = row.try_into().unwrap();
            let (before, after): (String, String) = (before.unwrap(), after.unwrap());
            assert!(drawn.contains(&(before.as_str(), after.as_str())), "{before} → {after} is not drawn");
            ((before, after), times.unwrap().parse().unwrap())
        })
        .collect()
}

/// A pooler changes how calls are made, not what they do: fewer cases are enough.
fn runner(database: &TestDatabase) -> TestRunner {
    let cases = std::env::var("PROPTEST_CASES").map_or(CASES, |text| text.parse().unwrap());
    let cases = if database.direct_url().is_some() { cases.div_ceil(6) } else { cases };
    TestRunner::new(Config { cases, failure_persistence: None, max_shrink_iters: 300, ..Config::default() })
}

fn empty(database: &TestDatabase) {
    database.execute("DELETE FROM job_request");
}

#[test]
fn random_steps_lead_where_the_drawing_says() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        watch(database);
        let steps = proptest::collection::vec(step(), 40..120);
        let ran = runner(database).run(&steps, |steps| {
            empty(database);
            let mut model =
                Model { queue: queue.as_ref(), clock: &clock, rows: BTreeMap::new(), tokens: Vec::new(), now: 0 };
            for step in &steps {
                model.take(step);
            }
            model.check();
            Ok(())
        });
        ran.unwrap_or_else(|error| panic!("{error}"));
        let edges = edges(database);
        println!("{} changes of {} kinds, all of them drawn", edges.values().sum::<usize>(), edges.len());
        if database.direct_url().is_none() {
            assert_eq!(edges.len(), EDGES.len(), "the walk went everywhere: {edges:?}");
        }
    });
}

/// What a claimant does with a row that it gets.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Complete,
    Fail,
    RetryLater,
    HandBack,
    /// It dies: no renewal and no write-back comes.
    Drop,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        3 => Just(Deed::Complete),
        1 => Just(Deed::Fail),
        2 => Just(Deed::RetryLater),
        2 => Just(Deed::HandBack),
        1 => Just(Deed::Drop),
    ]
}

/// Who holds which row, as the claimants see it.
#[derive(Default)]
struct Holders(Mutex<HashMap<RequestKey, String>>);

impl Holders {
    fn take(&self, key: &RequestKey, token: &str) {
        let before = self.0.lock().unwrap().insert(key.clone(), token.to_owned());
        assert_eq!(before, None, "{key} is claimed by two");
    }

    fn let_go(&self, key: &RequestKey) {
        self.0.lock().unwrap().remove(key);
    }
}

/// One claimant: it claims a few rows at a time and treats them as its script says.
fn claimant(queue: &dyn Queue, holders: &Holders, deeds: &[Deed], limit: u32) -> (usize, usize) {
    let (mut ends, mut dropped) = (0, 0);
    let mut deeds = deeds.iter();
    loop {
        let mode = if ends % 3 == 2 { ClaimMode::Exclusive } else { ClaimMode::Shared };
        let claim = queue.claim(&ClaimOptions { mode, limit, ..claim_options(limit) }).unwrap();
        for taken in &claim.requests {
            holders.take(&taken.key, &claim.token);
        }
        for taken in &claim.requests {
            // It hands back the rows that its script does not cover, and ends.
            let deed = deeds.next().copied().unwrap_or(Deed::HandBack);
            // Before the write, since another claimant may have the row right after it.
            holders.let_go(&taken.key);
            let (token, key) = (claim.token.as_str(), &taken.key);
            let written = match deed {
                Deed::Complete => complete(queue, token, key, &completion()).unwrap(),
                Deed::Fail => queue.fail(token, key, &failure()).unwrap(),
                Deed::RetryLater => queue.retry_later(token, key, &failure(), Duration::ZERO).unwrap(),
                Deed::HandBack => queue.hand_back(token, key, None).unwrap(),
                Deed::Drop => {
                    holders.take(key, token);
                    dropped += 1;
                    continue;
                }
            };
            assert_eq!(written, WriteBack::Done, "{key} was held");
            ends += usize::from(matches!(deed, Deed::Complete | Deed::Fail | Deed::RetryLater));
        }
        if deeds.len() == 0 || claim.requests.is_empty() {
            return (ends, dropped);
        }
    }
}

#[test]
fn claimants_at_once_never_hold_one_row_together_and_lose_none() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        watch(database);
        // Separate queues: claimants on several machines share only the database.
        let queues: Vec<Arc<dyn Queue>> = (0..4).map(|_| database.queue(clock.clone())).collect();
        let scripts = proptest::collection::vec((proptest::collection::vec(deed(), 1..25), 1..8u32), 4..=4);
        let ran = runner(database).run(&scripts, |scripts| {
            empty(database);
            database.execute("DELETE FROM edge");
            for row in 0..30 {
                queue.submit(&request("t", &row.to_string())).unwrap();
            }
            let mut written = 0;
            let mut lost = 0;
            // Twice; all dropped rows are taken back in between.
            for round in 0..2 {
                let (holders, barrier) = (Holders::default(), Barrier::new(4));
                let done: Vec<(usize, usize)> = thread::scope(|scope| {
                    let claimants: Vec<_> = scripts
                        .iter()
                        .zip(&queues)
                        .map(|((deeds, limit), queue)| {
                            let (holders, barrier) = (&holders, &barrier);
                            scope.spawn(move || {
                                barrier.wait();
                                claimant(queue.as_ref(), holders, deeds, *limit)
                            })
                        })
                        .collect();
                    claimants.into_iter().map(|claimant| claimant.join().unwrap()).collect()
                });
                written += done.iter().map(|(ends, _)| ends).sum::<usize>();
                let dropped = done.iter().map(|(_, dropped)| dropped).sum::<usize>();
                clock.advance(LEASE * 2);
                // All claimants at the same time: each row is taken back by one of them.
                let taken_back: usize = thread::scope(|scope| {
                    let reclaiming: Vec<_> = queues
                        .iter()
                        .map(|queue| {
                            scope.spawn(|| queue.reclaim(&claim_options(1).job_ids, LEASE, None).unwrap().len())
                        })
                        .collect();
                    reclaiming.into_iter().map(|one| one.join().unwrap()).sum()
                });
                // A row that two claimants try to take back at the same time is skipped by one of them, not by both.
                let rest = queue.reclaim(&claim_options(1).job_ids, LEASE, None).unwrap().len();
                assert_eq!(taken_back + rest, dropped, "round {round}");
                lost += dropped;
            }
            let sum = |column: &str| -> usize {
                database.query_text(&format!("SELECT sum({column}) FROM job_request"))[0][0]
                    .as_ref()
                    .unwrap()
                    .parse()
                    .unwrap()
            };
            assert_eq!(database.query_text("SELECT count(*) FROM job_request")[0][0].as_deref(), Some("30"));
            assert_eq!(
                (sum("iteration"), sum("crashes")),
                (written, lost),
                "every end and every crash is counted once"
            );
            edges(database);
            Ok(())
        });
        ran.unwrap_or_else(|error| panic!("{error}"));
    });
}
