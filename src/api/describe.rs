//! `GET /openapi.json`: the description of all this, made from the list of calls and from the types that are answered.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::call::{Call, Method};
use super::envelope::respond_written;
use super::health::HealthReport;
use super::jobs::{self, JobDescription};
use super::paging;
use super::status::StatusObject;
use super::{Api, CALLS, PREFIX};
use crate::config::Config;
use crate::reports::job_config::json_schema;

/// Errors that every call may have.
const ALWAYS: [u16; 2] = [500, 503];

pub(super) async fn openapi(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response<Body> {
    let is_known = api.is_known(&headers);
    respond_written(StatusCode::OK, api.described.text(&api, is_known))
}

/// The description as it was written last, without ids of jobs and with them: writing it takes milliseconds, and nobody
/// needs a key to ask for it.
#[derive(Debug, Default)]
pub(super) struct Described(Mutex<[Option<Written>; 2]>);

/// What was written of which configuration.
type Written = (Arc<Config>, Bytes);

impl Described {
    fn text(&self, api: &Api, is_known: bool) -> Bytes {
        let config = api.config.get();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = &mut kept[usize::from(is_known)];
        if let Some((_, text)) = place.as_ref().filter(|(of, _)| Arc::ptr_eq(of, &config)) {
            return text.clone();
        }
        let mut document = document(api);
        if !is_known {
            hide_jobs(&mut document);
        }
        let text = Bytes::from(document.to_string());
        *place = Some((config, text.clone()));
        text
    }
}

/// Takes the ids of configured jobs out of the description: who has no key does not learn them.
fn hide_jobs(document: &mut Value) {
    let Some(body) = document
        .pointer_mut("/paths/~1job~1request~1submit/post/requestBody/content/application~1json/schema")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    let example = body.get_mut("examples").and_then(|examples| examples.pointer_mut("/0/request/jobId"));
    if let Some(job) = example {
        *job = json!("JOB_ID");
    }
    let job = body.get_mut("properties").and_then(|fields| fields.pointer_mut("/request/properties/jobId"));
    if let Some(job) = job.and_then(Value::as_object_mut) {
        job.remove("enum");
    }
}

/// The whole description (OpenAPI 3.1).
fn document(api: &Api) -> Value {
    let mut paths = Map::new();
    for call in &CALLS {
        let method = if call.method == Method::Get { "get" } else { "post" };
        paths.insert(call.path.to_owned(), json!({ method: operation(api, call) }));
    }
    paths.extend(outside(api));
    let mut components = json!({ "schemas": schemas(api) });
    if api.keys.needed() {
        components["securitySchemes"] = json!({
            "bearer": { "type": "http", "scheme": "bearer" },
            "header": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
        });
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "exhaustd",
            "version": env!("CARGO_PKG_VERSION"),
            "description": format!(
                "Reports on request, one file per course batch: submit a request, read its status until it is \
                 COMPLETED, download its files. Every /job path answers under {PREFIX} too."
            ),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": prefix(&api.settings.public_url) }],
        "paths": paths,
        "components": components,
    })
}

/// The path under which a proxy shows the API: that of `public_url`.
fn prefix(public_url: &str) -> &str {
    let rest = public_url.split_once("://").map_or("", |(_, rest)| rest);
    rest.find('/').map_or("/", |path| &rest[path..])
}

fn operation(api: &Api, call: &Call) -> Value {
    let described = (call.describe)(api);
    let mut responses = Map::new();
    responses.insert("200".to_owned(), answer("As asked.", &reference(&answer_name(call))));
    let auth: &[u16] = if api.keys.needed() { &[401, 403, 429] } else { &[] };
    for status in described.errors.iter().chain(auth).chain(&ALWAYS) {
        responses.insert(status.to_string(), error(*status));
    }
    let mut operation = json!({
        "operationId": call.name,
        "summary": described.summary,
        "description": described.description,
        "parameters": described.parameters,
        "responses": responses,
        "security": security(api),
    });
    if let Some(body) = described.body {
        operation["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": body } } });
    }
    if call.name == "submit" {
        operation["responses"]["200"]["links"] = links();
    }
    operation
}

fn security(api: &Api) -> Value {
    if api.keys.needed() { json!([{ "bearer": [] }, { "header": [] }]) } else { json!([]) }
}

/// What a program may go on to with the answer of a submission.
fn links() -> Value {
    let follow = |operation: &str| {
        json!({
            "operationId": operation,
            "parameters": {
                "tag": "$response.body#/result/tag",
                "request_id": "$response.body#/result/request_id",
            },
        })
    };
    json!({ "read": follow("read"), "cancel": follow("cancel"), "retry": follow("retry") })
}

fn answer(description: &str, schema: &Value) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

