//! The listener, and one task for each connection. A client that is slow, silent or broken costs its own connection and no
//! more, and that for a bounded time; where there are too many connections, [`connections`] closes one.

mod connections;
mod wire;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Request, Response, header};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

use self::connections::{Admitted, Connection, Connections, RESERVED};
use self::wire::Wire;
use super::clients::{self, ClientAddress};
use super::envelope::{ApiError, Envelope, ErrorKind, OUTSIDE};
use super::router::router;
use super::until_sent::UntilSent;
use super::{Api, Parts, audit_records, error_response, guard, health, split_requests};
use crate::config::checked;

/// Connections at a time, besides those that are reserved for health checks.
const CONNECTIONS: usize = 512;
/// Open files that are not connections: databases, sources, reports on their way.
const OTHER_FILES: u64 = 256;
/// Open files that are asked for where the system's soft limit is lower. A download is a file beside its connection.
const FILES: u64 = 4096;
/// How long a client may take for the head of a request, and how long a connection may idle between two.
const HEAD: Duration = Duration::from_secs(20);
/// The most bytes of a head, and of each buffer of a connection.
const BUFFER: usize = 64 << 10;
/// How long the listener waits where the process may open no more files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often the audit log reports what it has suppressed.
const SWEEP: Duration = Duration::from_secs(15);

/// Why the API does not listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (`[api] listen` in jobs.toml): {cause}")]
pub struct ServeError {
    address: SocketAddr,
    cause: io::Error,
}

/// A listener whose address is bound.
pub struct BoundListener {
    listener: TcpListener,
    address: SocketAddr,
}

/// Binds the address of `[api]`.
///
/// # Errors
/// [`ServeError`]: the address is taken, or not of this machine.
pub async fn bind(settings: &checked::Api) -> Result<BoundListener, ServeError> {
    let failed = |cause| ServeError { address: settings.listen, cause };
    let listener = TcpListener::bind(settings.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(BoundListener { listener, address })
}

impl BoundListener {
    /// The bound address: its port is the system's choice where `[api]` says 0.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers calls until `stop` is over, then lets those in progress end, for at most `patience`.
    pub async fn serve(self, parts: Parts, settings: checked::Api, stop: impl Future<Output = ()>, patience: Duration) {
        let Self { listener, address } = self;
        let api = Arc::new(Api::new(parts, settings));
        let most = connections();
        log::info!("api ready address={address}");
        let beside = [
            tokio::spawn(health::probe(Arc::clone(&api))),
            tokio::spawn(split_requests::watch(Arc::clone(&api))),
            tokio::spawn(sweep(Arc::clone(&api))),
            tokio::spawn(audit_records::keep(Arc::clone(&api))),
        ];
        let (router, graceful) = (router(&api), GracefulShutdown::new());
        let connections = Connections::new(most, most / 2);
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok((stream, peer)) => (stream, peer.ip().to_canonical()),
                Err(error) => {
                    not_accepted(&error, &connections).await;
                    continue;
                }
            };
            let limited = !clients::is_trusted(&api.settings.trusted_proxies, peer);
            // Where every connection, of the reserved ones too, has a request under way, the new one is closed at once.
            let Some(Admitted { connection, closed, displaced }) = connections.admit(peer, limited) else { continue };
            if displaced {
                api.metrics.connection_displaced();
            }
            let served = serve_connection(stream, Arc::new(connection), Arc::clone(&api), router.clone());
            let served = graceful.watch(served);
            tokio::spawn(async move {
                tokio::select! {
                    // A client that leaves is nothing to report.
                    ended = served => if let Err(error) = ended {
                        log::debug!("connection broke off error={error}");
                    },
                    _ = closed => log::debug!("connection closed for another one"),
                }
            });
        }
        drop(listener);
        beside.iter().for_each(tokio::task::JoinHandle::abort);
        // Heads that are not whole yet are not waited for.
        while connections.make_room() {}
        if tokio::time::timeout(patience, graceful.shutdown()).await.is_err() {
            log::warn!("stop_timeout is over, connections are cut");
        }
        api.audit.report_all();
        api.finish_records().await;
    }
}

