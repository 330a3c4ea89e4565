//! Whether what was found is good enough for a report: too many unusable rows, or none that can be used, are worse than
//! no report (`docs/sources.md`).
//!
//! Judged for a request as a whole, over all of its own batches, however they were loaded: what is wrong with a batch
//! fails no request for other batches. Not here: counting (`tables::quality`).

use crate::config::checked::MaxBadRows;
use crate::sources::rows::short;
use crate::sources::{ScanStats, SourceError};
use crate::tables::quality::{Fault, Quality, RowsRead, TableRows, Values};
use crate::tables::schema::Table;

/// Tables of which a batch has rows of its own, in the order in which they are named where several are unusable.
const OF_BATCHES: [Table; 4] =
    [Table::UserEnrolments, Table::UserActivityAgg, Table::AssessmentAggregator, Table::ContentHierarchy];

/// Why a batch cannot be reported on: of one of its tables every row is unusable. Tables of which only the rows of one range
/// of learners were read are not judged: other ranges may have rows that can be used.
#[must_use]
pub fn broken(batch: &Quality) -> Option<SourceError> {
    OF_BATCHES.into_iter().find_map(|table| {
        let rows = batch.tables.get(&table).filter(|rows| rows.read == RowsRead::All)?;
        // Rows without a key may be of another batch.
        (rows.usable == 0 && rows.unusable > 0).then(|| none_usable(table, rows))
    })
}

/// Judges what was found of all batches of a request together.
///
/// # Errors
/// Of a table no row is usable although some were found, the unusable rows exceed both bounds, or of a date or score
/// column that the report shows no value reads.
pub fn request(all: &Quality, max_bad_rows: MaxBadRows) -> Result<(), SourceError> {
    for (table, rows) in &all.tables {
        of_table(*table, rows, max_bad_rows)?;
    }
    for (table, columns) in &all.values {
        for (column, values) in columns {
            if values.readable == 0 && values.unreadable > 0 {
                return Err(none_reads(*table, column, values));
            }
        }
    }
    Ok(())
}

/// Judges a table that is read as a whole, for all requests.
///
/// # Errors
/// No row is usable although some were found, or the unusable rows exceed both bounds.
pub fn whole_table(table: Table, stats: &ScanStats, max_bad_rows: MaxBadRows) -> Result<(), SourceError> {
    let rows = TableRows {
        usable: stats.rows,
        unusable: stats.bad.values().sum(),
        without_key: 0,
        first: stats.faults.first().cloned(),
        read: RowsRead::All,
    };
    of_table(table, &rows, max_bad_rows)
}

fn of_table(table: Table, rows: &TableRows, max_bad_rows: MaxBadRows) -> Result<(), SourceError> {
    let bad = rows.unusable + rows.without_key;
    if bad > 0 && rows.usable == 0 {
        return Err(none_usable(table, rows));
    }
    let all = rows.usable + bad;
    #[allow(clippy::cast_precision_loss, reason = "a share, and tables have less than 2^53 rows")]
    let too_many = bad > max_bad_rows.at_least && bad as f64 > max_bad_rows.share * all as f64;
    if !too_many {
        return Ok(());
    }
    let (place, reason) = place_and_reason(rows.first.as_ref());
    let MaxBadRows { at_least, share } = max_bad_rows;
    Err(SourceError {
        table,
        message: format!("table {table}: {place}{reason}; {bad} of {all} rows are unusable"),
        detail: format!(
            "table {table}: {reason}; {bad} of {all} rows are unusable{}; max_bad_rows allows {at_least} and a share of \
             {share}",
            full_place(rows.first.as_ref())
        ),
        may_pass: false,
        is_too_large: false,
    })
}

fn none_usable(table: Table, rows: &TableRows) -> SourceError {
    let bad = rows.unusable + rows.without_key;
    let (_, reason) = place_and_reason(rows.first.as_ref());
    let message = format!("table {table}: {reason}; {bad} of {bad} rows are unusable");
    let detail = format!("{message}{}", full_place(rows.first.as_ref()));
    SourceError { table, message, detail, may_pass: false, is_too_large: false }
}

