//! `[audit]`: how long the table of acts is kept.

use super::checked::Audit;
use crate::document::Fallback::Is;
use crate::document::Form::{Duration, Number};
use crate::document::{Key, Section, restart};

/// The keys of the section.
pub(super) const KEYS: &[Key] = &[
    restart("keep", Duration, Is("\"90d\""), "How long a row is kept."),
    restart("rows", Number, Is("1000000"), "How many rows are kept; the oldest go first."),
];

/// Reads the section.
pub(super) fn audit(section: &Section<'_>) -> Audit {
    Audit {
        keep: section.duration("keep", false).map_or_else(std::time::Duration::default, |(keep, _)| keep),
        rows: section.number("rows", 1).unwrap_or(1),
    }
}
