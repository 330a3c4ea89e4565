//! `POST /job/request/submit`: make a request, or find the same one.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Api;
use super::body::{request, text, value};
use super::call::{Call, CallResult, IncomingCall, Method, Operation};
use super::envelope::{ApiError, ErrorKind};
use super::marks::MarkRequest;
use super::status::StatusObject;
use crate::config::checked::Job;
use crate::intake::encryption::{Kept, LONGEST_KEY, SHORTEST_KEY};
use crate::intake::{self, LONGEST_NAME, Stored, Submission};
use crate::outputs::{Format, Password};
use crate::requests::{
    Client, ClientQueue, EncryptionKey, NewEncryption, NewRequest, Protected, QueueError, RequestKey, RequestRow,
    Status, Submitted,
};

pub(super) const CALL: Call = Call {
    name: "submit",
    id: "ekstep.analytics.job.request.submit",
    method: Method::Post,
    path: "/job/request/submit",
    fields: &[
        "tag",
        "jobId",
        "dataset",
        "jobConfig",
        "datasetConfig",
        "output_format",
        "outputFormat",
        "requestedBy",
        "requestedChannel",
        "encryptionKey",
    ],
    handle: |call| Box::pin(submit(call)),
    describe: |schemas| Operation {
        summary: "Make a request, or find it",
        description: "The same submission on the same day answers the request that exists; a FAILED one is tried \
                      again. What can be decided without the platform's data is refused here; whether a batch exists \
                      is found out later. Unknown keys are ignored, except in jobConfig. Instead of the header \
                      X-Channel-ID the body may say requestedChannel, which wins. With another encryptionKey the \
                      same submission is refused: 409.",
        parameters: vec![json!({
            "name": "X-Channel-ID", "in": "header", "description": "requestedChannel, where the body has none",
            "schema": { "type": "string", "pattern": "^[ -~]*$", "maxLength": LONGEST_NAME },
        })],
        body: Some(body(schemas.jobs.as_deref())),
        result: schemas.of::<StatusObject>(),
        errors: &[400, 409, 413, 415, 429],
        links: Some(links()),
    },
};

async fn submit(call: IncomingCall) -> CallResult {
    call.caller.may_act()?;
    let request = request(&call.body)?;
    let api = &call.api;
    let tag = text(request, &["tag"])?.unwrap_or_default();
    let job = text(request, &["jobId", "dataset"])?.unwrap_or_default();
    let jobs = api.jobs();
    let job = if tag.is_empty() { Err(intake::SubmissionError::Empty("tag")) } else { intake::find_job(&jobs, job) };
    let job = job.map_err(|error| ApiError::bad(error.to_string()))?;
    let requested_channel = text(request, &["requestedChannel"])?.or(call.channel.as_deref()).map(str::to_owned);
    let encryption_key = text(request, &["encryptionKey"])?.map(|key| Password::new(key.to_owned()));
    let given = Submission {
        tag,
        job_config: value(request, &["jobConfig", "datasetConfig"])?.unwrap_or(&Value::Null),
        max_request_data: api.config.get().worker.max_request_data,
        output_format: text(request, &["output_format", "outputFormat"])?.unwrap_or("csv"),
        requested_by: text(request, &["requestedBy"])?,
        requested_channel: requested_channel.as_deref(),
        allowed_channels: None,
        encryption_key: encryption_key.as_ref(),
    };
    // A wrong submission is answered 400 before 403.
    intake::submission(job, &given, call.now).map_err(|error| ApiError::bad(error.to_string()))?;
    call.caller.covers_tag(tag)?;
    let requested_channel = call.caller.channel(requested_channel.clone())?;
    let allowed_channels = call.caller.reader().allowed_channels();
    let given = Submission {
        requested_channel: requested_channel.as_deref(),
        allowed_channels: allowed_channels.as_deref(),
        ..given
    };
    let row = intake::submission(job, &given, call.now).map_err(|error| ApiError::bad(error.to_string()))?;
    let new = NewRequest {
        key: RequestKey { tag: tag.to_owned(), request_id: row.request_id.clone() },
        encryption: None,
        job_id: job.id.clone(),
        request_data: row.request_data.clone(),
        requested_by: given.requested_by.map(str::to_owned),
        requested_channel: requested_channel.clone(),
        allowed_channels: allowed_channels.clone(),
    };
    let submission = NewSubmission { job: Arc::clone(job), row, client: call.caller.client(), new };
    let (submitted, row) = match &encryption_key {
        None => submission.insert(api, None).await?,
        Some(key) => submission.insert_protected(&call, key).await?,
    };
    let request = format!("{}/{}", row.tag, row.request_id);
    api.audit.submitted(call.key_name(), &request, call.address, &row.job_id, &format!("{submitted:?}"));
    api.status(&call.caller, &row, call.now).await
}

