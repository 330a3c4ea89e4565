//! `POST /job/request/cancel/{tag}/{request_id}` and `…/retry/…`.

use super::audit_records::record;
use super::call::{Call, CallResult, IncomingCall, Method, Operation, request_parameters};
use super::envelope::{ApiError, ErrorKind};
use super::read::found;
use super::schemas::Schemas;
use super::status::StatusObject;
use super::submit::too_many;
use crate::intake::encryption::SealError;
use crate::requests::{Client, ClientQueue, Protected, QueueError, RequestKey, Resubmitted, Status};

pub(super) const CANCEL: Call = Call {
    name: "cancel",
    id: "ekstep.analytics.job.request.cancel",
    method: Method::Act,
    path: "/job/request/cancel/{tag}/{request_id}",
    fields: &[],
    handle: |call| {
        Box::pin(async move {
            let by = call.caller.name().to_owned();
            let by = if by == "none" { "the client".to_owned() } else { by };
            operate(
                call,
                "cancel",
                "only a request that waits or that is in work here can be cancelled",
                move |queue, key, _| Ok(if queue.cancel(key, &by)? { Outcome::Done } else { Outcome::Refused }),
            )
            .await
        })
    },
    describe: |schemas| {
        operation(
            schemas,
            "Cancel a request that waits or is in work",
            "SUBMITTED or PROCESSING → FAILED, \"cancelled by …\". The work on it ends within seconds.",
        )
    },
};

pub(super) const RETRY: Call = Call {
    name: "retry",
    id: "ekstep.analytics.job.request.retry",
    method: Method::Act,
    path: "/job/request/retry/{tag}/{request_id}",
    fields: &[],
    handle: |call| {
        Box::pin(operate(call, "retry", "only a FAILED request can be tried again", |queue, key, client| {
            Ok(match queue.resubmit_for(key, client)? {
                Resubmitted::Done => Outcome::Done,
                Resubmitted::NotFailed => Outcome::Refused,
                Resubmitted::TooMany => Outcome::TooMany,
            })
        }))
    },
    describe: |schemas| {
        operation(
            schemas,
            "Try a failed request again",
            "FAILED → SUBMITTED, as if it were new. One with an encryptionKey has lost it: submit that again instead.",
        )
    },
};

fn operation(schemas: &mut Schemas, summary: &'static str, description: &'static str) -> Operation {
    Operation {
        summary,
        description,
        parameters: request_parameters(),
        result: schemas.of::<StatusObject>(),
        errors: &[400, 404, 409],
        ..Operation::default()
    }
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    /// It is in another state; nothing changed.
    Refused,
    /// The caller has as many open requests as the key allows; nothing changed.
    TooMany,
}

async fn operate<F>(call: IncomingCall, what: &'static str, rule: &str, verb: F) -> CallResult
where
    F: FnOnce(&dyn ClientQueue, &RequestKey, &Client) -> Result<Outcome, QueueError> + Send + 'static,
{
    call.caller.may_act()?;
    let row = found(&call).await?;
    if call.api.job(&row.job_id).is_none() {
        return Err(ApiError::new(
            ErrorKind::Conflict,
            format!("job '{}' is not configured here: the request is another system's", row.job_id),
        ));
    }
    let key = RequestKey { tag: row.tag, request_id: row.request_id };
    let acted_on = key.clone();
    let client = call.caller.client();
    let limited = client.clone();
    let record = record(what, call.key_name(), &acted_on.to_string(), call.address);
    let is_operator = call.caller.may_act_on_many().is_ok();
    if is_operator {
        call.api.record_act(record.clone()).await?;
    }
    let (outcome, row) = call.api.ask(move |queue| Ok((verb(queue, &key, &limited)?, queue.find(&key)?))).await?;
    if outcome == Outcome::TooMany {
        return Err(too_many(&client));
    }
    let changed = outcome == Outcome::Done;
    let row = row.ok_or_else(|| ApiError::new(ErrorKind::NotFound, "there is no such request under this tag"))?;
    if !changed && Status::parse(&row.status) == Some(Status::Failed) && row.protected == Protected::Wiped {
        return Err(ApiError::new(ErrorKind::Conflict, SealError::Wiped.to_string()));
    }
    if !changed {
        return Err(ApiError::new(ErrorKind::Conflict, format!("the request is {}: {rule}", row.status)));
    }
    call.api.audit.acted(what, call.key_name(), &acted_on.to_string(), call.address);
    if !is_operator {
        call.api.audit.keep(record);
    }
    call.api.status(&call.caller, &row, call.now).await
}
