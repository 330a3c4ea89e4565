//! `GET /job/list`: what can be requested.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::call::{Asked, Call, Method, Operation};
use super::envelope::timestamp;
use crate::reports::job_config::json_schema;

pub(super) const CALL: Call = Call {
    name: "jobs",
    id: "ekstep.analytics.job.list",
    method: Method::Get,
    path: "/job/list",
    fields: &[],
    handle: |asked| Box::pin(std::future::ready(Ok(jobs(&asked).into()))),
    describe: |_| Operation {
        summary: "The configured jobs",
        description: "What can be requested, and when requests are looked for.",
        parameters: Vec::new(),
        body: None,
        result: json!({ "$ref": "#/components/schemas/JobList" }),
        errors: &[],
    },
};

/// The schema of `{"count", "jobs"}`.
pub(super) fn result() -> Value {
    json!({
        "type": "object",
        "required": ["count", "jobs"],
        "additionalProperties": false,
        "properties": {
            "count": { "type": "integer", "minimum": 0 },
            "jobs": { "type": "array", "items": { "$ref": "#/components/schemas/JobDescription" } },
        },
    })
}

/// A job of jobs.toml.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct JobDescription {
    /// `jobId` of its requests.
    id: String,
    /// Other ids for the same job.
    aliases: Vec<String>,
    /// Which report makes it.
    report: String,
    /// Cron with seconds, in the configured time zone.
    schedule: String,
    /// When requests are looked for next; `null`: never again.
    next_run: Option<String>,
    /// When this process last looked for requests, or made a standalone job's; `null`: not yet, or it only serves
    /// the API.
    last_run: Option<String>,
    /// JSON Schema of jobConfig.
    #[serde(rename = "jobConfig")]
    job_config: Value,
}

fn jobs(asked: &Asked) -> Value {
    let api = &asked.api;
    let shown = |at: Option<DateTime<Utc>>| at.map(timestamp);
    let jobs: Vec<JobDescription> = api
        .jobs()
        .iter()
        .map(|job| JobDescription {
            id: job.id.clone(),
            aliases: job.aliases.clone(),
            report: job.report.name().to_owned(),
            schedule: job.schedule.as_str().to_owned(),
            next_run: shown(job.schedule.next_after(asked.now, api.config.get().timezone)),
            last_run: shown(api.metrics.last_run(&job.id)),
            job_config: json_schema(),
        })
        .collect();
    json!({ "count": jobs.len(), "jobs": jobs })
}
