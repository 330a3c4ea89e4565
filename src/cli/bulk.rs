//! `retry` and `cancel` for all requests that match a filter.

use std::thread;
use std::time::{Duration, Instant};

use super::audit::{audit, record};
use super::print::{out, outln};
use super::status::print_rows;
use super::{CommandError, load_config, open_queue};
use crate::config::Config;
use crate::requests::{
    Bulk, BulkAct, BulkError, BulkPreview, COUNT_LIMIT, Client, ClientQueue, Filter, StatementTimeout,
};

/// How long the database may look for the requests of one step.
const PATIENCE: Duration = Duration::from_mins(1);

/// Changes all requests that match, or with `yes` false shows what would be changed.
pub(super) fn run(
    act: &BulkAct,
    filter: impl FnOnce(&Config) -> Result<Filter, CommandError>,
    yes: bool,
    config: &std::path::Path,
) -> Result<(), CommandError> {
    let config = load_config(config)?;
    let filter = filter(&config)?;
    let jobs: Vec<String> = config.jobs.iter().flat_map(|job| job.names()).map(str::to_owned).collect();
    let subject = format!("{filter:?}");
    let bulk = Bulk::new(act.clone(), filter, &jobs, Client::default())?;
    let queue = open_queue(&config)?;
    if !yes {
        print_preview(act, &bulk.preview(queue.as_ref(), &StatementTimeout::after(PATIENCE))?);
        return Ok(());
    }
    record(queue.as_ref(), act.name(), subject, 0)?;
    change(queue.as_ref(), &bulk, act)
}

fn print_preview(act: &BulkAct, preview: &BulkPreview) {
    print_rows(&preview.first);
    let many = if preview.total > COUNT_LIMIT { "more than 10,000".to_owned() } else { preview.total.to_string() };
    outln!("\n{} would change {many} requests; above are the newest", act.name());
    if preview.protected > 0 {
        outln!("{} of them are for protected files, and stay: submit them again, with their keys", preview.protected);
    }
    outln!("nothing was changed: give --yes");
}

/// Between two steps it waits as long as a step took, so that others get half of the database's time.
fn change(queue: &dyn ClientQueue, bulk: &Bulk, act: &BulkAct) -> Result<(), CommandError> {
    let by = if let BulkAct::Cancel { by } = act { by.as_str() } else { "operator" };
    let (mut changed, mut protected, mut skipped, mut after) = (0, 0, 0, None);
    loop {
        let began = Instant::now();
        let step = bulk.step(queue, after, &StatementTimeout::after(PATIENCE))?;
        step.changed.iter().for_each(|key| audit(act.name(), key, by));
        changed += step.changed.len();
        protected += step.protected;
        skipped += step.skipped;
        after = step.next;
        if after.is_none() {
            break;
        }
        thread::sleep(began.elapsed());
    }
    out!("{}: {changed} requests changed", act.name());
    if protected > 0 {
        out!(", {protected} for protected files left: submit them again, with their keys");
    }
    if skipped > 0 {
        out!(", {skipped} had changed meanwhile");
    }
    outln!("");
    Ok(())
}

impl From<BulkError> for CommandError {
    fn from(error: BulkError) -> Self {
        Self::Usage(error.to_string())
    }
}
