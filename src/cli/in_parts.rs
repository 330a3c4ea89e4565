//! Whether several daemons would work on a request in parts, for `explain`. Which daemons there are is not looked at.

use super::CommandError;
use crate::config::Config;
use crate::config::checked::Job;
use crate::sources::Source as _;
use crate::sources::routed::Routed;
use crate::tables::catalog::{BatchIdx, Catalog};
use crate::tables::key_range::KeyRange;

/// Whether they would.
pub(super) enum InParts {
    /// Yes, in parts of at most `most` batches each.
    Yes { most: usize },
    /// No: each of them would read everything.
    No,
}

/// Of a request for these batches. `None`: it is too small to be split.
pub(super) fn of(
    config: &Config,
    job: &Job,
    source: &Routed,
    catalog: &Catalog,
    batches: &[BatchIdx],
) -> Result<Option<InParts>, CommandError> {
    let above = config.worker.split_above;
    if batches.len() <= above {
        return Ok(None);
    }
    let by_batch = job.report.needs(&job.options).of_batches();
    let divides = source.divides(&by_batch.plan(catalog, batches, &KeyRange::default()).scans)?;
    Ok(Some(if divides { InParts::Yes { most: above.div_ceil(2) } } else { InParts::No }))
}

/// For a person.
pub(super) fn told(parts: &InParts) -> String {
    match parts {
        InParts::Yes { most } => {
            format!("several daemons would make these files together, in parts of at most {most} batches")
        }
        InParts::No => {
            "one daemon makes all files: each of several would read everything, since tables are not partitioned \
                        by batch"
                .to_owned()
        }
    }
}
