//! `GET /openapi.json`: the description of all this, made from the list of calls and from the types that are answered.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::call::{Call, Method};
use super::envelope::{OUTSIDE, respond};
use super::health::HealthReport;
use super::jobs::JobDescription;
use super::status::StatusObject;
use super::{Api, CALLS, PREFIX};
use crate::reports::job_config::json_schema;

/// Errors that every call may have.
const ALWAYS: [u16; 2] = [500, 503];

pub(super) async fn openapi(State(api): State<Arc<Api>>) -> Response<Body> {
    respond(StatusCode::OK, &document(&api))
}

/// The whole description (OpenAPI 3.1).
fn document(api: &Api) -> Value {
    let mut paths = Map::new();
    for call in &CALLS {
        let method = if call.method == Method::Get { "get" } else { "post" };
        paths.insert(call.path.to_owned(), json!({ method: operation(api, call) }));
    }
    paths.extend(outside(api));
    let mut components = json!({ "schemas": schemas() });
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
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": components,
    })
}

fn operation(api: &Api, call: &Call) -> Value {
    let described = (call.describe)(api);
    let mut responses = Map::new();
    responses.insert("200".to_owned(), answer("As asked.", &envelope(call.id, &described.result)));
    let auth: &[u16] = if api.keys.needed() { &[401, 403, 429] } else { &[] };
    for status in described.errors.iter().chain(auth).chain(&ALWAYS) {
        responses.insert(status.to_string(), error(call.id, *status));
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

fn error(id: &str, status: u16) -> Value {
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
    let mut answer = answer(description, &envelope_of_error(id));
    if matches!(status, 429 | 503) {
        answer["headers"] = json!({
            "Retry-After": { "description": "Seconds.", "schema": { "type": "integer", "minimum": 1 } },
        });
    }
    answer
}

fn envelope(id: &str, result: &Value) -> Value {
    json!({ "allOf": [
        { "$ref": "#/components/schemas/Envelope" },
        { "properties": { "id": { "const": id }, "responseCode": { "const": "OK" }, "result": result } },
    ] })
}

fn envelope_of_error(id: &str) -> Value {
    json!({ "allOf": [
        { "$ref": "#/components/schemas/Envelope" },
        { "properties": {
            "id": { "const": id },
            "responseCode": { "not": { "const": "OK" } },
            "params": { "properties": { "status": { "const": "failed" }, "errmsg": { "type": "string" } } },
            "result": { "type": "object", "maxProperties": 0 },
        } },
    ] })
}

fn schemas() -> Value {
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
    schemas.insert(
        "Envelope".to_owned(),
        json!({
            "type": "object",
            "required": ["id", "ver", "ts", "params", "responseCode", "result"],
            "additionalProperties": false,
            "properties": {
                "id": { "type": "string" },
                "ver": { "const": "1.0" },
                "ts": { "type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$" },
                "params": {
                    "type": "object",
                    "required": ["resmsgid", "status", "err", "errmsg"],
                    "additionalProperties": false,
                    "properties": {
                        "resmsgid": { "type": "string", "format": "uuid" },
                        "msgid": { "type": "string" },
                        "status": { "enum": ["successful", "failed"] },
                        "err": { "type": ["string", "null"] },
                        "errmsg": { "type": ["string", "null"] },
                    },
                },
                "responseCode": { "enum": [
                    "OK", "CLIENT_ERROR", "UNAUTHORIZED", "FORBIDDEN", "RESOURCE_NOT_FOUND", "TOO_MANY_REQUESTS",
                    "SERVER_ERROR",
                ] },
                "result": { "type": "object" },
            },
        }),
    );
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
                "description": "OpenMetrics text.",
                "content": { "application/openmetrics-text": { "schema": { "type": "string" } } },
            },
        }),
    );
    if !api.settings.metrics_public {
        metrics["get"]["security"] = security(api);
        metrics["get"]["responses"]["401"] = error(OUTSIDE, 401);
        metrics["get"]["responses"]["429"] = error(OUTSIDE, 429);
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
            "403": error(OUTSIDE, 403),
            "404": error(OUTSIDE, 404),
            "412": { "description": "Changed." },
            "416": error(OUTSIDE, 416),
        },
        "security": [],
    } })
}
