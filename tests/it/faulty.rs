//! A proxy before an object store that spoils calls: refuses, cuts, delays. It reads each call whole and makes it anew on
//! a connection of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What it does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Every third call is answered 503.
    ThirdUnavailable,
    /// Every third call is answered by the end of the connection.
    ThirdCut,
    /// Every third call is carried, and its answer gets lost.
    ThirdAnswerLost,
    /// Each call takes this long.
    Slow(Duration),
    /// Each call is answered 403.
    Refused,
    /// Each call after [`Calls::release`] is answered 403: the credentials are revoked.
    Revoked,
    /// Each call on a key with `hostile` in it is answered with this status and code.
    HostileRefused(&'static str, &'static str),
    /// Each call that writes a report waits for [`Calls::release`].
    ReportsHeld,
}

/// The calls that a proxy has seen.
#[derive(Default)]
pub(crate) struct Calls {
    seen: Mutex<Seen>,
    released: Condvar,
}

#[derive(Default)]
struct Seen {
    made: usize,
    under_way: usize,
    most: usize,
    is_released: bool,
}

impl Calls {
    /// How many there were.
    pub(crate) fn made(&self) -> usize {
        self.seen.lock().unwrap().made
    }

    /// How many have no answer yet.
    pub(crate) fn under_way(&self) -> usize {
        self.seen.lock().unwrap().under_way
    }

    /// How many had no answer yet at one moment, at most.
    pub(crate) fn most_at_once(&self) -> usize {
        self.seen.lock().unwrap().most
    }

    /// Lets go on what [`Fault::ReportsHeld`] holds, and all that comes.
    pub(crate) fn release(&self) {
        self.seen.lock().unwrap().is_released = true;
        self.released.notify_all();
    }

    /// Counts a call that begins; its number, from 0.
    fn begin(&self) -> usize {
        let mut seen = self.seen.lock().unwrap();
        seen.made += 1;
        seen.under_way += 1;
        seen.most = seen.most.max(seen.under_way);
        seen.made - 1
    }

    fn end(&self) {
        self.seen.lock().unwrap().under_way -= 1;
    }

    fn wait_for_release(&self) {
        drop(self.released.wait_while(self.seen.lock().unwrap(), |seen| !seen.is_released).unwrap());
    }
}

/// Starts one before this `host:port`; its own. It ends with the process.
pub(crate) fn before(target: &str, fault: Fault) -> (String, Arc<Calls>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (target, calls) = (target.to_owned(), Arc::new(Calls::default()));
    let counted = Arc::clone(&calls);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let (target, calls) = (target.clone(), Arc::clone(&calls));
            // A client that goes away is no failure of the proxy.
            std::thread::spawn(move || drop(serve(client, &target, fault, &calls)));
        }
    });
    (address, counted)
}

fn serve(mut client: TcpStream, target: &str, fault: Fault, calls: &Calls) -> std::io::Result<()> {
    let Some(call) = call(&mut client)? else { return Ok(()) };
    let number = calls.begin();
    let carried = carry(&mut client, &call, target, fault, number, calls);
    calls.end();
    carried
}

fn carry(
    client: &mut TcpStream,
    call: &[u8],
    target: &str,
    fault: Fault,
    number: usize,
    calls: &Calls,
) -> std::io::Result<()> {
    let is_third = number % 3 == 2;
    let answer = |status: &str, code: &str| {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    match fault {
        Fault::ThirdUnavailable if is_third => {
            return client.write_all(answer("503 Service Unavailable", "SlowDown").as_bytes());
        }
        Fault::Revoked if calls.seen.lock().unwrap().is_released => {
            return client.write_all(answer("403 Forbidden", "AccessDenied").as_bytes());
        }
        Fault::Refused => return client.write_all(answer("403 Forbidden", "AccessDenied").as_bytes()),
        Fault::HostileRefused(status, code) if line(call).contains("hostile") => {
            return client.write_all(answer(status, code).as_bytes());
        }
        Fault::ThirdCut if is_third => return Ok(()),
        Fault::Slow(delay) => std::thread::sleep(delay),
        Fault::ReportsHeld if writes_a_report(call) => calls.wait_for_release(),
        _ => {}
    }
    let mut server = TcpStream::connect(target)?;
    server.write_all(call)?;
    let mut told = Vec::new();
    server.read_to_end(&mut told)?;
    if is_third && matches!(fault, Fault::ThirdAnswerLost) { Ok(()) } else { client.write_all(&told) }
}

fn writes_a_report(call: &[u8]) -> bool {
    let line = line(call);
    line.starts_with("PUT ") && line.contains("/reports-")
}

/// The first line of a call.
fn line(call: &[u8]) -> String {
    String::from_utf8_lossy(call.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned()
}

/// Reads one call; it asks for the end of the connection after it.
fn call(client: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
            let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
            if bytes.len() >= head + 4 + length.map_or(0, |length| length.parse::<usize>().unwrap()) {
                bytes.splice(head..head, *b"\r\nconnection: close");
                return Ok(Some(bytes));
            }
        }
        match client.read(&mut buffer)? {
            0 => return Ok(None),
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}
