//! The status object: one row as its client sees it. Units differ as in the sample of the design page: seconds, but
//! `expiresAt` in milliseconds.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::outputs::{LinkHost, OwnKey, Target, Withheld};
use crate::requests::{RequestRow, Status};

/// One request.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct StatusObject {
    /// Unique within the tag.
    request_id: String,
    /// The client's key.
    tag: String,
    /// The job, by id or alias.
    #[serde(rename = "jobId")]
    job_id: String,
    /// SUBMITTED, PROCESSING, COMPLETED or FAILED.
    status: String,
    /// Epoch seconds: when it ended, else was claimed, else was submitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_updated: Option<i64>,
    /// jobId, the jobConfig's fields, output_format.
    request: Map<String, Value>,
    /// Times and sizes.
    job_stats: JobStats,
    /// Signed links, one per batch, ordered by batch id; none unless COMPLETED.
    #[serde(rename = "downloadURLs")]
    download_urls: Vec<String>,
    /// Entries of the row that are not among downloadURLs: they name files that were not made for this request, or URLs
    /// on hosts that the operator does not allow. Absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    links_withheld: Option<usize>,
    /// Epoch milliseconds: when these links end.
    #[serde(rename = "expiresAt", skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    /// Attempts that ended.
    attempts: u32,
    /// Why it FAILED.
    #[serde(skip_serializing_if = "Option::is_none")]
    err_message: Option<String>,
    /// The kind of that failure: a word of a fixed list. Absent where an earlier version wrote the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    err_code: Option<String>,
    /// While SUBMITTED: 1 is the next of its job.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_position: Option<u64>,
    /// While SUBMITTED: why it is not begun although its turn may have come. Its job or its tag is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// While SUBMITTED after an attempt that failed, epoch seconds: it is not tried again before.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<i64>,
    /// While PROCESSING, once it is known: files that are stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    batches_done: Option<u64>,
    /// While PROCESSING, once it is known: files in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    batches_total: Option<u64>,
    /// Parts that are made, of a request that several daemons work on, while PROCESSING.
    #[serde(skip_serializing_if = "Option::is_none")]
    parts_done: Option<u64>,
    /// Parts that such a request has.
    #[serde(skip_serializing_if = "Option::is_none")]
    parts_total: Option<u64>,
    /// `true` where the object would be too large: downloadURLs, or other long fields, are left out. Absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<bool>,
}

/// What is cut from a status object that is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// `downloadURLs`
    Files,
    /// `job_stats.batches_left_out`
    LeftOut,
    /// The fields of `request`, but jobId.
    Request,
}

impl StatusObject {
    /// Leaves out what a viewer does not see: when links end, and what the request says of the person who asked.
    pub(super) fn hide_from_viewers(&mut self) {
        self.expires_at = None;
        for name in ["requestedBy", "requested_by"] {
            self.request.remove(name);
        }
    }

    pub(super) fn cut(&mut self, cut: Cut) {
        self.truncated = Some(true);
        match cut {
            Cut::Files => (self.download_urls, self.expires_at) = (Vec::new(), None),
            Cut::LeftOut => self.job_stats.batches_left_out = None,
            Cut::Request => self.request.retain(|key, _| key == "jobId"),
        }
    }
}

/// Times and sizes of a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
struct JobStats {
    /// Epoch seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    dt_job_submitted: Option<i64>,
    /// Epoch seconds: when the current or last attempt was claimed.
    #[serde(skip_serializing_if = "Option::is_none")]
    dt_job_processing: Option<i64>,
    /// Epoch seconds: when it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    dt_job_completed: Option<i64>,
    /// Milliseconds of the attempt that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    execution_time: Option<i64>,
    /// Milliseconds from submitted to processing.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<i64>,
    /// Files.
    #[serde(skip_serializing_if = "Option::is_none")]
    batches: Option<u64>,
    /// Rows of all files.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<u64>,
    /// Bytes of all files.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// Requested batches that were not delivered, by reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    batches_left_out: Option<Map<String, Value>>,
}

/// Links to files.
#[derive(Clone, Debug)]
pub(super) struct SignedLinks {
    /// By the files' keys.
    pub(super) links: HashMap<String, String>,
    /// When they end.
    pub(super) expires: DateTime<Utc>,
    /// Where URLs of rows may lead.
    pub(super) hosts: Vec<LinkHost>,
}

impl SignedLinks {
    /// No link of any file: the caller sees none.
    pub(super) fn none(now: DateTime<Utc>) -> Self {
        Self { links: HashMap::new(), expires: now, hosts: Vec::new() }
    }
}

/// What each entry of a row's download_urls leads to; none unless it is COMPLETED.
pub(super) fn targets<'a>(
    row: &'a RequestRow,
    hosts: &'a [LinkHost],
) -> impl Iterator<Item = (&'a String, Result<Target, Withheld>)> {
    let completed = Status::parse(&row.status) == Some(Status::Completed);
    let urls = row.download_urls.iter().filter(move |_| completed);
    urls.map(|url| (url, Target::parse(url, &row.tag, &row.request_id, hosts)))
}

