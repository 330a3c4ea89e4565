//! The transport `spark-connect`: Spark, Databricks, Sail and whatever else speaks Spark's gRPC protocol.
//!
//! Each statement has a session of its own, so that temporary views of keys are nobody else's and a statement that is given
//! up is interrupted with everything that it started. Not here: how statements are written.

mod failure;
mod local_views;
mod messages;
mod url;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_schema::ArrowError;
use http::uri::PathAndQuery;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use self::local_views::local_views;
use self::messages as msg;
pub use self::url::EngineUrl;
use super::transport::{EngineError, Statement, TakeBatch, Transport, Why};
use crate::sources::GivenUp;

/// How long connecting, and each call but that of a statement, may take.
const CALL: Duration = Duration::from_mins(1);
/// A connection on which nothing is acknowledged for `ALIVE` + `DEAD` is given up: an engine that works on a statement for
/// an hour answers these pings all the same, one that is stopped or cut off does not.
const ALIVE: Duration = Duration::from_secs(10);
const DEAD: Duration = Duration::from_secs(20);
/// How long is waited for a session to be released; the engine forgets it by itself too.
const FAREWELL: Duration = Duration::from_secs(2);
/// Bytes of one message. Engines send some thousand rows in each.
const MESSAGE: usize = 256 << 20;
/// How often is looked whether a statement was given up.
const LOOK: Duration = Duration::from_millis(200);
/// Batches that wait to be taken.
const WAITING: usize = 2;
/// What the engine shows as client.
const CLIENT: &str = concat!("exhaustd/", env!("CARGO_PKG_VERSION"));

/// A connection to an engine, made when it is needed.
pub(super) struct SparkConnect {
    channel: Channel,
    /// `Bearer …`
    authorization: Option<MetadataValue<Ascii>>,
    user: String,
}

impl SparkConnect {
    /// Nothing is reached yet.
    ///
    /// # Errors
    /// What is wrong with the URL or the token, without showing them.
    pub(super) fn new(url: &EngineUrl, token: Option<&str>) -> Result<Self, String> {
        let endpoint = Endpoint::from_shared(url.http()).map_err(|_| "its `url` is no URL of an engine".to_owned())?;
        let mut endpoint = endpoint
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            .http2_keep_alive_interval(ALIVE)
            .keep_alive_timeout(DEAD);
        if url.use_ssl {
            let tls = ClientTlsConfig::new().with_native_roots();
            endpoint = endpoint.tls_config(tls).map_err(|error| format!("TLS cannot be set up: {error}"))?;
        }
        let authorization = token.map(|token| format!("Bearer {token}").parse());
        let mut authorization: Option<MetadataValue<Ascii>> =
            authorization.transpose().map_err(|_| "its token has characters that no header can have".to_owned())?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        let Some(runtime) = runtime() else { return Err("the threads for engines cannot be started".to_owned()) };
        let _inside = runtime.enter();
        let user = url.user.clone().unwrap_or_else(|| "exhaustd".to_owned());
        Ok(Self { channel: endpoint.connect_lazy(), authorization, user })
    }

    fn session(&self) -> Session {
        Session {
            client: Grpc::new(self.channel.clone())
                .max_decoding_message_size(MESSAGE)
                .max_encoding_message_size(MESSAGE),
            authorization: self.authorization.clone(),
            user: msg::UserContext { user_id: self.user.clone() },
            id: uuid::Uuid::new_v4().to_string(),
        }
    }
}

impl Transport for SparkConnect {
    fn query(&self, statement: &Statement, given_up: Option<&GivenUp>, take: TakeBatch<'_>) -> Result<(), EngineError> {
        self.run(Work::Rows, statement, given_up.map(Arc::clone), take)
    }

    fn execute(&self, statement: &Statement, given_up: &GivenUp) -> Result<(), EngineError> {
        // What it answers is nothing, or the number of rows.
        self.run(Work::Command, statement, Some(Arc::clone(given_up)), &mut |_| Ok(()))
    }
}

impl SparkConnect {
    fn run(
        &self,
        work: Work,
        statement: &Statement,
        given_up: Option<GivenUp>,
        take: &mut dyn FnMut(RecordBatch) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let mut views = Vec::new();
        let mut text = statement.text.clone();
        for relation in &statement.keys {
            let (columns, parts) =
                local_views(&relation.rows).map_err(|error| failure::unreadable(&error.to_string()))?;
            let names: Vec<String> = (0..parts.len()).map(|part| format!("{}_{part}", relation.name)).collect();
            let all: Vec<String> = names.iter().map(|name| format!("SELECT {columns} FROM {name}")).collect();
            text = text.replace(&relation.name, &format!("({})", all.join(" UNION ALL ")));
            views.extend(names.into_iter().zip(parts));
        }
        let (sender, mut receiver) = channel(WAITING);
        let session = self.session();
        let Some(runtime) = runtime() else { return Err(failure::unreachable("no threads")) };
        let running = runtime.spawn(session.run(work, views, (text, statement.longest), sender, given_up));
        let taken = take_all(&mut receiver, take);
        // Where the caller has failed nobody receives any more, and the session ends by that.
        drop(receiver);
        let ran = runtime.block_on(running).map_err(|error| failure::unreachable(&error.to_string()))?;
        taken.and(ran)
    }
}

