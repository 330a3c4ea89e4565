//! What is read of a table, in words.

use crate::tables::plan::{Scan, ScanReach};

/// As a line of a table.
pub(super) fn scan_line(scan: &Scan) -> [String; 4] {
    let columns: Vec<&str> = scan.columns.iter().map(|column| column.name.as_ref()).collect();
    [scan.table.to_string(), columns.join(", "), reach(scan), learners(scan)]
}

/// Which rows of a table are read.
pub(super) fn reach(scan: &Scan) -> String {
    match &scan.reach {
        ScanReach::Everything => "all".to_owned(),
        ScanReach::Keys { column, keys } => format!("{} keys of {column}", keys.len()),
        ScanReach::Semi { column, of, .. } => format!("{column} of the {} kept", of.scan.table),
    }
}

/// The learners whose rows are read.
pub(super) fn learners(scan: &Scan) -> String {
    let range = scan.learner_range();
    let after = range.after.iter().map(|id| format!("after {id}"));
    let bounds: Vec<String> = after.chain(range.up_to.iter().map(|id| format!("up to {id}"))).collect();
    if bounds.is_empty() { "all".to_owned() } else { bounds.join(", ") }
}
