//! What a kind of source is to jobs.toml: its word, its keys, and what its reader is given.

use crate::document::{Key, Section};
use crate::tables::schema::Table;

/// A kind of source. Each has a folder of its own and a line in `configured`.
#[derive(Debug)]
pub struct Kind {
    /// The word for it in `kind = "…"`.
    pub name: &'static str,
    /// Whether it answers the queries of reports in SQL.
    pub answers_queries: bool,
    /// Its keys in `[source]` and `[source.<name>]`.
    pub keys: &'static [Key],
    /// Its keys in an entry of `[source.tables]`.
    pub table_keys: &'static [Key],
}

/// A table that a source is to have.
pub(crate) struct RoutedTable<'a> {
    /// The table.
    pub(crate) table: Table,
    /// Its entry of `[source.tables]`, if there is one.
    pub(crate) entry: Option<Section<'a>>,
}
