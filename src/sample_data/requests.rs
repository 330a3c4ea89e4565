//! Requests to go with the data set: many of them, over few batches, so that most batches are wanted more than once.

use serde_json::{Value, json};

use super::draws::{Draws, Of};
use super::{SampleError, courses, plan, running};

/// One request for `job_request`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleRequest {
    /// Which job: `course-report` or `assessment-report`.
    pub job_id: &'static str,
    /// The column `request_data`: a JSON object that names its batches in one of the ways there are.
    pub request_data: String,
    /// The batches that it names.
    pub batches: Vec<String>,
}

/// `count` requests over the `over` largest running batches of the data set with this scale and seed, one to five
/// batches each; every batch is named by some request if there are enough of them.
///
/// # Errors
/// [`SampleError::Scale`].
pub fn requests(scale: f64, seed: u64, count: u64, over: usize) -> Result<Vec<SampleRequest>, SampleError> {
    let plan = plan(scale, seed)?;
    let ids: Vec<String> = running(&plan).into_iter().take(over).map(|b| courses::batch_id(&plan, b)).collect();
    Ok((0..count).map(|number| request(&ids, number, plan.draws(Of::Request, number, 0))).collect())
}

fn request(ids: &[String], number: u64, mut draws: Draws) -> SampleRequest {
    // The first batch goes round, so that all are named; the others come as they come.
    let first = plan::at(number) % ids.len();
    let mut batches = vec![ids[first].clone()];
    for _ in 0..draws.below(5) {
        let other = &ids[plan::at(draws.below(ids.len() as u64))];
        if !batches.contains(other) {
            batches.push(other.clone());
        }
    }
    let config: Value = match draws.below(3) {
        0 if batches.len() == 1 => json!({"batchId": batches[0]}),
        1 => json!({"batchFilter": batches}),
        _ => json!({"batchFilters": {"ids": batches}}),
    };
    let job_id = if draws.one_in(3) { "assessment-report" } else { "course-report" };
    SampleRequest { job_id, request_data: config.to_string(), batches }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_requests_cover_twenty_five_batches_and_overlap() {
        let requests = requests(0.001, 1, 60, 25).unwrap();
        assert_eq!(requests.len(), 60);
        let mut named: Vec<&String> = requests.iter().flat_map(|r| &r.batches).collect();
        let all = named.len();
        named.sort();
        named.dedup();
        assert_eq!(named.len(), 25);
        assert!(all > 100, "{all} names of 25 batches overlap");
        for request in &requests {
            let data: serde_json::Map<String, Value> = serde_json::from_str(&request.request_data).unwrap();
            assert_eq!(data.len(), 1, "{}", request.request_data);
            assert!(request.batches.iter().all(|id| request.request_data.contains(id.as_str())));
        }
        assert!(requests.iter().any(|r| r.job_id == "assessment-report"));
    }
}
