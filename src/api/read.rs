//! `GET /job/request/read/{tag}/{request_id}`: one request.

use super::call::{Call, CallResult, IncomingCall, Method, Operation, request_parameters};
use super::envelope::{ApiError, ErrorKind};
use super::status::StatusObject;
use crate::requests::{RequestKey, RequestRow, Status};

pub(super) const CALL: Call = Call {
    name: "read",
    id: "ekstep.analytics.job.request.info",
    method: Method::Get,
    path: "/job/request/read/{tag}/{request_id}",
    fields: &[],
    handle: |call| Box::pin(read(call)),
    describe: |schemas| Operation {
        summary: "One request",
        description: "Its links are signed anew with each read.",
        parameters: request_parameters(),
        result: schemas.of::<StatusObject>(),
        errors: &[400, 404],
        ..Operation::default()
    },
};

async fn read(call: IncomingCall) -> CallResult {
    let row = found(&call).await?;
    if call.caller.sees_files() && Status::parse(&row.status) == Some(Status::Completed) {
        let request = format!("{}/{}", row.tag, row.request_id);
        call.api.audit.read_links(call.key_name(), (&request, 1), call.address);
    }
    call.api.status(&call.caller, &row, call.now).await
}

/// The request that the path names, if the caller may see it. It never says whether there is one under another tag.
pub(super) async fn found(call: &IncomingCall) -> Result<RequestRow, ApiError> {
    let missing = || ApiError::new(ErrorKind::NotFound, "there is no such request under this tag");
    let [tag, request_id] = call.path.as_slice() else { return Err(missing()) };
    call.caller.covers_tag(tag)?;
    let key = RequestKey { tag: tag.clone(), request_id: request_id.clone() };
    let row = call.api.ask(move |queue| queue.find(&key)).await?;
    row.filter(|row| call.caller.reader().sees(row)).ok_or_else(missing)
}
