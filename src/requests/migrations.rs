//! The files under `migrations/` as steps, each of which adds one thing. Which things are there is for the backends to
//! find out; only steps whose thing is missing are run, so a second start touches nothing.

use std::collections::BTreeSet;

/// What a step adds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Thing {
    /// A table.
    Table(String),
    /// A column of a table.
    Column(String, String),
    /// An index that can be relied on.
    Index(String),
    /// A storage parameter of a table, whatever its value: somebody may have chosen another one.
    Parameter(String, String),
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// What it adds.
    pub(super) adds: Thing,
    /// The statement, without its semicolon.
    pub(super) sql: String,
}

/// The statements of the files, in order.
pub(super) fn steps(files: &[&str]) -> Vec<Step> {
    files.iter().flat_map(|file| statements(file)).filter_map(|sql| Some(Step { adds: added(&sql)?, sql })).collect()
}

/// The steps whose thing is not there.
pub(super) fn missing(steps: Vec<Step>, there: &BTreeSet<Thing>) -> Vec<Step> {
    steps.into_iter().filter(|step| !there.contains(&step.adds)).collect()
}

fn statements(file: &str) -> Vec<String> {
    let code: Vec<&str> = file.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    code.join("\n").split(';').map(|sql| sql.trim().to_owned()).filter(|sql| !sql.is_empty()).collect()
}

/// Reads the few shapes that our own files have (a test sees to it that they have no others).
fn added(sql: &str) -> Option<Thing> {
    const NOISE: [&str; 4] = ["IF", "NOT", "EXISTS", "CONCURRENTLY"];
    let words: Vec<&str> =
        sql.split(|c: char| c.is_whitespace() || c == '(').filter(|w| !w.is_empty() && !NOISE.contains(w)).collect();
    match words.as_slice() {
        ["CREATE", "TABLE", table, ..] => Some(Thing::Table((*table).to_owned())),
        ["ALTER", "TABLE", table, "ADD", "COLUMN", column, ..] => {
            Some(Thing::Column((*table).to_owned(), (*column).to_owned()))
        }
        ["ALTER", "TABLE", table, "SET", parameter, "=", ..] => {
            Some(Thing::Parameter((*table).to_owned(), (*parameter).to_owned()))
        }
        ["CREATE", "INDEX", index, "ON", ..] => Some(Thing::Index((*index).to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_becomes_the_steps_that_it_has() {
        let file = "-- why; really\nCREATE TABLE IF NOT EXISTS a (b TEXT);\n\nALTER TABLE a ADD COLUMN IF NOT EXISTS c INT;\n\
                    ALTER TABLE a ADD COLUMN d INT;CREATE INDEX CONCURRENTLY IF NOT EXISTS e ON a (b);\n\
                    ALTER TABLE a SET (f = 5)\n";
        let adds: Vec<Thing> = steps(&[file]).into_iter().map(|step| step.adds).collect();
        let column = |name: &str| Thing::Column("a".to_owned(), name.to_owned());
        let parameter = Thing::Parameter("a".to_owned(), "f".to_owned());
        let table = Thing::Table("a".to_owned());
        assert_eq!(adds, [table, column("c"), column("d"), Thing::Index("e".to_owned()), parameter]);
    }

    #[test]
    fn no_statement_of_our_files_is_overlooked() {
        // A table, thirteen columns, two indexes, a table, an index; then indexes for lines, lists and counts, and room.
        let of = |files: &[&str]| {
            let written: usize = files.iter().map(|file| statements(file).len()).sum();
            (steps(files).len(), written)
        };
        assert_eq!(of(&super::super::postgres::MIGRATIONS), (18 + 3, 18 + 3));
        assert_eq!(of(&super::super::sqlite::MIGRATIONS), (18 + 4, 18 + 4));
    }

    #[test]
    fn only_what_is_missing_is_left() {
        let all = steps(&["CREATE TABLE a (b TEXT); CREATE TABLE c (b TEXT)"]);
        let left = missing(all, &BTreeSet::from([Thing::Table("a".to_owned())]));
        assert_eq!(left.iter().map(|s| s.sql.as_str()).collect::<Vec<_>>(), ["CREATE TABLE c (b TEXT)"]);
    }
}
