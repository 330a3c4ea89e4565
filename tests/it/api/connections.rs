//! Clients that are slow, silent or many, and a server that is told to stop.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::{BATCH, SUBMIT, rows, site, submission};
use crate::daemon::wait_for;
use crate::databases::{TestDatabase, each};
use crate::http::{Server, read};

#[test]
fn a_hundred_identical_submissions_at_once_make_one_row() {
    each(|database| {
        let site = site(database, "");
        let server = Server::start(&site, "serve");
        let (client, body) = (server.client(), submission("t", BATCH));
        let start = Barrier::new(100);
        let ids: Vec<String> = std::thread::scope(|scope| {
            let submitting: Vec<_> = (0..100)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        let answer = client.post(SUBMIT, &body);
                        assert_eq!(answer.status, 200, "{}", answer.errmsg());
                        answer.json()["result"]["request_id"].as_str().unwrap().to_owned()
                    })
                })
                .collect();
            submitting.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0] && id.len() == 40), "{ids:?}");
        assert_eq!(rows(database), 1);
    });
}

#[test]
fn silent_and_slow_clients_hold_up_nobody() {
    let database = TestDatabase::sqlite();
    let site = site(&database, "");
    let server = Server::start(&site, "serve");
    let silent: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    let mut slow: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    for stream in &mut slow {
        stream
            .write_all(b"POST /job/request/submit HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{")
            .unwrap();
    }
    let asked = Instant::now();
    assert_eq!(server.get("/job/list").status, 200);
    assert_eq!(server.post(SUBMIT, &submission("t", BATCH)).status, 200);
    // After 30 s the server gives the slow ones up.
    assert!(asked.elapsed() < Duration::from_secs(25), "held up for {:?}", asked.elapsed());
    drop((silent, slow));
}

/// A proxy before the database that takes everything and never answers: the API says so, and is well again by itself.
#[test]
fn a_database_that_goes_silent_is_given_up_and_found_again() {
    let Some(database) = TestDatabase::postgres() else { return };
    let (proxy, url) = crate::proxy::Proxy::before(&database.url());
    let jobs = format!("{}\n[api]\nlisten = \"127.0.0.1:0\"\n", crate::site::JOBS);
    let site = crate::site::Site::through(&database, &url, &crate::site::fixture("odd"), &jobs);
    let server = Server::start(&site, "serve");
    assert_eq!(server.post(SUBMIT, &submission("t", BATCH)).status, 200);
    proxy.silence();
    // Every connection of the pool hangs.
    std::thread::scope(|scope| {
        for client in (0..10).map(|_| server.client()) {
            scope.spawn(move || assert_eq!(client.call("GET", "/job/request/list/t", &[], b"").status, 503));
        }
    });
    assert_eq!(server.get("/health").status, 503);
    proxy.heal();
    wait_for("health", || (server.get("/health").status == 200).then_some(()));
    assert_eq!(server.get("/job/request/list/t").status, 200);
}

/// What is being answered is answered to its end; nobody else holds the stop up for longer than `stop_timeout`.
#[test]
fn a_stop_lets_answers_end() {
    let database = TestDatabase::sqlite();
    let site = site(&database, "");
    let server = Server::spawn({
        let mut command = site.command(&["serve"]);
        command.env("EXHAUST__WORKER__STOP_TIMEOUT", "5s");
        command
    });
    let body = submission("t", BATCH).to_string();
    let mut asking = TcpStream::connect(&server.address).unwrap();
    let head = format!("POST {SUBMIT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
    asking.write_all(&[head.as_bytes(), &body.as_bytes()[..10]].concat()).unwrap();
    let mut idle = TcpStream::connect(&server.address).unwrap();
    // A head that does not become whole is not waited for.
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: ").unwrap();
    // The call is under way once its connection is known to the server.
    assert_eq!(server.get("/job/list").status, 200);
    let address = server.address.clone();
    let stopping = std::thread::spawn(move || server.stop());
    wait_for("it to listen no more", || TcpStream::connect(&address).is_err().then_some(()));
    asking.write_all(&body.as_bytes()[10..]).unwrap();
    assert_eq!(read(&mut asking).status, 200, "the call that was under way");
    let mut rest = Vec::new();
    let _ = idle.read_to_end(&mut rest);
    assert!(rest.is_empty());
    let (code, log) = stopping.join().unwrap();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("connections are cut"), "{log}");
    assert_eq!(rows(&database), 1);
}
