//! One file of a table.

use super::location::FileLocation;
use super::names::{Format, Packed};

/// One file of a table.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) location: FileLocation,
    /// Its path below the source's directory, for messages.
    pub(super) label: String,
    pub(super) format: Format,
    pub(super) packed: Packed,
    /// Columns whose value the path gives, innermost first.
    pub(super) partitions: Vec<(String, Option<String>)>,
    /// How long its table's log says that it is.
    pub(super) logged: Option<u64>,
}
