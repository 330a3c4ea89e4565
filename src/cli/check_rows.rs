//! What `check` warns of that is in the table.

use std::sync::Arc;

use super::text::time;
use crate::config::Config;
use crate::config::checked::DatabaseUrl;
use crate::requests::{BackedOff, ClientQueue, Housekeeping, SystemClock};
use crate::worker::open;

/// Rows that wait for ever, and requests that nobody can work on now. Where the database cannot be asked that is said already.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    if let DatabaseUrl::Sqlite(file) = &config.database.url
        && !file.exists()
    {
        return Vec::new();
    }
    let Ok(queue) = open::queue(config, Arc::new(SystemClock), 1) else { return Vec::new() };
    unclaimable(config, queue.as_ref()).into_iter().chain(backed_off(queue.as_ref())).collect()
}

fn unclaimable(config: &Config, queue: &dyn Housekeeping) -> Option<String> {
    let names: Vec<String> = config.jobs.iter().flat_map(|job| job.names().map(str::to_owned)).collect();
    let found = queue.unclaimable(&names).ok().filter(|found| found.rows > 0)?;
    let more = if found.rows > found.first.len() as u64 { ", …" } else { "" };
    Some(format!(
        "{} rows of job_request can never be claimed: {}{more}; give them a key of text, or remove them",
        found.rows,
        found.first.join("; ")
    ))
}

fn backed_off(queue: &dyn ClientQueue) -> Vec<String> {
    let found = queue.parts_overview().map(|overview| overview.backed_off).unwrap_or_default();
    found.iter().map(waits).collect()
}

/// Why nobody works on a split request.
pub(super) fn waits(BackedOff { key, parts, next_attempt, message, .. }: &BackedOff) -> String {
    let (next, message) = (time(Some(*next_attempt)), message.as_deref().unwrap_or("no message"));
    format!(
        "request {key}: each of its {parts} parts that are left waits after a failed attempt, the first until {next}: {message}"
    )
}
