//! The transport `spark-connect`: Spark, Databricks, Sail and whatever else speaks Spark's gRPC protocol.
//!
//! Each statement has a session of its own, so that temporary views of keys are nobody else's and a statement that is given
//! up is interrupted with everything that it started. Not here: how statements are written.

mod failure;
mod local_views;
mod messages;
mod session;
mod url;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_schema::ArrowError;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{Receiver, channel};
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use self::local_views::local_views;
use self::messages as msg;
use self::session::{Session, Work};
pub use self::url::EngineUrl;
use super::transport::{EngineError, Statement, TakeBatch, Transport};
use crate::sources::GivenUp;

/// A connection on which nothing is acknowledged for `ALIVE` + `DEAD` is given up: an engine that works on a statement for
/// an hour answers these pings all the same, one that is stopped or cut off does not.
const ALIVE: Duration = Duration::from_secs(10);
const DEAD: Duration = Duration::from_secs(20);
/// Bytes of one message. Engines send some thousand rows in each.
const MESSAGE: usize = 256 << 20;
/// Batches that wait to be taken.
const WAITING: usize = 2;

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
        let client = Grpc::new(self.channel.clone());
        let client = client.max_decoding_message_size(MESSAGE).max_encoding_message_size(MESSAGE);
        Session::new(client, self.authorization.clone(), self.user.clone())
    }
}

impl Transport for SparkConnect {
    fn query(&self, statement: &Statement, given_up: &GivenUp, take: TakeBatch<'_>) -> Result<(), EngineError> {
        let (sender, mut receiver) = channel(WAITING);
        self.run(Work::Rows(sender), statement, given_up, || {
            let taken = take_all(&mut receiver, take);
            // Where the caller has failed nobody receives any more, and the session ends by that.
            drop(receiver);
            taken
        })
        .map(drop)
    }

    fn write(&self, rows: &Statement, into: &str, given_up: &GivenUp) -> Result<u64, EngineError> {
        let written = self.run(Work::Write(into.to_owned()), rows, given_up, || Ok(()))?;
        written.ok_or_else(|| {
            EngineError::lasting("the engine does not say how many rows it has written: use `mode = \"stream\"`", "")
        })
    }
}

impl SparkConnect {
    /// Runs a statement in a session of its own while `meanwhile` is called here. The number of rows that it has written, where
    /// it writes.
    fn run(
        &self,
        work: Work,
        statement: &Statement,
        given_up: &GivenUp,
        meanwhile: impl FnOnce() -> Result<(), EngineError>,
    ) -> Result<Option<u64>, EngineError> {
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
        let session = self.session();
        let Some(runtime) = runtime() else { return Err(failure::unreachable("no threads")) };
        let running = runtime.spawn(session.run(work, views, (text, statement.longest), Arc::clone(given_up)));
        let done = meanwhile();
        let ran = runtime.block_on(running).map_err(|error| failure::unreachable(&error.to_string()))?;
        done.and(ran)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::Int32Array;
    use arrow_ipc::writer::StreamWriter;
    use arrow_schema::{DataType, Field, Schema};

    use super::*;

    /// Batches of these numbers of rows as one message, which says that it has `row_count`.
    fn message(rows: &[i32], row_count: i64) -> msg::ArrowBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int32, false)]));
        let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
        for &rows in rows {
            let column = Arc::new(Int32Array::from_iter_values(0..rows));
            writer.write(&RecordBatch::try_new(Arc::clone(&schema), vec![column]).unwrap()).unwrap();
        }
        // Without the mark of its end a stream of whole batches reads the same.
        msg::ArrowBatch { row_count, data: writer.get_ref().clone().into() }
    }

    /// The rows of each batch that is taken.
    fn taken(messages: &[msg::ArrowBatch]) -> Result<Vec<usize>, EngineError> {
        let (sender, mut receiver) = channel(messages.len());
        for message in messages {
            sender.try_send(message.clone()).unwrap();
        }
        drop(sender);
        let mut rows = Vec::new();
        let mut take = |batch: RecordBatch| {
            rows.push(batch.num_rows());
            Ok(())
        };
        take_all(&mut receiver, &mut take).map(|()| rows)
    }

    #[test]
    fn a_message_with_other_rows_than_it_says_is_no_answer() {
        assert_eq!(taken(&[message(&[2, 3], 5), message(&[], 0), message(&[1], 1)]).unwrap(), [2, 3, 0, 1]);
        for (rows, says) in [(&[2][..], 5), (&[2, 3][..], 2), (&[][..], 1), (&[1][..], -1)] {
            let error = taken(&[message(&[4], 4), message(rows, says)]).unwrap_err();
            let came: i32 = rows.iter().sum();
            assert!(error.detail.contains(&format!("{came} of {says} rows came")), "{error:?}");
        }
    }
}
