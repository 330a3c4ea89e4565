//! A TCP proxy that counts, breaks, refuses and can fall silent: it goes on accepting connections and bytes and never answers, as a half-dead load
//! balancer or a host behind a dropped route does. The system acknowledges everything, so neither keepalives nor
//! `tcp_user_timeout` of the one who waits see it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Listens on a port of 127.0.0.1 and carries every connection to its target. Ends all of it when it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    state: Arc<watch::Sender<State>>,
    served: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    /// New connections are accepted, and nothing is carried.
    silent: bool,
    /// How often it fell silent: a connection that is older than the last time stays silent.
    silences: u64,
    /// How often everything was cut.
    cuts: u64,
    /// Falls silent as soon as a client sends this.
    word: Option<Vec<u8>>,
    /// Closes the connection over which this many bytes of the target are complete, counted by `served`.
    break_at: Option<u64>,
    /// Falls silent there instead.
    silence_at: Option<u64>,
    /// Every so many calls of HTTP are answered 503 here.
    refuse_every: Option<u64>,
    calls: u64,
    /// Bytes that clients have sent.
    asked: u64,
    over: bool,
}

impl State {
    fn fall_silent(&mut self) {
        self.silent = true;
        self.silences += 1;
        (self.word, self.silence_at) = (None, None);
    }
}

impl Proxy {
    /// A proxy before this address.
    pub(crate) fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(watch::Sender::new(State::default()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let served = Arc::new(AtomicU64::new(0));
        let (serving, counting) = (Arc::clone(&state), Arc::clone(&served));
        let thread = std::thread::spawn(move || runtime.block_on(serve(listener, target, serving, counting)));
        Self { address, state, served, thread: Some(thread) }
    }

    /// A proxy before the server of a `postgres://…@host:port/…` URL, and the URL that goes through it.
    pub(crate) fn before(url: &str) -> (Self, String) {
        let start = url.find('@').unwrap() + 1;
        let end = start + url[start..].find('/').unwrap();
        let target = std::net::ToSocketAddrs::to_socket_addrs(&url[start..end]).unwrap().next().unwrap();
        let proxy = Self::start(target);
        let through = format!("{}{}{}", &url[..start], proxy.address(), &url[end..]);
        (proxy, through)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on nothing is carried, and nothing is closed.
    pub(crate) fn silence(&self) {
        self.state.send_modify(State::fall_silent);
    }

    /// Falls silent as soon as a client sends this; it does not reach the target any more.
    pub(crate) fn silence_at(&self, word: &str) {
        self.state.send_modify(|state| state.word = Some(word.as_bytes().to_vec()));
    }

    /// Bytes that the target has sent to clients since this was last asked.
    pub(crate) fn served(&self) -> u64 {
        self.served.swap(0, Ordering::SeqCst)
    }

    /// Bytes that clients have sent to the target.
    pub(crate) fn asked(&self) -> u64 {
        self.state.borrow().asked
    }

    /// Breaks a connection, once, in the middle of what the target sends, when it has sent so many bytes more.
    pub(crate) fn break_after(&self, bytes: u64) {
        let at = self.served.load(Ordering::SeqCst) + bytes;
        self.state.send_modify(|state| state.break_at = Some(at));
    }

    /// Falls silent in the middle of what the target sends, when it has sent so many bytes more.
    pub(crate) fn silence_after(&self, bytes: u64) {
        let at = self.served.load(Ordering::SeqCst) + bytes;
        self.state.send_modify(|state| state.silence_at = Some(at));
    }

    /// From now on every so many calls of HTTP fail.
    pub(crate) fn refuse_every(&self, calls: u64) {
        self.state.send_modify(|state| state.refuse_every = Some(calls));
    }

    /// New connections work again. Those that fell silent stay so.
    pub(crate) fn heal(&self) {
        // A word that nobody has sent yet, because silence came before it, must not be waited for any more.
        self.state.send_modify(|state| {
            state.silent = false;
            (state.word, state.silence_at) = (None, None);
        });
    }

    /// Closes all connections, silent ones as well.
    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.send_modify(|state| state.over = true);
        if let Some(thread) = self.thread.take() {
            // Not worth a panic, which inside another one would hide it.
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, state: Arc<watch::Sender<State>>, served: Arc<AtomicU64>) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let mut watching = state.subscribe();
    loop {
        let client = tokio::select! {
            _ = watching.wait_for(|state| state.over) => return,
            accepted = listener.accept() => accepted.unwrap().0,
        };
        let (state, served) = (Arc::clone(&state), Arc::clone(&served));
        tokio::spawn(async move {
            let mut watching = state.subscribe();
            let cuts = watching.borrow().cuts;
            tokio::select! {
                _ = watching.wait_for(|state| state.cuts != cuts) => {}
                () = carry(client, target, &state, &served) => {}
            }
        });
    }
}

/// Until one of the two closes.
async fn carry(client: TcpStream, target: SocketAddr, state: &watch::Sender<State>, served: &AtomicU64) {
    let silences = state.borrow().silences;
    if state.borrow().silent {
        // The client is held, not closed.
        let () = std::future::pending().await;
    }
    let Ok(server) = TcpStream::connect(target).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, mut to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let refused = tokio::select! {
        refused = pump(from_client, to_server, state, silences, None) => refused,
        refused = pump(from_server, &mut to_client, state, silences, Some(served)) => refused,
    };
    if refused {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        // The client may be gone.
        let _ = to_client.write_all(answer).await;
    }
}

/// `served` counts what comes from the target. Whether a call was refused.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    state: &watch::Sender<State>,
    silences: u64,
    served: Option<&AtomicU64>,
) -> bool {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let bytes = &buffer[..count];
        let said = |word: &Vec<u8>| bytes.windows(word.len()).any(|part| part == word);
        if served.is_none() {
            state.send_if_modified(|state| {
                state.asked += count as u64;
                false
            });
        }
        if served.is_none() && state.borrow().word.as_ref().is_some_and(said) {
            state.send_modify(State::fall_silent);
        }
        if state.borrow().silences != silences {
            let () = std::future::pending().await;
        }
        if served.is_none() && is_call(bytes) && is_refused(state) {
            return true;
        }
        if let Some(served) = served {
            let served = served.fetch_add(count as u64, Ordering::SeqCst) + count as u64;
            if state.borrow().break_at.is_some_and(|at| at <= served) {
                state.send_modify(|state| state.break_at = None);
                let _ = to.write_all(&bytes[..count / 2]).await;
                return false;
            }
            if state.borrow().silence_at.is_some_and(|at| at <= served) {
                let _ = to.write_all(&bytes[..count / 2]).await;
                state.send_modify(State::fall_silent);
                let () = std::future::pending().await;
            }
        }
        if to.write_all(bytes).await.is_err() {
            return false;
        }
    }
    false
}

