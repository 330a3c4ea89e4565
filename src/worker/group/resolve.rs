//! From each request's filters to its batches, and to the names of its files.

use std::sync::Arc;

use chrono::NaiveDate;
use chrono_tz::Tz;

use super::accept::Accepted;
use crate::config::Config;
use crate::config::checked::Job;
use crate::intake::{self, Order};
use crate::reports::filters::{self, ResolveError, Scope, Selection};
use crate::reports::query::{FileShape, Placeholder, QueryReport, Split};
use crate::requests::ClaimedRequest;
use crate::tables::catalog::Catalog;
use crate::worker::AppContext;
use crate::worker::outcome::Outcome;
use crate::worker::plan::Ready;
use crate::worker::request_error::RequestError;

/// Requests with what came of them: their files by name, or why they fail.
pub(in crate::worker) type Resolved = Vec<(Arc<ClaimedRequest>, Result<Ready, RequestError>)>;

/// A request whose batches are known.
pub(in crate::worker) struct Selected {
    /// The row.
    pub(in crate::worker) request: Arc<ClaimedRequest>,
    pub(super) order: Order,
    pub(super) selection: Selection,
}

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
    let (report, claim, named_in) = (job.report.query().cloned(), claim.to_owned(), Arc::clone(catalog));
    let named = move |one: Selected| {
        let shape = report.as_ref().map(|report| one.shape(report, &named_in)).unwrap_or_default();
        ready(one, shape, &named_in, &claim)
    };
    let selected = select_all(app, config, job, accepted, catalog).await?;
    app.run_on_cpu(move || {
        let one = |(row, selected): (_, Result<Selected, RequestError>)| match selected {
            Ok(selected) => named(selected),
            Err(error) => (row, Err(error)),
        };
        selected.into_iter().map(one).collect()
    })
    .await
}

/// Finds the batches of each request, or why it fails.
///
/// # Errors
/// How all of these requests end.
pub(in crate::worker) async fn select_all(
    app: &AppContext,
    config: &Config,
    job: &Arc<Job>,
    accepted: Vec<Accepted>,
    catalog: &Arc<Catalog>,
) -> Result<Vec<(Arc<ClaimedRequest>, Result<Selected, RequestError>)>, Outcome> {
    let timezone = config.timezone;
    let today = app.clock.now().with_timezone(&timezone).date_naive();
    let (job, catalog) = (Arc::clone(job), Arc::clone(catalog));
    // A content filter looks at every content there is: this is CPU work.
    app.run_on_cpu(move || {
        let one = |one: Accepted| {
            let selection = select(&job, &one, &catalog, today, timezone);
            let Accepted { request, order } = one;
            let row = Arc::clone(&request);
            let selected = selection.map(|selection| Selected { request, order, selection });
            (row, selected.map_err(|error| RequestError::resolve(&error)))
        };
        accepted.into_iter().map(one).collect()
    })
    .await
}

/// Names the files of a request.
pub(super) fn ready(
    one: Selected,
    shape: FileShape,
    catalog: &Catalog,
    claim: &str,
) -> (Arc<ClaimedRequest>, Result<Ready, RequestError>) {
    let Selected { request, order, selection } = one;
    let ready = Ready::new(&request, order, selection, shape, catalog, claim);
    (request, ready.map_err(|error| RequestError::key(&error)))
}

impl Selected {
    /// What it gives to the query of a report.
    pub(super) fn shape(&self, report: &QueryReport, catalog: &Catalog) -> FileShape {
        let ClaimedRequest { key, requested_channel, requested_by, .. } = self.request.as_ref();
        let value = |placeholder: Placeholder| match placeholder {
            Placeholder::Tag => Some(key.tag.clone()),
            Placeholder::Channel => requested_channel.clone(),
            Placeholder::RequestedBy => requested_by.clone(),
        };
        let ids = || self.selection.batches.iter().map(|batch| catalog.batch(*batch).id.clone()).collect();
        FileShape {
            values: report.placeholders().map(|placeholder| (placeholder.text(), value(placeholder))).collect(),
            batches: (report.split != Split::Batch).then(ids),
        }
    }
}

fn select(
    job: &Job,
    one: &Accepted,
    catalog: &Catalog,
    today: NaiveDate,
    timezone: Tz,
) -> Result<Selection, ResolveError> {
    if let Some(part) = &one.request.part {
        return filters::listed(&part.batches, catalog);
    }
    let own_channel = one.request.requested_channel.as_deref().unwrap_or_default();
    let key_channels = one.request.allowed_channels.as_deref().map(intake::key_channels);
    let scope = Scope {
        today,
        timezone,
        max_batches: job.max_batches,
        own_channel: job.own_channel_only.then_some(own_channel),
        key_channels: key_channels.as_deref(),
    };
    let has_own_file = job.report.query().is_none_or(|report| report.split == Split::Batch);
    filters::resolve(&one.order.config, catalog, &scope, &|batch| !has_own_file || one.order.can_name(batch))
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
