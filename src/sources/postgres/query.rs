//! The statement of a scan.
//!
//! Not here: running it, and reading what comes.

use crate::reports::schema::{Column, Kind, Presence, Scan};

use super::catalog::{Found, Shape, find};
use super::copy::quoted;

/// How a scan's set of keys comes into the statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys<'a> {
    /// There is none: every row.
    All,
    /// As the literal of an array, for sets that are small.
    Listed(&'a str),
    /// As something with one column of text to select from: hashed or looked up by index, as the server sees fit.
    Joined(&'a str),
}

/// For each column of the scan, where it is in the table. `None`: the table does not have it, and the scan can do
/// without. The error is the name of the column that must be there and is not.
pub(super) fn choose<'a>(scan: &Scan, found: &'a [Found]) -> Result<Vec<Option<&'a Found>>, String> {
    let places = scan.columns.iter().map(|column| {
        let place = place(column, found);
        if place.is_none() && column.presence != Presence::Optional {
            return Err(column.name.to_string());
        }
        Ok(place)
    });
    places.collect()
}

/// A flat column `completedCount` stands in for the map of counters.
fn place<'a>(column: &Column, found: &'a [Found]) -> Option<&'a Found> {
    let own = find(found, &column.name);
    if column.kind == Kind::CompletedCount { own.or_else(|| find(found, "completedCount")) } else { own }
}

/// The query of which COPY gives the rows, one text per column of the scan.
///
/// Rows without a key come as well, whatever keys are asked for: they are unusable, and whose they are is unknown. They
/// are a query of their own beside a join, which an OR would keep from being one.
pub(super) fn select(scan: &Scan, chosen: &[Option<&Found>], schema: &str, keys: Keys<'_>) -> String {
    let expressions = chosen.iter().map(|found| found.map_or("NULL".to_owned(), text));
    let rows = format!(
        "SELECT {} FROM {}.{} AS t",
        expressions.collect::<Vec<_>>().join(", "),
        quoted(schema),
        quoted(scan.table.name())
    );
    let only = scan.only.as_ref().and_then(|(name, _)| scan.columns.iter().position(|column| column.name == *name));
    let Some(only) = only else { return rows };
    // No row is wanted of a table that does not have the column.
    let Some(key) = chosen[only].map(key) else { return format!("{rows} WHERE false") };
    let nothing = format!("{key} IS NULL OR {key} = ''");
    match keys {
        Keys::All => rows,
        Keys::Listed(array) => format!("{rows} WHERE {key} = ANY({array}) OR {nothing}"),
        Keys::Joined(from) => format!(
            "{rows} WHERE EXISTS (SELECT FROM {from} AS k (key) WHERE k.key = {key}) UNION ALL {rows} WHERE {nothing}"
        ),
    }
}

/// A column as text; lists and maps as JSON. Times with a zone come in the session's (UTC) with their offset, those
/// without as they are.
fn text(found: &Found) -> String {
    let name = format!("t.{}", quoted(&found.name));
    if found.shape == Shape::Nested { format!("to_json({name})::text") } else { format!("{name}::text") }
}

/// A column to compare with keys: `text` as it is, which an index on it can serve.
fn key(found: &Found) -> String {
    let name = format!("t.{}", quoted(&found.name));
    match found.shape {
        Shape::Text => name,
        // Text without JSON's quotes.
        Shape::Json => format!("({name} #>> '{{}}')"),
        _ => format!("({})", text(found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reports::schema::{Table, keys};

    fn found(columns: &[(&str, Shape)]) -> Vec<Found> {
        columns.iter().map(|&(name, shape)| Found { name: name.to_owned(), shape }).collect()
    }

    fn scan(only: Option<&'static str>) -> Scan {
        Scan {
            table: Table::User,
            columns: vec![
                Column::key("userid"),
                Column::optional("firstname", Kind::Text),
                Column::optional("state", Kind::Text),
            ],
            only: only.map(|name| (name.into(), keys::<&str>([]))),
        }
    }

    #[test]
    fn every_row_of_the_needed_columns() {
        let columns = found(&[("UserID", Shape::Text), ("secret", Shape::Text), ("state", Shape::Json)]);
        let scan = scan(None);
        assert_eq!(
            select(&scan, &choose(&scan, &columns).unwrap(), "my\"schema", Keys::All),
            r#"SELECT t."UserID"::text, NULL, t."state"::text FROM "my""schema"."user" AS t"#
        );
    }

    #[test]
    fn keys_go_into_the_query() {
        let columns = found(&[("userid", Shape::Text), ("firstname", Shape::Nested)]);
        let scan = scan(Some("userid"));
        let chosen = choose(&scan, &columns).unwrap();
        let rows = r#"SELECT t."userid"::text, to_json(t."firstname")::text, NULL FROM "public"."user" AS t"#;
        assert_eq!(
            select(&scan, &chosen, "public", Keys::Listed("'{\"a\"}'::text[]")),
            format!(r#"{rows} WHERE t."userid" = ANY('{{"a"}}'::text[]) OR t."userid" IS NULL OR t."userid" = ''"#)
        );
        assert_eq!(
            select(&scan, &chosen, "public", Keys::Joined("wanted")),
            format!(
                r#"{rows} WHERE EXISTS (SELECT FROM wanted AS k (key) WHERE k.key = t."userid") UNION ALL {rows} WHERE t."userid" IS NULL OR t."userid" = ''"#
            )
        );
    }

    #[test]
    fn keys_of_other_types_are_compared_as_text() {
        let columns = found(&[("userid", Shape::Number)]);
        let scan = scan(Some("userid"));
        let query = select(&scan, &choose(&scan, &columns).unwrap(), "public", Keys::Listed("x"));
        assert!(query.ends_with(
            r#"WHERE (t."userid"::text) = ANY(x) OR (t."userid"::text) IS NULL OR (t."userid"::text) = ''"#
        ));
    }

    #[test]
    fn a_column_that_must_be_there() {
        assert_eq!(choose(&scan(None), &found(&[("firstname", Shape::Text)])), Err("userid".to_owned()));
    }

    #[test]
    fn a_flat_column_stands_in_for_the_map() {
        let scan = Scan {
            table: Table::UserActivityAgg,
            columns: vec![Column::required("agg", Kind::CompletedCount)],
            only: None,
        };
        for (columns, expected) in [
            (found(&[("completedcount", Shape::Number)]), "completedcount"),
            (found(&[("completedCount", Shape::Number), ("agg", Shape::Json)]), "agg"),
        ] {
            assert_eq!(choose(&scan, &columns).unwrap()[0].unwrap().name, expected);
        }
        assert_eq!(choose(&scan, &[]), Err("agg".to_owned()));
    }
}
