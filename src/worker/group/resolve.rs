//! From each request's filters to its batches, and to the names of its files.

use std::sync::Arc;

use chrono::NaiveDate;
use chrono_tz::Tz;

use super::accept::Accepted;
use crate::config::Config;
use crate::config::checked::Job;
use crate::intake;
use crate::reports::filters::{self, ResolveError, Scope, Selection};
use crate::requests::ClaimedRequest;
use crate::tables::catalog::Catalog;
use crate::worker::AppContext;
use crate::worker::outcome::Outcome;
use crate::worker::plan::Ready;
use crate::worker::request_error::RequestError;

/// Requests with what came of them: their files by name, or why they fail.
pub(in crate::worker) type Resolved = Vec<(Arc<ClaimedRequest>, Result<Ready, RequestError>)>;

/// Finds the batches of each request and names its files. `claim` is the claim's part of these names.
///
/// # Errors
/// How all of these requests end.
pub(in crate::worker) async fn resolve(
    app: &AppContext,
    config: &Config,
    job: &Arc<Job>,
    claim: &str,
    accepted: Vec<Accepted>,
    catalog: &Arc<Catalog>,
) -> Result<Resolved, Outcome> {
    let timezone = config.timezone;
    let today = app.clock.now().with_timezone(&timezone).date_naive();
    let (job, catalog, claim) = (Arc::clone(job), Arc::clone(catalog), claim.to_owned());
    // A content filter looks at every content there is: this is CPU work.
    app.run_on_cpu(move || {
        let files = |one: Accepted| {
            let selection = select(&job, &one, &catalog, today, timezone);
            let ready = selection.map_err(|error| RequestError::resolve(&error)).and_then(|selection| {
                Ready::new(&one.request, one.order, selection, &catalog, &claim)
                    .map_err(|error| RequestError::key(&error))
            });
            (one.request, ready)
        };
        accepted.into_iter().map(files).collect()
    })
    .await
}

fn select(
    job: &Job,
    one: &Accepted,
    catalog: &Catalog,
    today: NaiveDate,
    timezone: Tz,
) -> Result<Selection, ResolveError> {
    let own_channel = one.request.requested_channel.as_deref().unwrap_or_default();
    let key_channels = one.request.allowed_channels.as_deref().map(intake::key_channels);
    let scope = Scope {
        today,
        timezone,
        max_batches: job.max_batches,
        own_channel: job.own_channel_only.then_some(own_channel),
        key_channels: key_channels.as_deref(),
    };
    filters::resolve(&one.order.config, catalog, &scope, &|batch| one.order.can_name(batch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::group::catalog::load_catalog;
    use crate::worker::test_app::{BATCHES, TestApp};

    #[tokio::test]
    async fn files_are_named_by_batch_and_a_request_without_batches_fails_alone() {
        let test = TestApp::new();
        let both = format!(r#"{{"batchFilter": ["{}", "{}", "nowhere"]}}"#, BATCHES[1], BATCHES[0]);
        let (claim, lease) = test.claim(&[("1", &both), ("2", r#"{"batchId": "nowhere"}"#)]);
        let accepted = test.accept(claim).await;
        let (config, job) = (test.config(), test.job());
        let catalog = load_catalog(&test.app, &config, &job, &accepted, &lease).await.unwrap().catalog;
        let resolved = resolve(&test.app, &config, &job, lease.short_name(), accepted, &catalog).await.unwrap();
        let [(row, Ok(ready)), (_, Err(error))] = &resolved[..] else { panic!("one of two fails") };
        assert_eq!((row.key.request_id.as_str(), &ready.key), ("1", &row.key));
        let objects: Vec<String> = ready.objects.iter().map(ToString::to_string).collect();
        for (object, batch) in objects.iter().zip(BATCHES) {
            assert!(
                object.ends_with(&format!("reports-{batch}.csv")) && object.contains(lease.short_name()),
                "{object}"
            );
        }
        assert_eq!((objects.len(), ready.stored.len()), (2, 2));
        assert!(error.message.contains("No data found") && !error.may_pass, "{error:?}");
    }
}
