//! A connection whose every wait is bounded: a server, or a proxy before it, that takes everything and never answers
//! is a failure like any other. Keepalives do not see one: its system goes on acknowledging.
//!
//! The socket is driven by the thread that awaits an answer, and only while it does. So no thread stays behind, time
//! that we take for the rows does not count, and a connection that is dropped is closed, whatever the server does.
//!
//! Not here: what is asked, and what an error means.

use std::future::{Future, poll_fn};
use std::io::Cursor;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::ToSql;
use tokio_postgres::{CancelToken, Client, Config, CopyOutStream, Error, Row, Socket, Statement};

use super::failure::Failure;
use crate::sources::GivenUp;

/// What encrypts a connection, if anything does.
#[cfg(not(feature = "tls"))]
pub(super) type Tls = tokio_postgres::NoTls;
/// What encrypts a connection.
#[cfg(feature = "tls")]
pub(super) type Tls = postgres_openssl::MakeTlsConnector;

#[allow(clippy::clone_on_copy, clippy::trivially_copy_pass_by_ref, reason = "with TLS it is neither small nor Copy")]
fn copy_of(tls: &Tls) -> Tls {
    tls.clone()
}

/// How long taking leave may last: good manners, without which the server notes a lost connection in its log.
const FAREWELL: Duration = Duration::from_secs(1);

/// How often is looked whether a statement was given up.
const LOOK: Duration = Duration::from_millis(200);

/// A connection to the server.
pub(super) struct Connection {
    runtime: Runtime,
    client: Client,
    line: Line,
    /// By what a statement is cancelled.
    tls: Tls,
}

/// What answers come by.
struct Line {
    connection: tokio_postgres::Connection<Socket, <Tls as MakeTlsConnect<Socket>>::Stream>,
    silence: Duration,
    /// Nothing comes any more: it is not to be driven again.
    over: bool,
    /// Whether nobody waits for the rows any more, and what has the server cancel the statement then.
    given_up: Option<(GivenUp, CancelToken, Tls)>,
}

impl Connection {
    /// Connects, within the bound for silence as a whole: the handshake is short.
    pub(super) fn new(config: &Config, tls: Tls, silence: Duration) -> Result<Self, Failure> {
        let runtime =
            Builder::new_current_thread().enable_io().enable_time().build().map_err(|e| Failure::preparing(&e))?;
        let connected = runtime.block_on(async { timeout(silence, config.connect(copy_of(&tls))).await });
        let Ok(connected) = connected else {
            // Not waiting for its thread, which may be in a look-up of the name that hangs.
            runtime.shutdown_background();
            return Err(Failure::silent(silence));
        };
        let (client, connection) = connected.map_err(|e| Failure::connecting(&e))?;
        Ok(Self { runtime, client, line: Line { connection, silence, over: false, given_up: None }, tls })
    }

    /// Runs statements that are parted by semicolons.
    pub(super) fn execute(&mut self, statements: &str) -> Result<(), Failure> {
        self.runtime.block_on(self.line.answer(self.client.batch_execute(statements)))
    }

    /// The rows of a query that has few.
    pub(super) fn query(&mut self, query: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Failure> {
        self.runtime.block_on(self.line.answer(self.client.query(query, parameters)))
    }

    /// How long an answer is awaited from now on.
    pub(super) const fn set_silence(&mut self, silence: Duration) {
        self.line.silence = silence;
    }

    /// What is asked from now on is cancelled on the server once nobody waits for it any more.
    pub(super) fn interrupt_when(&mut self, given_up: GivenUp) {
        self.line.given_up = Some((given_up, self.client.cancel_token(), copy_of(&self.tls)));
    }

    /// Has the server look at a statement without running it.
    pub(super) fn prepare(&mut self, statement: &str) -> Result<Statement, Failure> {
        self.runtime.block_on(self.line.answer(self.client.prepare(statement)))
    }

    /// Hands over the rows of a query one by one, as they come; the server waits where `take` does.
    pub(super) fn rows<E: From<Failure>>(
        &mut self,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
        take: &mut dyn FnMut(&Row) -> Result<(), E>,
    ) -> Result<(), E> {
        self.runtime.block_on(async {
            let parameters = parameters.iter().map(|parameter| *parameter as &dyn ToSql);
            let mut rows = pin!(self.line.answer(self.client.query_raw(statement, parameters)).await?);
            while let Some(row) = self.line.answer(async { rows.next().await.transpose() }).await? {
                take(&row)?;
            }
            Ok(())
        })
    }

    /// Sends the chunks to a `COPY … FROM STDIN`.
    pub(super) fn copy_in(&mut self, copy: &str, chunks: impl Iterator<Item = Vec<u8>>) -> Result<(), Failure> {
        self.runtime.block_on(async {
            let mut sink = pin!(self.line.answer(self.client.copy_in(copy)).await?);
            for chunk in chunks {
                self.line.answer(sink.send(Cursor::new(chunk))).await?;
            }
            self.line.answer(sink.finish()).await.map(drop)
        })
    }

    /// Begins a `COPY … TO STDOUT`.
    pub(super) fn copy_out(&mut self, copy: &str) -> Result<Incoming<'_>, Failure> {
        let stream = self.runtime.block_on(self.line.answer(self.client.copy_out(copy)))?;
        Ok(Incoming { runtime: &self.runtime, line: &mut self.line, stream: Box::pin(stream) })
    }

