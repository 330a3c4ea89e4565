//! `exhaustd retry` and `exhaustd cancel`: what operators do to single requests.

use std::path::Path;

use super::{Ended, load_config, open_queue};
use crate::requests::{Queue, RequestKey};

/// Try a FAILED request again, as if it were new.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The client's key.
    tag: String,
    /// The request's id.
    request_id: String,
}

/// Cancel a SUBMITTED request: it ends as FAILED.
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

pub(super) fn retry(arguments: &Arguments, config: &Path) -> Result<(), Ended> {
    let queue = open_queue(&load_config(config)?)?;
    let key = arguments.key();
    let changed = queue.resubmit(&key)?;
    answer(queue.as_ref(), &key, changed, "only a FAILED request can be tried again")
}

pub(super) fn cancel(arguments: &CancelArguments, config: &Path) -> Result<(), Ended> {
    let queue = open_queue(&load_config(config)?)?;
    let key = arguments.request.key();
    let changed = queue.cancel(&key, &arguments.by)?;
    answer(queue.as_ref(), &key, changed, "only a SUBMITTED request can be cancelled")
}

fn answer(queue: &dyn Queue, key: &RequestKey, changed: bool, rule: &str) -> Result<(), Ended> {
    let Some(row) = queue.find(key)? else {
        return Err(Ended::Failed(format!("there is no request {key}")));
    };
    if !changed {
        return Err(Ended::Failed(format!("request {key} is {}: {rule}", row.status)));
    }
    println!("{key} {}", row.status);
    Ok(())
}
