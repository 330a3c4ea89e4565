//! Under which names, and in which forms, tables hold the columns of a scan: those of 2020 and those of today.
//!
//! One table for every source. Of the spellings of a column the first one that has a value in a row counts, row by row;
//! a value that does not read is not passed over. Not here: what a value means (`values`), what an unusable row is
//! (`rows`).

use std::borrow::Cow;
use std::ops::Range;

use crate::tables::plan::Scan;
use crate::tables::schema::{Column, Kind, Presence, Table};

/// The counter that reports are made of: an entry of maps, and a flat column of this name.
pub const COMPLETED_COUNT: &str = "completedCount";

/// Spellings of one column, the first one wins. A scan may ask by any of the names.
const GROUPS: [(Table, &[&str]); 7] = [
    (Table::CourseBatch, &["start_date", "startdate"]),
    (Table::CourseBatch, &["end_date", "enddate"]),
    (Table::User, &["userid", "id"]),
    (Table::UserEnrolments, &["enrolled_date", "enrolleddate"]),
    (Table::UserActivityAgg, &["aggregates", "agg", COMPLETED_COUNT]),
    (Table::AssessmentAggregator, &["course_id", "collection_id"]),
    (Table::AssessmentAggregator, &["batch_id", "context_id"]),
];

/// The names of a column in a table, the first one wins.
fn names(table: Table, column: &Column) -> Vec<Cow<'static, str>> {
    let is_name = |name: &&str| name.eq_ignore_ascii_case(&column.name);
    let group = GROUPS.iter().find(|(of, names)| *of == table && names.iter().any(is_name));
    match group {
        Some((_, names)) => names.iter().copied().map(Cow::Borrowed).collect(),
        None => vec![column.name.clone()],
    }
}

/// One spelling of a column of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spelling {
    /// The place of the column in the scan.
    pub column: usize,
    /// The name. Case does not matter; a column spelled exactly so is preferred.
    pub name: Cow<'static, str>,
    /// The column of kind [`Kind::CompletedCount`] is here a plain number, not a map that has it.
    pub flat: bool,
}

/// The spellings of all columns of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spellings {
    /// In the order of the scan's columns, those of one column in the order in which they win.
    all: Vec<Spelling>,
    /// For each column, where its own begin in `all`; and their number at the end.
    starts: Vec<usize>,
}

impl Spellings {
    /// Those of a scan.
    #[must_use]
    pub fn of(scan: &Scan) -> Self {
        let (mut all, mut starts) = (Vec::new(), vec![0]);
        for (column, asked) in scan.columns.iter().enumerate() {
            for name in names(scan.table, asked) {
                let flat = asked.kind == Kind::CompletedCount && name == COMPLETED_COUNT;
                all.push(Spelling { column, name, flat });
            }
            starts.push(all.len());
        }
        Self { all, starts }
    }

    /// All of them; a spelling is called by its place here.
    #[must_use]
    pub fn all(&self) -> &[Spelling] {
        &self.all
    }

    /// The places of the spellings of a column.
    #[must_use]
    pub fn of_column(&self, column: usize) -> Range<usize> {
        self.starts[column]..self.starts[column + 1]
    }

    /// Where the spellings are among the columns of a file or table; `None` for one that is not there.
    ///
    /// # Errors
    /// Two columns may be meant by one name.
    pub fn among<'h, H: Iterator<Item = &'h [u8]>>(
        &self,
        headers: impl Fn() -> H,
    ) -> Result<Vec<Option<usize>>, Ambiguous> {
        self.all.iter().map(|spelling| find(&spelling.name, headers())).collect()
    }

    /// For each column of the scan, whether one of its spellings is there.
    #[must_use]
    pub fn columns(&self, is_there: impl Fn(usize) -> bool) -> Vec<bool> {
        (0..self.starts.len() - 1).map(|column| self.of_column(column).any(&is_there)).collect()
    }

    /// The first column that must be there and is not, by its spellings as a message names them: `'agg' or 'other'`.
    #[must_use]
    pub fn missing(&self, scan: &Scan, has: &[bool]) -> Option<String> {
        let is_missing = |column: &usize| !has[*column] && scan.columns[*column].presence != Presence::Optional;
        (0..scan.columns.len()).find(is_missing).map(|column| self.named(column))
    }

    /// The spellings of a column as a message names them.
    #[must_use]
    pub fn named(&self, column: usize) -> String {
        let names: Vec<String> =
            self.all[self.of_column(column)].iter().map(|spelling| format!("'{}'", spelling.name)).collect();
        match names.split_last() {
            Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
            _ => names.concat(),
        }
    }
}

/// Two columns of which either may be meant: their names differ only in letter case and none is spelled exactly as asked
/// for, or both are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has two columns that may be '{name}': '{one}' and '{other}'")]
pub struct Ambiguous {
    /// The name asked for.
    pub name: String,
    /// The first column.
    pub one: String,
    /// The second one.
    pub other: String,
}

