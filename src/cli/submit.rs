//! `exhaustd submit`: write a request.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use serde_json::json;

use super::audit::audit;
use super::files::files;
use super::filters::{FilterArguments, find_job};
use super::print::outln;
use super::progress::Progress;
use super::{CommandError, daemons, load_config, open_queue, print};
use crate::config::{Config, Environment};
use crate::intake::encryption::{self, Kept};
use crate::intake::{self, Refusal, Submission, SubmissionError};
use crate::outputs::Password;
use crate::requests::{
    ClientQueue, Clock, EncryptionKey, NewEncryption, NewRequest, Queue, QueueError, RequestKey, RequestRow, Status,
    Submitted, SystemClock,
};
use crate::worker::open::{self, OpenError};

/// The variable with the encryption key, where no file is given.
const KEY_VARIABLE: &str = "EXHAUST_ENCRYPTION_KEY";

/// How long between two reads of a request that is waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// After each such number of reads it is checked whether a daemon is alive.
const POLLS_PER_CHECK: u32 = 10;

/// Write a request for reports of some batches; a running daemon makes them.
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
    /// Who requests it.
    #[arg(long, value_name = "NAME")]
    requested_by: Option<String>,
    /// For which channel.
    #[arg(long, value_name = "ID")]
    requested_channel: Option<String>,
    /// Make protected files (zip, AES-256): the key that opens them is this file's one line, 8 to 50 characters; `-` reads
    /// standard input. Without this flag the variable EXHAUST_ENCRYPTION_KEY is the key, if it is set.
    #[arg(long, value_name = "FILE")]
    encryption_key_file: Option<PathBuf>,
    /// Wait until the request has ended, then print where its files are: paths on this machine, or links to an object store.
    #[arg(long)]
    wait: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, config: &Path) -> Result<(), CommandError> {
    let config = load_config(config)?;
    let (row, mut request, encryption_key) = new_request(arguments, &config)?;
    if arguments.wait {
        open::check_links(&config).map_err(OpenError::Store)?;
    }
    let queue = open_queue(&config)?;
    if arguments.request_id.is_none() {
        let job = find_job(&config, &arguments.job)?;
        request.key.request_id = row.id_among(job, &arguments.tag, |id| stored(queue.as_ref(), &arguments.tag, id))?;
    }
    if let Some(key) = encryption_key {
        request.encryption = Some(encryption(&config, queue.as_ref(), &request.key, &key)?);
    }
    let submitted = queue.submit(&request)?;
    if submitted == Submitted::OtherKey {
        return Err(CommandError::Failed(format!(
            "request {}: already submitted with another encryptionKey",
            request.key
        )));
    }
    if submitted != Submitted::Exists {
        audit("submission", &request.key, "operator");
    }
    let row = if arguments.wait { wait(queue.as_ref(), &request.key)? } else { find(queue.as_ref(), &request.key)? };
    let files = files(&config, &row)?;
    if arguments.json {
        let state = match submitted {
            Submitted::Created => "created",
            Submitted::Exists | Submitted::OtherKey | Submitted::Hidden | Submitted::TooMany => "exists",
            Submitted::Resubmitted => "resubmitted",
        };
        let answer = json!({
            "tag": row.tag, "request_id": row.request_id, "submitted": state, "status": row.status, "files": files,
            "err_message": row.err_message,
        });
        outln!("{answer}");
    } else {
        outln!("{} {}", request.key, row.status);
        for file in &files {
            outln!("{file}");
        }
    }
    match (Status::parse(&row.status), row.err_message) {
        (Some(Status::Failed), message) => Err(CommandError::Failed(message.unwrap_or_else(|| "FAILED".to_owned()))),
        (Some(Status::Submitted | Status::Processing | Status::Completed) | None, _) => Ok(()),
    }
}

