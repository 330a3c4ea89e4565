//! `POST /job/request/submit`: make a request, or find the one that is the same.

use serde_json::{Value, json};

use super::Api;
use super::body::{request, text, value};
use super::call::{Answer, Asked, Call, Method, Operation};
use super::envelope::{Fault, Kind};
use crate::intake::encryption::{self, Kept, LONGEST_KEY, SHORTEST_KEY};
use crate::intake::{self, LONGEST_NAME, Submission};
use crate::outputs::{Format, Password};
use crate::requests::{EncryptionKey, NewEncryption, NewRequest, RequestKey, RequestRow, Status, Submitted};

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
    let key = RequestKey { tag: tag.to_owned(), request_id: row.request_id };
    let new = NewRequest {
        encryption: encryption(api, &key, given.encryption_key.cloned()).await?,
        key,
        job_id: job.id.clone(),
        request_data: row.request_data,
        requested_by: given.requested_by.map(str::to_owned),
        requested_channel: requested_channel.clone(),
        allowed_channels: allowed_channels.clone(),
    };
    let row = put(&asked, new).await?;
    api.status(&row, asked.now).await
}

/// What the row keeps of the key for its files. Marking it takes a while.
async fn encryption(api: &Api, row: &RequestKey, key: Option<Password>) -> Result<Option<NewEncryption>, Fault> {
    let Some(key) = key else { return Ok(None) };
    let (config, row) = (api.config.get(), row.clone());
    let kept = tokio::task::spawn_blocking(move || {
        encryption::keep(config.secrets_key.as_ref(), &row.tag, &row.request_id, &key).map(|Kept { sealed, marks }| {
            let plain = || EncryptionKey::Plain(key.reveal().to_owned());
            NewEncryption { key: sealed.map_or_else(plain, EncryptionKey::Sealed), marks }
        })
    });
    match kept.await {
        Ok(Ok(encryption)) => Ok(Some(encryption)),
        Ok(Err(error)) => Err(Fault::new(Kind::Internal, error.to_string())),
        Err(panic) => Err(Fault::new(Kind::Internal, format!("the call broke off: {panic}"))),
    }
}

/// Inserts the row, within what the key may have open.
async fn put(asked: &Asked, new: NewRequest) -> Result<RequestRow, Fault> {
    let (api, caller) = (&asked.api, &asked.caller);
    let key = new.key.clone();
    let turn = match caller.open_limit() {
        None => None,
        Some((most, turn)) => {
            let turn = turn.lock().await;
            within_limit(asked, &key, most).await?;
            Some(turn)
        }
    };
    let (submitted, row) = api
        .ask(move |queue| {
            let submitted = queue.submit(&new)?;
            Ok((submitted, queue.find(&new.key)?))
        })
        .await?;
    drop(turn);
    let row =
        row.ok_or_else(|| Fault::new(Kind::Unavailable, format!("request {key} vanished while it was submitted")))?;
    if !caller.reader().sees(&row) {
        return Err(Fault::new(Kind::Conflict, "already submitted with a key of other channels"));
    }
    if submitted == Submitted::OtherKey {
        return Err(Fault::new(Kind::Conflict, "already submitted with another encryptionKey"));
    }
    let state = format!("{submitted:?}");
    api.audit.submitted(api.key_name(caller), &key.to_string(), asked.address, &row.job_id, &state);
    Ok(row)
}

/// Refuses one more open request than the key may have. One that is open already is none more.
async fn within_limit(asked: &Asked, key: &RequestKey, most: u32) -> Result<(), Fault> {
    let key = key.clone();
    let (row, open) = asked.api.ask(move |queue| Ok((queue.find(&key)?, queue.open_by_tag()?))).await?;
    if row.is_some_and(|row| Status::parse(&row.status) != Some(Status::Failed)) {
        return Ok(());
    }
    let of_key = open.iter().filter(|(tag, _)| asked.caller.covers_tag(tag).is_ok());
    let open: u64 = of_key.map(|(_, n)| n).sum();
    if open < u64::from(most) {
        return Ok(());
    }
    Err(Fault::too_many(format!("{open} requests of this key are open, {most} are allowed"), 30))
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
