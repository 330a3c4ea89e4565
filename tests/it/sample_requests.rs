//! Requests to go with the sample data: many of them, over few batches, so that most batches are wanted more than once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use exhaust::sample_data;
use serde_json::{Value, json};

/// One request for `job_request`.
#[derive(Clone, Debug)]
pub(crate) struct SampleRequest {
    /// Which job: `course-report` or `assessment-report`.
    pub(crate) job_id: &'static str,
    /// The column `request_data`: a JSON object that names its batches in one of the ways there are.
    pub(crate) request_data: String,
    /// The batches that it names.
    pub(crate) batches: Vec<String>,
}

/// `count` requests over the `over` largest running batches of the data set of this scale, one to five batches each; every
/// batch is named by some request if there are enough of them.
pub(crate) fn requests(scale: f64, count: usize, over: usize) -> Vec<SampleRequest> {
    let ids: Vec<String> = sample_data::running_batches(scale, 1).unwrap().into_iter().take(over).collect();
    (0..count).map(|number| request(&ids, number)).collect()
}

fn request(ids: &[String], number: usize) -> SampleRequest {
    let mut draws = fastrand::Rng::with_seed(number as u64);
    // The first batch goes round, so that all are named; the others come as they come.
    let mut batches = vec![ids[number % ids.len()].clone()];
    for _ in 0..draws.u8(..5) {
        let other = &ids[draws.usize(..ids.len())];
        if !batches.contains(other) {
            batches.push(other.clone());
        }
    }
    let config: Value = match draws.u8(..3) {
        0 if batches.len() == 1 => json!({"batchId": batches[0]}),
        1 => json!({"batchFilter": batches}),
        _ => json!({"batchFilters": {"ids": batches}}),
    };
    let job_id = if draws.u8(..3) == 0 { "assessment-report" } else { "course-report" };
    SampleRequest { job_id, request_data: config.to_string(), batches }
}