/// The first bytes of a call of HTTP: bodies are not looked at closely.
fn is_call(bytes: &[u8]) -> bool {
    ["GET /", "HEAD /", "PUT /", "POST /", "DELETE /"].iter().any(|start| bytes.starts_with(start.as_bytes()))
}

fn is_refused(state: &watch::Sender<State>) -> bool {
    let mut refused = false;
    state.send_modify(|state| {
        state.calls += 1;
        refused = state.refuse_every.is_some_and(|every| state.calls % every == 0);
    });
    refused
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    /// Answers every byte with the same.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
                });
            }
        });
        address
    }

    fn client(proxy: &Proxy) -> TcpStream {
        let stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    fn answers(stream: &mut TcpStream) -> bool {
        stream.write_all(b"a").unwrap();
        stream.read(&mut [0]).unwrap() == 1
    }

    /// Open, and nothing comes.
    fn is_silent(stream: &mut TcpStream) -> bool {
        stream.write_all(b"a").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    fn is_closed(stream: &mut TcpStream) -> bool {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        match stream.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    #[test]
    fn it_falls_silent_and_heals_for_new_connections() {
        let proxy = Proxy::start(echo());
        let mut before = client(&proxy);
        assert!(answers(&mut before));
        proxy.silence();
        let mut during = client(&proxy);
        assert!(is_silent(&mut before) && is_silent(&mut during));
        proxy.heal();
        assert!(answers(&mut client(&proxy)));
        assert!(is_silent(&mut before) && is_silent(&mut during));
        proxy.cut();
        assert!(is_closed(&mut before) && is_closed(&mut during));
        let mut after = client(&proxy);
        assert!(answers(&mut after));
        drop(proxy);
        assert!(is_closed(&mut after));
    }

    #[test]
    fn it_falls_silent_at_a_word() {
        let (proxy, url) = Proxy::before(&format!("postgres://me@{}/platform", echo()));
        assert_eq!(url, format!("postgres://me@{}/platform", proxy.address()));
        proxy.silence_at("b");
        let mut stream = client(&proxy);
        assert!(answers(&mut stream));
        stream.write_all(b"b").unwrap();
        assert!(is_silent(&mut stream));
        proxy.heal();
        assert!(answers(&mut client(&proxy)));
    }
}