/// How many connections the limit of open files allows, besides the reserved ones.
fn connections() -> usize {
    let files = open_files();
    let possible = usize::try_from(files.saturating_sub(OTHER_FILES) / 2).unwrap_or(CONNECTIONS);
    let connections = possible.saturating_sub(RESERVED).clamp(RESERVED, CONNECTIONS);
    if connections < CONNECTIONS {
        log::warn!(
            "few open files are allowed, so fewer connections are connections={connections} files={files}: raise the limit \
             (ulimit -n, LimitNOFILE=)"
        );
    }
    connections
}

/// How many files may be open. A low soft limit is raised first, as far as the hard one allows.
#[cfg(target_os = "linux")]
fn open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let files = limit.current.unwrap_or(FILES);
    let wanted = FILES.min(limit.maximum.unwrap_or(FILES));
    let raised = wanted > files && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).is_ok();
    if raised { wanted } else { files }
}

/// On other systems the usual limit is assumed.
#[cfg(not(target_os = "linux"))]
const fn open_files() -> u64 {
    1024
}

/// A connection that could not be accepted: most often its client has left. Where the process may open no more files, the
/// longest idle connection is closed.
async fn not_accepted(error: &io::Error, connections: &Connections) {
    let no_files = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM].map(Some).contains(&error.raw_os_error());
    if no_files {
        log::warn!("cannot accept a connection error={error}");
        connections.make_room();
        tokio::time::sleep(ACCEPT_PAUSE).await;
    } else {
        log::debug!("a connection was gone before it was accepted error={error}");
    }
}

async fn sweep(api: Arc<Api>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        api.audit.sweep(Instant::now());
    }
}

/// Serves one connection.
fn serve_connection(
    stream: TcpStream,
    connection: Arc<Connection>,
    api: Arc<Api>,
    router: Router,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> {
    let wire = Wire::new(stream, Arc::clone(&connection));
    let service = service_fn(move |request| {
        let (connection, api, router) = (Arc::clone(&connection), Arc::clone(&api), router.clone());
        // Before anything is awaited: from here on the connection is not closed for another.
        let came = connection.request_came();
        Box::pin(async move {
            let mut response = answer(&api, router, &connection, came, request).await;
            let held = response.extensions_mut().remove::<UntilSent>();
            Ok::<_, Infallible>(response.map(|body| ResponseBody { body, connection, _held: held }))
        })
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(wire), service)
}

/// Answers one request.
async fn answer(
    api: &Arc<Api>,
    router: Router,
    connection: &Arc<Connection>,
    came: bool,
    request: Request<Incoming>,
) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let address: IpAddr = clients::address(connection.peer, &parts.headers, &api.settings.trusted_proxies);
    parts.extensions.insert(ClientAddress(address));
    let path = parts.uri.path();
    let is_page = path == "/docs" || path.starts_with("/docs/");
    let call = if path.starts_with("/files/") {
        "download"
    } else if path == "/metrics" {
        "metrics"
    } else {
        "other"
    };
    let full = !came || connection.is_reserved && !guard::is_for_reserved_connections(&parts.uri);
    let refused = if full {
        Err(ApiError::new(ErrorKind::Unavailable, "all connections are taken"))
    } else if api.keys.needed() {
        Ok(())
    } else {
        guard::without_keys(&parts.uri, &parts.headers)
    };
    let body = RequestBody { ended: body.is_end_stream(), body, connection: Arc::clone(connection) };
    let mut response = match refused {
        Ok(()) => {
            let Ok(response) = router.oneshot(Request::from_parts(parts, Body::new(body))).await;
            response
        }
        Err(refused) => {
            drop(body);
            // Not logged: clients can cause it as often as they like.
            let mut response =
                if full { Envelope::new(OUTSIDE).error(&refused, api.now()) } else { error_response(api, &refused) };
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
    };
    guard::protect(is_page, response.headers_mut());
    api.audit.answered(&response, call, address);
    response
}

/// A request's body; tells its connection if it is dropped before its end.
struct RequestBody {
    body: Incoming,
    ended: bool,
    connection: Arc<Connection>,
}

impl hyper::body::Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.ended |= frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.ended && !self.body.is_end_stream() {
            self.connection.body_left_unread();
        }
    }
}

/// An answer's body; tells its connection when all of it has been written to the buffer.
struct ResponseBody {
    body: Body,
    connection: Arc<Connection>,
    _held: Option<UntilSent>,
}

impl hyper::body::Body for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.connection.answer_is_buffered();
    }
}
