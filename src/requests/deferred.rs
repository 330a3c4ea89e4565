//! Texts of claimed rows that may be long. Short ones come with the claim; of a long one only the number of its bytes comes,
//! and it is read by itself, so that a claim of many rows does not hold all of them in memory.

use diesel::dsl::AsExprOf;
use diesel::prelude::*;
use diesel::query_dsl::LoadQuery;
use diesel::sql_types::{BigInt, Text};

use super::prepared::{Prepared, prepared};
use super::stored::StoredText;
use super::types::RequestKey;

/// Selects a text under `$name` where it is short, and otherwise its number of bytes, followed by `$cast`, under `$unread`.
macro_rules! short_or_bytes {
    ($text:literal, $name:literal, $unread:literal, $cast:literal) => {
        concat!(
            "CASE WHEN octet_length(",
            $text,
            ") <= 4096 THEN ",
            $text,
            " END AS ",
            $name,
            ",
        CASE WHEN octet_length(",
            $text,
            ") > 4096 THEN octet_length(",
            $text,
            ")",
            $cast,
            " END AS ",
            $unread
        )
    };
}
/// The statement that reads a text. `$sign` begins the places of its values: the key, and how many bytes are read at most.
macro_rules! select_text {
    ($text:literal, $sign:literal) => {
        concat!(
            "SELECT CASE WHEN octet_length(",
            $text,
            ") <= ",
            $sign,
            "3 THEN ",
            $text,
            " END AS value FROM job_request WHERE tag = ",
            $sign,
            "1 AND request_id = ",
            $sign,
            "2"
        )
    };
}

pub(super) use {select_text, short_or_bytes};

/// The values of a statement of [`select_text`].
type Values<'a> = (AsExprOf<&'a str, Text>, AsExprOf<&'a str, Text>, AsExprOf<i64, BigInt>);

/// Runs a statement of [`select_text`]. `None`: the row is not there, has no such text, or one of more than `limit` bytes.
pub(super) fn read<'a, Conn>(
    conn: &mut Conn,
    select: &'static str,
    key: &'a RequestKey,
    limit: u64,
) -> QueryResult<Option<String>>
where
    Prepared<Values<'a>>: LoadQuery<'a, Conn, StoredText>,
{
    let values = (
        key.tag.as_str().into_sql::<Text>(),
        key.request_id.as_str().into_sql::<Text>(),
        i64::try_from(limit).unwrap_or(i64::MAX).into_sql::<BigInt>(),
    );
    let row: Option<StoredText> = prepared(select, values).get_result(conn).optional()?;
    Ok(row.and_then(StoredText::into_text))
}
