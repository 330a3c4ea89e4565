//! `exhaustd verify`: whether the files of COMPLETED requests are in the store.

use std::path::Path;
use std::time::Duration;

use rayon::prelude::*;
use serde_json::{Value, json};

use super::audit::audit;
use super::print::outln;
use super::row_filter::RowFilter;
use super::text::table;
use super::{CommandError, load_config, open_queue, open_to_read};
use crate::config::Config;
use crate::outputs::{OwnKey, Store, StoreError};
use crate::requests::{ClientQueue, Filter, Page, Protected, Reader, RequestKey, RequestRow, StatementTimeout, Status};
use crate::worker::open;

/// How long the database may look for the requests of one page.
const PATIENCE: Duration = Duration::from_mins(1);
/// Requests of one page.
const PAGE: u32 = 100;
/// Files that are looked at side by side: most of the time is spent waiting for an object store.
const THREADS: usize = 16;
/// From how many files on it is the store that is doubted, where none of them is there.
const NONE_OF: u64 = 2;

/// Compare COMPLETED requests with what is in the store: is each file there, and are they as long together as when they were made?
///
/// Lists the requests of which something is missing; the exit code is 1 then. With --retry those without a password become FAILED
/// (file missing) and are submitted again. Files under a password cannot be made again: their requests are only listed.
///
///   exhaustd verify --job course-report --completed-since 7d
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Only requests of this client.
    tag: Option<String>,
    #[command(flatten)]
    filter: RowFilter,
    /// Submit requests again of which something is missing.
    #[arg(long)]
    retry: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What was looked at.
#[derive(Default)]
struct Verified {
    requests: u64,
    files: u64,
    there: u64,
    /// Requests whose links lead elsewhere, or are too many to be read.
    not_looked_at: u64,
    damaged: Vec<Damaged>,
    retried: u64,
}

/// A request of which something is missing.
struct Damaged {
    key: RequestKey,
    job_id: String,
    is_protected: bool,
    what: String,
}

pub(super) fn run(arguments: &Arguments, config: &Path) -> Result<(), CommandError> {
    let config = load_config(config)?;
    let filter = filter(arguments, &config)?;
    let queue = if arguments.retry { open_queue(&config)? } else { open_to_read(&config)? };
    let store = open::store(&config)?;
    // Of a store that is not there every file would be missing.
    store.check().map_err(|error| CommandError::Unreachable(error.to_string()))?;
    let mut verified = look(queue.as_ref(), &store, &filter)?;
    if arguments.retry {
        retry(queue.as_ref(), &mut verified)?;
    }
    if arguments.json {
        outln!("{}", answer(&verified));
    } else {
        print_all(&verified);
    }
    match verified.damaged.len() as u64 - verified.retried {
        0 => Ok(()),
        left => Err(CommandError::Failed(format!("files of {left} requests are missing"))),
    }
}

/// COMPLETED requests of configured jobs: others are another system's.
fn filter(arguments: &Arguments, config: &Config) -> Result<Filter, CommandError> {
    let mut filter = arguments.filter.filter(arguments.tag.as_deref(), config)?;
    let completed = Filter::statuses_of([Status::Completed.as_str().to_owned()]);
    if filter.statuses.as_ref().is_some_and(|given| *given != completed) {
        return Err(CommandError::Usage("verify looks at COMPLETED requests alone".to_owned()));
    }
    filter.statuses = Some(completed);
    filter.job_ids.get_or_insert_with(|| config.jobs.iter().flat_map(|job| job.names()).map(str::to_owned).collect());
    Ok(filter)
}

fn look(queue: &dyn ClientQueue, store: &Store, filter: &Filter) -> Result<Verified, CommandError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(THREADS).build();
    let pool = pool.map_err(|error| CommandError::Failed(error.to_string()))?;
    let (mut verified, mut after) = (Verified::default(), None);
    loop {
        let page = Page { limit: PAGE, after };
        let found = queue.search(filter, &Reader::everything(), &page, &StatementTimeout::after(PATIENCE))?;
        after = found.entries.last().map(|entry| entry.cursor.clone());
        if after.is_none() {
            return Ok(verified);
        }
        for row in queue.rows_of(found.entries)? {
            pool.install(|| verified.add(store, &row)).map_err(|error| CommandError::Unreachable(error.to_string()))?;
        }
    }
}

