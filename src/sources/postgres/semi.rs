//! Rows whose keys follow from another table of the same database: the server joins them, no keys are sent.
//!
//! Both tables are read in one snapshot. The join goes over all rows that the other scan reached, of which some were not
//! kept: it brings more rows than the keys would, never fewer.

use super::catalog::{self, Found};
use super::config::Relations;
use super::connection::Connection;
use super::failure::Failure;
use super::keys::{self, Placed};
use super::query;
use crate::sources::spellings::Spellings;
use crate::tables::plan::SemiOrigin;

/// The keys of a semi join, as something to select from. `None`: the server's text is not UTF-8, so that what it compares
/// may differ from what is delivered; the keys are sent.
pub(super) fn place(
    connection: &mut Connection,
    relations: &Relations,
    of: &SemiOrigin,
) -> Result<Option<Placed>, Failure> {
    if !is_utf8(connection)? {
        return Ok(None);
    }
    let SemiOrigin { column, scan } = of;
    let relation = relations.of(scan.table);
    let label = relation.quoted();
    let found: Vec<Found> = catalog::columns(connection, &relation)?
        .ok_or_else(|| Failure::lasting(format!("there is no table {label}")))?;
    let spellings = Spellings::of(scan);
    let chosen = query::choose(scan, &spellings, &found).map_err(|what| Failure::lasting(format!("{label} {what}")))?;
    let position = |name: &str| scan.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name));
    let text_of = |name: &str| Some(query::key_text(&chosen[spellings.of_column(position(name)?)]));
    let Some(key) = text_of(column) else {
        return Ok(None);
    };
    let placed = keys::place(connection, scan.only().map(|(_, keys)| keys.as_ref()), keys::ORIGIN_KEYS)?;
    let limit = scan.only().and_then(|(name, _)| text_of(name)).map(|of| query::is_among(&of, placed.keys()));
    let range = scan.learners.as_ref().and_then(|of| Some(query::in_range(&text_of(&of.column)?, &of.range)));
    let conditions: Vec<String> = limit.into_iter().chain(range).filter(|condition| !condition.is_empty()).collect();
    let rows = if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") };
    // The columns of two tables may have two collations, and the server would not know by which to compare.
    Ok(Some(Placed::Joined(format!(r#"(SELECT {key} COLLATE "default" FROM {label} AS t WHERE {rows})"#))))
}

fn is_utf8(connection: &mut Connection) -> Result<bool, Failure> {
    let rows = connection.query("SELECT current_setting('server_encoding') = 'UTF8'", &[])?;
    Ok(rows.iter().any(|row| row.get(0)))
}
