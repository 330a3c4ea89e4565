//! The audit log of the command line.

use crate::api::{AUDIT, audit_fields};
use crate::requests::RequestKey;

/// Logs who did what to a request, on standard error: the audit log of the command line.
pub(super) fn audit(act: &str, request: &RequestKey, by: &str) {
    audit_named(act, ("request", &request.to_string()), by);
}

/// The same of a job or a tenant.
pub(super) fn audit_named(act: &str, (what, name): (&str, &str), by: &str) {
    // Under sudo the user who ran it.
    let user = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let fields = [
        (what, name.to_owned()),
        ("by", by.to_owned()),
        ("user", user.unwrap_or_else(|| "unknown".to_owned())),
        ("address", "local".to_owned()),
    ];
    log::info!(target: AUDIT, "{act} {}", audit_fields(&fields.each_ref().map(|(name, value)| (*name, value.as_str()))));
}
