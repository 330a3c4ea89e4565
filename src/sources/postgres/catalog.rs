//! Which tables and columns a schema has, by the catalog: `information_schema` hides materialized views.
//!
//! Not here: which columns a scan needs.

use crate::tables::schema::Table;

use super::config::{Relation, Relations};
use super::connection::Connection;
use super::failure::Failure;

/// A column as the server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its name, in its own case.
    pub name: String,
    /// What its text looks like.
    pub shape: Shape,
}

/// What a column's type means for reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `text`, `varchar`: compared as it is, so that an index serves.
    Text,
    /// `json`, `jsonb`.
    Json,
    /// Arrays, composite types, `hstore`: become JSON.
    Nested,
    /// Whole and decimal numbers.
    Number,
    /// Booleans.
    Bool,
    /// Everything else, by its text: dates and times, `uuid`, `char(n)`, enums.
    Plain,
}

/// Tables, partitioned tables, views, materialized views, foreign tables.
const RELATIONS: &str = "c.relkind IN ('r', 'p', 'v', 'm', 'f')";

/// Which of the platform's tables the database has.
pub(super) fn tables(connection: &mut Connection, relations: &Relations) -> Result<Vec<Table>, Failure> {
    let (schemas, names): (Vec<String>, Vec<String>) =
        Table::ALL.into_iter().map(|table| relations.of(table)).map(|of| (of.schema, of.name)).unzip();
    let rows = connection.query(
        &format!(
            "SELECT w.number::int FROM pg_catalog.pg_class c
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             JOIN unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (schema, name, number)
               ON w.schema = n.nspname AND w.name = c.relname
             WHERE {RELATIONS}"
        ),
        &[&schemas, &names],
    )?;
    let found: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    Ok((1..).zip(Table::ALL).filter(|(number, _)| found.contains(number)).map(|(_, table)| table).collect())
}

/// The columns of a table in its own order; `None` if there is no such table. A domain is as good as its base type.
pub(super) fn columns(connection: &mut Connection, relation: &Relation) -> Result<Option<Vec<Found>>, Failure> {
    let rows = connection.query(
        &format!(
            "SELECT a.attname::text, coalesce(b.typname, t.typname)::text, t.typcategory::text
             FROM pg_catalog.pg_class c
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
             LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype
             WHERE n.nspname = $1 AND c.relname = $2 AND {RELATIONS}
             ORDER BY a.attnum"
        ),
        &[&relation.schema, &relation.name],
    )?;
    if rows.is_empty() {
        return Ok(None);
    }
    let found = rows.iter().filter_map(|row| {
        // A table without columns is one row of nulls.
        let name: Option<String> = row.get(0);
        let (kind, category): (Option<String>, Option<String>) = (row.get(1), row.get(2));
        Some(Found { name: name?, shape: shape(&kind.unwrap_or_default(), &category.unwrap_or_default()) })
    });
    Ok(Some(found.collect()))
}

/// <https://www.postgresql.org/docs/current/catalog-pg-type.html#CATALOG-TYPCATEGORY-TABLE>
fn shape(name: &str, category: &str) -> Shape {
    match (name, category) {
        ("text" | "varchar", _) => Shape::Text,
        ("json" | "jsonb", _) => Shape::Json,
        ("hstore", _) | (_, "A" | "C") => Shape::Nested,
        ("money" | "oid", _) => Shape::Plain,
        (_, "N") => Shape::Number,
        (_, "B") => Shape::Bool,
        _ => Shape::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_by_name_and_category() {
        for (name, category, expected) in [
            ("varchar", "S", Shape::Text),
            ("bpchar", "S", Shape::Plain),
            ("jsonb", "U", Shape::Json),
            ("_text", "A", Shape::Nested),
            ("hstore", "U", Shape::Nested),
            ("numeric", "N", Shape::Number),
            ("bool", "B", Shape::Bool),
            ("timestamptz", "D", Shape::Plain),
            ("uuid", "U", Shape::Plain),
        ] {
            assert_eq!(shape(name, category), expected, "{name}");
        }
    }
}
