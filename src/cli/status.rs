//! `exhaustd status`: what is in the table.

use std::path::Path;

use serde_json::{Value, json};

use super::files::files;
use super::print::{out, outln};
use super::row_filter::{RowFilter, matching};
use super::text::{iso, table, time};
use super::{CommandError, daemons, load_config, open_to_read, pause, status_parts};
use crate::config::Config;
use crate::requests::{Overview, PartRow, Queue, Reader, RequestKey, RequestRow, Status};

/// Requests that are shown, and that are listed as JSON, where no limit is given.
const SHOWN: u32 = 20;
const LISTED: u32 = 1000;

/// Requests in the table, their number by job and status, and the daemons that work on them.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only requests of this client.
    tag: Option<String>,
    /// Only this request, with everything that is known about it; of a COMPLETED one also where its files are: paths on
    /// this machine, or links to an object store.
    request_id: Option<String>,
    #[command(flatten)]
    filter: RowFilter,
    /// At most this many requests, the newest; 20, and with a filter and --json 1,000.
    #[arg(long)]
    limit: Option<u32>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, config: &Path) -> Result<(), CommandError> {
    let config = load_config(config)?;
    let queue = open_to_read(&config)?;
    if let (Some(tag), Some(request_id)) = (&arguments.tag, &arguments.request_id) {
        let key = RequestKey { tag: tag.clone(), request_id: request_id.clone() };
        let row = queue.find(&key)?.ok_or_else(|| CommandError::Failed(format!("there is no request {key}")))?;
        let parts = queue.parts(&key).unwrap_or_else(|error| {
            log::warn!("the parts of the request cannot be read error={error}");
            Vec::new()
        });
        one(&config, &row, &parts, arguments.json)?;
        let is_open = Status::parse(&row.status).is_some_and(Status::is_open);
        if is_open
            && !arguments.json
            && let Some(line) = daemons::find(queue.as_ref())?.none_alive()
        {
            outln!("\n{line}");
        }
        if Status::parse(&row.status) == Some(Status::Submitted)
            && !arguments.json
            && let Some(line) = pause::find(queue.as_ref())?.of(&config, &row)
        {
            outln!("\nit waits: {line}");
        }
        return Ok(());
    }
    if !arguments.filter.is_empty() {
        return filtered(queue.as_ref(), arguments, &config);
    }
    let limit = arguments.limit.unwrap_or(SHOWN);
    let rows = queue.newest(arguments.tag.as_deref(), &Reader::everything(), limit)?;
    let overview = if arguments.tag.is_none() { Some(queue.overview()?) } else { None };
    let parts = match &overview {
        Some(_) => queue.parts_overview().inspect_err(|error| log::warn!("parts cannot be counted error={error}")).ok(),
        None => None,
    };
    let daemons = daemons::find(queue.as_ref())?;
    let pauses = pause::find(queue.as_ref())?;
    if arguments.json {
        let requests: Vec<Value> = rows.iter().map(whole).collect();
        let (counts, parts) = (overview.as_ref().map(counts), parts.as_ref().map(status_parts::counts));
        let (daemons, pauses) = (daemons.json(), pauses.json());
        outln!(
            "{}",
            json!({ "requests": requests, "counts": counts, "parts": parts, "daemons": daemons, "pauses": pauses })
        );
        return Ok(());
    }
    print_rows(&rows);
    if let Some(overview) = overview {
        print_overview(&overview);
    }
    if let Some(parts) = &parts {
        status_parts::print_counts(parts);
    }
    out!("{}\n{}", pauses.shown(), daemons.shown());
    Ok(())
}

/// The rows that match a filter: with --json one list.
fn filtered(queue: &dyn Queue, arguments: &Arguments, config: &Config) -> Result<(), CommandError> {
    let filter = arguments.filter.filter(arguments.tag.as_deref(), config)?;
    let limit = arguments.limit.unwrap_or(if arguments.json { LISTED } else { SHOWN });
    let rows = matching(queue, &filter, limit)?;
    if arguments.json {
        outln!("{}", Value::Array(rows.iter().map(whole).collect()));
    } else {
        print_rows(&rows);
    }
    Ok(())
}

