//! `[log]`: how events are logged.

use super::checked::LogFormat;
use crate::document::Fallback::Is;
use crate::document::Form::Text;
use crate::document::{Key, Section, restart};

/// The keys of the section.
pub(super) const KEYS: &[Key] = &[restart(
    "format",
    Text,
    Is("\"text\""),
    "Lines of the log on standard error. `\"text\"`, or `\"json\"`: one object for each event, with `time`, `level`, `target`, \
     `message` and the event's fields. What is logged before jobs.toml is read is text.",
)];

/// Reads the section.
pub(super) fn format(section: &Section<'_>) -> LogFormat {
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    section.one_of("format", &formats).unwrap_or_default()
}
