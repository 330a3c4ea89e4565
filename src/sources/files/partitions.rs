//! Directories `<column>=<value>`: what they give, and whether a scan needs what is in them.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::sources::spellings::Spellings;
use crate::tables::plan::Scan;

/// How a partition is named whose value is null.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The name of the column that a scan is limited by: its first spelling. A partition by a later one may hold files with the
/// first, so that is for their readers to judge.
pub(super) fn key(scan: &Scan) -> Option<Cow<'static, str>> {
    let (name, _) = scan.only()?;
    let spellings = Spellings::of(scan);
    let column = scan.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))?;
    Some(spellings.all()[spellings.of_column(column).start].name.clone())
}

/// Whether a partition has rows for the scan. One without value has: its rows are unusable, and counted. `key`: see [`key`].
pub(super) fn is_wanted(scan: &Scan, key: Option<&str>, column: &str, value: Option<&str>) -> bool {
    match (scan.only(), key, value) {
        (Some((_, keys)), Some(key), Some(value)) if key.eq_ignore_ascii_case(column) && !value.is_empty() => {
            keys.contains(value)
        }
        _ => true,
    }
}

/// Column and value of a directory `column=value`.
pub(super) fn partition(name: &str) -> Option<(String, Option<String>)> {
    let (column, value) = name.split_once('=')?;
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let value = (value != HIVE_NULL).then(|| decoded(value));
    (!column.is_empty()).then(|| (decoded(column), value))
}
