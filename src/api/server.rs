//! The listener: connections in, each by itself. A client that is slow, silent or broken costs its own connection and
//! no more, and that not for ever.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;

use super::{Api, Parts, health, router};
use crate::config::checked;

/// Connections at a time; more wait in the listener's own queue. Well below the usual limit of 1,024 open files.
const CONNECTIONS: usize = 512;
/// How long a client may take for the head of a request, and how long a connection may idle between two.
const HEAD: Duration = Duration::from_secs(20);
/// How long a connection may pass no byte while one is due.
const SILENCE: Duration = Duration::from_mins(1);
/// How long a listener that has no more files to open rests.
const REST: Duration = Duration::from_millis(200);

/// Why the API does not listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (`[api] listen` in jobs.toml): {cause}")]
pub struct ServeError {
    address: SocketAddr,
    cause: std::io::Error,
}

/// A listener whose address is bound.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

/// Binds the address of `[api]`.
///
/// # Errors
/// [`ServeError`]: the address is taken, or not of this machine.
pub async fn bind(settings: &checked::Api) -> Result<Bound, ServeError> {
    let failed = |cause| ServeError { address: settings.listen, cause };
    let listener = TcpListener::bind(settings.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Bound { listener, address })
}

impl Bound {
    /// The bound address: its port is the system's choice where `[api]` says 0.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers calls until `stop` is over, then lets those in progress end, for at most `patience`.
    pub async fn serve(self, parts: Parts, settings: checked::Api, stop: impl Future<Output = ()>, patience: Duration) {
        let Self { listener, address } = self;
        let api = Arc::new(Api::new(parts, settings));
        log::info!("api ready address={address}");
        let looking = tokio::spawn(health::look(Arc::clone(&api)));
        let (router, graceful) = (router(&api), GracefulShutdown::new());
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        tokio::pin!(stop);
        loop {
            let accepted = async {
                // Never closed, so there is always a place in the end.
                let place = Arc::clone(&places).acquire_owned().await.ok();
                (place, listener.accept().await)
            };
            let (place, stream) = tokio::select! {
                () = &mut stop => break,
                accepted = accepted => accepted,
            };
            match stream {
                Ok((stream, _)) => {
                    let connection = graceful.watch(connection(stream, router.clone()));
                    tokio::spawn(async move {
                        // A client that goes away in mid-sentence is no event.
                        if let Err(error) = connection.await {
                            log::debug!("connection broke off error={error}");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    log::warn!("cannot accept a connection error={error}");
                    tokio::time::sleep(REST).await;
                }
            }
        }
        drop(listener);
        looking.abort();
        if tokio::time::timeout(patience, graceful.shutdown()).await.is_err() {
            log::warn!("stop_timeout is over, connections are cut");
        }
    }
}

type Served =
    http1::Connection<TokioIo<std::pin::Pin<Box<TimeoutStream<TcpStream>>>>, TowerToHyperService<axum::Router>>;

fn connection(stream: TcpStream, router: axum::Router) -> Served {
    // Small answers go out at once.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_read_timeout(Some(SILENCE));
    stream.set_write_timeout(Some(SILENCE));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(router))
}
