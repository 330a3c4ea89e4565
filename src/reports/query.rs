//! A report that an operator defines in SQL: an engine returns the rows of a request, which become its files, sorted here.

mod shape;

use std::borrow::Cow;
use std::time::Duration;

use chrono::NaiveDate;

use super::{Counts, PIECE_ROWS, ReportError};
use crate::tables::decimal::Decimal;
use crate::tables::finished::{Finished, TableColumn, Values};
use crate::tables::queried::{FileRows, QueriedRows, ValueKind};

pub use shape::{ALL, BATCH_ID, FileShape, NULL, Placeholder, Split};

/// A report defined in SQL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QueryReport {
    /// The source that is asked, by its name: `source`, or `source.<name>`.
    pub engine: String,
    /// The name of the query's file, as in jobs.toml.
    pub file: String,
    /// The query, with `{batches}` and other placeholders.
    pub query: String,
    /// How its rows become files.
    pub split: Split,
    /// It may read rows that are of no batch of the request.
    pub all_rows: bool,
    /// The columns that its rows are sorted by.
    pub order_by: Vec<String>,
    /// The columns that are written.
    pub columns: Vec<QueryColumn>,
    /// How much the query may return.
    pub limits: QueryLimits,
}

/// A column that is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QueryColumn {
    /// Its name in the query's result.
    pub name: String,
    /// Its heading in the file.
    pub heading: String,
}

/// How much a query may return for one request. Beyond that the request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueryLimits {
    /// Rows.
    pub rows: u64,
    /// Bytes in memory, about.
    pub bytes: u64,
    /// From the question to the last row.
    pub time: Duration,
}

impl QueryReport {
    /// The placeholders that its query has.
    pub fn placeholders(&self) -> impl Iterator<Item = Placeholder> {
        Placeholder::ALL.into_iter().filter(|placeholder| self.query.contains(placeholder.text()))
    }

    /// The columns that the engine is asked for: that which says in which file a row is, those that are written, those that rows
    /// are only sorted by.
    #[must_use]
    pub fn question_columns(&self) -> Vec<&str> {
        self.split.column().into_iter().chain(self.asked_columns()).collect()
    }

