//! `POST /job/run/{job}`: a standalone job's own request, outside its schedule.

use super::audit_records::record;
use super::call::{Call, CallResult, IncomingCall, Method, Operation, path_parameter};
use super::envelope::{ApiError, ErrorKind};
use super::status::StatusObject;
use crate::intake;
use crate::requests::{NewRequest, Submitted};

pub(super) const CALL: Call = Call {
    name: "run_now",
    id: "ekstep.analytics.job.run",
    method: Method::Act,
    path: "/job/run/{job}",
    fields: &[],
    handle: |call| Box::pin(run_now(call)),
    describe: |schemas| Operation {
        summary: "Run a standalone job now",
        description: "Makes one request with the job's own jobConfig, outside its schedule. Two calls within one second make \
                      one. For keys of role admin.",
        parameters: vec![path_parameter("job", "Its id or an alias.")],
        result: schemas.of::<StatusObject>(),
        errors: &[400, 404, 409],
        ..Operation::default()
    },
};

async fn run_now(call: IncomingCall) -> CallResult {
    call.caller.may_administer()?;
    let name = call.path.first().map_or("", String::as_str);
    let job = call.api.job(name).ok_or_else(|| ApiError::new(ErrorKind::NotFound, "there is no such job"))?;
    let by = call.key_name().unwrap_or("API");
    let row = intake::run_now(&job, call.now);
    let row = row.map_err(|error| ApiError::new(ErrorKind::Conflict, error.to_string()))?;
    let written = (row.request_id, row.request_data);
    let request = NewRequest::standalone(intake::STANDALONE_TAG, written, &job.id, by);
    let key = request.key.clone();
    call.api.record_act(record("run", call.key_name(), &job.id, call.address)).await?;
    let (submitted, row) = call.api.ask(move |queue| Ok((queue.submit(&request)?, queue.find(&request.key)?))).await?;
    let row = row.ok_or_else(|| ApiError::new(ErrorKind::Internal, "the request is not there"))?;
    if submitted != Submitted::Exists {
        let request = key.to_string();
        call.api.audit.acted_on("run", call.key_name(), &[("job", &job.id), ("request", &request)], call.address);
    }
    call.api.status(&call.caller, &row, call.now).await
}
