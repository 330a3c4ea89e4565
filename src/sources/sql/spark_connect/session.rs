//! One statement's session with an engine: its views, the statement, and the end.
//!
//! Not here: how batches become rows.

use std::time::Duration;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_ipc::reader::StreamReader;
use http::uri::PathAndQuery;
use tokio::sync::mpsc::Sender;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::failure;
use super::messages as msg;
use crate::sources::GivenUp;
use crate::sources::sql::statement::insert;
use crate::sources::sql::transport::{EngineError, Why};

/// How long connecting, and each call but that of a statement, may take.
const CALL: Duration = Duration::from_mins(1);
/// How long is waited for a session to be released; the engine forgets it by itself too.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often is looked whether a statement was given up.
const LOOK: Duration = Duration::from_millis(200);
/// What the engine shows as client.
const CLIENT: &str = concat!("exhaustd/", env!("CARGO_PKG_VERSION"));
/// The name under which an engine tells how many rows went by.
const WRITTEN: &str = "exhaustd_written";

/// What a statement is run for.
pub(super) enum Work {
    /// Its rows, which are sent on.
    Rows(Sender<msg::ArrowBatch>),
    /// That its rows are written into this place.
    Write(String),
}

/// One statement's session.
pub(super) struct Session {
    client: Grpc<Channel>,
    authorization: Option<MetadataValue<Ascii>>,
    user: msg::UserContext,
    id: String,
}

impl Session {
    /// A session that the engine does not know yet.
    pub(super) fn new(client: Grpc<Channel>, authorization: Option<MetadataValue<Ascii>>, user_id: String) -> Self {
        Self { client, authorization, user: msg::UserContext { user_id }, id: uuid::Uuid::new_v4().to_string() }
    }

    /// Makes the views and runs the statement; how many rows it has written, if it says so. Ends the session whatever came of
    /// it.
    pub(super) async fn run(
        mut self,
        work: Work,
        views: Vec<(String, Vec<u8>)>,
        (text, longest): (String, Duration),
        given_up: GivenUp,
    ) -> Result<Option<u64>, EngineError> {
        let ran = tokio::select! {
            ran = timeout(longest, self.statement(&work, views, text)) => {
                ran.unwrap_or_else(|_| Err(EngineError { why: Why::TimeOver, ..late() }))
            }
            () = nobody_waits(&work, given_up) => Err(unwanted()),
        };
        drop(work);
        // Good manners: the engine gives up a session that nobody uses any more.
        let _ = timeout(FAREWELL, self.leave(ran.is_ok())).await;
        ran
    }

    async fn statement(
        &mut self,
        work: &Work,
        views: Vec<(String, Vec<u8>)>,
        text: String,
    ) -> Result<Option<u64>, EngineError> {
        self.call("Config", self.utc()).await?;
        for (name, data) in views {
            let input = msg::Relation { kind: Some(msg::RelationKind::Local(msg::LocalRelation { data: Some(data) })) };
            let view = msg::CreateView { input: Some(input), name, replace: true };
            let plan = command(msg::CommandKind::CreateView(view));
            timeout(CALL, self.execute(plan, None)).await.map_err(|_| late())??;
        }
        let into = match work {
            Work::Rows(batches) => {
                let plan = msg::Plan { operation: Some(msg::Operation::Root(sql(text))) };
                return self.execute(plan, Some(batches)).await;
            }
            Work::Write(into) => into,
        };
        // Spark says how many rows it has written only if they are observed; Sail does not observe, and says it by itself.
        match self.execute(command(msg::CommandKind::Write(observed(into, text.clone()))), None).await {
            Err(error) if error.why == Why::Unsupported => {
                let statement = msg::SqlCommand { sql: insert(into, &text) };
                self.execute(command(msg::CommandKind::Sql(statement)), None).await
            }
            written => written,
        }
    }

    /// Runs a plan to its end, or until nobody takes its batches any more. How many rows it says that it has written.
    async fn execute(
        &mut self,
        plan: msg::Plan,
        batches: Option<&Sender<msg::ArrowBatch>>,
    ) -> Result<Option<u64>, EngineError> {
        let request = msg::ExecutePlanRequest {
            session_id: self.id.clone(),
            user_context: Some(self.user.clone()),
            plan: Some(plan),
            client_type: Some(CLIENT.to_owned()),
            operation_id: Some(uuid::Uuid::new_v4().to_string()),
        };
        self.client.ready().await.map_err(|error| failure::unreachable(&chain(&error)))?;
        let codec = ProstCodec::<msg::ExecutePlanRequest, msg::ExecutePlanResponse>::default();
        let request = self.request(request);
        let answer = self.client.server_streaming(request, path("ExecutePlan"), codec).await;
        let mut answer = answer.map_err(|status| failed(&status))?.into_inner();
        let mut written = None;
        while let Some(part) = answer.message().await.map_err(|status| failed(&status))? {
            written = written.or_else(|| rows_written(&part));
            let (Some(batch), Some(batches)) = (part.arrow_batch, batches) else { continue };
            batches.send(batch).await.map_err(|_| unwanted())?;
        }
        Ok(written)
    }