fn none_reads(table: Table, column: &str, values: &Values) -> SourceError {
    let count = values.unreadable;
    let reason = values.first.as_ref().map_or_else(|| format!("{column} does not read"), |first| first.reason.clone());
    let message = format!("table {table}: {reason}; {count} of {count} values do not read");
    let detail = format!("{message}{}", full_place(values.first.as_ref()));
    SourceError { table, message, detail, may_pass: false, is_too_large: false }
}

/// For the client: `user.csv line 17: `, and what is wrong there.
fn place_and_reason(first: Option<&Fault>) -> (String, &str) {
    match first {
        None => (String::new(), "no row can be used"),
        Some(Fault { file, reason, .. }) if file.is_empty() => (String::new(), reason),
        Some(Fault { file, line, reason }) => (format!("{} line {line}: ", short(file)), reason),
    }
}

fn full_place(first: Option<&Fault>) -> String {
    let known = first.filter(|first| !first.file.is_empty());
    known.map_or_else(String::new, |Fault { file, line, .. }| format!(", the first in {file} line {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: MaxBadRows = MaxBadRows { share: 0.04, at_least: 10 };

    #[allow(clippy::unnecessary_wraps, reason = "as the fields have it")]
    fn fault() -> Option<Fault> {
        Some(Fault { file: "user.csv".to_owned(), line: 17, reason: "broken CSV line".to_owned() })
    }

    fn judged(usable: u64, unusable: u64, without_key: u64) -> Result<(), SourceError> {
        let rows = TableRows { usable, unusable, without_key, first: fault(), read: RowsRead::All };
        request(&Quality { tables: [(Table::User, rows)].into(), ..Quality::default() }, MAX)
    }

    #[test]
    fn too_many_is_where_both_bounds_are_exceeded() {
        // 12 of 300 are exactly the share, 10 are exactly the number: neither is exceeded.
        assert!(judged(288, 12, 0).is_ok());
        assert!(judged(1, 10, 0).is_ok());
        assert!(judged(1, 0, 0).is_ok());
        for error in [judged(287, 13, 0), judged(287, 6, 7)] {
            let error = error.unwrap_err();
            assert_eq!(error.message, "table user: user.csv line 17: broken CSV line; 13 of 300 rows are unusable");
            assert!(!error.may_pass);
        }
    }

    #[test]
    fn one_unusable_row_is_too_many_where_no_other_is_there() {
        assert!(judged(0, 0, 0).is_ok(), "nothing was found");
        for (error, rows) in [(judged(0, 1, 0), "1 of 1"), (judged(0, 0, 3), "3 of 3"), (judged(0, 9, 2), "11 of 11")] {
            let message = format!("table user: broken CSV line; {rows} rows are unusable");
            let error = error.unwrap_err();
            assert_eq!(error.message, message);
            assert_eq!(error.detail, format!("{message}, the first in user.csv line 17"));
        }
    }

    #[test]
    fn a_batch_is_broken_by_rows_of_its_own_only() {
        let quality = |table, usable, unusable, without_key| {
            let rows = TableRows { usable, unusable, without_key, first: fault(), read: RowsRead::All };
            Quality { tables: [(table, rows)].into(), ..Quality::default() }
        };
        for table in OF_BATCHES {
            assert!(broken(&quality(table, 0, 1, 0)).is_some(), "{table}");
            assert!(broken(&quality(table, 0, 0, 5)).is_none(), "{table}");
            assert!(broken(&quality(table, 1, 99, 0)).is_none(), "{table}");
        }
        assert!(broken(&quality(Table::User, 0, 1, 0)).is_none());
    }

    #[test]
    fn a_column_of_which_nothing_reads_fails_however_few_rows_it_has() {
        let values = |readable, unreadable| {
            let mut quality = Quality::default();
            *quality.values(Table::UserEnrolments, "enrolleddate") = Values { readable, unreadable, first: fault() };
            request(&quality, MAX)
        };
        assert!(values(0, 0).is_ok());
        assert!(values(1, 1_000).is_ok());
        let error = values(0, 1).unwrap_err();
        assert_eq!(error.message, "table user_enrolments: broken CSV line; 1 of 1 values do not read");
    }
}
