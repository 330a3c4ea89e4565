//! Who did what: a line of the log under the target `audit`, and a count, for each submission, act, download and refusal.
//!
//! A line names key, request and address, and holds nothing secret: no key, no signature, no URL. The lines that one client
//! causes are bounded; a line of its own counts those that were not written.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{Response, StatusCode};

use super::audit_records::{Records, record};
use super::clients::AddressGroup;
use crate::metrics::Metrics;
use crate::requests::AuditRecord;

/// The target of audit lines.
pub const AUDIT: &str = "audit";
/// Lines of one source in one [`WINDOW`].
const REFUSALS: u32 = 20;
/// Of readings of links, and of downloads.
const READS: u32 = 120;
const WINDOW: Duration = Duration::from_mins(1);
/// Sources that are counted separately at a time; more are counted as one.
const SOURCES: usize = 1024;
/// The longest value of a field, in characters.
const LONGEST: usize = 200;

/// What is known of a call that was refused; an extension of its answer.
#[derive(Clone, Debug, Default)]
pub(super) struct CallContext {
    /// Name of the call, as in metrics.
    pub(super) call: &'static str,
    /// Name of the key.
    pub(super) key: Option<String>,
    /// The request that was asked for, or its tag.
    pub(super) request: Option<String>,
    /// What the client was told.
    pub(super) reason: String,
}

/// What a line reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Event {
    Refusal,
    Read,
    Download,
}

/// Whose calls cause a line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Source {
    Key(String),
    Address(AddressGroup),
    /// All others, where there are more than [`SOURCES`].
    Others,
}

/// The audit log of one API.
#[derive(Debug)]
pub(super) struct Audit {
    metrics: Arc<Metrics>,
    sources: Mutex<HashMap<(Event, Source), Window>>,
    pub(super) records: Records,
}

/// What one source did within the window.
#[derive(Debug)]
struct Window {
    began: Instant,
    lines: u32,
    suppressed: u64,
}

impl Audit {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, sources: Mutex::default(), records: Records::default() }
    }

    /// A submission was taken.
    pub(super) fn submitted(&self, key: Option<&str>, request: &str, address: IpAddr, job: &str, state: &str) {
        self.metrics.acted("submit");
        log::info!(target: AUDIT, "submission {}", fields(&[
            ("request", request), ("key", key.unwrap_or("none")), ("address", &address.to_string()), ("job", job),
            ("state", state),
        ]));
        self.keep(record("submit", key, request, address));
    }

    /// Somebody was given links to the files of a request, or of several of a tag or a search.
    pub(super) fn read_links(&self, key: Option<&str>, (subject, requests): (&str, u64), address: IpAddr) {
        self.metrics.acted("read");
        let source = key.map_or_else(|| Source::Address(AddressGroup::of(address)), |key| Source::Key(key.to_owned()));
        if self.may_log(Event::Read, source, Instant::now()) {
            log::info!(target: AUDIT, "read {}", fields(&[
                ("request", subject), ("key", key.unwrap_or("none")), ("address", &address.to_string()),
                ("requests", &requests.to_string()),
            ]));
            self.keep(AuditRecord { requests, ..record("read", key, subject, address) });
        }
    }

    /// Notes a record for the table.
    pub(super) fn keep(&self, record: AuditRecord) {
        if !self.records.add(record) {
            self.metrics.audit_dropped(1);
        }
    }

    /// An operator's or client's act on a request: `cancel`, `retry`. The record of an operator's is in the table already.
    pub(super) fn acted(&self, act: &'static str, key: Option<&str>, request: &str, address: IpAddr) {
        self.acted_on(act, key, &[("request", request)], address);
    }

    /// The same on something else: a job, a tenant.
    pub(super) fn acted_on(
        &self,
        act: &'static str,
        key: Option<&str>,
        named: &[(&'static str, &str)],
        address: IpAddr,
    ) {
        self.metrics.acted(act);
        let address = address.to_string();
        let by = [("key", key.unwrap_or("none")), ("address", address.as_str())];
        log::info!(target: AUDIT, "{act} {}", fields(&[named, &by].concat()));
    }

    /// A file was sent, or a part of it. Links are opened without a key.
    pub(super) fn downloaded(&self, request: &str, file: &str, address: IpAddr, status: StatusCode) {
        self.metrics.acted("download");
        if self.may_log(Event::Download, Source::Address(AddressGroup::of(address)), Instant::now()) {
            log::info!(target: AUDIT, "download {}", fields(&[
                ("request", request), ("key", "link"), ("address", &address.to_string()), ("file", file),
                ("status", status.as_str()),
            ]));
            self.keep(record("download", Some("link"), request, address));
        }
    }

    /// An answer; counted and logged if it is a refusal. `call`: its name where the answer does not say it.
    pub(super) fn answered<B>(&self, response: &Response<B>, call: &'static str, address: IpAddr) {
        let status = response.status();
        if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS) {
            return;
        }
        let context = response.extensions().get::<CallContext>().cloned().unwrap_or_default();
        let call = if context.call.is_empty() { call } else { context.call };
        self.metrics.refused(call, status.as_u16());
        let source = context.key.clone().map_or_else(|| Source::Address(AddressGroup::of(address)), Source::Key);
        if self.may_log(Event::Refusal, source, Instant::now()) {
            log::info!(target: AUDIT, "refused {}", fields(&[
                ("status", status.as_str()), ("call", call), ("request", context.request.as_deref().unwrap_or("none")),
                ("key", context.key.as_deref().unwrap_or("none")), ("address", &address.to_string()),
                ("reason", &context.reason),
            ]));
        }
    }

    /// Logs how many lines were suppressed in windows that are over, and removes these.
    pub(super) fn sweep(&self, now: Instant) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.retain(|(event, source), window| {
            let goes_on = now.saturating_duration_since(window.began) < WINDOW;
            if !goes_on {
                log_suppressed(*event, source, window);
            }
            goes_on
        });
    }

    /// Logs all that was suppressed so far: the API ends.
    pub(super) fn report_all(&self) {
        self.sweep(Instant::now() + WINDOW);
    }

    /// Whether a line of this source is written; counts it otherwise.
    fn may_log(&self, event: Event, source: Source, now: Instant) -> bool {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let mut which = (event, source);
        if sources.len() >= SOURCES && !sources.contains_key(&which) {
            which.1 = Source::Others;
        }
        let most = if event == Event::Refusal { REFUSALS } else { READS };
        let window = sources.entry(which.clone()).or_insert(Window { began: now, lines: 0, suppressed: 0 });
        if now.saturating_duration_since(window.began) >= WINDOW {
            log_suppressed(event, &which.1, window);
            *window = Window { began: now, lines: 0, suppressed: 0 };
        }
        if window.lines < most {
            window.lines += 1;
            return true;
        }
        window.suppressed += 1;
        false
    }
}

