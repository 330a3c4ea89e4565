//! The canonical columns while they are filled, cell by cell.
//!
//! A row is read first and kept afterwards, since one cell that does not read makes the whole row unusable and arrow's
//! builders cannot go back.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::{BooleanBuilder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder};

use super::Cell;
use super::values::{self, Unreadable};
use crate::sources::Settings;
use crate::tables::schema::Kind;

/// A buffer that grew beyond this is not used again.
const LARGE: usize = 1 << 20;

/// One column: the cell of the row at hand, and those of the rows before it.
pub(in crate::sources) enum Filling {
    /// Text; the cell at hand is there or not, and waits in a buffer that is used again and again.
    Text { kind: Kind, at_hand: String, there: bool, kept: StringBuilder },
    /// True or false.
    Bool { at_hand: Option<bool>, kept: BooleanBuilder },
    /// Whole numbers and millionths.
    Number { kind: Kind, at_hand: Option<i64>, kept: Int64Builder },
    /// Microseconds.
    Instant { kind: Kind, at_hand: Option<i64>, kept: TimestampMicrosecondBuilder },
}

impl Filling {
    pub(in crate::sources) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Text | Kind::Json => {
                Self::Text { kind, at_hand: String::new(), there: false, kept: StringBuilder::new() }
            }
            Kind::Bool => Self::Bool { at_hand: None, kept: BooleanBuilder::new() },
            Kind::Count | Kind::Decimal | Kind::Entries | Kind::CompletedCount => {
                Self::Number { kind, at_hand: None, kept: Int64Builder::new() }
            }
            Kind::Instant | Kind::LastUpdated => {
                Self::Instant { kind, at_hand: None, kept: TimestampMicrosecondBuilder::new() }
            }
        }
    }

    /// Reads a cell; whether there is something. Sets `odd` where bytes had to be replaced.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "settings are shared by all who read")]
    pub(in crate::sources) fn read(
        &mut self,
        cell: Cell<'_>,
        flat: bool,
        settings: &Settings,
        odd: &mut bool,
    ) -> Result<bool, Unreadable> {
        match self {
            Self::Text { kind, at_hand, there, .. } => {
                at_hand.clear();
                if *kind == Kind::Json {
                    json(cell, at_hand, odd);
                } else {
                    text(cell, at_hand, odd);
                }
                *there = !at_hand.is_empty();
                Ok(*there)
            }
            Self::Bool { at_hand, .. } => {
                *at_hand = match cell {
                    Cell::Bool(value) => Some(value),
                    cell => with_text(cell, odd, values::boolean)?,
                };
                Ok(at_hand.is_some())
            }
            Self::Number { kind, at_hand, .. } => {
                *at_hand = number(*kind, cell, flat, odd)?;
                Ok(at_hand.is_some())
            }
            Self::Instant { kind, at_hand, .. } => {
                // Nothing, where it does not read: such a row is used all the same.
                *at_hand = None;
                let tz = settings.timezone;
                *at_hand = match (*kind, cell) {
                    (_, Cell::Micros(micros)) => Some(micros),
                    (Kind::LastUpdated, cell) => with_text(cell, odd, |text| values::last_updated(text, tz))?,
                    (_, cell) => with_text(cell, odd, |text| values::instant(text, tz))?,
                };
                Ok(at_hand.is_some())
            }
        }
    }

    /// Keeps the cell at hand; its bytes of text.
    pub(in crate::sources) fn keep(&mut self) -> usize {
        match self {
            Self::Text { at_hand, there, kept, .. } => {
                kept.append_option(there.then_some(at_hand.as_str()));
                let bytes = at_hand.len();
                if bytes > LARGE {
                    *at_hand = String::new();
                }
                return bytes;
            }
            Self::Bool { at_hand, kept } => kept.append_option(*at_hand),
            Self::Number { at_hand, kept, .. } => kept.append_option(*at_hand),
            Self::Instant { at_hand, kept, .. } => kept.append_option(*at_hand),
        }
        0
    }

    /// Keeps an empty cell in place of the one at hand.
    pub(in crate::sources) fn skip(&mut self) {
        match self {
            Self::Text { kept, .. } => kept.append_null(),
            Self::Bool { kept, .. } => kept.append_null(),
            Self::Number { kept, .. } => kept.append_null(),
            Self::Instant { kept, .. } => kept.append_null(),
        }
    }

    /// The column so far; it is empty afterwards.
    pub(in crate::sources) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text { kept, .. } => Arc::new(kept.finish()),
            Self::Bool { kept, .. } => Arc::new(kept.finish()),
            Self::Number { kept, .. } => Arc::new(kept.finish()),
            Self::Instant { kept, .. } => Arc::new(kept.finish()),
        }
    }
}

