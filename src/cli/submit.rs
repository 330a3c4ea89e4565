//! `exhaustd submit`: write a request.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::filters::{FilterArguments, find_job};
use super::progress::Progress;
use super::{Ended, load_config, open_queue};
use crate::config::Config;
use crate::config::checked::{Job, StorePlace};
use crate::intake::{self, Submission, SubmissionError};
use crate::outputs::ObjectKey;
use crate::requests::{Clock, NewRequest, Queue, RequestKey, RequestRow, Status, Submitted, SystemClock};
use crate::worker::open;

/// Write a request for reports of some batches; a running daemon takes it.
///
/// The same submission on the same day finds the request that exists (a FAILED one is tried again).
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The job's id or alias in jobs.toml.
    job: String,
    #[command(flatten)]
    filters: FilterArguments,
    /// The client's key, under which the request is found again.
    #[arg(long, default_value = "cli")]
    tag: String,
    /// The request's id, unique within the tag; made from the submission if not given.
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Who asks.
    #[arg(long, value_name = "NAME")]
    requested_by: Option<String>,
    /// For which channel.
    #[arg(long, value_name = "ID")]
    requested_channel: Option<String>,
    /// Wait until the request has ended, then print its files.
    #[arg(long)]
    wait: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, config: &Path) -> Result<(), Ended> {
    let config = load_config(config)?;
    let job = find_job(&config, &arguments.job)?;
    let request = new_request(arguments, job)?;
    let queue = open_queue(&config)?;
    let submitted = queue.submit(&request)?;
    let row = if arguments.wait { wait(queue.as_ref(), &request.key)? } else { find(queue.as_ref(), &request.key)? };
    let files = files(&config, &row)?;
    if arguments.json {
        let state = match submitted {
            Submitted::Created => "created",
            Submitted::Exists => "exists",
            Submitted::Resubmitted => "resubmitted",
        };
        let answer = json!({
            "tag": row.tag, "request_id": row.request_id, "submitted": state, "status": row.status, "files": files,
            "err_message": row.err_message,
        });
        println!("{answer}");
    } else {
        println!("{} {}", request.key, row.status);
        for file in &files {
            println!("{file}");
        }
    }
    match (Status::parse(&row.status), row.err_message) {
        (Some(Status::Failed), message) => Err(Ended::Failed(message.unwrap_or_else(|| "FAILED".to_owned()))),
        _ => Ok(()),
    }
}

fn new_request(arguments: &Arguments, job: &Job) -> Result<NewRequest, Ended> {
    let Arguments { tag, requested_by, requested_channel, filters, .. } = arguments;
    let given = Submission {
        tag,
        job_config: &filters.job_config()?,
        output_format: &filters.format,
        requested_by: requested_by.as_deref(),
        requested_channel: requested_channel.as_deref(),
        has_encryption_key: false,
    };
    let row = intake::submission(job, &given, SystemClock.now()).map_err(|error| {
        Ended::Usage(match error {
            SubmissionError::Empty("jobConfig") => {
                "which batches? Say it with --batch, --framework, --channel or --job-config".to_owned()
            }
            error => error.to_string(),
        })
    })?;
    let request_id = arguments.request_id.clone().unwrap_or(row.request_id);
    Ok(NewRequest {
        key: RequestKey { tag: tag.clone(), request_id },
        job_id: job.id.clone(),
        request_data: row.request_data,
        requested_by: requested_by.clone(),
        requested_channel: requested_channel.clone(),
        allowed_channels: None,
    })
}

/// Where its files are: paths on this machine, or links to an object store.
fn files(config: &Config, row: &RequestRow) -> Result<Vec<String>, Ended> {
    let keys: Vec<ObjectKey> = row.download_urls.iter().filter_map(|key| ObjectKey::parse(key).ok()).collect();
    if let StorePlace::Objects(_) = config.store.place {
        let signed = open::links(config, "")?.sign(&keys, SystemClock.now());
        return signed.map_err(|error| Ended::Unreachable(error.to_string()));
    }
    let store = open::store(config)?;
    Ok(keys.iter().filter_map(|key| store.path(key)).map(|path| path.display().to_string()).collect())
}

fn find(queue: &dyn Queue, key: &RequestKey) -> Result<RequestRow, Ended> {
    queue.find(key)?.ok_or_else(|| Ended::Failed(format!("request {key} has vanished from the table")))
}

fn wait(queue: &dyn Queue, key: &RequestKey) -> Result<RequestRow, Ended> {
    let progress = Progress::spinner();
    loop {
        let row = find(queue, key)?;
        if matches!(Status::parse(&row.status), Some(Status::Completed | Status::Failed)) {
            return Ok(row);
        }
        progress.say(&format!("{} {}", key, row.status));
        std::thread::sleep(Duration::from_millis(200));
    }
}
