//! The API stays up whatever connections, bodies and headers clients send.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod audit;
mod hostile;
mod open;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use self::hostile::hostile;
use crate::api::{BATCH, SUBMIT, rows, site, submission};
use crate::daemon::{PATIENCE, wait_for};
use crate::databases::TestDatabase;
use crate::http::{Answer, Server, read};

/// A key of this name, with further lines; its secret is [`secret`]'s.
fn key(name: &str, more: &str) -> String {
    let hash = Sha256::digest(secret(name)).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    format!("[[api.keys]]\nname = \"{name}\"\nsha256 = \"{hash}\"\n{more}\n")
}

fn secret(name: &str) -> String {
    format!("secret-{}", name.chars().rev().collect::<String>())
}

fn call(server: &Server, name: &str, method: &str, path: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {}", secret(name));
    let body = if method == "GET" { String::new() } else { body.to_string() };
    server.call(method, path, &[("authorization", &bearer), ("content-type", "application/json")], body.as_bytes())
}

/// A connection from this address of the machine itself.
fn connect_from(from: [u8; 4], to: &str) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let to: SocketAddr = to.parse().unwrap();
    let stream = runtime.block_on(async move {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(IpAddr::from(from), 0)).unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Lets this process open as many files as it may: thousands of connections are.
fn many_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

/// A submission whose body comes but for its last byte. It is under way when this returns: the server asks for the body.
fn begin_submission(stream: &mut TcpStream, host: &str, body: &str) {
    let length = body.len();
    let head = format!(
        "POST {SUBMIT} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: \
         {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&body.as_bytes()[..length - 1]).unwrap();
}

#[test]
fn two_thousand_silent_connections_hold_up_neither_health_nor_reads() {
    many_files();
    let database = TestDatabase::sqlite();
    let site = site(&database, "");
    let server = Server::start(&site, "serve");
    let body = submission("t", BATCH).to_string();
    let mut busy = connect_from([127, 0, 0, 1], &server.address);
    begin_submission(&mut busy, &server.address, &body);
    let mut silent = Vec::new();
    let mut slowest = Duration::ZERO;
    for n in 0..2000 {
        let mut stream = connect_from([127, 0, 0, u8::try_from(n % 5 + 1).unwrap()], &server.address);
        if n % 2 == 0 {
            let _ = stream.write_all(b"GET /health HTTP/1.1\r\nhost: ");
        }
        silent.push(stream);
        if n % 50 == 0 {
            let asked = Instant::now();
            assert_eq!(server.get("/health").status, 200);
            assert_eq!(server.get("/job/request/list/t").status, 200);
            slowest = slowest.max(asked.elapsed());
        }
    }
    // The heads of most never became whole: the longest waiting had to go, and the newest are still there.
    let mut last = silent.pop().unwrap();
    let _ = last.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    assert_eq!(read(last).status, 200);
    let mut first = silent.remove(0);
    let mut rest = Vec::new();
    let _ = first.read_to_end(&mut rest);
    assert!(rest.is_empty(), "closed without an answer");
    // A request that was under way all the time is answered.
    busy.write_all(&body.as_bytes()[body.len() - 1..]).unwrap();
    assert_eq!(read(busy).status, 200);
    eprintln!("the slowest health check and list among them took {slowest:?}");
    // The machine may have other loads; without any it takes some milliseconds.
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    let metrics = String::from_utf8(server.get("/metrics").body).unwrap();
    let displaced =
        metrics.lines().find_map(|line| line.strip_prefix("exhaustd_connections_displaced_total ")).unwrap();
    assert!(displaced.parse::<u64>().unwrap() >= 1000, "{displaced}");
}

#[test]
fn health_is_answered_where_every_place_has_a_request_under_way() {
    many_files();
    let database = TestDatabase::sqlite();
    let site = site(&database, "");
    let server = Server::start(&site, "serve");
    let body = submission("t", BATCH).to_string();
    let mut busy = Vec::new();
    for n in 0..512_u16 {
        let mut stream = connect_from([127, 0, 0, if n < 256 { 2 } else { 3 }], &server.address);
        begin_submission(&mut stream, &server.address, &body);
        busy.push(stream);
    }
    let refused = server.get("/job/list");
    assert_eq!((refused.status, refused.header("connection")), (503, Some("close")));
    assert_eq!(refused.header("retry-after"), Some("5"));
    // Silent connections on the reserved places make room as well.
    let silent: Vec<TcpStream> = (0..40).map(|_| connect_from([127, 0, 0, 4], &server.address)).collect();
    for _ in 0..20 {
        assert_eq!(server.get("/health").status, 200);
    }
    drop(silent);
    // Some of those that were under way; a body may take 30 s, and the machine may be slow.
    for mut stream in busy.drain(..3) {
        stream.write_all(&body.as_bytes()[body.len() - 1..]).unwrap();
        assert_eq!(read(stream).status, 200);
    }
    drop(busy);
    wait_for("a place", || (server.get("/job/list").status == 200).then_some(()));
    assert_eq!(rows(&database), 1);
}

/// Bodies of which each becomes many times its size when it is read, all at once.
#[test]
fn bodies_take_bounded_memory() {
    let database = TestDatabase::sqlite();
    let site = site(&database, "");
    let server = Server::start(&site, "serve");
    let bodies: Vec<String> = ["0,", "[],", "{},", "\"\",", "1e9,"]
        .iter()
        .map(|item| {
            let list = item.repeat((1_000_000 - 200) / item.len());
            format!("{{\"x\":[{list}0],\"request\":{{\"tag\":\"t\",\"jobId\":\"course-report\",\"jobConfig\":{{}}}}}}")
        })
        .collect();
    let (before, client) = (server.memory(), server.client());
    std::thread::scope(|scope| {
        for n in 0..20 {
            let (bodies, client) = (&bodies, client.clone());
            scope.spawn(move || {
                // Half of them where a call would keep it.
                let body = if n % 2 == 0 {
                    bodies[n % 5].clone()
                } else {
                    bodies[n % 5].replace("\"x\":[", "\"request\":{\"jobConfig\":[").replace("],\"request\":{", "],")
                };
                let answer = client.call("POST", SUBMIT, &[("content-type", "application/json")], body.as_bytes());
                assert!([400, 503].contains(&answer.status), "{} {}", answer.status, answer.errmsg());
            });
        }
    });
    let grown = server.memory().saturating_sub(before);
    eprintln!("20 bodies of 1 MB took {} MB", grown >> 10);
    assert!(grown < 300 << 10, "{grown} KiB");
    assert_eq!(rows(&database), 0);
}

/// Heads and bodies that no client should send, a thousand and more, in raw bytes.
#[test]
fn hostile_heads_and_bodies_are_answered_or_closed() {
    let database = TestDatabase::sqlite();
    let site = site(&database, &key("a", ""));
    let server = Server::start(&site, "serve");
    let mut random = fastrand::Rng::with_seed(17);
    let variants: Vec<Vec<u8>> = (0..1500).map(|n| hostile(&mut random, n)).collect();
    let (address, client) = (server.address.clone(), server.client());
    let threads = 4;
    let counts: Vec<[usize; 6]> = std::thread::scope(|scope| {
        let working: Vec<_> = variants
            .chunks(variants.len().div_ceil(threads))
            .map(|variants| {
                let (address, client) = (&address, client.clone());
                scope.spawn(move || {
                    let mut counts = [0; 6];
                    for (n, variant) in variants.iter().enumerate() {
                        let statuses = thrown(address, variant);
                        for status in &statuses {
                            assert!(
                                (100..600).contains(status) && *status != 500,
                                "{status}: {}",
                                String::from_utf8_lossy(variant)
                            );
                            counts[usize::from(status / 100)] += 1;
                        }
                        counts[0] += usize::from(statuses.is_empty());
                        if n % 50 == 0 {
                            assert_eq!(client.call("GET", "/health", &[], b"").status, 200);
                        }
                    }
                    counts
                })
            })
            .collect();
        working.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let count = |at: usize| counts.iter().map(|counts| counts[at]).sum::<usize>();
    eprintln!("{} variants: {} closed, {} 2xx, {} 4xx, {} 5xx", variants.len(), count(0), count(2), count(4), count(5));
    assert!(count(4) > 500 && count(2) > 20, "they reach what they are meant for");
    assert_eq!(rows(&database), 0);
    let (code, log) = server.stop();
    assert_eq!(code, Some(0));
    assert!(!log.contains("panicked") && !log.contains(" ERROR "), "{log}");
}

/// Sends it, and reads to the end of what comes back: the statuses of the answers.
fn thrown(address: &str, bytes: &[u8]) -> Vec<u16> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    // It may be closed in the middle.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let began = Instant::now();
    let _ = stream.read_to_end(&mut answer);
    assert!(began.elapsed() < PATIENCE, "it hangs: {}", String::from_utf8_lossy(bytes));
    let text = String::from_utf8_lossy(&answer);
    let lines = text.match_indices("HTTP/1.1 ").filter(|(at, _)| *at == 0 || text[..*at].ends_with(['}', '\n']));
    lines.filter_map(|(at, line)| text[at + line.len()..].get(..3)?.parse().ok()).collect()
}
