//! The statement of a scan.
//!
//! Not here: running it, and reading what comes.

use std::ops::Range;

use crate::sources::spellings::Spellings;
use crate::tables::key_range::KeyRange;
use crate::tables::plan::Scan;

use super::catalog::{Found, Shape};
use super::config::Relation;
use super::copy::{literal, quoted};

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

/// For each spelling of the scan's columns, where it is in the table. `None`: the table does not have it. The error says
/// which column must be there and is not, or which two may be meant by one name.
pub(super) fn choose<'a>(
    scan: &Scan,
    spellings: &Spellings,
    found: &'a [Found],
) -> Result<Vec<Option<&'a Found>>, String> {
    let places = spellings.among(|| found.iter().map(|column| column.name.as_bytes()));
    let places = places.map_err(|clash| clash.to_string())?;
    match spellings.missing(scan, &spellings.columns(|at| places[at].is_some())) {
        Some(names) => Err(format!("has no column {names}")),
        None => Ok(places.into_iter().map(|place| Some(&found[place?])).collect()),
    }
}

/// The query of which COPY gives the rows, one text per spelling that the table has; `only`: the spellings of the column
/// that the scan is limited by.
///
/// Rows without a key come as well, whatever keys are asked for: they are unusable, and whose they are is
/// unknown. They are a query of their own beside a join, which an OR would keep from being one. So is each spelling of the
/// key: it counts where those before it have nothing.
pub(super) fn select(
    chosen: &[Option<&Found>],
    only: Option<Range<usize>>,
    relation: &Relation,
    keys: Keys<'_>,
) -> String {
    let rows = format!(
        "SELECT {} FROM {} AS t",
        chosen.iter().flatten().map(|found| text(found)).collect::<Vec<_>>().join(", "),
        relation.quoted()
    );
    let Some(only) = only else { return rows };
    let names: Vec<String> = chosen[only].iter().flatten().map(|found| key(found)).collect();
    // No row is wanted of a table that does not have the column.
    if names.is_empty() {
        return format!("{rows} WHERE false");
    }
    let nothing = |name: &String| format!("({name} IS NULL OR {name} = '')");
    let all_nothing = |names: &[String]| names.iter().map(nothing).collect::<Vec<_>>().join(" AND ");
    let wanted = names.iter().enumerate().map(|(at, name)| {
        let before = if at == 0 { String::new() } else { format!("{} AND ", all_nothing(&names[..at])) };
        format!("{before}{}", is_among(name, keys))
    });
    let wanted = wanted.chain([all_nothing(&names)]);
    match keys {
        Keys::All => rows,
        Keys::Listed(_) => format!("{rows} WHERE {}", wanted.collect::<Vec<_>>().join(" OR ")),
        Keys::Joined(_) => {
            wanted.map(|wanted| format!("{rows} WHERE {wanted}")).collect::<Vec<_>>().join(" UNION ALL ")
        }
    }
}

/// The condition that a text is among the keys.
pub(super) fn is_among(text: &str, keys: Keys<'_>) -> String {
    match keys {
        Keys::All => "true".to_owned(),
        Keys::Listed(array) => format!("{text} = ANY({array})"),
        Keys::Joined(from) => format!("EXISTS (SELECT FROM {from} AS k (key) WHERE k.key = {text})"),
    }
}

/// The condition that a text is in a range, in the order of bytes; empty for everything.
pub(super) fn in_range(text: &str, range: &KeyRange) -> String {
    let bounds = [(">", &range.after), ("<=", &range.up_to)];
    // No text of PostgreSQL holds a NUL: none lies between what a bound has before one and the bound itself.
    let bounds = bounds.into_iter().filter_map(|(than, bound)| Some((than, bound.as_deref()?)));
    let bounds = bounds.map(|(than, bound)| {
        let cut = bound.split('\0').next().unwrap_or_default();
        format!("{text} COLLATE \"C\" {than} {}", literal(cut))
    });
    bounds.collect::<Vec<_>>().join(" AND ")
}

