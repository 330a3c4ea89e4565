//! A small HTTP client: one call, one connection. Not the program's own crates, so that both ends are not wrong alike.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use serde_json::Value;

use crate::daemon::{PATIENCE, wait_for};
use crate::site::Site;

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, String::from_utf8_lossy(&self.body)))
    }

    /// `params.errmsg`
    pub(crate) fn errmsg(&self) -> String {
        self.json()["params"]["errmsg"].as_str().unwrap_or_default().to_owned()
    }
}

/// A running `exhaustd run` or `exhaustd serve`; killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    log: mpsc::Receiver<String>,
    seen: String,
}

impl Server {
    /// Starts it, and waits until the API listens. The site's jobs.toml says `listen = "127.0.0.1:0"`.
    pub(crate) fn start(site: &Site<'_>, command: &str) -> Self {
        Self::spawn(site.command(&[command]))
    }

    /// The same of a command that is made already.
    pub(crate) fn spawn(command: Command) -> Self {
        let server = Self::listening(command);
        wait_for("the database", || {
            (server.get("/health").json()["dependencies"]["database"]["ok"] == true).then_some(())
        });
        server
    }

    /// Starts a command, and waits only until the API listens.
    pub(crate) fn listening(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, log) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut server = Self { child, address: String::new(), log, seen: String::new() };
        let line = server.wait_for("api ready address=");
        line.split("address=").nth(1).unwrap().trim().clone_into(&mut server.address);
        server
    }

    /// Waits for a line of the log.
    pub(crate) fn wait_for(&mut self, part: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let line = self.log.recv_timeout(until.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|_| panic!("no line with {part:?} in the log:\n{}", self.seen));
            self.seen.push_str(&line);
            self.seen.push('\n');
            if line.contains(part) {
                return line;
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal: `STOP`, `CONT`, …
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(sent.success(), "kill -{name}");
    }

    /// Its resident memory now, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The most memory that it has had, in bytes.
    pub(crate) fn peak_memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }

    /// Calls of it, for other threads too.
    pub(crate) fn client(&self) -> Client {
        Client { address: self.address.clone() }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.client().call("GET", path, &[], b"")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.client().post(path, body)
    }

    pub(crate) fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.client().call(method, path, headers, body)
    }

    /// GET of a whole URL of this server.
    pub(crate) fn fetch(&self, url: &str) -> Answer {
        let path = url.strip_prefix(&format!("http://{}", self.address)).unwrap_or_else(|| panic!("foreign: {url}"));
        self.get(path)
    }

    /// Reads a request's status until it has ended.
    pub(crate) fn ended(&self, tag: &str, request_id: &str, key: &[(&str, &str)]) -> Value {
        wait_for("the request to end", || {
            let answer = self.call("GET", &format!("/job/request/read/{tag}/{request_id}"), key, b"");
            assert_eq!(answer.status, 200, "{}", answer.errmsg());
            let status = answer.json()["result"].clone();
            ["COMPLETED", "FAILED"].contains(&status["status"].as_str().unwrap()).then_some(status)
        })
    }

    /// SIGTERM; its exit code, and everything that it logged.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        let killed = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(killed.success());
        let code = self.child.wait().unwrap().code();
        let mut log = std::mem::take(&mut self.seen);
        while let Ok(line) = self.log.recv_timeout(PATIENCE) {
            log.push_str(&line);
            log.push('\n');
        }
        (code, log)
    }
}

/// GET of a whole URL, as anybody does who was given it.
pub(crate) fn fetch(url: &str) -> Answer {
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    Client::at(address).call("GET", &format!("/{path}"), &[], b"")
}

/// Somebody who calls a server.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    address: String,
}

impl Client {
    /// Of the server at this `host:port`.
    pub(crate) fn at(address: &str) -> Self {
        Self { address: address.to_owned() }
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    pub(crate) fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.address);
        for (name, value) in headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        if !body.is_empty() || method == "POST" {
            head.extend(["content-length: ", &body.len().to_string(), "\r\n"]);
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        // The answer may come, and the connection go, before a body that is refused has been sent.
        let _ = stream.write_all(body);
        read(stream)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads an answer to its end: the connection closes after it.
pub(crate) fn read(mut stream: impl Read) -> Answer {
    let mut bytes = Vec::new();
    // A reset after the answer is an end too.
    let _ = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no head: {:?}", String::from_utf8_lossy(&bytes)));
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let is_chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = if is_chunked { chunks(&bytes[end + 4..]) } else { bytes[end + 4..].to_vec() };
    Answer { status, headers, body }
}

/// A body that came in chunks.
fn chunks(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return body;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + length]);
        rest = &rest[end + 2 + length + 2..];
    }
}