/// The submission, its row without an encryption key, and that key.
fn new_request(
    arguments: &Arguments,
    config: &Config,
) -> Result<(intake::Row, NewRequest, Option<Password>), CommandError> {
    let Arguments { tag, requested_by, requested_channel, filters, .. } = arguments;
    let job = find_job(config, &arguments.job)?;
    let encryption_key = encryption_key(arguments.encryption_key_file.as_deref())?;
    let given = Submission {
        tag,
        job_config: &filters.job_config()?,
        max_request_data: config.worker.max_request_data,
        output_format: &filters.format,
        requested_by: requested_by.as_deref(),
        requested_channel: requested_channel.as_deref(),
        allowed_channels: None,
        encryption_key: encryption_key.as_ref(),
    };
    let row = intake::submission(job, &given, SystemClock.now()).map_err(|error| {
        CommandError::Usage(match error {
            SubmissionError::Empty("jobConfig") => {
                "which batches? Say it with --batch, --framework, --channel or --job-config".to_owned()
            }
            SubmissionError::Refused(error @ Refusal::KeyRequired) => {
                format!("{error}; give one with --encryption-key-file or {KEY_VARIABLE}")
            }
            error => error.to_string(),
        })
    })?;
    let request_id = arguments.request_id.as_ref().unwrap_or(&row.request_id).clone();
    let request = NewRequest {
        key: RequestKey { tag: tag.clone(), request_id },
        job_id: job.id.clone(),
        request_data: row.request_data.clone(),
        requested_by: requested_by.clone(),
        requested_channel: requested_channel.clone(),
        allowed_channels: None,
        encryption: None,
    };
    Ok((row, request, encryption_key))
}

/// The submission that the row of this id holds.
fn stored(queue: &dyn ClientQueue, tag: &str, id: &str) -> Result<Option<intake::Stored>, QueueError> {
    let found = queue.find(&RequestKey { tag: tag.to_owned(), request_id: id.to_owned() })?;
    Ok(found.map(|row| {
        let RequestRow { job_id, request_data, requested_by, requested_channel, allowed_channels, .. } = row;
        intake::Stored { job_id, request_data, requested_by, requested_channel, allowed_channels }
    }))
}

/// The encryption key, from a file or the environment: a list of processes shows neither.
fn encryption_key(file: Option<&Path>) -> Result<Option<Password>, CommandError> {
    let Some(file) = file else {
        let environment = Environment::process();
        let key = environment.variable(KEY_VARIABLE).map_err(CommandError::Usage)?;
        return Ok(key.map(|key| Password::new(key.to_owned())));
    };
    let read = if file == Path::new("-") { io::read_to_string(io::stdin()) } else { fs::read_to_string(file) };
    let text =
        read.map_err(|error| CommandError::Usage(format!("--encryption-key-file {}: {error}", file.display())))?;
    // The line end is the editor's, not the key's.
    let key = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Some(Password::new(key.strip_suffix('\r').unwrap_or(key).to_owned())))
}

/// What the row keeps of an encryption key.
fn encryption(
    config: &Config,
    queue: &dyn ClientQueue,
    row: &RequestKey,
    key: &Password,
) -> Result<NewEncryption, CommandError> {
    let made = queue.mark_scheme(row)?;
    let kept = encryption::keep(config.secrets_key.as_ref(), &row.tag, &row.request_id, key, made.as_deref());
    let Kept { sealed, marks } = kept.map_err(|error| CommandError::Failed(error.to_string()))?;
    let plain = || EncryptionKey::Plain(key.reveal().to_owned());
    Ok(NewEncryption { key: sealed.map_or_else(plain, EncryptionKey::Sealed), marks })
}

fn find(queue: &dyn ClientQueue, key: &RequestKey) -> Result<RequestRow, CommandError> {
    queue.find(key)?.ok_or_else(|| CommandError::Failed(format!("request {key} has vanished from the table")))
}

fn wait(queue: &dyn Queue, key: &RequestKey) -> Result<RequestRow, CommandError> {
    let progress = Progress::spinner();
    // Where no daemon is alive that is said at once, and again where the last one ends meanwhile.
    let (mut was_said, mut polls) = (false, 0);
    loop {
        let row = find(queue, key)?;
        if Status::parse(&row.status).is_some_and(Status::is_final) {
            return Ok(row);
        }
        if polls == 0 {
            let none_alive = daemons::find(queue)?.none_alive();
            if let (Some(line), false) = (&none_alive, was_said) {
                print::error_line(line);
            }
            was_said = none_alive.is_some();
        }
        polls = (polls + 1) % POLLS_PER_CHECK;
        progress.say(&format!("{} {}", key, row.status));
        std::thread::sleep(POLL_INTERVAL);
    }
}