/// The key of a row as text, of its first spelling that has any.
pub(super) fn key_text(spellings: &[Option<&Found>]) -> String {
    let names: Vec<String> = spellings.iter().flatten().map(|found| key(found)).collect();
    match names.as_slice() {
        [] => "NULL::text".to_owned(),
        [name] => name.clone(),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(|name| format!("nullif({name}, '')")).collect();
            format!("coalesce({}, {last})", first.join(", "))
        }
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
    use crate::tables::keys::keys;
    use crate::tables::schema::{Column, Kind, Table};

    fn found(columns: &[(&str, Shape)]) -> Vec<Found> {
        columns.iter().map(|&(name, shape)| Found { name: name.to_owned(), shape }).collect()
    }

    fn scan(only: Option<&'static str>) -> Scan {
        Scan {
            table: Table::UserEnrolments,
            columns: vec![
                Column::key("userid"),
                Column::optional("courseid", Kind::Text),
                Column::optional("certificates", Kind::Entries),
            ],
            reach: only.map(|name| (name.into(), keys::<&str>([]))).into(),
            learners: None,
        }
    }

    fn query(scan: &Scan, columns: &[Found], schema: &str, keys: Keys<'_>) -> String {
        let spellings = Spellings::of(scan);
        let chosen = choose(scan, &spellings, columns).unwrap();
        let only = scan.only().map(|_| spellings.of_column(0));
        let relation = Relation { schema: schema.to_owned(), name: scan.table.name().to_owned() };
        select(&chosen, only, &relation, keys)
    }

    #[test]
    fn every_row_of_the_needed_columns() {
        let columns = found(&[("UserID", Shape::Text), ("secret", Shape::Text), ("certificates", Shape::Json)]);
        assert_eq!(
            query(&scan(None), &columns, "my\"schema", Keys::All),
            r#"SELECT t."UserID"::text, t."certificates"::text FROM "my""schema"."user_enrolments" AS t"#
        );
    }

    #[test]
    fn keys_go_into_the_query() {
        let columns = found(&[("userid", Shape::Text), ("courseid", Shape::Nested)]);
        let scan = scan(Some("userid"));
        let rows = r#"SELECT t."userid"::text, to_json(t."courseid")::text FROM "public"."user_enrolments" AS t"#;
        assert_eq!(
            query(&scan, &columns, "public", Keys::Listed("'{\"a\"}'::text[]")),
            format!(r#"{rows} WHERE t."userid" = ANY('{{"a"}}'::text[]) OR (t."userid" IS NULL OR t."userid" = '')"#)
        );
        assert_eq!(
            query(&scan, &columns, "public", Keys::Joined("wanted")),
            format!(
                r#"{rows} WHERE EXISTS (SELECT FROM wanted AS k (key) WHERE k.key = t."userid") UNION ALL {rows} WHERE (t."userid" IS NULL OR t."userid" = '')"#
            )
        );
    }

    #[test]
    fn a_key_is_looked_for_under_each_of_its_spellings() {
        let columns = found(&[("id", Shape::Text), ("userid", Shape::Text)]);
        let scan = Scan {
            table: Table::User,
            columns: vec![Column::key("userid")],
            reach: Some(("userid".into(), keys::<&str>([]))).into(),
            learners: None,
        };
        let rows = r#"SELECT t."userid"::text, t."id"::text FROM "public"."user" AS t"#;
        let nothing = r#"(t."userid" IS NULL OR t."userid" = '')"#;
        let neither = format!(r#"{nothing} AND (t."id" IS NULL OR t."id" = '')"#);
        assert_eq!(
            query(&scan, &columns, "public", Keys::Listed("x")),
            format!(r#"{rows} WHERE t."userid" = ANY(x) OR {nothing} AND t."id" = ANY(x) OR {neither}"#)
        );
        let exists = |name: &str| format!("EXISTS (SELECT FROM x AS k (key) WHERE k.key = t.\"{name}\")");
        assert_eq!(
            query(&scan, &columns, "public", Keys::Joined("x")),
            format!(
                "{rows} WHERE {} UNION ALL {rows} WHERE {nothing} AND {} UNION ALL {rows} WHERE {neither}",
                exists("userid"),
                exists("id")
            )
        );
    }

    #[test]
    fn keys_of_other_types_are_compared_as_text() {
        let columns = found(&[("userid", Shape::Number)]);
        let query = query(&scan(Some("userid")), &columns, "public", Keys::Listed("x"));
        assert!(query.ends_with(
            r#"WHERE (t."userid"::text) = ANY(x) OR ((t."userid"::text) IS NULL OR (t."userid"::text) = '')"#
        ));
    }

    #[test]
    fn a_column_that_must_be_there_and_two_that_may_be_meant() {
        let chosen = |columns: &[(&str, Shape)]| {
            let (scan, columns) = (scan(None), found(columns));
            choose(&scan, &Spellings::of(&scan), &columns).map(|_| ())
        };
        assert_eq!(chosen(&[("courseid", Shape::Text)]), Err("has no column 'userid'".to_owned()));
        assert_eq!(
            chosen(&[("UserId", Shape::Text), ("UserID", Shape::Text)]),
            Err("has two columns that may be 'userid': 'UserId' and 'UserID'".to_owned())
        );
    }
}