    /// Times without zone in texts that the engine makes are in UTC.
    fn utc(&self) -> msg::ConfigRequest {
        let pair = |key: &str, value: &str| msg::KeyValue { key: key.to_owned(), value: Some(value.to_owned()) };
        let set = msg::ConfigSet { pairs: vec![pair("spark.sql.session.timeZone", "UTC")] };
        msg::ConfigRequest {
            session_id: self.id.clone(),
            user_context: Some(self.user.clone()),
            operation: Some(msg::ConfigOperation { set: Some(set) }),
            client_type: Some(CLIENT.to_owned()),
        }
    }

    /// Ends the session. `done`: nothing of it runs any more.
    async fn leave(&mut self, done: bool) -> Result<(), EngineError> {
        let client_type = Some(CLIENT.to_owned());
        if !done {
            let interrupt = msg::InterruptRequest {
                session_id: self.id.clone(),
                user_context: Some(self.user.clone()),
                client_type: client_type.clone(),
                interrupt_type: msg::INTERRUPT_ALL,
            };
            self.call("Interrupt", interrupt).await?;
        }
        let release = msg::ReleaseSessionRequest {
            session_id: self.id.clone(),
            user_context: Some(self.user.clone()),
            client_type,
        };
        self.call("ReleaseSession", release).await
    }

    /// A call with one answer, of which nothing is used.
    async fn call<M: prost::Message + 'static>(&mut self, name: &'static str, message: M) -> Result<(), EngineError> {
        let request = self.request(message);
        let call = async {
            self.client.ready().await.map_err(|error| failure::unreachable(&chain(&error)))?;
            let codec = ProstCodec::<M, msg::Nothing>::default();
            self.client.unary(request, path(name), codec).await.map(drop).map_err(|status| failed(&status))
        };
        timeout(CALL, call).await.map_err(|_| late())?
    }

    fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request
    }
}

/// Waits until nobody waits for a statement any more.
async fn nobody_waits(work: &Work, given_up: GivenUp) {
    let asked = async {
        while !given_up() {
            tokio::time::sleep(LOOK).await;
        }
    };
    match work {
        Work::Rows(batches) => tokio::select! {
            () = asked => {}
            () = batches.closed() => {}
        },
        Work::Write(_) => asked.await,
    }
}

fn unwanted() -> EngineError {
    EngineError::passing("nobody waits for the statement any more", "")
}

fn sql(query: String) -> msg::Relation {
    msg::Relation { kind: Some(msg::RelationKind::Sql(msg::Sql { query })) }
}

/// Rows that are written as Parquet and counted as they go.
fn observed(into: &str, text: String) -> msg::Write {
    let count = msg::ExpressionText { expression: "count(1) AS written".to_owned() };
    let counted = msg::CollectMetrics {
        input: Some(Box::new(sql(text))),
        name: WRITTEN.to_owned(),
        metrics: vec![msg::Expression { text: Some(count) }],
    };
    msg::Write {
        input: Some(msg::Relation { kind: Some(msg::RelationKind::Observed(Box::new(counted))) }),
        source: Some("parquet".to_owned()),
        path: Some(into.to_owned()),
        mode: msg::OVERWRITE,
    }
}

/// How many rows a statement has written, if this part of its answer says so.
fn rows_written(part: &msg::ExecutePlanResponse) -> Option<u64> {
    if let Some(observed) = part.observed_metrics.iter().find(|observed| observed.name == WRITTEN) {
        return u64::try_from(observed.values.first()?.long?).ok();
    }
    let relation = part.sql_command_result.as_ref()?.relation.as_ref()?;
    let Some(msg::RelationKind::Local(msg::LocalRelation { data: Some(data) })) = &relation.kind else { return None };
    let batch = StreamReader::try_new(data.as_slice(), None).ok()?.next()?.ok()?;
    let counts = batch.column_by_name("count").filter(|counts| counts.len() == 1 && counts.is_valid(0))?;
    match (counts.as_primitive_opt::<UInt64Type>(), counts.as_primitive_opt::<Int64Type>()) {
        (Some(counts), _) => Some(counts.value(0)),
        (None, Some(counts)) => u64::try_from(counts.value(0)).ok(),
        (None, None) => None,
    }
}

fn command(kind: msg::CommandKind) -> msg::Plan {
    msg::Plan { operation: Some(msg::Operation::Command(msg::Command { kind: Some(kind) })) }
}

fn path(call: &'static str) -> PathAndQuery {
    match call {
        "ExecutePlan" => PathAndQuery::from_static("/spark.connect.SparkConnectService/ExecutePlan"),
        "Config" => PathAndQuery::from_static("/spark.connect.SparkConnectService/Config"),
        "Interrupt" => PathAndQuery::from_static("/spark.connect.SparkConnectService/Interrupt"),
        _ => PathAndQuery::from_static("/spark.connect.SparkConnectService/ReleaseSession"),
    }
}

fn late() -> EngineError {
    EngineError::passing("the engine did not answer in time", "")
}

/// What a call ended with. Where the connection broke, its cause says more than the status.
fn failed(status: &Status) -> EngineError {
    let mut error = failure::of_status(status);
    if let Some(cause) = std::error::Error::source(status) {
        error.detail = format!("{}: {}", error.detail, chain(cause));
    }
    error
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    told
}