impl Verified {
    fn add(&mut self, store: &Store, row: &RequestRow) -> Result<(), StoreError> {
        let own = |text: &String| OwnKey::parse(text, &row.tag, &row.request_id).ok();
        let keys: Vec<OwnKey> = row.download_urls.iter().filter_map(own).collect();
        if row.truncated || keys.len() < row.download_urls.len() {
            self.not_looked_at += 1;
            return Ok(());
        }
        let sizes: Vec<Option<u64>> =
            keys.par_iter().map(|own| store.size(own.key())).collect::<Result<_, StoreError>>()?;
        self.requests += 1;
        self.files += sizes.len() as u64;
        let there = sizes.iter().flatten().count();
        self.there += there as u64;
        let bytes: u64 = sizes.iter().flatten().sum();
        let what = match sizes.iter().position(Option::is_none) {
            Some(first) => {
                let missing = sizes.len() - there;
                format!("{missing} of {} files missing, the first is {}", sizes.len(), row.download_urls[first])
            }
            None => match made_bytes(row) {
                Some(made) if made != bytes => format!("the files have {bytes} bytes, {made} were made"),
                _ => return Ok(()),
            },
        };
        let key = RequestKey { tag: row.tag.clone(), request_id: row.request_id.clone() };
        let is_protected = row.protected != Protected::No;
        self.damaged.push(Damaged { key, job_id: row.job_id.clone(), is_protected, what });
        Ok(())
    }
}

/// How many bytes its files had when they were made. `None`: another system made them.
fn made_bytes(row: &RequestRow) -> Option<u64> {
    let stats: Value = serde_json::from_str(row.job_stats.as_deref()?).ok()?;
    stats["bytes"].as_u64()
}

fn retry(queue: &dyn ClientQueue, verified: &mut Verified) -> Result<(), CommandError> {
    if verified.there == 0 && verified.files >= NONE_OF {
        let what =
            format!("none of {} files is there: nothing was submitted again. Is [store] url right?", verified.files);
        return Err(CommandError::Failed(what));
    }
    for damaged in &verified.damaged {
        // The row may have changed since it was read, and a stop may come between the two: it is FAILED then, and can be retried.
        if !damaged.is_protected && queue.file_missing(&damaged.key, &damaged.what)? && queue.resubmit(&damaged.key)? {
            audit("retry", &damaged.key, "verify");
            verified.retried += 1;
        }
    }
    Ok(())
}

fn answer(verified: &Verified) -> Value {
    let damaged = verified.damaged.iter().map(|one| {
        json!({
            "tag": one.key.tag, "request_id": one.key.request_id, "job_id": one.job_id, "protected": one.is_protected,
            "missing": one.what,
        })
    });
    json!({
        "requests": verified.requests,
        "files": verified.files,
        "not_looked_at": verified.not_looked_at,
        "damaged": damaged.collect::<Vec<_>>(),
        "retried": verified.retried,
    })
}

fn print_all(verified: &Verified) {
    if !verified.damaged.is_empty() {
        let rows: Vec<[String; 3]> = verified
            .damaged
            .iter()
            .map(|one| {
                let protected = if one.is_protected { " (under a password: submit it again)" } else { "" };
                [one.key.to_string(), one.job_id.clone(), format!("{}{protected}", one.what)]
            })
            .collect();
        outln!("{}", table(["request", "job", "what is missing"], &rows));
    }
    let Verified { requests, files, not_looked_at, damaged, retried, .. } = verified;
    outln!("{requests} requests with {files} files looked at, {} of them damaged", damaged.len());
    if *not_looked_at > 0 {
        outln!("{not_looked_at} not looked at: their links lead elsewhere, or are too many");
    }
    if *retried > 0 {
        outln!("{retried} submitted again");
    }
}
