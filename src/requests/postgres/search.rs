//! Searches: how many rows match, and the newest of them page by page.

use diesel::pg::PgConnection;
use diesel::prelude::*;

use super::super::access::Reader;
use super::super::paging::PageEntry;
use super::super::search::{COUNT_LIMIT, SORT_LIMIT, Search};
use super::super::stored::StoredTotal;
use super::list::{all, entries, newest, visible};
use super::page_start::Begin;
use super::statement::{Statement, Values};

/// The conditions of a search.
fn searched(search: &Search, values: &mut Values) -> Vec<String> {
    let mut conditions = Vec::new();
    let lists = [("job_id", &search.job_ids), ("status", &search.statuses), ("requested_channel", &search.channels)];
    for (column, list) in lists {
        if let Some(list) = list {
            conditions.push(format!("j.{column} = ANY({})", values.texts(list.iter().cloned())));
        }
    }
    if let Some(day) = search.submitted_on {
        let day = values.text(&day.to_string());
        conditions.push(format!(
            "j.dt_job_submitted >= {day}::timestamp AND j.dt_job_submitted < {day}::timestamp + interval '1 day'"
        ));
    }
    conditions
}

/// The number of matching rows, counted up to one more than [`COUNT_LIMIT`].
pub(super) fn count(conn: &mut PgConnection, search: &Search, reader: &Reader) -> QueryResult<u64> {
    let mut values = Values::default();
    let conditions = [vec!["TRUE".to_owned()], searched(search, &mut values), visible(reader, &mut values)].concat();
    let sql = format!(
        "SELECT count(*) AS total FROM (
            SELECT FROM job_request AS j WHERE {} LIMIT {}
        ) AS matching",
        conditions.join(" AND "),
        COUNT_LIMIT + 1
    );
    let totals: Vec<StoredTotal> = Statement { sql, values }.load(conn)?;
    Ok(totals.first().map_or(0, StoredTotal::total))
}

/// The newest of `total` matching rows.
pub(super) fn search(
    conn: &mut PgConnection,
    search: &Search,
    reader: &Reader,
    (begin, limit, total): (&Begin, u32, u64),
) -> QueryResult<Vec<PageEntry>> {
    if total == 0 {
        return Ok(Vec::new());
    }
    let mut values = Values::default();
    let conditions = [searched(search, &mut values), visible(reader, &mut values)].concat();
    let order = "j.tag, j.request_id";
    if total > SORT_LIMIT || conditions.is_empty() {
        let statement = newest(("job_request", &all(), order), &conditions, begin.0.as_ref(), limit, values);
        return statement.load(conn).map(entries);
    }
    // A few rows are found as they were counted, and sorted: in the order of time they may be far apart in the table.
    let mut statement = newest(("matching", &all(), order), &[], begin.0.as_ref(), limit, values);
    statement.sql = format!(
        "WITH matching AS MATERIALIZED (
            SELECT j.tag, j.request_id, j.dt_job_submitted FROM job_request AS j WHERE {}
        ) {}",
        conditions.join(" AND "),
        statement.sql
    );
    statement.load(conn).map(entries)
}