impl Ambiguous {
    /// For names of a file, which need not be UTF-8.
    #[must_use]
    pub fn new(name: &str, one: &[u8], other: &[u8]) -> Self {
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        Self { name: name.to_owned(), one: text(one), other: text(other) }
    }
}

/// The place of a name: spelled exactly so, or else in other letter case.
///
/// # Errors
/// Two columns are spelled exactly so, or none is and two are in other letter case.
pub fn find<'h>(name: &str, headers: impl Iterator<Item = &'h [u8]>) -> Result<Option<usize>, Ambiguous> {
    let alike = headers.enumerate().filter(|(_, header)| header.eq_ignore_ascii_case(name.as_bytes()));
    let mut best: Option<(bool, usize, &[u8])> = None;
    let mut clash = None;
    for (place, header) in alike {
        let exact = header == name.as_bytes();
        match best {
            Some((best_exact, _, one)) if best_exact == exact => {
                clash = clash.or_else(|| Some(Ambiguous::new(name, one, header)));
            }
            Some((true, ..)) => {}
            _ => {
                best = Some((exact, place, header));
                clash = None;
            }
        }
    }
    match clash {
        Some(clash) => Err(clash),
        None => Ok(best.map(|(_, place, _)| place)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(table: Table, columns: Vec<Column>) -> Scan {
        Scan::everything(table, columns)
    }

    fn activity() -> Scan {
        let columns = vec![
            Column::key("user_id"),
            Column::required("agg", Kind::CompletedCount),
            Column::optional("agg_last_updated", Kind::LastUpdated),
        ];
        scan(Table::UserActivityAgg, columns)
    }

    fn headers<'a>(names: &'a [&'a str]) -> impl Iterator<Item = &'a [u8]> {
        names.iter().map(|name| name.as_bytes())
    }

    #[test]
    fn columns_of_today_come_before_those_of_2020() {
        let spellings = Spellings::of(&activity());
        let names: Vec<(usize, &str, bool)> =
            spellings.all().iter().map(|spelling| (spelling.column, &*spelling.name, spelling.flat)).collect();
        assert_eq!(
            names,
            [
                (0, "user_id", false),
                (1, "aggregates", false),
                (1, "agg", false),
                (1, "completedCount", true),
                (2, "agg_last_updated", false)
            ]
        );
        let places = spellings.among(|| headers(&["completedcount", "AGG", "USER_ID"])).unwrap();
        assert_eq!(places, [Some(2), None, Some(1), Some(0), None]);
    }

    #[test]
    fn only_of_their_own_table_and_by_any_name() {
        let asked = |table, name| {
            let spellings = Spellings::of(&scan(table, vec![Column::key(name)]));
            spellings.all().iter().map(|spelling| spelling.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(asked(Table::User, "UserID"), ["userid", "id"]);
        assert_eq!(asked(Table::UserEnrolments, "userid"), ["userid"]);
        assert_eq!(asked(Table::UserActivityAgg, "context_id"), ["context_id"]);
        assert_eq!(asked(Table::AssessmentAggregator, "context_id"), ["batch_id", "context_id"]);
        assert_eq!(asked(Table::CourseBatch, "enddate"), ["end_date", "enddate"]);
    }

    #[test]
    fn a_column_is_missing_only_if_none_of_its_spellings_is_there() {
        let (scan, spellings) = (activity(), Spellings::of(&activity()));
        let missing = |names: &[&str]| {
            let places = spellings.among(|| headers(names)).unwrap();
            spellings.missing(&scan, &spellings.columns(|at| places[at].is_some()))
        };
        for one in ["aggregates", "agg", "completedCount"] {
            assert_eq!(missing(&["user_id", one]), None, "{one}");
        }
        assert_eq!(missing(&["user_id"]).as_deref(), Some("'aggregates', 'agg' or 'completedCount'"));
        assert_eq!(missing(&["agg"]).as_deref(), Some("'user_id'"));
    }

    #[test]
    fn two_columns_that_may_be_meant_are_refused() {
        let found = |names: &[&str]| find("contentType", headers(names)).map_err(|clash| clash.to_string());
        assert_eq!(found(&["x", "contenttype", "contentType", "ContentType"]), Ok(Some(2)));
        assert_eq!(found(&["CONTENTTYPE"]), Ok(Some(0)));
        assert_eq!(found(&["content"]), Ok(None));
        for (names, one, other) in [
            (["contenttype", "ContentType", "x"], "contenttype", "ContentType"),
            (["contentType", "contenttype", "contentType"], "contentType", "contentType"),
            (["contenttype", "contenttype", "x"], "contenttype", "contenttype"),
        ] {
            let expected = format!("has two columns that may be 'contentType': '{one}' and '{other}'");
            assert_eq!(found(&names), Err(expected));
        }
    }
}
