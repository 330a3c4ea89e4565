//! `GET /job/list`: what can be requested.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::call::{Call, IncomingCall, Method, Operation};
use super::envelope::timestamp;
use super::schemas::{Schemas, counted_list};
use crate::reports::job_config::json_schema;

pub(super) const CALL: Call = Call {
    name: "jobs",
    id: "ekstep.analytics.job.list",
    method: Method::Get,
    path: "/job/list",
    fields: &[],
    handle: |call| Box::pin(std::future::ready(Ok(jobs(&call).into()))),
    describe: |schemas| Operation {
        summary: "The configured jobs",
        description: "What can be requested, and when requests are looked for.",
        result: list_schema(schemas),
        ..Operation::default()
    },
};

fn list_schema(schemas: &mut Schemas) -> Value {
    let job = schemas.of::<JobDescription>();
    schemas.named("JobList", counted_list(&job, []))
}

/// A job of jobs.toml.
#[derive(Debug, Serialize, JsonSchema)]
struct JobDescription {
    /// `jobId` of its requests.
    id: String,
    /// Other ids for the same job.
    aliases: Vec<String>,
    /// Which report it makes.
    report: String,
    /// Whether it is on. One that is off takes no submissions.
    enabled: bool,
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

fn jobs(call: &IncomingCall) -> Value {
    let api = &call.api;
    let shown = |at: Option<DateTime<Utc>>| at.map(timestamp);
    let jobs: Vec<JobDescription> = api
        .jobs()
        .iter()
        .map(|job| JobDescription {
            id: job.id.clone(),
            aliases: job.aliases.clone(),
            report: job.report.name().to_owned(),
            enabled: job.enabled,
            schedule: job.schedule.as_str().to_owned(),
            next_run: shown(
                job.enabled
                    .then_some(&job.schedule)
                    .and_then(|schedule| schedule.next_after(call.now, api.config.get().timezone)),
            ),
            last_run: shown(api.metrics.last_run(&job.id)),
            job_config: json_schema(),
        })
        .collect();
    json!({ "count": jobs.len(), "jobs": jobs })
}