/// The files of a row that may be signed.
pub(super) fn keys(row: &RequestRow) -> Vec<OwnKey> {
    targets(row, &[])
        .filter_map(|(_, target)| if let Ok(Target::File(own)) = target { Some(own) } else { None })
        .collect()
}

/// What a status object needs besides the row.
#[derive(Clone, Copy, Debug)]
pub(super) struct StatusContext<'a> {
    /// Its links.
    pub(super) links: &'a SignedLinks,
    /// Now.
    pub(super) now: DateTime<Utc>,
    /// The position in its job's queue, while it waits there.
    pub(super) queue_position: Option<u64>,
    /// Why it is not begun, while it waits.
    pub(super) reason: Option<&'a str>,
}

/// The status object of a row.
pub(super) fn status_object(row: &RequestRow, context: &StatusContext<'_>) -> StatusObject {
    let status = Status::parse(&row.status);
    let stats: Value = row.job_stats.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let number =
        |key: &str, while_in: Status| stats.get(key).and_then(Value::as_u64).filter(|_| status == Some(while_in));
    let seconds = |at: Option<DateTime<Utc>>| at.map(|at| at.timestamp());
    let completed = status == Some(Status::Completed);
    let submitted = status == Some(Status::Submitted);
    let left_out = stats.get("batches_left_out").and_then(Value::as_object).filter(|_| completed);
    let (download_urls, withheld) = links(row, context.links);
    let latency = row.processing.zip(row.submitted).map(|(taken, given)| (taken - given).num_milliseconds().max(0));
    StatusObject {
        request_id: row.request_id.clone(),
        tag: row.tag.clone(),
        job_id: row.job_id.clone(),
        status: row.status.clone(),
        last_updated: seconds(row.completed.or(row.processing).or(row.submitted)),
        request: request(row),
        job_stats: JobStats {
            dt_job_submitted: seconds(row.submitted),
            dt_job_processing: seconds(row.processing),
            dt_job_completed: seconds(row.completed),
            execution_time: row.execution_ms,
            latency,
            batches: number("batches", Status::Completed),
            rows: number("rows", Status::Completed),
            bytes: number("bytes", Status::Completed),
            batches_left_out: left_out.cloned(),
        },
        download_urls,
        links_withheld: (withheld > 0).then_some(withheld),
        expires_at: completed.then(|| context.links.expires.timestamp_millis()),
        attempts: row.iteration,
        err_message: row.err_message.clone().filter(|_| status == Some(Status::Failed)),
        err_code: row.err_code.clone().filter(|_| status == Some(Status::Failed)),
        queue_position: context.queue_position.filter(|_| submitted),
        reason: context.reason.filter(|_| submitted).map(str::to_owned),
        next_attempt_at: seconds(row.next_attempt.filter(|at| submitted && *at > context.now)),
        batches_done: number("batches_done", Status::Processing),
        batches_total: number("batches_total", Status::Processing),
        parts_done: number("parts_done", Status::Processing),
        parts_total: number("parts_total", Status::Processing),
        truncated: row.truncated.then_some(true),
    }
}

/// jobId, the jobConfig's fields (under `jobConfig` or at the top level of the row's data) and output_format.
fn request(row: &RequestRow) -> Map<String, Value> {
    let mut request = Map::new();
    request.insert("jobId".to_owned(), Value::from(row.job_id.as_str()));
    let Some(Value::Object(data)) = row.request_data.as_deref().and_then(|text| serde_json::from_str(text).ok()) else {
        return request;
    };
    let fields = match data.get("jobConfig") {
        Some(Value::Object(fields)) => fields,
        _ => &data,
    };
    let beside = ["jobId", "dataset", "tag", "jobConfig", "output_format", "outputFormat", "encryptionKey"];
    let fields = fields.iter().filter(|(key, _)| !beside.contains(&key.as_str()));
    request.extend(fields.map(|(key, value)| (key.clone(), value.clone())));
    let format = ["output_format", "outputFormat"].into_iter().find_map(|key| data.get(key)).cloned();
    request.insert("output_format".to_owned(), format.unwrap_or_else(|| Value::from("csv")));
    request
}