fn error(status: u16) -> Value {
    let description = match status {
        400 => "The request is not in order; errmsg names the field.",
        401 => "No key, or one that is not known.",
        403 => "The key does not cover it, or the link is not valid.",
        404 => "There is no such thing.",
        409 => "Its state does not allow it.",
        413 => "The body is too large.",
        415 => "The body is not JSON.",
        416 => "The range is not in the file; Content-Range says how large that is.",
        429 => "Over a limit of the key; Retry-After says when to come back.",
        500 => "Our fault; errmsg says what to quote.",
        _ => "A dependency is down; try again.",
    };
    let mut answer = answer(description, &reference(FAULT));
    if matches!(status, 429 | 503) {
        answer["headers"] = json!({
            "Retry-After": { "description": "Seconds.", "schema": { "type": "integer", "minimum": 1 } },
        });
    }
    answer
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

/// The name of what a call answers: `SubmitAnswer`.
fn answer_name(call: &Call) -> String {
    let mut name = call.name.to_owned();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    name + "Answer"
}

/// Everything that is not OK.
const FAULT: &str = "Fault";

/// One whole schema for each answer, not a common one with more conditions (`allOf`): generators of clients merge neither
/// texts with constants nor objects with objects, and leave such answers out.
fn envelope(description: &str, id: &Value, params: &str, code: &Value, result: &Value) -> Value {
    json!({
        "type": "object",
        "description": description,
        "required": ["id", "ver", "ts", "params", "responseCode", "result"],
        "additionalProperties": false,
        "properties": {
            "id": id,
            "ver": constant("1.0"),
            "ts": { "type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$" },
            "params": reference(params),
            "responseCode": code,
            "result": result,
        },
    })
}

/// `params` of an envelope.
fn params(status: &str, message: &Value) -> Value {
    json!({
        "type": "object",
        "required": ["resmsgid", "status", "err", "errmsg"],
        "additionalProperties": false,
        "properties": {
            "resmsgid": { "type": "string", "format": "uuid" },
            "msgid": { "type": "string", "description": "As it was asked with." },
            "status": constant(status),
            "err": message,
            "errmsg": message,
        },
    })
}

fn constant(text: &str) -> Value {
    json!({ "type": "string", "const": text })
}

fn schemas(api: &Api) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    generator.subschema_for::<StatusObject>();
    generator.subschema_for::<JobDescription>();
    generator.subschema_for::<HealthReport>();
    let mut schemas = generator.take_definitions(true);
    schemas.insert("JobConfig".to_owned(), json_schema());
    schemas.insert(
        "Params".to_owned(),
        json!({ "description": "Of all that may be here, msgid comes back in the answer, if it is text." }),
    );
    schemas.insert("RequestList".to_owned(), paging::result());
    schemas.insert("JobList".to_owned(), jobs::result());
    schemas.insert("AnswerParams".to_owned(), params("successful", &json!({ "type": ["string", "null"] })));
    schemas.insert("FaultParams".to_owned(), params("failed", &json!({ "type": "string" })));
    for call in &CALLS {
        let result = (call.describe)(api).result;
        let description = format!("What `{}` answers.", call.name);
        let answer = envelope(&description, &constant(call.id), "AnswerParams", &constant("OK"), &result);
        schemas.insert(answer_name(call), answer);
    }
    let codes = json!({ "type": "string", "enum": [
        "CLIENT_ERROR", "UNAUTHORIZED", "FORBIDDEN", "RESOURCE_NOT_FOUND", "TOO_MANY_REQUESTS", "SERVER_ERROR",
    ] });
    let nothing = json!({ "type": "object", "maxProperties": 0 });
    let fault = envelope("Why it was not done.", &json!({ "type": "string" }), "FaultParams", &codes, &nothing);
    schemas.insert(FAULT.to_owned(), fault);
    Value::Object(schemas)
}

/// What is not `/job/…`.
fn outside(api: &Api) -> Map<String, Value> {
    let health = json!({ "$ref": "#/components/schemas/HealthReport" });
    let get = |name: &str, summary: &str, responses: Value| json!({ "get": { "operationId": name, "summary": summary, "responses": responses, "security": [] } });
    let mut paths = Map::new();
    paths.insert(
        "/health".to_owned(),
        get(
            "health",
            "Can it do its work?",
            json!({
                "200": answer("Ready.", &health),
                "503": answer("Not ready.", &health),
            }),
        ),
    );
    let mut metrics = get(
        "metrics",
        "What is counted, for Prometheus",
        json!({
            "200": {
                "description": "Prometheus' text format, or OpenMetrics where the header Accept names that.",
                "content": {
                    "text/plain": { "schema": { "type": "string" } },
                    "application/openmetrics-text": { "schema": { "type": "string" } },
                },
            },
        }),
    );
    if !api.settings.metrics_public {
        metrics["get"]["security"] = security(api);
        metrics["get"]["responses"]["401"] = error(401);
        metrics["get"]["responses"]["403"] = error(403);
        metrics["get"]["responses"]["429"] = error(429);
    }
    paths.insert("/metrics".to_owned(), metrics);
    if !api.store.is_remote() {
        paths.insert("/files/{key}".to_owned(), file());
    }
    paths.insert(
        "/openapi.json".to_owned(),
        get("openapi", "This description", json!({ "200": answer("OpenAPI 3.1.", &json!({ "type": "object" })) })),
    );
    paths
}

fn file() -> Value {
    let binary = |description: &str| {
        json!({ "description": description, "content": {
            "text/csv": {},
            "application/x-ndjson": {},
            "application/vnd.apache.parquet": {},
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": {},
            "application/gzip": {},
            "application/zip": {},
            "application/octet-stream": {},
        } })
    };
    let query = |name: &str| json!({ "name": name, "in": "query", "required": true, "schema": { "type": "string" } });
    json!({ "get": {
        "operationId": "download",
        "summary": "A file, by signed link",
        "description": "Links come from the status of a request; they cannot be made or changed. Honours Range.",
        "parameters": [
            { "name": "key", "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } },
            query("expires"),
            query("signature"),
        ],
        "responses": {
            "200": binary("The file."),
            "206": binary("A part of it."),
            "304": { "description": "Not changed." },
            "403": error(403),
            "404": error(404),
            "412": { "description": "Changed." },
            "416": error(416),
            "429": error(429),
            "503": error(503),
        },
        "security": [],
    } })
}
