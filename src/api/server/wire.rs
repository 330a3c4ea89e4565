//! The bytes of one connection. [`Wire`] tells when an answer has left, times out where the peer is silent, and at the end
//! reads what the client is still sending: to close with unread bytes would reset the connection, and the client might never
//! see the answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_io_timeout::TimeoutStream;

use super::connections::Connection;

/// How long a connection may pass no byte while one is expected: of a request, or of an answer.
const SILENCE: Duration = Duration::from_mins(1);
/// How long, and up to how many bytes, the rest of a request is read after its answer.
const LINGER: Duration = Duration::from_secs(5);
const DRAINED: usize = 4 << 20;

/// A TCP stream that was admitted.
pub(super) struct Wire {
    stream: Pin<Box<TimeoutStream<TcpStream>>>,
    connection: Arc<Connection>,
    /// Bytes were read that belong to no answered request.
    open_ended: bool,
    /// At the end: until when, and how many bytes more, are read.
    lingering: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        // Small answers go out at once.
        let _ = stream.set_nodelay(true);
        let mut stream = Box::pin(TimeoutStream::new(stream));
        stream.as_mut().set_read_timeout_pinned(Some(SILENCE));
        stream.as_mut().set_write_timeout_pinned(Some(SILENCE));
        Self { stream, connection, open_ended: false, lingering: None }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let mut read = self.stream.as_mut().poll_read(context, into);
        // No bytes are expected while an answer is under way: a download may take hours, as long as it goes on.
        if matches!(&read, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::TimedOut)
            && self.connection.is_answering()
        {
            // Starts the time anew.
            self.stream.as_mut().set_read_timeout_pinned(Some(SILENCE));
            read = self.stream.as_mut().poll_read(context, into);
        }
        ready!(read)?;
        self.open_ended |= into.filled().len() > before;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.stream.as_mut().poll_flush(context))?;
        if self.connection.flushed() {
            self.open_ended = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = &mut *self;
        if me.lingering.is_none() {
            ready!(me.stream.as_mut().poll_shutdown(context))?;
            if !me.open_ended {
                return Poll::Ready(Ok(()));
            }
            me.connection.becomes_idle();
            me.lingering = Some((Box::pin(sleep_until(Instant::now() + LINGER)), DRAINED));
        }
        let Some((until, left)) = &mut me.lingering else { return Poll::Ready(Ok(())) };
        let mut dropped = [0; 8 << 10];
        loop {
            if until.as_mut().poll(context).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut into = ReadBuf::new(&mut dropped);
            // Until the client ends or fails, or a bound is reached.
            let read = match ready!(me.stream.as_mut().poll_read(context, &mut into)) {
                Ok(()) => into.filled().len(),
                Err(_) => 0,
            };
            *left = left.saturating_sub(read);
            if read == 0 || *left == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::super::connections::Connections;
    use super::*;

    /// The clock is tokio's: it moves on where all tasks wait.
    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_wait_and_no_download() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let connection = Arc::new(Connections::new(1, 1).admit(peer.ip(), true).unwrap().connection);
        let mut wire = Wire::new(stream, Arc::clone(&connection));
        let mut byte = [0];
        assert!(connection.request_came());
        assert!(timeout(10 * SILENCE, wire.read(&mut byte)).await.is_err(), "the answer goes on");
        connection.answer_is_buffered();
        connection.flushed();
        let silent = timeout(10 * SILENCE, wire.read(&mut byte)).await.unwrap();
        assert_eq!(silent.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
