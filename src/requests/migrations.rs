//! The files under `migrations/` as steps. Each adds one object, or removes an index of ours that newer ones replace. The
//! backends read which objects exist; only the steps that are left to do are run, so a second start changes nothing.

use std::collections::BTreeSet;

/// An object of the database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Object {
    /// A table.
    Table(String),
    /// A column of a table.
    Column(String, String),
    /// A valid index.
    Index(String),
    /// What an interrupted build of an index has left.
    Remains(String),
    /// A storage parameter of a table, with any value: an operator may have chosen another one.
    Parameter(String, String),
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The object exists afterwards.
    Adds(Object),
    /// The index of this name does not exist afterwards.
    Removes(String),
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// What it does.
    pub(super) change: Change,
    /// The statement, without its semicolon.
    pub(super) sql: String,
}

/// The statements of the files, in order.
pub(super) fn steps(files: &[&str]) -> Vec<Step> {
    files.iter().flat_map(|file| statements(file)).filter_map(|sql| Some(Step { change: change(&sql)?, sql })).collect()
}

/// The steps that are left to do: objects to add that do not exist, indexes to remove that do. What a later step removes is
/// not added before.
pub(super) fn missing(steps: Vec<Step>, there: &BTreeSet<Object>) -> Vec<Step> {
    let removed: BTreeSet<Object> = steps
        .iter()
        .filter_map(|step| match &step.change {
            Change::Removes(index) => Some(Object::Index(index.clone())),
            Change::Adds(_) => None,
        })
        .collect();
    let is_missing = |step: &Step| match &step.change {
        Change::Adds(thing) => !there.contains(thing) && !removed.contains(thing),
        Change::Removes(index) => {
            [Object::Index(index.clone()), Object::Remains(index.clone())].iter().any(|thing| there.contains(thing))
        }
    };
    steps.into_iter().filter(is_missing).collect()
}

fn statements(file: &str) -> Vec<String> {
    let code: Vec<&str> = file.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    code.join("\n").split(';').map(|sql| sql.trim().to_owned()).filter(|sql| !sql.is_empty()).collect()
}

/// Reads the few kinds of statements that our files have (a test checks that they have no others).
fn change(sql: &str) -> Option<Change> {
    const NOISE: [&str; 4] = ["IF", "NOT", "EXISTS", "CONCURRENTLY"];
    let words: Vec<&str> =
        sql.split(|c: char| c.is_whitespace() || c == '(').filter(|w| !w.is_empty() && !NOISE.contains(w)).collect();
    let adds = match words.as_slice() {
        ["CREATE", "TABLE", table, ..] => Object::Table((*table).to_owned()),
        ["ALTER", "TABLE", table, "ADD", "COLUMN", column, ..] => {
            Object::Column((*table).to_owned(), (*column).to_owned())
        }
        ["ALTER", "TABLE", table, "SET", parameter, "=", ..] => {
            Object::Parameter((*table).to_owned(), (*parameter).to_owned())
        }
        ["CREATE", "INDEX", index, "ON", ..] => Object::Index((*index).to_owned()),
        ["DROP", "INDEX", index] => return Some(Change::Removes((*index).to_owned())),
        _ => return None,
    };
    Some(Change::Adds(adds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_becomes_the_steps_that_it_has() {
        let file = "-- why; really\nCREATE TABLE IF NOT EXISTS a (b TEXT);\n\nALTER TABLE a ADD COLUMN IF NOT EXISTS c INT;\n\
                    ALTER TABLE a ADD COLUMN d INT;CREATE INDEX CONCURRENTLY IF NOT EXISTS e ON a (b);\n\
                    ALTER TABLE a SET (f = 5);\nDROP INDEX CONCURRENTLY IF EXISTS e;\n";
        let changes: Vec<Change> = steps(&[file]).into_iter().map(|step| step.change).collect();
        let column = |name: &str| Object::Column("a".to_owned(), name.to_owned());
        let parameter = Object::Parameter("a".to_owned(), "f".to_owned());
        let table = Object::Table("a".to_owned());
        let index = Object::Index("e".to_owned());
        let added = [table, column("c"), column("d"), index, parameter].map(Change::Adds);
        assert_eq!(changes, [&added[..], &[Change::Removes("e".to_owned())]].concat());
    }

    #[test]
    fn no_statement_of_our_files_is_overlooked() {
        // A table, thirteen columns, two indexes, a table, an index; then indexes for lines, lists and counts, and room;
        // on PostgreSQL three indexes in place of two; an index for what other systems have completed;
        // a table for daemons, one for the installation, and one for parts; a column for kinds of failures, and indexes for filters;
        // a table for pauses, and a column for what daemons know; a table for the audit.
        let of = |files: &[&str]| {
            let written: usize = files.iter().map(|file| statements(file).len()).sum();
            (steps(files).len(), written)
        };
        assert_eq!(of(super::super::postgres::MIGRATIONS), (29 + 13, 29 + 13));
        assert_eq!(of(super::super::sqlite::MIGRATIONS), (28 + 9, 28 + 9));
    }

    #[test]
    fn only_what_is_missing_is_left() {
        let all = steps(&["CREATE TABLE a (b TEXT); CREATE TABLE c (b TEXT)"]);
        let left = missing(all, &BTreeSet::from([Object::Table("a".to_owned())]));
        assert_eq!(left.iter().map(|s| s.sql.as_str()).collect::<Vec<_>>(), ["CREATE TABLE c (b TEXT)"]);
    }

    #[test]
    fn what_was_replaced_is_removed_and_never_made_again() {
        let file = "CREATE INDEX old ON a (b); CREATE INDEX new ON a (c); DROP INDEX old";
        let left = |there: &[Object]| -> Vec<String> {
            missing(steps(&[file]), &there.iter().cloned().collect()).into_iter().map(|step| step.sql).collect()
        };
        let (old, new) = (Object::Index("old".to_owned()), Object::Index("new".to_owned()));
        assert_eq!(left(&[]), ["CREATE INDEX new ON a (c)"]);
        assert_eq!(left(std::slice::from_ref(&old)), ["CREATE INDEX new ON a (c)", "DROP INDEX old"]);
        assert_eq!(left(&[Object::Remains("old".to_owned()), new.clone()]), ["DROP INDEX old"]);
        assert_eq!(left(&[new]), Vec::<String>::new());
    }
}