fn take_all(
    receiver: &mut Receiver<msg::ArrowBatch>,
    take: &mut dyn FnMut(RecordBatch) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    while let Some(msg::ArrowBatch { row_count, data }) = receiver.blocking_recv() {
        let unreadable = |error: ArrowError| failure::unreadable(&error.to_string());
        let reader = StreamReader::try_new(data.as_ref(), None).map_err(unreadable)?;
        let schema = reader.schema();
        let mut rows = None;
        for batch in reader {
            let batch = batch.map_err(unreadable)?;
            *rows.get_or_insert(0) += batch.num_rows();
            take(batch)?;
        }
        // An Arrow stream that is cut between two batches reads as one that ends there.
        if i64::try_from(rows.unwrap_or(0)) != Ok(row_count) {
            return Err(failure::unreadable(&format!("{} of {row_count} rows came", rows.unwrap_or(0))));
        }
        if rows.is_none() {
            take(RecordBatch::new_empty(schema))?;
        }
    }
    Ok(())
}

/// The threads that drive connections: one set for the process, never dropped.
fn runtime() -> Option<&'static Runtime> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            let built = Builder::new_multi_thread().worker_threads(1).thread_name("engines").enable_all().build();
            built.inspect_err(|error| log::error!("the threads for engines cannot be started error={error}")).ok()
        })
        .as_ref()
}

/// One statement's session.
struct Session {
    client: Grpc<Channel>,
    authorization: Option<MetadataValue<Ascii>>,
    user: msg::UserContext,
    id: String,
}

impl Session {
    /// Makes the views, runs the statement, sends its batches. Ends the session whatever came of it.
    async fn run(
        mut self,
        work: Work,
        views: Vec<(String, Vec<u8>)>,
        (text, longest): (String, Duration),
        batches: Sender<msg::ArrowBatch>,
        given_up: Option<GivenUp>,
    ) -> Result<(), EngineError> {
        let ran = tokio::select! {
            ran = timeout(longest, self.statement(work, views, text, &batches)) => {
                ran.unwrap_or_else(|_| Err(EngineError { why: Why::TimeOver, ..late() }))
            }
            () = given_up_by(given_up) => Err(EngineError::passing("nobody waits for the statement any more", "")),
        };
        drop(batches);
        let done = matches!(ran, Ok(Ended::Finished));
        // Good manners: the engine gives up a session that nobody uses any more.
        let _ = timeout(FAREWELL, self.leave(done)).await;
        ran.map(drop)
    }

    async fn statement(
        &mut self,
        work: Work,
        views: Vec<(String, Vec<u8>)>,
        text: String,
        batches: &Sender<msg::ArrowBatch>,
    ) -> Result<Ended, EngineError> {
        self.call("Config", self.utc()).await?;
        for (name, data) in views {
            let input = msg::Relation { kind: Some(msg::RelationKind::Local(msg::LocalRelation { data: Some(data) })) };
            let view = msg::CreateView { input: Some(input), name, replace: true };
            let plan = command(msg::CommandKind::CreateView(view));
            timeout(CALL, self.execute(plan, None)).await.map_err(|_| late())??;
        }
        let plan = match work {
            Work::Rows => {
                let root = msg::Relation { kind: Some(msg::RelationKind::Sql(msg::Sql { query: text })) };
                msg::Plan { operation: Some(msg::Operation::Root(root)) }
            }
            Work::Command => command(msg::CommandKind::Sql(msg::SqlCommand { sql: text })),
        };
        self.execute(plan, Some(batches)).await
    }

    /// Runs a plan to its end, or until nobody takes its batches any more.
    async fn execute(
        &mut self,
        plan: msg::Plan,
        batches: Option<&Sender<msg::ArrowBatch>>,
    ) -> Result<Ended, EngineError> {
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
        while let Some(part) = answer.message().await.map_err(|status| failed(&status))? {
            let (Some(batch), Some(batches)) = (part.arrow_batch, batches) else { continue };
            if batches.send(batch).await.is_err() {
                return Ok(Ended::GivenUp);
            }
        }
        Ok(Ended::Finished)
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

/// Waits until nobody waits any more.
async fn given_up_by(given_up: Option<GivenUp>) {
    match given_up {
        Some(given_up) => {
            while !given_up() {
                tokio::time::sleep(LOOK).await;
            }
        }
        None => std::future::pending().await,
    }
}

/// How a statement ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// All of its rows came.
    Finished,
    /// Nobody takes its rows any more; it may still run.
    GivenUp,
}

/// What a statement is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Its rows.
    Rows,
    /// What it does.
    Command,
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
