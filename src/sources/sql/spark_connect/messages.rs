//! The messages of Spark Connect that are used, with the numbers of their fields; fields that are not used are left out.
//!
//! Source: `sql/connect/common/src/main/protobuf/spark/connect/{base,commands,relations}.proto` of Apache Spark 4, and
//! `google/rpc/{status,error_details}.proto`.

use std::collections::HashMap;

/// Who asks: together with the session's id it names a session.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct UserContext {
    #[prost(string, tag = "1")]
    pub(super) user_id: String,
}

/// What is run: a relation, whose rows come, or a command.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Plan {
    #[prost(oneof = "Operation", tags = "1, 2")]
    pub(super) operation: Option<Operation>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Operation {
    #[prost(message, tag = "1")]
    Root(Relation),
    #[prost(message, tag = "2")]
    Command(Command),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Relation {
    #[prost(oneof = "RelationKind", tags = "10, 11, 29")]
    pub(super) kind: Option<RelationKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum RelationKind {
    #[prost(message, tag = "10")]
    Sql(Sql),
    #[prost(message, tag = "11")]
    Local(LocalRelation),
    #[prost(message, tag = "29")]
    Observed(Box<CollectMetrics>),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Sql {
    #[prost(string, tag = "1")]
    pub(super) query: String,
}

/// Rows that come with the request: an Arrow IPC stream.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LocalRelation {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub(super) data: Option<Vec<u8>>,
}

/// The rows of `input`, of which something is counted while they go by.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CollectMetrics {
    #[prost(message, optional, boxed, tag = "1")]
    pub(super) input: Option<Box<Relation>>,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) metrics: Vec<Expression>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Expression {
    #[prost(message, optional, tag = "4")]
    pub(super) text: Option<ExpressionText>,
}

/// An expression in SQL.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ExpressionText {
    #[prost(string, tag = "1")]
    pub(super) expression: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Command {
    #[prost(oneof = "CommandKind", tags = "2, 3, 5")]
    pub(super) kind: Option<CommandKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum CommandKind {
    #[prost(message, tag = "2")]
    Write(Write),
    #[prost(message, tag = "3")]
    CreateView(CreateView),
    #[prost(message, tag = "5")]
    Sql(SqlCommand),
}

/// Writes rows as files.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Write {
    #[prost(message, optional, tag = "1")]
    pub(super) input: Option<Relation>,
    /// The format.
    #[prost(string, optional, tag = "2")]
    pub(super) source: Option<String>,
    /// One of two: into a path, or (tag 4) a table.
    #[prost(string, optional, tag = "3")]
    pub(super) path: Option<String>,
    /// [`OVERWRITE`].
    #[prost(int32, tag = "5")]
    pub(super) mode: i32,
}

/// What is there is replaced.
pub(super) const OVERWRITE: i32 = 2;

/// A statement that is run at once.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SqlCommand {
    /// As releases before 4 take it.
    #[prost(string, tag = "1")]
    pub(super) sql: String,
}

/// Makes a temporary view of a relation. `is_global` (tag 3) is left at false: the view is the session's own.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CreateView {
    #[prost(message, optional, tag = "1")]
    pub(super) input: Option<Relation>,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(bool, tag = "4")]
    pub(super) replace: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ExecutePlanRequest {
    #[prost(string, tag = "1")]
    pub(super) session_id: String,
    #[prost(message, optional, tag = "2")]
    pub(super) user_context: Option<UserContext>,
    #[prost(message, optional, tag = "3")]
    pub(super) plan: Option<Plan>,
    #[prost(string, optional, tag = "4")]
    pub(super) client_type: Option<String>,
    #[prost(string, optional, tag = "6")]
    pub(super) operation_id: Option<String>,
}

/// A part of an answer. Progress, metrics of the engine's own and the schema in Spark's types are passed over.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ExecutePlanResponse {
    #[prost(message, optional, tag = "2")]
    pub(super) arrow_batch: Option<ArrowBatch>,
    #[prost(message, optional, tag = "5")]
    pub(super) sql_command_result: Option<SqlCommandResult>,
    #[prost(message, repeated, tag = "6")]
    pub(super) observed_metrics: Vec<ObservedMetrics>,
}

/// What a statement that was run at once answers.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SqlCommandResult {
    #[prost(message, optional, tag = "1")]
    pub(super) relation: Option<Relation>,
}

/// What was counted of rows that went by.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ObservedMetrics {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) values: Vec<Literal>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Literal {
    #[prost(int64, optional, tag = "7")]
    pub(super) long: Option<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ArrowBatch {
    #[prost(int64, tag = "1")]
    pub(super) row_count: i64,
    /// An Arrow IPC stream of its own: the schema, then one batch.
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) data: bytes::Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ConfigRequest {
    #[prost(string, tag = "1")]
    pub(super) session_id: String,
    #[prost(message, optional, tag = "2")]
    pub(super) user_context: Option<UserContext>,
    #[prost(message, optional, tag = "3")]
    pub(super) operation: Option<ConfigOperation>,
    #[prost(string, optional, tag = "4")]
    pub(super) client_type: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ConfigOperation {
    #[prost(message, optional, tag = "1")]
    pub(super) set: Option<ConfigSet>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ConfigSet {
    #[prost(message, repeated, tag = "1")]
    pub(super) pairs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct KeyValue {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, optional, tag = "2")]
    pub(super) value: Option<String>,
}

/// An answer of which nothing is used.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Nothing {}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct InterruptRequest {
    #[prost(string, tag = "1")]
    pub(super) session_id: String,
    #[prost(message, optional, tag = "2")]
    pub(super) user_context: Option<UserContext>,
    #[prost(string, optional, tag = "3")]
    pub(super) client_type: Option<String>,
    /// [`INTERRUPT_ALL`].
    #[prost(int32, tag = "4")]
    pub(super) interrupt_type: i32,
}

/// Everything that the session runs.
pub(super) const INTERRUPT_ALL: i32 = 1;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ReleaseSessionRequest {
    #[prost(string, tag = "1")]
    pub(super) session_id: String,
    #[prost(message, optional, tag = "2")]
    pub(super) user_context: Option<UserContext>,
    #[prost(string, optional, tag = "3")]
    pub(super) client_type: Option<String>,
}

/// `google.rpc.Status`: what comes as details of an error.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Any {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: bytes::Bytes,
}

/// `google.rpc.ErrorInfo`. Spark's metadata has `sqlState` and `errorClass`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ErrorInfo {
    #[prost(string, tag = "1")]
    pub(super) reason: String,
    #[prost(map = "string, string", tag = "3")]
    pub(super) metadata: HashMap<String, String>,
}
