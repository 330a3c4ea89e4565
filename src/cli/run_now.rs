//! `exhaustd run-now`: a standalone job outside its schedule.

use std::path::Path;

use super::audit::audit;
use super::print::outln;
use super::{CommandError, load_config, open_queue};
use crate::intake;
use crate::requests::{Clock as _, NewRequest, Submitted, SystemClock};

/// Run a standalone job now, once, whatever its schedule: makes its request, which a daemon takes as any other.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The job, by its id or an alias.
    job: String,
    /// Who runs it.
    #[arg(long, value_name = "NAME", default_value = "operator")]
    by: String,
}

pub(super) fn run(arguments: &Arguments, config: &Path) -> Result<(), CommandError> {
    let config = load_config(config)?;
    let failed = |error: &dyn std::error::Error| CommandError::Failed(error.to_string());
    let job = intake::find_job(&config.jobs, &arguments.job).map_err(|error| failed(&error))?;
    let row = intake::run_now(job, SystemClock.now()).map_err(|error| failed(&error))?;
    let written = (row.request_id, row.request_data);
    let request = NewRequest::standalone(intake::STANDALONE_TAG, written, &job.id, &arguments.by);
    let queue = open_queue(&config)?;
    if queue.submit(&request)? != Submitted::Exists {
        audit("run", &request.key, &arguments.by);
    }
    outln!("{} SUBMITTED", request.key);
    if let Some(pause) = queue.pauses()?.of_job(job.names()) {
        outln!("it waits: {pause}");
    }
    Ok(())
}