/// One request, and where its files are. The row is printed also where no link can be signed.
fn one(config: &Config, row: &RequestRow, parts: &[PartRow], json: bool) -> Result<(), CommandError> {
    if json {
        let (files, result) = match files(config, row) {
            Ok(files) => (json!(files), Ok(())),
            Err(error) => (Value::Null, Err(error)),
        };
        let mut whole = whole(row);
        whole["files"] = files;
        whole["parts"] = parts.iter().map(status_parts::json).collect();
        outln!("{whole}");
        return result;
    }
    print_one(row);
    status_parts::print(parts);
    let files = files(config, row)?;
    if !files.is_empty() {
        outln!("\nFILES");
    }
    for file in files {
        outln!("{file}");
    }
    Ok(())
}

pub(super) fn print_rows(rows: &[RequestRow]) {
    let headings = ["TAG", "REQUEST", "JOB", "STATUS", "SUBMITTED", "MS", "FILES", "CODE", "MESSAGE"];
    out!("{}", table(headings, &lines(rows)));
}

fn lines(rows: &[RequestRow]) -> Vec<[String; 9]> {
    let line = |row: &RequestRow| {
        [
            row.tag.clone(),
            row.request_id.clone(),
            row.job_id.clone(),
            row.status.clone(),
            time(row.submitted),
            row.execution_ms.map_or_else(String::new, |ms| ms.to_string()),
            row.download_urls.len().to_string(),
            row.err_code.clone().unwrap_or_default(),
            row.err_message.clone().unwrap_or_default(),
        ]
    };
    rows.iter().map(line).collect()
}

fn print_overview(overview: &Overview) {
    let rows: Vec<[String; 3]> =
        overview.counts.iter().map(|((job, status), n)| [job.clone(), status.clone(), n.to_string()]).collect();
    out!("\n{}", table(["JOB", "STATUS", "REQUESTS"], &rows));
    for (job, n) in &overview.without_lease {
        outln!("{n} requests of {job} are PROCESSING without a claim of ours: another system's, or left over by it");
    }
}

fn print_one(row: &RequestRow) {
    let facts: Vec<[String; 2]> = match whole(row) {
        Value::Object(facts) => facts.into_iter().filter(|(_, value)| !value.is_null()).map(fact).collect(),
        _ => Vec::new(),
    };
    out!("{}", table(["COLUMN", "VALUE"], &facts));
}

fn fact((name, value): (String, Value)) -> [String; 2] {
    let text = match value {
        Value::String(text) => text,
        Value::Array(items) => {
            items.iter().map(|item| item.as_str().unwrap_or_default()).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    };
    [name, text]
}

/// A row as JSON, under the names of the table's columns.
fn whole(row: &RequestRow) -> Value {
    let parsed = |text: &Option<String>| {
        text.as_deref().map(|text| serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())))
    };
    json!({
        "tag": row.tag,
        "request_id": row.request_id,
        "job_id": row.job_id,
        "status": row.status,
        "request_data": match row.unread_data {
            Some(bytes) => Some(json!(format!("not read: {bytes} bytes, more than [worker] max_request_data"))),
            None => parsed(&row.request_data),
        },
        "requested_by": row.requested_by,
        "requested_channel": row.requested_channel,
        "download_urls": row.download_urls,
        "dt_job_submitted": iso(row.submitted),
        "dt_job_processing": iso(row.processing),
        "dt_job_completed": iso(row.completed),
        "dt_file_created": iso(row.file_created),
        "execution_time": row.execution_ms,
        "err_message": row.err_message,
        "err_code": row.err_code,
        "err_detail": row.err_detail,
        "iteration": row.iteration,
        "crashes": row.crashes,
        "lease_owner": row.lease_owner,
        "lease_expires_at": iso(row.lease_expires),
        "next_attempt_at": iso(row.next_attempt),
        "job_stats": parsed(&row.job_stats),
        "truncated": row.truncated.then_some(true),
    })
}

fn counts(overview: &Overview) -> Value {
    overview.counts.iter().map(|((job, status), n)| json!({ "job_id": job, "status": status, "requests": n })).collect()
}
