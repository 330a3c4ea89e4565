//! The audit log of the command line.

use crate::api::{AUDIT, audit_fields};
use crate::requests::{AuditRecord, ClientQueue, QueueError, RequestKey};

/// Logs who did what to a request, on standard error: the audit log of the command line.
pub(super) fn audit(act: &str, request: &RequestKey, by: &str) {
    audit_named(act, ("request", &request.to_string()), by);
}

/// The same of a job or a tenant.
pub(super) fn audit_named(act: &str, (what, name): (&str, &str), by: &str) {
    let fields = [(what, name.to_owned()), ("by", by.to_owned()), ("user", user()), ("address", "local".to_owned())];
    log::info!(target: AUDIT, "{act} {}", audit_fields(&fields.each_ref().map(|(name, value)| (*name, value.as_str()))));
}

/// Notes an act in the table, before it is done: it must not be lost. `requests`: 0 where it is not known how many it concerns.
pub(super) fn record(
    queue: &dyn ClientQueue,
    act: &'static str,
    subject: String,
    requests: u64,
) -> Result<(), QueueError> {
    queue.audit(&[AuditRecord { act, who: user(), subject, requests, address: "local".to_owned() }])
}

/// The user who runs this; under sudo the one who called that.
fn user() -> String {
    let names = ["SUDO_USER", "USER", "LOGNAME"];
    names.into_iter().find_map(|name| std::env::var(name).ok()).unwrap_or_else(|| "unknown".to_owned())
}
