//! A long walk of random steps beside a model of the drawn states (`docs/state-machine.md`).

use std::collections::BTreeMap;
use std::time::Duration;

use exhaust::requests::{Completion, Submitted, WriteBack};

use super::super::databases::each;
use super::{LEASE, failure, key, migrated, request, start, suspect, take, wish};

/// What the model knows of a row. Times are seconds that the clock was advanced by.
#[derive(Clone, Debug, PartialEq)]
enum State {
    Submitted { from: u64 },
    Processing { token: String, until: u64 },
    Completed,
    Failed,
}

#[derive(Clone, Debug)]
struct Model {
    state: State,
    iteration: u32,
    crashes: u32,
}

#[test]
#[allow(clippy::too_many_lines, reason = "one arm a step, in the drawing's order")]
fn random_steps_lead_where_the_drawing_says() {
    each(|database| {
        let (queue, clock) = migrated(database);
        let mut random = fastrand::Rng::with_seed(20_261_124);
        let mut rows: BTreeMap<String, Model> = BTreeMap::new();
        let mut tokens = vec!["never:given".to_owned()];
        let mut now = 0;
        let completion = Completion {
            download_urls: vec!["a".to_owned()],
            file_created: start(),
            execution_ms: 1,
            job_stats: "{}".to_owned(),
        };
        for step in 0..400 {
            let id = random.u32(0..6).to_string();
            let (key, token) = (key("t", &id), tokens[random.usize(0..tokens.len())].clone());
            let state = rows.get(&id).map(|row| row.state.clone());
            let held = matches!(&state, Some(State::Processing { token: holder, .. }) if *holder == token);
            let expected = if held { WriteBack::Done } else { WriteBack::Lost };
            let fresh = Model { state: State::Submitted { from: 0 }, iteration: 0, crashes: 0 };
            match random.u32(0..10) {
                0 => {
                    let outcome = match state {
                        None => Submitted::Created,
                        Some(State::Failed) => Submitted::Resubmitted,
                        Some(_) => Submitted::Exists,
                    };
                    assert_eq!(queue.submit(&request("t", &id)).unwrap(), outcome, "step {step}");
                    if outcome != Submitted::Exists {
                        rows.insert(id, fresh);
                    }
                }
                1 | 2 => {
                    // Seconds apart on either clock: PostgreSQL's own goes on by itself.
                    let suspects = random.bool();
                    let wish = if suspects { suspect() } else { wish(100) };
                    let claim = take(queue.as_ref(), &wish);
                    for row in rows.values_mut() {
                        if matches!(row.state, State::Processing { until, .. } if until <= now) {
                            (row.state, row.crashes) = (State::Submitted { from: 0 }, row.crashes + 1);
                        }
                    }
                    let due: BTreeMap<&String, u32> = rows
                        .iter()
                        .filter_map(|(id, row)| match row.state {
                            State::Submitted { from } if from <= now => Some((id, row.crashes)),
                            _ => None,
                        })
                        .filter(|(_, crashes)| (*crashes >= 2) == suspects)
                        .collect();
                    assert_eq!(claim.requests.is_empty(), due.is_empty(), "step {step}");
                    for taken in &claim.requests {
                        let crashes = due[&taken.key.request_id];
                        assert_eq!(taken.crashes, crashes, "step {step}");
                        assert!(crashes < 2 || claim.requests.len() == 1, "step {step}: alone");
                        assert_eq!(crashes.min(2), claim.requests[0].crashes.min(2), "step {step}: with its like");
                    }
                    for taken in claim.requests {
                        let row = rows.get_mut(&taken.key.request_id).unwrap();
                        assert_eq!(taken.iteration, row.iteration, "step {step}");
                        row.crashes = taken.crashes;
                        row.state = State::Processing { token: claim.token.clone(), until: now + LEASE.as_secs() };
                    }
                    tokens.push(claim.token);
                    tokens.drain(..tokens.len().saturating_sub(3));
                }
                3 => {
                    assert_eq!(queue.complete(&token, &key, &completion).unwrap(), expected, "step {step}");
                    if held {
                        let row = rows.get_mut(&id).unwrap();
                        (row.state, row.iteration) = (State::Completed, row.iteration + 1);
                    }
                }
                4 => {
                    assert_eq!(queue.fail(&token, &key, &failure()).unwrap(), expected, "step {step}");
                    if held {
                        let row = rows.get_mut(&id).unwrap();
                        (row.state, row.iteration) = (State::Failed, row.iteration + 1);
                    }
                }
                5 => {
                    let delay = Duration::from_secs(100);
                    assert_eq!(queue.retry_later(&token, &key, &failure(), delay).unwrap(), expected, "step {step}");
                    if held {
                        let row = rows.get_mut(&id).unwrap();
                        (row.state, row.iteration) = (State::Submitted { from: now + 100 }, row.iteration + 1);
                    }
                }
                6 => {
                    assert_eq!(queue.hand_back(&token, &key, None).unwrap(), expected, "step {step}");
                    if held {
                        rows.get_mut(&id).unwrap().state = State::Submitted { from: 0 };
                    }
                }
                7 => {
                    let waits = matches!(state, Some(State::Submitted { .. }));
                    assert_eq!(queue.cancel(&key, "me").unwrap(), waits, "step {step}");
                    if waits {
                        rows.get_mut(&id).unwrap().state = State::Failed;
                    }
                }
                8 => {
                    let failed = state == Some(State::Failed);
                    assert_eq!(queue.resubmit(&key).unwrap(), failed, "step {step}");
                    if failed {
                        rows.insert(id, fresh);
                    }
                }
                _ => {
                    let seconds = random.u64(0..3) * 70;
                    clock.advance(Duration::from_secs(seconds));
                    now += seconds;
                }
            }
        }
        let mut ended = 0;
        for (id, row) in &rows {
            let stored = queue.find(&key("t", id)).unwrap().unwrap();
            let status = match row.state {
                State::Submitted { .. } => "SUBMITTED",
                State::Processing { .. } => "PROCESSING",
                State::Completed => "COMPLETED",
                State::Failed => "FAILED",
            };
            assert_eq!(
                (stored.status.as_str(), stored.iteration, stored.crashes),
                (status, row.iteration, row.crashes)
            );
            ended += u32::from(matches!(row.state, State::Completed | State::Failed));
        }
        assert!(rows.len() == 6 && ended > 0, "the walk went somewhere: {rows:?}");
    });
}
