//! Values as the text of CSV and JSON lines, in the spellings that dumps of the platform have: flags in several cases,
//! maps and lists as JSON or in Python's form.

use std::fmt::Write;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_schema::DataType;
use chrono::{DateTime, Datelike, Timelike};

/// How nested values and flags are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    Json,
    /// Single quotes, `None`, `True`.
    Python,
}

/// `2026-01-05T10:11:12.345Z`; milliseconds since 1970.
pub(super) fn iso(ms: u64, out: &mut String) {
    date_time(ms, 'T', '.', "Z", out);
}

/// `2026-01-05 10:11:12:345+0000`, or with a dot before the milliseconds.
pub(super) fn legacy(ms: u64, before_millis: char, out: &mut String) {
    date_time(ms, ' ', before_millis, "+0000", out);
}

fn date_time(ms: u64, between: char, before_millis: char, zone: &str, out: &mut String) {
    let Some(t) = i64::try_from(ms).ok().and_then(DateTime::from_timestamp_millis) else { return };
    let _ = write!(out, "{:04}-{:02}-{:02}{between}", t.year(), t.month(), t.day());
    let _ = write!(out, "{:02}:{:02}:{:02}{before_millis}{:03}{zone}", t.hour(), t.minute(), t.second(), ms % 1000);
}

/// Appends a cell as CSV has it; nothing for null. `row` is the number of the row in its file.
pub(super) fn csv_cell(array: &dyn Array, i: usize, row: u64, out: &mut String) {
    if array.is_null(i) {
        return;
    }
    match array.data_type() {
        DataType::Utf8 => out.push_str(array.as_string::<i32>().value(i)),
        DataType::Boolean => {
            let spelled = [["false", "False", "FALSE", "0", " false"], ["true", "True", "TRUE", "1", "True "]];
            out.push_str(
                spelled[usize::from(array.as_boolean().value(i))][usize::try_from(row % 5).unwrap_or_default()],
            );
        }
        DataType::Timestamp(..) => time(array, i, if row.is_multiple_of(2) { '.' } else { ':' }, out),
        DataType::Map(..) | DataType::List(_) => {
            nested(array, i, if row.is_multiple_of(3) { Spelling::Python } else { Spelling::Json }, out);
        }
        _ => nested(array, i, Spelling::Json, out),
    }
}

/// Appends a value as JSON has it (or Python), at any depth.
pub(super) fn nested(array: &dyn Array, i: usize, spelling: Spelling, out: &mut String) {
    if array.is_null(i) {
        out.push_str(if spelling == Spelling::Json { "null" } else { "None" });
        return;
    }
    let _ = match array.data_type() {
        DataType::Utf8 => {
            quoted(array.as_string::<i32>().value(i), spelling, out);
            Ok(())
        }
        DataType::Boolean => write!(out, "{}", array.as_boolean().value(i)),
        DataType::Int32 => write!(out, "{}", array.as_primitive::<Int32Type>().value(i)),
        DataType::Int64 => write!(out, "{}", array.as_primitive::<Int64Type>().value(i)),
        DataType::Float64 => write!(out, "{}", array.as_primitive::<Float64Type>().value(i)),
        DataType::Timestamp(..) => {
            let mut text = String::new();
            time(array, i, '.', &mut text);
            quoted(&text, spelling, out);
            Ok(())
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(i);
            out.push('{');
            for entry in 0..entries.len() {
                out.push_str(if entry > 0 { ", " } else { "" });
                nested(entries.column(0), entry, spelling, out);
                out.push_str(": ");
                if let Some(floats) = entries.column(1).as_primitive_opt::<Float64Type>() {
                    // As other programs write floating point: 26.0.
                    let _ = write!(out, "{:?}", floats.value(entry));
                } else {
                    nested(entries.column(1), entry, spelling, out);
                }
            }
            out.push('}');
            Ok(())
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(i);
            out.push('[');
            for item in 0..items.len() {
                out.push_str(if item > 0 { ", " } else { "" });
                nested(&items, item, spelling, out);
            }
            out.push(']');
            Ok(())
        }
        other => unreachable!("no sample table has a column of type {other}"),
    };
}

fn time(array: &dyn Array, i: usize, before_millis: char, out: &mut String) {
    let us = array.as_primitive::<TimestampMicrosecondType>().value(i);
    legacy(u64::try_from(us / 1_000).unwrap_or_default(), before_millis, out);
}

fn quoted(text: &str, spelling: Spelling, out: &mut String) {
    match spelling {
        Spelling::Json => out.push_str(&serde_json::Value::from(text).to_string()),
        // The texts inside maps and lists are ids, names and times of ours: nothing to escape.
        Spelling::Python => {
            let _ = write!(out, "'{text}'");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spelled_in_both_ways() {
        let mut out = String::new();
        iso(1_767_607_872_345, &mut out);
        assert_eq!(out, "2026-01-05T10:11:12.345Z");
        out.clear();
        legacy(1_767_607_872_345, ':', &mut out);
        assert_eq!(out, "2026-01-05 10:11:12:345+0000");
    }
}
