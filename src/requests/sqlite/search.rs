//! Searches: how many rows match, and the newest of them page by page.

use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use super::super::access::Reader;
use super::super::paging::PageEntry;
use super::super::search::{COUNT_LIMIT, SORT_LIMIT, Search};
use super::super::status::{Status, open_statuses};
use super::super::stored::StoredTotal;
use super::functions::unless_over;
use super::list::{NAMED, merged, newest, visible};
use super::page_start::Begin;
use super::statement::{Statement, Value};

/// The conditions of a search. The one on the status is separate, because an index has it.
fn searched(search: &Search, statement: &mut Statement) -> (Vec<String>, Option<String>) {
    let mut conditions = Vec::new();
    if let Some(jobs) = &search.job_ids {
        conditions.push(format!("job_id IN {}", statement.list(jobs)));
    }
    if let Some(channels) = &search.channels {
        conditions.push(format!("requested_channel IN {}", statement.list(channels)));
    }
    if let Some(day) = search.submitted_on {
        let day = statement.value(Value::Text(day.to_string()));
        conditions.push(format!("exhaust_day(CAST(CAST(dt_job_submitted AS TEXT) AS BLOB)) = {day}"));
    }
    (conditions, search.statuses.as_ref().map(|statuses| format!("status IN {}", statement.list(statuses))))
}

/// Whether only open requests are searched: they are few, whatever the size of the table.
fn wants_open(search: &Search) -> bool {
    let is_open = |status: &String| Status::parse(status).is_some_and(Status::is_open);
    search.statuses.as_ref().is_some_and(|statuses| statuses.iter().all(is_open))
}

/// The condition of the index `job_request_open`.
const OPEN: &str = concat!("status IN (", open_statuses!(), ")");

/// The statement that counts the matching rows, up to one more than [`COUNT_LIMIT`].
pub(super) fn count_of(search: &Search, reader: &Reader) -> Statement {
    if search.submitted_on.is_some() {
        // The index on times finds the rows of a day.
        let most = u32::try_from(COUNT_LIMIT + 1).unwrap_or(u32::MAX);
        let mut statement = of_search(search, reader, &Begin::default(), most, COUNT_LIMIT + 1);
        let rows = std::mem::take(&mut statement.sql);
        statement.sql = format!("SELECT count(*) AS total FROM (SELECT 1 FROM ({rows}) LIMIT {most})");
        return statement;
    }
    let mut statement = Statement::default();
    let (mut conditions, status) = searched(search, &mut statement);
    conditions.extend(visible(reader, &mut statement));
    conditions.push(NAMED.to_owned());
    let mut indexed: Vec<String> = status.into_iter().collect();
    if wants_open(search) {
        indexed.push(OPEN.to_owned());
    }
    indexed.push(unless_over(&conditions.join(" AND ")));
    statement.sql = format!(
        "SELECT count(*) AS total FROM (SELECT 1 FROM job_request WHERE {} LIMIT {})",
        indexed.join(" AND "),
        COUNT_LIMIT + 1
    );
    statement
}

/// The statement that returns the newest of `total` matching rows.
pub(super) fn of_search(search: &Search, reader: &Reader, begin: &Begin, limit: u32, total: u64) -> Statement {
    let mut statement = Statement::default();
    let (mut conditions, status) = searched(search, &mut statement);
    conditions.extend(visible(reader, &mut statement));
    conditions.push(NAMED.to_owned());
    // A few rows with a status are sorted; of many, the newest are found soon in the order of the index on times.
    let by_status = status.is_some() && (wants_open(search) || total <= SORT_LIMIT);
    let mut indexed = Vec::new();
    match status {
        Some(status) if by_status => indexed.push(status),
        Some(status) => conditions.push(format!("+{status}")),
        None => {}
    }
    if wants_open(search) {
        indexed.push(OPEN.to_owned());
    }
    indexed.push(unless_over(&conditions.join(" AND ")));
    newest(statement, &indexed, begin, (!by_status, search.submitted_on), limit)
}

pub(super) fn count(conn: &mut SqliteConnection, search: &Search, reader: &Reader) -> QueryResult<u64> {
    let totals: Vec<StoredTotal> = count_of(search, reader).load(conn)?;
    Ok(totals.first().map_or(0, StoredTotal::total))
}

pub(super) fn search(
    conn: &mut SqliteConnection,
    search: &Search,
    reader: &Reader,
    (begin, limit, total): (Begin, u32, u64),
) -> QueryResult<Vec<PageEntry>> {
    if total == 0 {
        return Ok(Vec::new());
    }
    let statement = of_search(search, reader, &begin, limit, total);
    Ok(merged(statement.load(conn)?, begin, limit))
}