    /// Bytes of memory that sorting takes for each row.
    #[must_use]
    pub const fn sort_bytes(&self) -> u64 {
        (size_of::<usize>() + self.order_by.len() * size_of::<SortKey<'_>>()) as u64
    }

    fn asked_columns(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        for name in &self.order_by {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    /// Makes the table of one file from its rows, piece by piece, as [`super::generate`].
    ///
    /// # Errors
    /// `order_by` is not total, a value does not read as its type, there is no such file, or `take` fails.
    pub fn generate<E: From<ReportError>>(
        &self,
        file: &str,
        queried: &QueriedRows,
        mut take: impl FnMut(&Finished<'_>) -> Result<(), E>,
    ) -> Result<Counts, E> {
        let rows = queried.of(file).ok_or_else(|| ReportError::NotLoaded { batch: file.to_owned() })?;
        let order = self.order(file, rows, &queried.kinds)?;
        let mut pieces: Vec<&[usize]> = order.chunks(PIECE_ROWS).collect();
        if pieces.is_empty() {
            pieces.push(&[]);
        }
        for piece in pieces {
            take(&self.table(file, rows, &queried.kinds, piece)?)?;
        }
        Ok(Counts { rows: rows.rows() as u64, ..Counts::default() })
    }

    /// The numbers of the rows in the order of the file.
    fn order(&self, file: &str, rows: &FileRows, kinds: &[ValueKind]) -> Result<Vec<usize>, ReportError> {
        let asked = self.asked_columns();
        let sorted_by: Vec<usize> =
            self.order_by.iter().filter_map(|name| asked.iter().position(|one| one == name)).collect();
        let mut keys = Vec::with_capacity(rows.rows() * sorted_by.len());
        for row in 0..rows.rows() {
            for &column in &sorted_by {
                let text = rows.cell(row, column);
                let key = SortKey::of(text, kinds[column]);
                keys.push(key.ok_or_else(|| self.unreadable(file, asked[column], kinds[column]))?);
            }
        }
        let key = |row: usize| &keys[row * sorted_by.len()..(row + 1) * sorted_by.len()];
        let mut order: Vec<usize> = (0..rows.rows()).collect();
        order.sort_unstable_by(|one, other| key(*one).cmp(key(*other)));
        if order.windows(2).any(|pair| key(pair[0]) == key(pair[1])) {
            return Err(ReportError::OrderNotTotal { file: self.split.label(file) });
        }
        Ok(order)
    }

    fn table<'a>(
        &'a self,
        file: &str,
        rows: &'a FileRows,
        kinds: &[ValueKind],
        piece: &[usize],
    ) -> Result<Finished<'a>, ReportError> {
        let mut columns = Vec::with_capacity(self.columns.len());
        for (at, column) in self.columns.iter().enumerate() {
            let cells = piece.iter().map(|row| rows.cell(*row, at));
            let values = match kinds[at] {
                ValueKind::Int => read(cells, |text| text.parse().ok()).map(Values::Int),
                ValueKind::Date => read(cells, day).map(Values::Date),
                ValueKind::Time => read(cells, |text| has_four_digit_year(text).then_some(Cow::Borrowed(text)))
                    .map(|times| Values::Text(times.into_iter().map(Option::unwrap_or_default).collect())),
                ValueKind::Number | ValueKind::Text => {
                    Some(Values::Text(cells.map(|cell| Cow::Borrowed(cell.unwrap_or_default())).collect()))
                }
            };
            let values = values.ok_or_else(|| self.unreadable(file, &column.name, kinds[at]))?;
            columns.push(TableColumn { heading: Cow::Borrowed(&column.heading), from_data: false, values });
        }
        Ok(Finished { rows: piece.len(), listed: None, columns })
    }

    fn unreadable(&self, file: &str, column: &str, kind: ValueKind) -> ReportError {
        let kind = match kind {
            ValueKind::Int | ValueKind::Number => "number",
            ValueKind::Date => "date of the years 1 to 9999",
            ValueKind::Time => "time of the years 1 to 9999",
            ValueKind::Text => "text",
        };
        ReportError::UnreadableResult { file: self.split.label(file), column: column.to_owned(), kind }
    }
}

/// Each value, `None` for null; nothing at all where one of them does not read.
fn read<'a, T>(
    cells: impl Iterator<Item = Option<&'a str>>,
    read: impl Fn(&'a str) -> Option<T>,
) -> Option<Vec<Option<T>>> {
    cells.map(|cell| cell.map_or(Some(None), |text| read(text).map(Some))).collect()
}

fn day(text: &str) -> Option<NaiveDate> {
    has_four_digit_year(text).then(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()).flatten()
}

/// Not `infinity`, `10000-01-01` or `0044-03-15 BC`.
fn has_four_digit_year(text: &str) -> bool {
    text.as_bytes().get(4) == Some(&b'-')
        && text.bytes().take(4).all(|digit| digit.is_ascii_digit())
        && !text.ends_with("BC")
}

/// What a cell is sorted by: absent first, numbers and times by value, text by its bytes. Cells of one column have one kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SortKey<'a> {
    Absent,
    Int(i64),
    Number(Number),
    Text(&'a str),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Number {
    Lowest,
    Finite(Decimal),
    Infinite,
    Undefined,
}

impl<'a> SortKey<'a> {
    fn of(cell: Option<&'a str>, kind: ValueKind) -> Option<Self> {
        let Some(text) = cell else { return Some(Self::Absent) };
        match kind {
            ValueKind::Int => text.parse().ok().map(Self::Int),
            ValueKind::Number => Some(Self::Number(match text {
                "-Infinity" => Number::Lowest,
                "Infinity" => Number::Infinite,
                "NaN" => Number::Undefined,
                finite => Number::Finite(Decimal::parse(finite)?),
            })),
            // ISO texts of one zone and four digits of the year are in the order of their times.
            ValueKind::Date | ValueKind::Time => has_four_digit_year(text).then_some(Self::Text(text)),
            ValueKind::Text => Some(Self::Text(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(order_by: &[&str]) -> QueryReport {
        QueryReport {
            engine: "source".to_owned(),
            file: "query.sql".to_owned(),
            query: "SELECT 1 FROM {batches}".to_owned(),
            split: Split::Batch,
            all_rows: false,
            order_by: order_by.iter().map(|&name| name.to_owned()).collect(),
            columns: vec![QueryColumn { name: "name".to_owned(), heading: "Name".to_owned() }],
            limits: QueryLimits { rows: 1, bytes: 1, time: Duration::ZERO },
        }
    }

    /// The names in the order of the file, where `value` is of this kind.
    fn sorted(kind: ValueKind, values: &[(&str, Option<&str>)]) -> Result<Vec<String>, ReportError> {
        let mut rows = QueriedRows::default();
        rows.kinds = vec![ValueKind::Text, kind];
        rows.expect("b");
        for (name, value) in values {
            rows.push("b", &[Some(name), *value]).unwrap();
        }
        let mut names = Vec::new();
        report(&["value"]).generate("b", &rows, |table| {
            let Values::Text(cells) = &table.columns[0].values else { panic!("text") };
            assert_eq!((table.columns.len(), table.rows), (1, cells.len()), "only the listed column is written");
            names.extend(cells.iter().map(|cell| cell.clone().into_owned()));
            Ok::<(), ReportError>(())
        })?;
        Ok(names)
    }

    #[test]
    fn numbers_and_times_are_sorted_by_value_text_by_bytes_and_absent_comes_first() {
        let names = |kind, values: &[(&str, Option<&str>)]| sorted(kind, values).unwrap().concat();
        assert_eq!(names(ValueKind::Int, &[("b", Some("10")), ("a", Some("9")), ("c", None)]), "cab");
        let numbers =
            [("d", Some("1e1")), ("a", Some("-Infinity")), ("e", Some("NaN")), ("c", Some("9.5")), ("b", Some("-10"))];
        assert_eq!(names(ValueKind::Number, &numbers), "abcde");
        let times = [("b", Some("2020-01-01 00:00:00.5")), ("a", Some("2020-01-01 00:00:00"))];
        assert_eq!(names(ValueKind::Time, &times), "ab");
        assert_eq!(names(ValueKind::Text, &[("c", Some("ä")), ("b", Some("a")), ("a", Some("Z"))]), "abc");
    }

    #[test]
    fn rows_that_are_equal_in_all_of_order_by_fail_the_file() {
        let twice = sorted(ValueKind::Number, &[("a", Some("1.0")), ("b", Some("1"))]);
        assert_eq!(twice, Err(ReportError::OrderNotTotal { file: "batch b".to_owned() }));
        let absent = sorted(ValueKind::Text, &[("a", None), ("b", None)]);
        assert_eq!(absent.unwrap_err().to_string(), "order_by is not total: two rows of batch b are equal in it");
    }

    #[test]
    fn a_value_that_cannot_be_sorted_fails_the_file() {
        for value in ["infinity", "10000-01-01", "0044-03-15 BC"] {
            let error = sorted(ValueKind::Date, &[("a", Some(value))]).unwrap_err();
            assert!(error.to_string().contains("column value is no date"), "{error}");
        }
    }
}