/// A submission that was checked without the table.
#[derive(Clone)]
struct NewSubmission {
    job: Arc<Job>,
    row: intake::Row,
    client: Client,
    new: NewRequest,
}

/// What the table says of a request for protected files before its encryption key is marked.
struct Existing {
    key: RequestKey,
    /// The outcome, where it does not depend on the encryption key.
    outcome: Option<Submitted>,
    /// How the row's mark was made.
    made: Option<String>,
}

impl NewSubmission {
    /// Inserts the row, or finds it. A refused submission changes nothing. An encryption key is sealed and marked for one row,
    /// whose key is given with it.
    async fn insert(
        &self,
        api: &Api,
        protected: Option<(RequestKey, NewEncryption)>,
    ) -> Result<(Submitted, RequestRow), ApiError> {
        let (mut submission, own_key) = (self.clone(), self.new.key.clone());
        let (submitted, row) = api
            .ask(move |queue| {
                match protected {
                    None => submission.new.key = submission.key(queue)?,
                    Some((key, encryption)) => {
                        (submission.new.key, submission.new.encryption) = (key, Some(encryption));
                    }
                }
                let submitted = queue.submit_for(&submission.new, &submission.client)?;
                Ok((submitted, queue.find(&submission.new.key)?))
            })
            .await?;
        self.refuse(submitted)?;
        let vanished =
            || ApiError::new(ErrorKind::Unavailable, format!("request {own_key} vanished while it was submitted"));
        Ok((submitted, row.ok_or_else(vanished)?))
    }

    /// The same for protected files. Marking a key takes long: it is done last, and not for a submission that is refused
    /// anyway.
    async fn insert_protected(&self, call: &IncomingCall, key: &Password) -> Result<(Submitted, RequestRow), ApiError> {
        let api = &call.api;
        let mut existing = self.look_up(api).await?;
        // A second time where another process has inserted the row meanwhile, with a mark of another kind.
        for is_last in [false, true] {
            if let Some(submitted) = existing.outcome {
                self.refuse(submitted)?;
            }
            let config = api.config.get();
            let request = MarkRequest {
                api_key: call.key_name(),
                secret: config.secrets_key.as_ref(),
                row: &existing.key,
                key,
                made: existing.made.as_deref(),
            };
            let Kept { sealed, marks } = api.marks.make(&api.limits, request).await?;
            let plain = || EncryptionKey::Plain(key.reveal().to_owned());
            let encryption = NewEncryption { key: sealed.map_or_else(plain, EncryptionKey::Sealed), marks };
            let inserted = self.insert(api, Some((existing.key.clone(), encryption))).await;
            if is_last || !inserted.as_ref().is_err_and(|error| error.kind == ErrorKind::Conflict) {
                return inserted;
            }
            let before = existing.made;
            existing = self.look_up(api).await?;
            if existing.made == before {
                return inserted;
            }
        }
        Err(ApiError::new(ErrorKind::Conflict, OTHER_KEY))
    }

    /// What the table says before the key is marked.
    async fn look_up(&self, api: &Api) -> Result<Existing, ApiError> {
        let submission = self.clone();
        api.ask(move |queue| {
            let key = submission.key(queue)?;
            let outcome = match queue.find(&key)? {
                Some(row) if !submission.client.reader.sees(&row) => Some(Submitted::Hidden),
                Some(row) if row.protected == Protected::No => Some(Submitted::OtherKey),
                Some(row) if Status::parse(&row.status) != Some(Status::Failed) => None,
                _ => queue.has_reached_limit(&submission.client)?.then_some(Submitted::TooMany),
            };
            Ok(Existing { made: queue.mark_scheme(&key)?, key, outcome })
        })
        .await
    }

