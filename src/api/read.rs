//! `GET /job/request/read/{tag}/{request_id}`: one request.

use serde_json::json;

use super::call::{Answer, Asked, Call, Method, Operation, path_parameter};
use super::envelope::{Fault, Kind};
use crate::requests::{RequestKey, RequestRow};

pub(super) const CALL: Call = Call {
    name: "read",
    id: "ekstep.analytics.job.request.info",
    method: Method::Get,
    path: "/job/request/read/{tag}/{request_id}",
    fields: &[],
    handle: |asked| Box::pin(read(asked)),
    describe: |_| Operation {
        summary: "One request",
        description: "Its links are signed anew with each read.",
        parameters: vec![
            path_parameter("tag", "The client's key."),
            path_parameter("request_id", "As submit answered it."),
        ],
        body: None,
        result: json!({ "$ref": "#/components/schemas/StatusObject" }),
        errors: &[400, 404],
    },
};

async fn read(asked: Asked) -> Answer {
    let row = found(&asked).await?;
    asked.api.status(&row, asked.now).await
}

/// The request that the path names, if the caller may see it. Whether there is one under another tag is never told.
pub(super) async fn found(asked: &Asked) -> Result<RequestRow, Fault> {
    let missing = || Fault::new(Kind::NotFound, "there is no such request under this tag");
    let [tag, request_id] = asked.path.as_slice() else { return Err(missing()) };
    asked.caller.covers_tag(tag)?;
    let key = RequestKey { tag: tag.clone(), request_id: request_id.clone() };
    let row = asked.api.ask(move |queue| queue.find(&key)).await?;
    row.filter(|row| asked.caller.reader().sees(row)).ok_or_else(missing)
}