/// Appends bytes as text.
fn append(bytes: &[u8], out: &mut String, odd: &mut bool) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        out.push_str(text);
    } else {
        *odd = true;
        out.push_str(&String::from_utf8_lossy(bytes));
    }
}

/// Appends the plain text of a cell.
fn text(cell: Cell<'_>, out: &mut String, odd: &mut bool) {
    match cell {
        Cell::Null => (),
        Cell::Text(bytes) => append(bytes, out, odd),
        Cell::Json(json) => {
            // Numbers are themselves; lists and maps in the one spelling that all sources share.
            if json.starts_with(['[', '{']) {
                out.push_str(&values::json_of_json(json).unwrap_or_default());
            } else if json.starts_with('"') {
                out.push_str(&serde_json::from_str::<String>(json).unwrap_or_default());
            } else if json != "null" {
                out.push_str(json);
            }
        }
        Cell::Int(number) => out.push_str(&number.to_string()),
        Cell::Bool(value) => out.push_str(if value { "true" } else { "false" }),
        Cell::Micros(micros) => {
            if let Some(instant) = chrono::DateTime::from_timestamp_micros(micros) {
                out.push_str(&instant.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true));
            }
        }
    }
}

/// Appends a cell as one JSON value.
fn json(cell: Cell<'_>, out: &mut String, odd: &mut bool) {
    match cell {
        Cell::Json(json) => out.push_str(&values::json_of_json(json).unwrap_or_default()),
        Cell::Int(_) | Cell::Bool(_) => text(cell, out, odd),
        cell => {
            let mut plain = String::new();
            text(cell, &mut plain, odd);
            out.push_str(&values::json_of_text(&plain).unwrap_or_default());
        }
    }
}

/// Reads a cell by its text.
fn with_text<T>(cell: Cell<'_>, odd: &mut bool, read: impl FnOnce(&str) -> values::Reading<T>) -> values::Reading<T> {
    match cell {
        Cell::Null | Cell::Json("null") => Ok(None),
        // Without a copy, since these are the most.
        Cell::Text(bytes) if let Ok(text) = std::str::from_utf8(bytes) => read(text),
        Cell::Json(json) => read(json),
        cell => {
            let mut plain = String::new();
            text(cell, &mut plain, odd);
            read(&plain)
        }
    }
}

/// Reads a number of whatever kind.
fn number(kind: Kind, cell: Cell<'_>, flat: bool, odd: &mut bool) -> values::Reading<i64> {
    match (kind, cell) {
        (Kind::Decimal, Cell::Int(number)) => number.checked_mul(1_000_000).map(Some).ok_or(Unreadable::Value),
        (Kind::Decimal, cell) => with_text(cell, odd, values::decimal),
        (Kind::Count, Cell::Int(number)) => Ok(Some(number)),
        (Kind::CompletedCount, Cell::Int(number)) if flat => Ok(Some(number)),
        (Kind::CompletedCount, cell) if !flat => with_text(cell, odd, values::completed_count),
        (Kind::Entries, cell) => with_text(cell, odd, values::entries),
        (_, cell) => with_text(cell, odd, values::count),
    }
}
