//! A TCP proxy that can fall silent: it goes on accepting connections and bytes and never answers, as a half-dead load
//! balancer or a host behind a dropped route does. The system acknowledges everything, so neither keepalives nor
//! `tcp_user_timeout` of the one who waits see it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Listens on a port of 127.0.0.1 and carries every connection to its target. Ends all of it when it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    state: Arc<watch::Sender<State>>,
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
    over: bool,
}

impl State {
    fn fall_silent(&mut self) {
        self.silent = true;
        self.silences += 1;
        self.word = None;
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
        let serving = Arc::clone(&state);
        let thread = std::thread::spawn(move || runtime.block_on(serve(listener, target, serving)));
        Self { address, state, thread: Some(thread) }
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

    /// New connections work again. Those that fell silent stay so.
    pub(crate) fn heal(&self) {
        self.state.send_modify(|state| state.silent = false);
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

async fn serve(listener: TcpListener, target: SocketAddr, state: Arc<watch::Sender<State>>) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let mut watching = state.subscribe();
    loop {
        let client = tokio::select! {
            _ = watching.wait_for(|state| state.over) => return,
            accepted = listener.accept() => accepted.unwrap().0,
        };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let mut watching = state.subscribe();
            let cuts = watching.borrow().cuts;
            tokio::select! {
                _ = watching.wait_for(|state| state.cuts != cuts) => {}
                () = carry(client, target, &state) => {}
            }
        });
    }
}

/// Until one of the two closes.
async fn carry(client: TcpStream, target: SocketAddr, state: &watch::Sender<State>) {
    let silences = state.borrow().silences;
    if state.borrow().silent {
        // The client is held, not closed.
        let () = std::future::pending().await;
    }
    let Ok(server) = TcpStream::connect(target).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pump(from_client, to_server, state, silences, true) => {}
        () = pump(from_server, to_client, state, silences, false) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    state: &watch::Sender<State>,
    silences: u64,
    of_client: bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let bytes = &buffer[..count];
        let said = |word: &Vec<u8>| bytes.windows(word.len()).any(|part| part == word);
        if of_client && state.borrow().word.as_ref().is_some_and(said) {
            state.send_modify(State::fall_silent);
        }
        if state.borrow().silences != silences {
            let () = std::future::pending().await;
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
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
