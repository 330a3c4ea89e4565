//! Parts of large requests, as `status` prints them.

use serde_json::{Value, json};

use super::check_rows::waits;
use super::print::{out, outln};
use super::text::{iso, table, time};
use crate::requests::{PartCounts, PartRow, PartsOverview};

/// The parts of a request that several daemons work on, and who works on them.
pub(super) fn print(parts: &[PartRow]) {
    if parts.is_empty() {
        return;
    }
    let made = parts.iter().filter(|part| part.is_done).count();
    outln!("\n{made} of {} parts made", parts.len());
    let line = |part: &PartRow| {
        let (state, until) = match (part.is_done, &part.token) {
            (true, _) => ("made", None),
            (false, Some(_)) => ("in work", part.lease_expires),
            (false, None) => ("waits", part.next_attempt),
        };
        [
            part.number.to_string(),
            format!("{} of {}", part.files_done, part.files),
            state.to_owned(),
            time(until),
            part.token.as_deref().map_or("", worker).to_owned(),
            part.iteration.to_string(),
            part.crashes.to_string(),
        ]
    };
    let lines: Vec<[String; 7]> = parts.iter().map(line).collect();
    out!("{}", table(["PART", "FILES", "STATE", "UNTIL", "DAEMON", "FAILED", "CRASHES"], &lines));
}

/// `host:pid` of a claim's token.
fn worker(token: &str) -> &str {
    token.rsplit_once(':').map_or(token, |(worker, _)| worker)
}

pub(super) fn json(part: &PartRow) -> Value {
    json!({
        "part": part.number,
        "files": part.files,
        "files_done": part.files_done,
        "is_done": part.is_done,
        "lease_owner": part.token,
        "lease_expires_at": iso(part.lease_expires),
        "next_attempt_at": iso(part.next_attempt),
        "iteration": part.iteration,
        "crashes": part.crashes,
    })
}

/// The parts of all requests in numbers, and those requests that nobody can work on now.
pub(super) fn print_counts(PartsOverview { counts, backed_off }: &PartsOverview) {
    if counts.is_empty() {
        return;
    }
    let line = |(job, of): (&String, &PartCounts)| {
        let [waiting, in_work, back_off, made] = [of.waiting, of.in_work, of.back_off, of.made].map(|n| n.to_string());
        [job.clone(), waiting, in_work, back_off, made]
    };
    let lines: Vec<[String; 5]> = counts.iter().map(line).collect();
    out!("\n{}", table(["JOB", "PARTS WAITING", "IN WORK", "IN BACK-OFF", "MADE"], &lines));
    for one in backed_off {
        outln!("{}", waits(one));
    }
}

pub(super) fn counts(overview: &PartsOverview) -> Value {
    let count = |(job, of): (&String, &PartCounts)| json!({ "job_id": job, "waiting": of.waiting, "in_work": of.in_work, "back_off": of.back_off, "made": of.made });
    overview.counts.iter().map(count).collect()
}