/// The link of each entry, and how many entries are withheld.
fn links(row: &RequestRow, signed: &SignedLinks) -> (Vec<String>, usize) {
    let (mut links, mut withheld) = (Vec::new(), 0);
    for (url, target) in targets(row, &signed.hosts) {
        let link = match target {
            Ok(Target::File(own)) => signed.links.get(own.key().as_str()).cloned(),
            Ok(Target::Url) => Some(url.clone()),
            Err(_) => None,
        };
        match link {
            Some(link) => links.push(link),
            None => withheld += 1,
        }
    }
    (links, withheld)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::outputs::Links;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn shown_as(row: &RequestRow) -> Value {
        let links = Links::local(b"key", "https://reports.example", Duration::from_mins(1));
        let now = at("2026-03-01T12:00:00.250Z");
        let keys = keys(row);
        let signed = links.sign(&keys, now).unwrap();
        let signed = keys.iter().map(|own| own.key().to_string()).zip(signed).collect();
        let hosts = vec![LinkHost::parse("elsewhere").unwrap()];
        let links = SignedLinks { links: signed, expires: links.expires(now), hosts };
        let context = StatusContext { links: &links, now, queue_position: Some(3), reason: None };
        serde_json::to_value(status_object(row, &context)).unwrap()
    }

    fn row(status: &str) -> RequestRow {
        RequestRow {
            tag: "client-1".to_owned(),
            request_id: "6a54".to_owned(),
            job_id: "course-report".to_owned(),
            status: status.to_owned(),
            request_data: Some(r#"{"jobConfig": {"batchFilters": ["TPD"]}, "output_format": "csv"}"#.to_owned()),
            submitted: Some(at("2026-03-01T11:59:00Z")),
            ..RequestRow::default()
        }
    }

    #[test]
    fn a_request_that_waits() {
        let waiting = RequestRow { iteration: 1, next_attempt: Some(at("2026-03-01T12:00:30Z")), ..row("SUBMITTED") };
        assert_eq!(
            shown_as(&waiting),
            json!({
                "request_id": "6a54", "tag": "client-1", "jobId": "course-report", "status": "SUBMITTED",
                "last_updated": 1_772_366_340, "attempts": 1, "downloadURLs": [], "queue_position": 3,
                "request": { "jobId": "course-report", "batchFilters": ["TPD"], "output_format": "csv" },
                "job_stats": { "dt_job_submitted": 1_772_366_340 }, "next_attempt_at": 1_772_366_430,
            })
        );
    }

    #[test]
    fn a_request_in_work() {
        let job_stats = r#"{"batches_done": 2, "batches_total": 5, "parts_done": 0, "parts_total": 3}"#;
        let job_stats = Some(job_stats.to_owned());
        let processing = RequestRow { processing: Some(at("2026-03-01T11:59:01.5Z")), job_stats, ..row("PROCESSING") };
        let shown = shown_as(&processing);
        assert_eq!((&shown["batches_done"], &shown["batches_total"]), (&json!(2), &json!(5)));
        assert_eq!((&shown["parts_done"], &shown["parts_total"]), (&json!(0), &json!(3)));
        assert_eq!((&shown["job_stats"]["latency"], &shown["last_updated"]), (&json!(1500), &json!(1_772_366_341)));
        assert_eq!((shown.get("queue_position"), shown.get("expiresAt")), (None, None));
    }

    #[test]
    fn a_completed_request_has_links_and_sizes() {
        let stats = json!({
            "batches": 2, "rows": 9, "bytes": 100, "group": { "id": "x" },
            "batches_left_out": { "unknown": ["b"], "channel": ["a"] },
        });
        let completed = RequestRow {
            completed: Some(at("2026-03-01T11:59:03Z")),
            download_urls: vec![
                "r/client-1/6a54/0123456789abcdef/reports-1.csv".to_owned(),
                "r/client-2/6a54/0123456789abcdef/reports-1.csv".to_owned(),
                "https://elsewhere/2.csv".to_owned(),
                "https://evil/2.csv".to_owned(),
                "../x".to_owned(),
            ],
            job_stats: Some(stats.to_string()),
            execution_ms: Some(7),
            iteration: 1,
            ..row("COMPLETED")
        };
        let shown = shown_as(&completed);
        let links = shown["downloadURLs"].as_array().unwrap();
        assert_eq!((links.len(), &shown["links_withheld"]), (2, &json!(3)));
        let first = links[0].as_str().unwrap();
        assert!(first.starts_with(
            "https://reports.example/files/r/client-1/6a54/0123456789abcdef/reports-1.csv?expires=1772366460&signature="
        ));
        assert_eq!(links[1], "https://elsewhere/2.csv");
        assert_eq!(shown["expiresAt"], json!(1_772_366_460_000_i64));
        assert_eq!(
            shown["job_stats"],
            json!({
                "dt_job_submitted": 1_772_366_340, "dt_job_completed": 1_772_366_343, "execution_time": 7,
                "batches": 2, "rows": 9, "bytes": 100, "batches_left_out": { "unknown": ["b"], "channel": ["a"] },
            })
        );
    }

    #[test]
    fn odd_rows_are_shown_as_far_as_they_can_be_read() {
        let odd = RequestRow {
            request_data: Some("7".to_owned()),
            submitted: None,
            job_stats: Some("{".to_owned()),
            ..row("?")
        };
        let shown = shown_as(&odd);
        assert_eq!((&shown["request"], &shown["status"]), (&json!({ "jobId": "course-report" }), &json!("?")));
        let flat = RequestRow {
            request_data: Some(r#"{"jobId": "x", "tag": "t", "batchId": "1", "encryptionKey": "secret12"}"#.to_owned()),
            ..row("FAILED")
        };
        let flat = RequestRow { err_message: Some("No data found".to_owned()), ..flat };
        let shown = shown_as(&flat);
        assert_eq!(shown["request"], json!({ "jobId": "course-report", "batchId": "1", "output_format": "csv" }));
        assert_eq!(shown["err_message"], "No data found");
    }
}
