//! `exhaustd retry` and `exhaustd cancel`: what operators do to single requests.

use std::path::Path;

use super::print::outln;
use super::{CommandError, load_config, open_queue};
use crate::api::{AUDIT, audit_fields};
use crate::config::Config;
use crate::intake;
use crate::intake::encryption::SealError;
use crate::requests::{ClientQueue, Protected, RequestKey, Status};

/// Try a FAILED request again, as if it were new. One for protected files has lost its key: submit it again with that.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The client's key.
    tag: String,
    /// The request's id.
    request_id: String,
}

/// Cancel a request that waits or is in work: it ends as FAILED at once, and the work on it within seconds.
#[derive(Debug, clap::Args)]
pub(super) struct CancelArguments {
    #[command(flatten)]
    request: Arguments,
    /// Who cancels it, for the client to read.
    #[arg(long, value_name = "NAME", default_value = "operator")]
    by: String,
}

impl Arguments {
    fn key(&self) -> RequestKey {
        RequestKey { tag: self.tag.clone(), request_id: self.request_id.clone() }
    }
}

pub(super) fn retry(arguments: &Arguments, config: &Path) -> Result<(), CommandError> {
    let config = load_config(config)?;
    let queue = open_queue(&config)?;
    let key = arguments.key();
    refuse_foreign(queue.as_ref(), &config, &key)?;
    let changed = queue.resubmit(&key)?;
    if changed {
        audit("retry", &key, "operator");
    }
    answer(queue.as_ref(), &key, changed, "only a FAILED request can be tried again")
}

pub(super) fn cancel(arguments: &CancelArguments, config: &Path) -> Result<(), CommandError> {
    let config = load_config(config)?;
    let queue = open_queue(&config)?;
    let key = arguments.request.key();
    refuse_foreign(queue.as_ref(), &config, &key)?;
    let changed = queue.cancel(&key, &arguments.by)?;
    if changed {
        audit("cancel", &key, &arguments.by);
    }
    answer(queue.as_ref(), &key, changed, "only a request that waits or that is in work here can be cancelled")
}

/// Logs who did what to a request, on standard error: the audit log of the command line.
pub(super) fn audit(act: &str, request: &RequestKey, by: &str) {
    // Under sudo the user who ran it.
    let user = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let fields = [
        ("request", request.to_string()),
        ("by", by.to_owned()),
        ("user", user.unwrap_or_else(|| "unknown".to_owned())),
        ("address", "local".to_owned()),
    ];
    log::info!(target: AUDIT, "{act} {}", audit_fields(&fields.each_ref().map(|(name, value)| (*name, value.as_str()))));
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
