//! `GET /openapi.json`: the description of the API, made from the list of calls and from the types of their results.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::call::{Call, Method};
use super::envelope::respond_written;
use super::health::HealthReport;
use super::schemas::{Schemas, reference};
use super::{Api, CALLS, PREFIX};
use crate::config::Config;
use crate::reports::job_config::json_schema;

/// Errors that every call may have.
const ALWAYS: [u16; 2] = [500, 503];

pub(super) async fn openapi(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response<Body> {
    let has_key = api.has_valid_key(&headers);
    respond_written(StatusCode::OK, api.description.text(&api, has_key))
}

/// The description as it was last written, without the ids of jobs and with them. Writing it takes milliseconds, and any
/// client may ask for it.
#[derive(Debug, Default)]
pub(super) struct DescriptionCache(Mutex<[Option<Cached>; 2]>);

/// A configuration, and the description under it.
type Cached = (Arc<Config>, Bytes);

impl DescriptionCache {
    fn text(&self, api: &Api, has_key: bool) -> Bytes {
        let config = api.config.get();
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = &mut cached[usize::from(has_key)];
        if let Some((_, text)) = cached.as_ref().filter(|(of, _)| Arc::ptr_eq(of, &config)) {
            return text.clone();
        }
        // Ids of jobs are for those who have a key.
        let schemas = Schemas::new(has_key.then(|| api.job_names()));
        let text = Bytes::from(document(api, schemas).to_string());
        *cached = Some((config, text.clone()));
        text
    }
}

/// The whole description (OpenAPI 3.1).
fn document(api: &Api, mut schemas: Schemas) -> Value {
    common(&mut schemas);
    let mut paths = Map::new();
    for call in CALLS {
        let method = if call.method == Method::Get { "get" } else { "post" };
        paths.insert(call.path.to_owned(), json!({ method: operation(api, call, &mut schemas) }));
    }
    paths.extend(outside(api, &mut schemas));
    let mut components = json!({ "schemas": schemas.into_all() });
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

fn operation(api: &Api, call: &Call, schemas: &mut Schemas) -> Value {
    let described = (call.describe)(schemas);
    let description = format!("What `{}` answers.", call.name);
    let schema = envelope(&description, &constant(call.id), "AnswerParams", &constant("OK"), &described.result);
    let schema = schemas.named(&answer_name(call), schema);
    let mut responses = Map::new();
    responses.insert("200".to_owned(), answer("As asked.", &schema));
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
    if let Some(links) = described.links {
        operation["responses"]["200"]["links"] = links;
    }
    operation
}

fn security(api: &Api) -> Value {
    if api.keys.needed() { json!([{ "bearer": [] }, { "header": [] }]) } else { json!([]) }
}

fn answer(description: &str, schema: &Value) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

fn error(status: u16) -> Value {
    let description = match status {
        400 => "The request is not valid; errmsg names the field.",
        401 => "No key, or one that is not known.",
        403 => "The key does not cover it, or the link is not valid.",
        404 => "There is no such thing.",
        409 => "Its state does not allow it.",
        413 => "The body is too large.",
        415 => "The body is not JSON.",
        416 => "The range is not in the file; Content-Range says how large that is.",
        429 => "Over a limit of the key; Retry-After says when to come back.",
        500 => "An error of the server; errmsg says what to quote.",
        _ => "A dependency is down; try again.",
    };
    let mut answer = answer(description, &reference(ERROR_SCHEMA));
    if matches!(status, 429 | 503) {
        answer["headers"] = json!({
            "Retry-After": { "description": "Seconds.", "schema": { "type": "integer", "minimum": 1 } },
        });
    }
    answer
}

/// The name of what a call answers: `SubmitAnswer`.
fn answer_name(call: &Call) -> String {
    let mut name = call.name.to_owned();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    name + "Answer"
}

/// The schema of every answer that is not 200.
const ERROR_SCHEMA: &str = "Fault";

/// The schema of an answer. Each is one whole object: generators of clients leave answers out whose schema is put together by
/// `allOf`.
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

/// The schemas that belong to no call.
fn common(schemas: &mut Schemas) {
    schemas.named("JobConfig", json_schema());
    schemas.named(
        "Params",
        json!({ "description": "Of all that may be here, msgid comes back in the answer, if it is text." }),
    );
    let answer_params = params("successful", &json!({ "type": ["string", "null"] }));
    schemas.named("AnswerParams", answer_params);
    schemas.named("FaultParams", params("failed", &json!({ "type": "string" })));
    let codes = json!({ "type": "string", "enum": [
        "CLIENT_ERROR", "UNAUTHORIZED", "FORBIDDEN", "RESOURCE_NOT_FOUND", "TOO_MANY_REQUESTS", "SERVER_ERROR",
    ] });
    let nothing = json!({ "type": "object", "maxProperties": 0 });
    let error = envelope("Why it was not done.", &json!({ "type": "string" }), "FaultParams", &codes, &nothing);
    schemas.named(ERROR_SCHEMA, error);
}

fn get(name: &str, summary: &str, responses: &Value) -> Value {
    json!({ "get": { "operationId": name, "summary": summary, "responses": responses, "security": [] } })
}

/// The health checks.
fn health(schemas: &mut Schemas) -> Map<String, Value> {
    let report = schemas.of::<HealthReport>();
    let states = |ok: &str, not: &str, schema: &Value| json!({ "200": answer(ok, schema), "503": answer(not, schema) });
    let live = json!({
        "type": "object",
        "required": ["live"],
        "additionalProperties": false,
        "properties": { "live": { "type": "boolean" }, "message": { "type": "string" } },
    });
    let ready = || states("Ready.", "Not ready.", &report);
    let all = [
        ("/health", get("health", "Can it do its work?", &ready())),
        ("/readyz", get("ready", "Can it do its work? As /health", &ready())),
        (
            "/livez",
            get(
                "live",
                "Does the process turn? What it depends on does not count",
                &states("It does.", "It hangs.", &live),
            ),
        ),
    ];
    all.into_iter().map(|(path, described)| (path.to_owned(), described)).collect()
}

/// What is not `/job/…`.
fn outside(api: &Api, schemas: &mut Schemas) -> Map<String, Value> {
    let mut paths = health(schemas);
    let mut metrics = get(
        "metrics",
        "What is counted, for Prometheus",
        &json!({
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
        get("openapi", "This description", &json!({ "200": answer("OpenAPI 3.1.", &json!({ "type": "object" })) })),
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