fn log_suppressed(event: Event, source: &Source, window: &Window) {
    if window.suppressed == 0 {
        return;
    }
    let source = match source {
        Source::Key(key) => key.clone(),
        Source::Address(group) => group.to_string(),
        Source::Others => "others".to_owned(),
    };
    let what = match event {
        Event::Refusal => "refusals",
        Event::Read => "reads",
        Event::Download => "downloads",
    };
    log::info!(target: AUDIT, "{what} not logged {}", fields(&[
        ("source", &source), ("count", &window.suppressed.to_string()),
    ]));
}

/// `key=value` of each, separated by blanks. Any other value than a plain word is in quotes, with escapes: it can neither
/// end its line nor forge a field.
#[must_use]
pub fn fields(fields: &[(&str, &str)]) -> String {
    let mut line = String::new();
    for (at, (name, value)) in fields.iter().enumerate() {
        let blank = if at == 0 { "" } else { " " };
        let plain = !value.is_empty() && value.len() <= LONGEST && value.bytes().all(is_plain);
        // Writing to a String does not fail.
        let _ = if plain {
            write!(line, "{blank}{name}={value}")
        } else {
            let short: String = value.chars().take(LONGEST).collect();
            write!(line, "{blank}{name}={short:?}")
        };
    }
    line
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._:/@%+,*-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_flood_is_counted_in_one_line() {
        let audit = Audit::new(Arc::default());
        let now = Instant::now();
        let one = || Source::Address(AddressGroup::of(IpAddr::from([192, 0, 2, 1])));
        let logged = (0..1000).filter(|_| audit.may_log(Event::Refusal, one(), now)).count();
        assert_eq!(logged, REFUSALS as usize);
        assert!(audit.may_log(Event::Refusal, Source::Key("k".to_owned()), now), "others go on");
        assert!(audit.may_log(Event::Refusal, one(), now + WINDOW), "a minute later");
        for n in 0..20_000_u32 {
            audit.may_log(
                Event::Refusal,
                Source::Address(AddressGroup::of(IpAddr::from(n.to_be_bytes()))),
                now + WINDOW,
            );
        }
        assert!(audit.sources.lock().unwrap().len() <= SOURCES + 1);
        audit.sweep(now + 3 * WINDOW);
        assert!(audit.sources.lock().unwrap().is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

        /// Whatever a value is: the line is one line, without control characters, and splits into the fields that were given.
        #[test]
        fn no_value_forges_a_line_or_a_field(value in any::<String>(), nasty in "[a=\" \n\r\u{1b}\u{2028}\\\\]{0,12}") {
            for value in [&value, &nasty] {
                let line = fields(&[("request", value), ("key", "none")]);
                prop_assert!(!line.contains(|c: char| c.is_control() || c == '\u{2028}' || c == '\u{2029}'), "{line}");
                let rest = line.strip_prefix("request=").unwrap();
                let rest = match rest.strip_prefix('"') {
                    None => rest.trim_start_matches(|c| c != ' '),
                    Some(quoted) => {
                        // The closing quote is the first that no backslash escapes.
                        let mut escaped = false;
                        let end = quoted.find(|c| {
                            let ends = c == '"' && !escaped;
                            escaped = c == '\\' && !escaped;
                            ends
                        });
                        &quoted[end.unwrap() + 1..]
                    }
                };
                prop_assert_eq!(rest, " key=none");
            }
        }
    }
}