    /// The key of its row: an earlier version may have inserted it under another id today.
    fn key(&self, queue: &dyn ClientQueue) -> Result<RequestKey, QueueError> {
        let of = |id: &str| RequestKey { tag: self.new.key.tag.clone(), request_id: id.to_owned() };
        let find = |id: &str| Ok(queue.find(&of(id))?.map(stored));
        Ok(of(&self.row.id_among(&self.job, &self.new.key.tag, find)?))
    }

    fn refuse(&self, submitted: Submitted) -> Result<(), ApiError> {
        match submitted {
            Submitted::Created | Submitted::Exists | Submitted::Resubmitted => Ok(()),
            Submitted::OtherKey => Err(ApiError::new(ErrorKind::Conflict, OTHER_KEY)),
            Submitted::Hidden => {
                Err(ApiError::new(ErrorKind::Conflict, "already submitted with a key of other channels"))
            }
            Submitted::TooMany => Err(too_many(&self.client)),
        }
    }
}

fn stored(row: RequestRow) -> Stored {
    let RequestRow { job_id, request_data, requested_by, requested_channel, allowed_channels, .. } = row;
    Stored { job_id, request_data, requested_by, requested_channel, allowed_channels }
}

const OTHER_KEY: &str = "already submitted with another encryptionKey";

/// The answer where the key has as many open requests as it may.
pub(super) fn too_many(client: &Client) -> ApiError {
    let most = client.open_requests.unwrap_or_default();
    ApiError::too_many(format!("{most} requests of this key are open, {most} are allowed"), 30)
}

/// The links of the answer: calls that take its tag and request_id.
fn links() -> Value {
    let link = |operation: &str| {
        json!({
            "operationId": operation,
            "parameters": {
                "tag": "$response.body#/result/tag",
                "request_id": "$response.body#/result/request_id",
            },
        })
    };
    json!({ "read": link("read"), "cancel": link("cancel"), "retry": link("retry") })
}

/// `jobs`: ids and aliases; `None`: they are not told.
fn body(jobs: Option<&[String]>) -> Value {
    let mut job_id = json!({
        "type": "string",
        "description": "A configured job, by id or alias. May be called dataset instead.",
    });
    let mut example = json!("JOB_ID");
    if let Some(jobs) = jobs {
        job_id["enum"] = json!(jobs);
        example = json!(jobs.first());
    }
    let name = |description: &str| json!({ "type": ["string", "null"], "maxLength": LONGEST_NAME, "description": description });
    json!({
        "type": "object",
        "required": ["request"],
        "properties": {
            "params": { "$ref": "#/components/schemas/Params" },
            "request": {
                "type": "object",
                "required": ["tag", "jobId", "jobConfig"],
                "properties": {
                    "tag": {
                        "type": "string", "minLength": 1, "maxLength": LONGEST_NAME, "pattern": "^[A-Za-z0-9._:-]+$",
                        "description": "The client's key: requests are found again under it.",
                    },
                    "jobId": job_id,
                    "jobConfig": {
                        "allOf": [{ "$ref": "#/components/schemas/JobConfig" }],
                        "description": "Which batches. May be called datasetConfig instead.",
                    },
                    "output_format": {
                        "type": ["string", "null"], "enum": formats(),
                        "description": "csv unless given; json is JSON lines and jsonl the same. May be called \
                                        outputFormat instead.",
                    },
                    "requestedBy": name("Who asks."),
                    "requestedChannel": name("For which channel."),
                    "encryptionKey": {
                        "type": ["string", "null"], "format": "password", "writeOnly": true,
                        "minLength": SHORTEST_KEY, "maxLength": LONGEST_KEY,
                        "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f\\ufffd]*$",
                        "description": "Files are zip archives that this opens (AES-256, its UTF-8 bytes). Never \
                                        answered, and wiped when the request has ended.",
                    },
                },
            },
        },
        "examples": [{
            "params": { "msgid": "4f04da60-1e24-4d31-aa7b-1daf91c46341" },
            "request": {
                "tag": "client-1",
                "jobId": example,
                "jobConfig": { "batchFilters": ["TPD", "NCFCOPY"] },
                "output_format": "csv",
            },
        }],
    })
}

fn formats() -> Vec<Value> {
    let spellings = Format::ALL.into_iter().flat_map(|format| std::iter::once(format.name()).chain(format.alias()));
    spellings.map(Value::from).chain([Value::Null]).collect()
}
