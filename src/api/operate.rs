//! `POST /job/request/cancel/{tag}/{request_id}` and `…/retry/…`.

use serde_json::json;

use super::call::{Answer, Asked, Call, Method, Operation, path_parameter};
use super::envelope::{Fault, Kind};
use super::read::found;
use super::submit::too_many;
use crate::intake::encryption::SealError;
use crate::requests::{Client, ClientQueue, Protected, QueueError, RequestKey, Retried, Status};

pub(super) const CANCEL: Call = Call {
    name: "cancel",
    id: "ekstep.analytics.job.request.cancel",
    method: Method::Act,
    path: "/job/request/cancel/{tag}/{request_id}",
    fields: &[],
    handle: |asked| {
        Box::pin(async move {
            let by = asked.caller.name().to_owned();
            let by = if by == "none" { "the client".to_owned() } else { by };
            operate(asked, "cancel", "only a SUBMITTED request can be cancelled", move |queue, key, _| {
                Ok(if queue.cancel(key, &by)? { Operated::Done } else { Operated::Refused })
            })
            .await
        })
    },
    describe: |_| operation("Cancel a request that waits", "SUBMITTED → FAILED, \"cancelled by …\"."),
};

pub(super) const RETRY: Call = Call {
    name: "retry",
    id: "ekstep.analytics.job.request.retry",
    method: Method::Act,
    path: "/job/request/retry/{tag}/{request_id}",
    fields: &[],
    handle: |asked| {
        Box::pin(operate(asked, "retry", "only a FAILED request can be tried again", |queue, key, client| {
            Ok(match queue.resubmit_for(key, client)? {
                Retried::Done => Operated::Done,
                Retried::NotFailed => Operated::Refused,
                Retried::TooMany => Operated::TooMany,
            })
        }))
    },
    describe: |_| {
        operation(
            "Try a failed request again",
            "FAILED → SUBMITTED, as if it were new. One with an encryptionKey has lost it: submit that again instead.",
        )
    },
};

fn operation(summary: &'static str, description: &'static str) -> Operation {
    Operation {
        summary,
        description,
        parameters: vec![
            path_parameter("tag", "The client's key."),
            path_parameter("request_id", "As submit answered it."),
        ],
        body: None,
        result: json!({ "$ref": "#/components/schemas/StatusObject" }),
        errors: &[400, 404, 409],
    }
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operated {
    Done,
    /// It is in another state; nothing changed.
    Refused,
    /// The caller has as many requests open as they may; nothing changed.
    TooMany,
}

async fn operate<F>(asked: Asked, what: &'static str, rule: &str, verb: F) -> Answer
where
    F: FnOnce(&dyn ClientQueue, &RequestKey, &Client) -> Result<Operated, QueueError> + Send + 'static,
{
    let row = found(&asked).await?;
    if asked.api.job(&row.job_id).is_none() {
        return Err(Fault::new(
            Kind::Conflict,
            format!("job '{}' is not configured here: the request is another system's", row.job_id),
        ));
    }
    let key = RequestKey { tag: row.tag, request_id: row.request_id };
    let asked_for = key.clone();
    let client = asked.caller.client();
    let limited = client.clone();
    let (operated, row) = asked.api.ask(move |queue| Ok((verb(queue, &key, &limited)?, queue.find(&key)?))).await?;
    if operated == Operated::TooMany {
        return Err(too_many(&client));
    }
    let changed = operated == Operated::Done;
    let row = row.ok_or_else(|| Fault::new(Kind::NotFound, "there is no such request under this tag"))?;
    if !changed && Status::parse(&row.status) == Some(Status::Failed) && row.protected == Protected::Wiped {
        return Err(Fault::new(Kind::Conflict, SealError::Wiped.to_string()));
    }
    if !changed {
        return Err(Fault::new(Kind::Conflict, format!("the request is {}: {rule}", row.status)));
    }
    let key = asked.api.key_name(&asked.caller);
    asked.api.audit.acted(what, key, &asked_for.to_string(), asked.address);
    asked.api.status(&row, asked.now).await
}
