//! `POST /job/request/submit`: make a request, or find the one that is the same.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Api;
use super::body::{request, text, value};
use super::call::{Answer, Asked, Call, Method, Operation};
use super::envelope::{Fault, Kind};
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
    handle: |asked| Box::pin(submit(asked)),
    describe: |api| Operation {
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
        body: Some(body(&api.job_names())),
        result: json!({ "$ref": "#/components/schemas/StatusObject" }),
        errors: &[400, 409, 413, 415, 429],
    },
};

async fn submit(asked: Asked) -> Answer {
    let request = request(&asked.body)?;
    let api = &asked.api;
    let tag = text(request, &["tag"])?.unwrap_or_default();
    let job = text(request, &["jobId", "dataset"])?.unwrap_or_default();
    let jobs = api.jobs();
    let job = if tag.is_empty() { Err(intake::SubmissionError::Empty("tag")) } else { intake::find_job(&jobs, job) };
    let job = job.map_err(|error| Fault::bad(error.to_string()))?;
    let requested_channel = text(request, &["requestedChannel"])?.or(asked.channel.as_deref()).map(str::to_owned);
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
    // What is wrong by itself comes before what this key may not.
    intake::submission(job, &given, asked.now).map_err(|error| Fault::bad(error.to_string()))?;
    asked.caller.covers_tag(tag)?;
    let requested_channel = asked.caller.channel(requested_channel.clone())?;
    let allowed_channels = asked.caller.reader().allowed_channels();
    let given = Submission {
        requested_channel: requested_channel.as_deref(),
        allowed_channels: allowed_channels.as_deref(),
        ..given
    };
    let row = intake::submission(job, &given, asked.now).map_err(|error| Fault::bad(error.to_string()))?;
    let new = NewRequest {
        key: RequestKey { tag: tag.to_owned(), request_id: row.request_id.clone() },
        encryption: None,
        job_id: job.id.clone(),
        request_data: row.request_data.clone(),
        requested_by: given.requested_by.map(str::to_owned),
        requested_channel: requested_channel.clone(),
        allowed_channels: allowed_channels.clone(),
    };
    let wish = Wish { job: Arc::clone(job), row, client: asked.caller.client(), new };
    let (submitted, row) = match &encryption_key {
        None => wish.put(api, None).await?,
        Some(key) => wish.put_protected(&asked, key).await?,
    };
    let (key, request) = (api.key_name(&asked.caller), format!("{}/{}", row.tag, row.request_id));
    api.audit.submitted(key, &request, asked.address, &row.job_id, &format!("{submitted:?}"));
    api.status(&row, asked.now).await
}

/// A submission that is in order by itself.
#[derive(Clone)]
struct Wish {
    job: Arc<Job>,
    row: intake::Row,
    client: Client,
    new: NewRequest,
}

/// What is known of a request for protected files before its key is marked.
struct Seen {
    key: RequestKey,
    /// The answer, where it does not depend on the key.
    settled: Option<Submitted>,
    /// How the row's mark was made.
    made: Option<String>,
}

impl Wish {
    /// Inserts the row, or finds it. What is refused changes nothing. An encryption key is sealed and marked for one row, which
    /// comes with it.
    async fn put(
        &self,
        api: &Api,
        protected: Option<(RequestKey, NewEncryption)>,
    ) -> Result<(Submitted, RequestRow), Fault> {
        let (mut wish, shown) = (self.clone(), self.new.key.clone());
        let (submitted, row) = api
            .ask(move |queue| {
                match protected {
                    None => wish.new.key = wish.key(queue)?,
                    Some((key, encryption)) => (wish.new.key, wish.new.encryption) = (key, Some(encryption)),
                }
                let submitted = queue.submit_for(&wish.new, &wish.client)?;
                Ok((submitted, queue.find(&wish.new.key)?))
            })
            .await?;
        self.refuse(submitted)?;
        let vanished = || Fault::new(Kind::Unavailable, format!("request {shown} vanished while it was submitted"));
        Ok((submitted, row.ok_or_else(vanished)?))
    }

