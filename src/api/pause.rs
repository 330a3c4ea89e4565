//! `POST /job/pause/{job}`, `/job/resume/{job}`, `/tenant/pause/{tag}`, `/tenant/resume/{tag}`.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::Api;
use super::audit_records::record;
use super::call::{Call, CallResult, IncomingCall, Method, Operation, path_parameter};
use super::envelope::{ApiError, ErrorKind, timestamp};
use super::schemas::Schemas;
use crate::requests::{Pause, PauseKind, Paused, RequestRow};

pub(super) const PAUSE_JOB: Call = Call {
    name: "pause_job",
    id: "ekstep.analytics.job.pause",
    method: Method::Act,
    path: "/job/pause/{job}",
    fields: &["why"],
    handle: |call| Box::pin(pause(call, PauseKind::Job)),
    describe: |schemas| operation(schemas, "Pause a job", PauseKind::Job),
};

pub(super) const RESUME_JOB: Call = Call {
    name: "resume_job",
    id: "ekstep.analytics.job.resume",
    method: Method::Act,
    path: "/job/resume/{job}",
    fields: &[],
    handle: |call| Box::pin(resume(call, PauseKind::Job)),
    describe: |schemas| operation(schemas, "Resume a job", PauseKind::Job),
};

pub(super) const PAUSE_TENANT: Call = Call {
    name: "pause_tenant",
    id: "ekstep.analytics.tenant.pause",
    method: Method::Act,
    path: "/tenant/pause/{tag}",
    fields: &["why"],
    handle: |call| Box::pin(pause(call, PauseKind::Tenant)),
    describe: |schemas| operation(schemas, "Pause all requests of a tag", PauseKind::Tenant),
};

pub(super) const RESUME_TENANT: Call = Call {
    name: "resume_tenant",
    id: "ekstep.analytics.tenant.resume",
    method: Method::Act,
    path: "/tenant/resume/{tag}",
    fields: &[],
    handle: |call| Box::pin(resume(call, PauseKind::Tenant)),
    describe: |schemas| operation(schemas, "Resume all requests of a tag", PauseKind::Tenant),
};

/// The longest reason, in characters.
const LONGEST_WHY: usize = 500;

/// Whether a job or a tag is paused.
#[derive(Debug, Serialize, JsonSchema)]
struct PauseObject {
    /// `job` or `tenant`.
    kind: &'static str,
    /// Its id, or the tag.
    name: String,
    /// Whether it is paused now.
    paused: bool,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// Who paused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

fn operation(schemas: &mut Schemas, summary: &'static str, kind: PauseKind) -> Operation {
    let parameter = match kind {
        PauseKind::Job => path_parameter("job", "Its id or an alias."),
        PauseKind::Tenant => path_parameter("tag", "The client's key."),
    };
    Operation {
        summary,
        description: "While it is paused none of its requests is begun; those in work go on, and submissions are taken. \
                      A body `{\"request\": {\"why\": …}}` says why. A job is paused by keys of role admin, a tag by those of role operator.",
        parameters: vec![parameter],
        result: schemas.of::<PauseObject>(),
        errors: &[400, 404, 409],
        ..Operation::default()
    }
}

/// What the path names, and how the caller is called.
fn asked(call: &IncomingCall, kind: PauseKind) -> Result<(String, String), ApiError> {
    let name = call.path.first().cloned().unwrap_or_default();
    match kind {
        PauseKind::Tenant => call.caller.may_pause_tenant(&name)?,
        PauseKind::Job => call.caller.may_administer()?,
    }
    let name = match kind {
        PauseKind::Tenant => name,
        PauseKind::Job => match call.api.job(&name) {
            Some(job) => job.id.clone(),
            None => return Err(ApiError::new(ErrorKind::NotFound, "there is no such job")),
        },
    };
    Ok((name, call.key_name().unwrap_or("API").to_owned()))
}

async fn pause(call: IncomingCall, kind: PauseKind) -> CallResult {
    let (name, by) = asked(&call, kind)?;
    let why = call.body.get("request").and_then(|request| request.get("why"));
    let why = why.and_then(Value::as_str).map(|why| why.chars().take(LONGEST_WHY).collect::<String>());
    let named = name.clone();
    call.api.record_act(record("pause", call.key_name(), &subject(kind, &name), call.address)).await?;
    let paused = call.api.ask(move |queue| queue.pause(kind, &named, &by, why.as_deref())).await?;
    let pause = match paused {
        Paused::Refused(daemons) => {
            let daemons = daemons.join(", ");
            let what = format!("these daemons are of an older version and know of no pauses: {daemons}");
            return Err(ApiError::new(ErrorKind::Conflict, what));
        }
        Paused::Before(pause) => pause,
        Paused::Done(pause) => {
            audited(&call, "pause", kind, &name);
            pause
        }
    };
    let Pause { name, by, why, since, .. } = pause;
    let since = Some(timestamp(since));
    Ok(json!(PauseObject { kind: kind.as_str(), name, paused: true, since, by: Some(by), why }).into())
}

async fn resume(call: IncomingCall, kind: PauseKind) -> CallResult {
    let (name, _) = asked(&call, kind)?;
    let named = name.clone();
    call.api.record_act(record("resume", call.key_name(), &subject(kind, &name), call.address)).await?;
    if !call.api.ask(move |queue| queue.resume(kind, &named)).await? {
        return Err(ApiError::new(ErrorKind::Conflict, format!("{} {name} is not paused", kind.as_str())));
    }
    audited(&call, "resume", kind, &name);
    Ok(json!(PauseObject { kind: kind.as_str(), name, paused: false, since: None, by: None, why: None }).into())
}

/// What the audit calls it.
fn subject(kind: PauseKind, name: &str) -> String {
    format!("{} {name}", kind.as_str())
}

fn audited(call: &IncomingCall, act: &'static str, kind: PauseKind, name: &str) {
    call.api.audit.acted_on(act, call.key_name(), &[(kind.as_str(), name)], call.address);
}

impl Api {
    /// Why a request that is SUBMITTED is not begun, where its job is off, or that or its tag is paused.
    pub(super) async fn pause_of(&self, row: &RequestRow) -> Result<Option<String>, ApiError> {
        let Some(job) = self.job(&row.job_id) else { return Ok(None) };
        if !job.enabled {
            return Ok(Some(format!("job {} is switched off", job.id)));
        }
        // A role that may not read pauses still reads requests.
        let Some(pauses) = self.queue_snapshots.pauses(self).await? else { return Ok(None) };
        let pause = pauses.of_job(job.names()).or_else(|| pauses.of_tenant(&row.tag));
        Ok(pause.map(ToString::to_string))
    }
}
