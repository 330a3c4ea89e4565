//! Requests that no client should send, in raw bytes.

use std::fmt::Write as _;

use crate::api::SUBMIT;

/// That of the key `a`.
const KEY: &str = "Bearer secret-a";
const PATHS: &[&str] = &[
    SUBMIT,
    "/job/request/search",
    "/job/request/list/a",
    "/job/request/read/a/b",
    "/job/request/cancel/a/b",
    "/job/list",
    "/health",
    "/metrics",
    "/openapi.json",
    "/docs/",
    "/docs/swagger-ui.css",
    "/files/x",
    "/files/%2e%2e/x?expires=1&signature=0",
    "/",
    "*",
    "//",
    "/%",
    "/%zz",
    "/%00",
    "/\u{7f}",
    "/?%ff=%fe&limit=99999999999999999999",
    "/job/request/list/a?limit=-1&limit=x",
    "/data/v3/job/list",
    "http://evil.example/health",
    "evil.example:443",
    "/job/request/read/%0d%0a/%ff",
];
const METHODS: &[&str] =
    &["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PRI", "get", "G\u{0}T", "", "POST POST"];
const VERSIONS: &[&str] = &["HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9.9", "HTTP/1.1 x", "", "http/1.1"];
const NAMES: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "content-type",
    "authorization",
    "x-api-key",
    "range",
    "if-range",
    "expect",
    "connection",
    "upgrade",
    "accept",
    "x-channel-id",
    "x-forwarded-for",
    "forwarded",
    "origin",
    "cookie",
    "if-modified-since",
    "te",
    "trailer",
    "x y",
    "x:",
    "\u{0}",
    "",
];
const VALUES: &[&str] = &[
    "0",
    "1",
    "-1",
    "1000000000000000000000",
    "0x10",
    "4, 4",
    "5",
    "chunked",
    "chunked, chunked",
    "gzip",
    "identity",
    "application/json",
    "text/plain",
    "100-continue",
    "close",
    "keep-alive, close",
    "h2c",
    "websocket",
    "bytes=0-,5-",
    "bytes=-99999999999999999999",
    "Fri, 31 Dec 99999 23:59:59 GMT",
    "evil.example",
    "localhost",
    "\u{0}",
    "a\rb",
    "\u{e9}",
    "",
    "\t",
    "null",
    "*",
    KEY,
    "Bearer x",
    "Basic Og==",
    "for=\"[::1]\"",
    ",,,,",
    "::1, 127.0.0.1",
];
const BODIES: &[&str] = &[
    "{}",
    "[]",
    "null",
    "{\"request\":",
    "{\"request\":{\"tag\":\"\\ud800\"}}",
    "\u{feff}{}",
    "{\"request\":{\"jobConfig\":{\"a\":1e999999}}}",
    "{\"$serde_json::private::Number\":\"x\"}",
    "{\"request\":{\"filters\":{\"status\":[[[[]]]]}}}",
    "5\r\nhello\r\n0\r\n\r\n",
    "fffffffffffffffff\r\n",
    "-1\r\nx\r\n",
    "5;ext=\"\r\n\"\r\nhello\r\n0\r\nx: y\r\n\r\n",
    "0\r\n\r\nGET /health HTTP/1.1\r\n\r\n",
];

/// One hostile request, or several.
pub(super) fn hostile(random: &mut fastrand::Rng, n: usize) -> Vec<u8> {
    let pick = |random: &mut fastrand::Rng, from: &[&str]| from[random.usize(..from.len())].to_owned();
    let mut bytes = Vec::new();
    for _ in 0..=random.usize(..2) {
        // Every other one is right but for one thing, so that it comes further than to the parser.
        let nearly = random.bool();
        let (method, version) = if nearly {
            (pick(random, &METHODS[..2]), "HTTP/1.1".to_owned())
        } else {
            (pick(random, METHODS), pick(random, VERSIONS))
        };
        let mut head = format!("{method} {} {version}\r\n", pick(random, PATHS));
        if nearly {
            head.push_str("host: localhost\r\n");
            if random.bool() {
                let _ = write!(head, "authorization: {KEY}\r\n");
            }
        }
        for _ in 0..random.usize(..if nearly { 2 } else { 6 }) {
            let _ = write!(head, "{}: {}\r\n", pick(random, NAMES), pick(random, VALUES));
        }
        let mut body = if random.bool() { pick(random, BODIES).into_bytes() } else { Vec::new() };
        match n % 30 {
            0 => head.push_str(&"x: y\r\n".repeat(random.usize(50..3000))),
            1 => {
                let _ = write!(head, "x: {}\r\n", "y".repeat(random.usize(1000..300_000)));
            }
            2 => body = (0..random.usize(1..5000)).map(|_| random.u8(..)).collect(),
            3 => body = [b"{\"request\":{\"jobConfig\":".to_vec(), b"[".repeat(random.usize(100..200_000))].concat(),
            4 => body = vec![b'0'; random.usize(1_000_000..1_100_000)],
            _ => {}
        }
        if nearly && random.bool() {
            let said = if random.u8(..4) == 0 { random.usize(..2_000_000) } else { body.len() };
            let _ = write!(head, "content-length: {said}\r\n");
        }
        head.push_str(if random.u8(..10) == 0 { "\n" } else { "\r\n" });
        bytes.extend(head.into_bytes());
        bytes.extend(body);
    }
    // Some lose their end, some have a byte changed.
    match random.u8(..6) {
        0 => bytes.truncate(random.usize(..bytes.len())),
        1 => {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        _ => {}
    }
    bytes
}