    /// Says good-bye to the server. A connection that is just dropped is closed as well, and the server logs a lost client. `done`: everything
    /// that was asked for has come, and the transaction is ended before; a pooler throws away a session that is left
    /// within one.
    pub(super) fn close(self, done: bool) {
        let Self { runtime, client, mut line, .. } = self;
        line.given_up = None;
        line.silence = FAREWELL.min(line.silence);
        if done {
            // It has only read: whether this arrives changes nothing.
            let _ = runtime.block_on(line.answer(client.batch_execute("COMMIT")));
        }
        drop(client);
        if !line.over {
            let left = async { timeout(line.silence, &mut line.connection).await };
            // It is over either way.
            let _ = runtime.block_on(left);
        }
    }
}

/// The rows of a COPY, in its text format.
pub(super) struct Incoming<'a> {
    runtime: &'a Runtime,
    line: &'a mut Line,
    stream: Pin<Box<CopyOutStream>>,
}

impl Incoming<'_> {
    /// Appends what comes, until the chunk has at least `size` bytes. `false`: nothing more comes.
    pub(super) fn fetch(&mut self, chunk: &mut Vec<u8>, size: usize) -> Result<bool, Failure> {
        let Self { runtime, line, stream } = self;
        runtime.block_on(async {
            while chunk.len() < size {
                match line.answer(async { stream.next().await.transpose() }).await? {
                    Some(bytes) => chunk.extend_from_slice(&bytes),
                    None => return Ok(false),
                }
            }
            Ok(true)
        })
    }
}

impl Line {
    /// Waits for an answer, or the next row of one; fails when nothing comes within the time for silence.
    async fn answer<T>(&mut self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
        let Self { connection, silence, over, given_up } = self;
        if *over {
            return Err(Failure::lost("it is closed"));
        }
        let mut answer = pin!(answer);
        let driven = poll_fn(|cx| {
            // What is here already needs no look at the socket.
            let here = answer.as_mut().poll(cx);
            if here.is_ready() {
                return here;
            }
            loop {
                match connection.poll_message(cx) {
                    // Notices.
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(Some(Err(lost))) => {
                        *over = true;
                        // A server that ends a connection may have said why.
                        return match answer.as_mut().poll(cx) {
                            Poll::Ready(Err(told)) if told.as_db_error().is_some() => Poll::Ready(Err(told)),
                            _ => Poll::Ready(Err(lost)),
                        };
                    }
                    Poll::Ready(None) => {
                        *over = true;
                        break;
                    }
                    Poll::Pending => break,
                }
            }
            answer.as_mut().poll(cx)
        });
        let answered = tokio::select! {
            answered = timeout(*silence, driven) => answered,
            failure = cancelled(given_up.as_ref()) => {
                *over = true;
                return Err(failure);
            }
        };
        answered
            .map_err(|_| {
                *over = true;
                Failure::silent(*silence)
            })?
            .map_err(|e| Failure::statement(&e))
    }
}

/// Waits until nobody waits any more, and has the server cancel what it runs. Without that it would go on until it wants to send
/// something.
async fn cancelled(given_up: Option<&(GivenUp, CancelToken, Tls)>) -> Failure {
    let Some((given_up, token, tls)) = given_up else { return std::future::pending().await };
    while !given_up() {
        tokio::time::sleep(LOOK).await;
    }
    // It may not reach the server, which then ends the statement by its own bound.
    let _ = timeout(FAREWELL, token.cancel_query(copy_of(tls))).await;
    Failure::given_up()
}
