//! `exhaustd retry` and `exhaustd cancel`: what operators do to requests.

use std::path::Path;

use super::audit::{audit, record};
use super::print::outln;
use super::row_filter::RowFilter;
use super::{CommandError, bulk, load_config, open_queue};
use crate::config::Config;
use crate::intake;
use crate::intake::encryption::SealError;
use crate::requests::{BulkAct, ClientQueue, Protected, RequestKey, Status};

/// Try a FAILED request again, as if it were new; or all that match a filter. One for protected files has lost its key: submit
/// it again with that.
///
///   exhaustd retry TAG ID
///   exhaustd retry --job course-report --err-code source_unavailable --since 24h
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// The client's key.
    tag: Option<String>,
    /// The request's id. Without it all requests are meant that match the filter: they are shown, and changed with --yes.
    request_id: Option<String>,
    #[command(flatten)]
    filter: RowFilter,
    /// Change all requests that match the filter.
    #[arg(long)]
    yes: bool,
}

/// Cancel a request that waits or is in work, or all that match a filter: it ends as FAILED at once, and the work on it within
/// seconds.
#[derive(Debug, clap::Args)]
pub(super) struct CancelArguments {
    #[command(flatten)]
    request: Arguments,
    /// Who cancels it, for the client to read.
    #[arg(long, value_name = "NAME", default_value = "operator")]
    by: String,
}

impl Arguments {
    /// The request that is named. `None`: all are meant that match the filter.
    fn key(&self) -> Result<Option<RequestKey>, CommandError> {
        let (Some(tag), Some(request_id)) = (&self.tag, &self.request_id) else { return Ok(None) };
        if !self.filter.is_empty() {
            return Err(CommandError::Usage("give a request or a filter, not both".to_owned()));
        }
        Ok(Some(RequestKey { tag: tag.clone(), request_id: request_id.clone() }))
    }

    fn all_that_match(&self, act: &BulkAct, config: &Path) -> Result<(), CommandError> {
        bulk::run(act, |config| self.filter.filter(self.tag.as_deref(), config), self.yes, config)
    }
}

pub(super) fn retry(arguments: &Arguments, config: &Path) -> Result<(), CommandError> {
    let Some(key) = arguments.key()? else { return arguments.all_that_match(&BulkAct::Retry, config) };
    let config = load_config(config)?;
    let queue = open_queue(&config)?;
    refuse_foreign(queue.as_ref(), &config, &key)?;
    record(queue.as_ref(), "retry", key.to_string(), 1)?;
    let changed = queue.resubmit(&key)?;
    if changed {
        audit("retry", &key, "operator");
    }
    answer(queue.as_ref(), &key, changed, "only a FAILED request can be tried again")
}

pub(super) fn cancel(arguments: &CancelArguments, config: &Path) -> Result<(), CommandError> {
    let Some(key) = arguments.request.key()? else {
        return arguments.request.all_that_match(&BulkAct::Cancel { by: arguments.by.clone() }, config);
    };
    let config = load_config(config)?;
    let queue = open_queue(&config)?;
    refuse_foreign(queue.as_ref(), &config, &key)?;
    record(queue.as_ref(), "cancel", key.to_string(), 1)?;
    let changed = queue.cancel(&key, &arguments.by)?;
    if changed {
        audit("cancel", &key, &arguments.by);
    }
    answer(queue.as_ref(), &key, changed, "only a request that waits or that is in work here can be cancelled")
}

/// Refuses rows of jobs that are not configured: they belong to another system.
fn refuse_foreign(queue: &dyn ClientQueue, config: &Config, key: &RequestKey) -> Result<(), CommandError> {
    match queue.find(key)? {
        Some(row) if intake::find_job(&config.jobs, &row.job_id).is_err() => {
            let job = row.job_id;
            Err(CommandError::Failed(format!("job '{job}' is not configured here: request {key} is another system's")))
        }
        _ => Ok(()),
    }
}

fn answer(queue: &dyn ClientQueue, key: &RequestKey, changed: bool, rule: &str) -> Result<(), CommandError> {
    let Some(row) = queue.find(key)? else {
        return Err(CommandError::Failed(format!("there is no request {key}")));
    };
    if !changed && Status::parse(&row.status) == Some(Status::Failed) && row.protected == Protected::Wiped {
        return Err(CommandError::Failed(format!("request {key} is FAILED: {}", SealError::Wiped)));
    }
    if !changed {
        return Err(CommandError::Failed(format!("request {key} is {}: {rule}", row.status)));
    }
    outln!("{key} {}", row.status);
    Ok(())
}