    /// The same for protected files. Marking a key takes long, so it is done last, and for nobody who is refused anyway.
    async fn put_protected(&self, asked: &Asked, key: &Password) -> Result<(Submitted, RequestRow), Fault> {
        let api = &asked.api;
        let mut seen = self.look(api).await?;
        // A second time where the row was made meanwhile by somebody who marks in another way.
        for is_last in [false, true] {
            if let Some(submitted) = seen.settled {
                self.refuse(submitted)?;
            }
            let config = api.config.get();
            let (secret, made) = (config.secrets_key.as_ref(), seen.made.as_deref());
            let Kept { sealed, marks } = api.marks.of(&asked.caller, secret, &seen.key, key, made).await?;
            let plain = || EncryptionKey::Plain(key.reveal().to_owned());
            let encryption = NewEncryption { key: sealed.map_or_else(plain, EncryptionKey::Sealed), marks };
            let put = self.put(api, Some((seen.key.clone(), encryption))).await;
            if is_last || !put.as_ref().is_err_and(|fault| fault.kind == Kind::Conflict) {
                return put;
            }
            let before = seen.made;
            seen = self.look(api).await?;
            if seen.made == before {
                return put;
            }
        }
        Err(Fault::new(Kind::Conflict, OTHER_KEY))
    }

    /// What can be told before the key is marked.
    async fn look(&self, api: &Api) -> Result<Seen, Fault> {
        let wish = self.clone();
        api.ask(move |queue| {
            let key = wish.key(queue)?;
            let settled = match queue.find(&key)? {
                Some(row) if !wish.client.reader.sees(&row) => Some(Submitted::Hidden),
                Some(row) if row.protected == Protected::No => Some(Submitted::OtherKey),
                Some(row) if Status::parse(&row.status) != Some(Status::Failed) => None,
                _ => queue.has_reached_limit(&wish.client)?.then_some(Submitted::TooMany),
            };
            Ok(Seen { made: queue.mark_scheme(&key)?, key, settled })
        })
        .await
    }

    /// The key of its row: a version before may have made it under another id today.
    fn key(&self, queue: &dyn ClientQueue) -> Result<RequestKey, QueueError> {
        let of = |id: &str| RequestKey { tag: self.new.key.tag.clone(), request_id: id.to_owned() };
        let find = |id: &str| Ok(queue.find(&of(id))?.map(stored));
        Ok(of(&self.row.id_among(&self.job, &self.new.key.tag, find)?))
    }

    fn refuse(&self, submitted: Submitted) -> Result<(), Fault> {
        match submitted {
            Submitted::Created | Submitted::Exists | Submitted::Resubmitted => Ok(()),
            Submitted::OtherKey => Err(Fault::new(Kind::Conflict, OTHER_KEY)),
            Submitted::Hidden => Err(Fault::new(Kind::Conflict, "already submitted with a key of other channels")),
            Submitted::TooMany => Err(too_many(&self.client)),
        }
    }
}

fn stored(row: RequestRow) -> Stored {
    let RequestRow { job_id, request_data, requested_by, requested_channel, allowed_channels, .. } = row;
    Stored { job_id, request_data, requested_by, requested_channel, allowed_channels }
}

const OTHER_KEY: &str = "already submitted with another encryptionKey";

/// As many requests as the key may have are open.
pub(super) fn too_many(client: &Client) -> Fault {
    let most = client.open_requests.unwrap_or_default();
    Fault::too_many(format!("{most} requests of this key are open, {most} are allowed"), 30)
}

fn body(jobs: &[String]) -> Value {
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
                    "jobId": {
                        "type": "string", "enum": jobs,
                        "description": "A configured job, by id or alias. May be called dataset instead.",
                    },
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
                "jobId": jobs.first(),
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
