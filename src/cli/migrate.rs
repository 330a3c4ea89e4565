//! `exhaustd migrate`: bring the table to the schema of this version.

use std::path::Path;
use std::sync::Arc;

use super::print::outln;
use super::{CommandError, load_config};
use crate::requests::SystemClock;
use crate::worker::open;

/// Add the columns and indexes that the table job_request lacks, and drop indexes of earlier versions that newer ones have
/// replaced. No row is changed. `run` does it too, unless `[database] migrate = false`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print the SQL that would be run, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(arguments: &Arguments, config: &Path) -> Result<(), CommandError> {
    let queue = open::queue(&load_config(config)?, Arc::new(SystemClock), 1)?;
    let statements = queue.migrate(arguments.dry_run)?;
    if arguments.dry_run {
        for statement in &statements {
            outln!("{};", statement.trim().trim_end_matches(';'));
        }
    } else if statements.is_empty() {
        outln!("nothing to do");
    } else {
        outln!("{} statements run", statements.len());
    }
    Ok(())
}
